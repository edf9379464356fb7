//! [`trace`]: path → layer → image → partition → root hash → verified signer → what it shadows.
//!
//! The layers of a stack are private mounts: no other process can look into them. So the record names each layer, and
//! the answer is found by opening the same images again, which counts only when they are proven to be the same: every
//! byte is checked against the recorded root hash, or the file or directory passes the identity test of a refresh.
//! Where that is not possible the answer is that it cannot be told, and why.

mod reopen;

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use confext_ddi::RootHash;
use confext_ddi::fs::{FileType, Metadata};
use confext_ddi::limits::Limits;
use confext_ddi::release::Class;
use serde::Serialize;

use crate::directory::{self, Directory, lookup};
use crate::discover::Kind;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::stack::look_under;
use crate::state::{self, Checked, Current, Layer, Merged, Partition};
use crate::sys::{self, OFlags};

/// Where a path comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Origin {
    /// The path inside the root, links on the way resolved; a link at the end is the answer's subject itself.
    #[serde(serialize_with = "crate::discover::lossy")]
    pub path: PathBuf,
    /// What is there; `None` when there is nothing.
    pub file_type: Option<FileType>,
    /// Where it comes from.
    #[serde(flatten)]
    pub answer: Answer,
}

/// The answer to "where does this come from?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Answer {
    /// There is nothing at this path.
    Absent,
    /// From the host: nothing is merged over this place.
    NotMerged,
    /// From the host: a stack is merged here, and none of its extensions has the path.
    Base {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
    },
    /// From an extension.
    Layer {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
        /// The extension.
        source: Box<Source>,
        /// What has the path, too, and is not seen; topmost first.
        shadows: Vec<Shadow>,
    },
    /// A directory that several have: what is in it is traced by itself.
    Directory {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
        /// The extensions that have it, topmost first: the first gives it owner and mode.
        sources: Vec<Source>,
        /// Whether the host has it, too.
        base: Presence,
        /// Extensions of which it cannot be told.
        unknown: Vec<Unknown>,
    },
    /// From something mounted on top of the stack.
    Submount {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
    },
    /// The stack's own metadata.
    Metadata {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
    },
    /// There is no telling.
    CannotTell {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
        /// The extensions of which it cannot be told, topmost first.
        unknown: Vec<Unknown>,
        /// Why, where it is not because of single extensions.
        because: Option<&'static str>,
    },
}

/// An extension that has the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Source {
    /// The extension's name.
    pub layer: String,
    /// The image or directory, inside the root.
    pub image: String,
    /// What it is.
    pub kind: Kind,
    /// The version chosen from a `.v/` directory.
    pub version: Option<String>,
    /// The partition it is from.
    pub partition: Option<Partition>,
    /// The root hash its content was checked against.
    pub root_hash: Option<RootHash>,
    /// What was checked when it was merged. A signer stands here only if the signature was checked then.
    pub checked: Checked,
    /// How it was made sure that the image opened for this answer is the one that is merged.
    pub confirmed_by: &'static str,
}

/// Something that has the path, too, and is not seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Shadow {
    /// An extension below.
    Layer {
        /// The extension.
        source: Box<Source>,
    },
    /// An extension below of which it cannot be told.
    Unknown {
        /// Which one, and why.
        #[serde(flatten)]
        unknown: Unknown,
    },
    /// The host's own file.
    Base,
    /// It cannot be told whether the host has it: that takes the privilege to look under the stack.
    BaseUnknown,
}

/// An extension of which it cannot be told whether it has a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// The extension's name.
    pub layer: String,
    /// The stable code.
    pub code: &'static str,
    /// Why.
    pub reason: String,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// Yes.
    Present,
    /// No.
    Absent,
    /// It cannot be told without the privilege to look under the stack.
    Unknown,
}

/// Says where a path inside the root comes from.
///
/// # Errors
///
/// `os` when the path cannot be looked up at all. That an image is gone or a record cannot be understood is no error but
/// part of the answer.
pub fn trace(host: &Host, path: impl AsRef<Path>, limits: &Limits) -> Result<Origin> {
    let Some(subject) = Subject::find(host, path.as_ref())? else {
        let path = path.as_ref().to_path_buf();
        return Ok(Origin { path, file_type: None, answer: Answer::Absent });
    };
    let mut answer = Answer::NotMerged;
    for class in [Class::Confext, Class::Sysext] {
        for hierarchy in class.hierarchies() {
            let Current::Merged(merged) = state::look(host, class, hierarchy)? else { continue };
            let Some(root) = host.path_of(merged.top.as_fd()) else { continue };
            if let Ok(inside) = subject.path.strip_prefix(&root) {
                let stack = Stack { host, class, hierarchy, limits, merged };
                answer = stack.answer(&subject, inside.as_os_str().as_bytes())?;
            }
        }
    }
    let path = Path::new("/").join(&subject.path);
    Ok(Origin { path, file_type: Some(subject.metadata.file_type), answer })
}

/// What is asked about.
struct Subject {
    path: PathBuf,
    place: OwnedFd,
    metadata: Metadata,
}

impl Subject {
    fn find(host: &Host, path: &Path) -> Result<Option<Self>> {
        let failed = |error| Error::os("look up", host.display(path), error);
        let absent = |error: &std::io::Error| {
            matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
        };
        let place = match host.open_path(path, OFlags::NOFOLLOW) {
            Err(error) if absent(&error) => return Ok(None),
            place => place.map_err(failed)?,
        };
        let metadata = directory::metadata(place.as_fd()).map_err(failed)?;
        let Some(path) = host.path_of(place.as_fd()) else {
            return Err(failed(rustix::io::Errno::XDEV.into()));
        };
        Ok(Some(Self { path, place, metadata }))
    }
}

/// The stack over the subject.
struct Stack<'a> {
    host: &'a Host,
    class: Class,
    hierarchy: &'static str,
    limits: &'a Limits,
    merged: Box<Merged>,
}

/// What the extensions have at a path.
struct Holders {
    /// Those that have it, topmost first, each with how many unknown ones are above it.
    known: Vec<(Source, Metadata, usize)>,
    unknown: Vec<Unknown>,
}

impl Stack<'_> {
    fn answer(&self, subject: &Subject, inside: &[u8]) -> Result<Answer> {
        let hierarchy = self.hierarchy;
        let failed = |error| Error::os("look up", hierarchy, error);
        let of_stack = sys::mount_id(self.merged.top.as_fd()).map_err(failed)?;
        if sys::mount_id(subject.place.as_fd()).map_err(failed)? != of_stack {
            return Ok(Answer::Submount { hierarchy });
        }
        let metadata_directory = state::metadata_directory(self.class).as_bytes();
        if matches!(inside.strip_prefix(metadata_directory), Some([] | [b'/', ..])) {
            return Ok(Answer::Metadata { hierarchy });
        }
        let Some(record) = &self.merged.record else {
            let because = match self.merged.fault {
                Some(_) => "the record of the stack cannot be understood",
                None => "another program merged the stack and kept no record",
            };
            return Ok(self.cannot_tell(Vec::new(), because));
        };
        let holders = self.ask_layers(&record.layers, inside);
        if subject.metadata.file_type == FileType::Directory {
            return Ok(self.directory(holders, inside));
        }
        Ok(self.file(holders, &subject.metadata, inside))
    }

    fn ask_layers(&self, layers: &[Layer], inside: &[u8]) -> Holders {
        let mut holders = Holders { known: Vec::new(), unknown: Vec::new() };
        let path = directory::join(self.hierarchy.as_bytes(), inside);
        let path = if inside.is_empty() { self.hierarchy.as_bytes() } else { &path };
        for layer in layers.iter().rev() {
            if !layer.hierarchies.iter().any(|hierarchy| hierarchy == self.hierarchy) {
                continue;
            }
            match reopen::look(self.host, layer, path, self.limits) {
                Ok(Some(metadata)) => {
                    holders.known.push((source(layer), metadata, holders.unknown.len()));
                }
                Ok(None) => {}
                Err(error) => holders.unknown.push(Unknown {
                    layer: layer.name.clone(),
                    code: error.code(),
                    reason: error.explain(),
                }),
            }
        }
        holders
    }

    fn directory(&self, holders: Holders, inside: &[u8]) -> Answer {
        let (hierarchy, Holders { known, unknown }) = (self.hierarchy, holders);
        // What is below something that is no directory is not merged into it.
        let merged =
            known.into_iter().take_while(|(_, metadata, _)| metadata.file_type == FileType::Directory);
        let sources: Vec<_> = merged.map(|(source, _, _)| source).collect();
        if sources.is_empty() && unknown.is_empty() {
            return Answer::Base { hierarchy };
        }
        Answer::Directory { hierarchy, sources, base: self.base(inside), unknown }
    }

    fn file(&self, holders: Holders, seen: &Metadata, inside: &[u8]) -> Answer {
        let hierarchy = self.hierarchy;
        let mut known = holders.known.into_iter();
        let Some((source, metadata, unknown_above)) = known.next() else {
            return if holders.unknown.is_empty() {
                Answer::Base { hierarchy }
            } else {
                self.cannot_tell(holders.unknown, None)
            };
        };
        let (above, below) = holders.unknown.split_at_checked(unknown_above).unwrap_or((&[], &[]));
        if !above.is_empty() {
            return self.cannot_tell(above.to_vec(), None);
        }
        if !is_same_file(&metadata, seen) {
            return self.cannot_tell(
                Vec::new(),
                "the image has another file at this path than the one that is seen",
            );
        }
        let mut shadows: Vec<_> =
            known.map(|(source, _, _)| Shadow::Layer { source: Box::new(source) }).collect();
        shadows.extend(below.iter().cloned().map(|unknown| Shadow::Unknown { unknown }));
        match self.base(inside) {
            Presence::Present => shadows.push(Shadow::Base),
            Presence::Absent => {}
            Presence::Unknown => shadows.push(Shadow::BaseUnknown),
        }
        Answer::Layer { hierarchy, source: Box::new(source), shadows }
    }

    fn base(&self, inside: &[u8]) -> Presence {
        if self.merged.record.as_ref().is_some_and(|record| record.created) {
            return Presence::Absent;
        }
        let Ok(bare) = look_under(self.host, self.class, self.hierarchy) else { return Presence::Unknown };
        match lookup(&Directory::new(bare.directory, self.limits), inside) {
            Ok(Some(_)) => Presence::Present,
            Ok(None) => Presence::Absent,
            Err(_) => Presence::Unknown,
        }
    }

    fn cannot_tell(&self, unknown: Vec<Unknown>, because: impl Into<Option<&'static str>>) -> Answer {
        Answer::CannotTell { hierarchy: self.hierarchy, unknown, because: because.into() }
    }
}

/// The overlay shows a layer's file as it is; only numbers of device and inode may be others.
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    let what =
        |m: &Metadata| (m.file_type, m.mode, m.uid, m.gid, m.size_bytes, m.mtime_sec, m.mtime_nsec, m.rdev);
    what(a) == what(b)
}

fn source(layer: &Layer) -> Source {
    Source {
        layer: layer.name.clone(),
        image: layer.path.clone(),
        kind: layer.kind,
        version: layer.version.clone(),
        partition: layer.partition.clone(),
        root_hash: layer.checked.root_hash().copied(),
        checked: layer.checked.clone(),
        confirmed_by: layer.identity.test(),
    }
}
