//! Extensions whose files are asked for: each opened once, when it is needed first, and proven to be the one it should be.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use confext_ddi::fs::FileSystem;
use confext_ddi::image::{self, Image};
use confext_ddi::policy::{Admitted, Policy};
use confext_ddi::signature::Verifier;

use super::stated::Stated;
use super::{KnownFrom, Options, Source, Unknown};
use crate::admission::{self, Body, Extension};
use crate::directory::{self, Directory, lookup};
use crate::discover::Kind;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::without_tries;
use crate::state::{Checked, Identity, Layer, Partition};
use crate::sys::{self, Depth, OFlags};
use crate::{identity, sidecars};

/// What it takes to open an extension.
pub(super) struct Context<'h> {
    /// The root that paths are looked up in.
    pub(super) host: &'h Host,
    /// Where the extensions are, and whose certificates count.
    images: &'h Host,
    pub(super) options: Options,
    certificates: OnceLock<Option<Arc<dyn Verifier>>>,
}

/// An extension of a stack.
pub(super) struct Extended {
    pub(super) name: String,
    stated: From,
    opened: OnceLock<std::result::Result<Opened, Unknown>>,
}

/// What is known of it before it is opened.
enum From {
    /// What this library wrote down of it.
    Record(Box<Layer>),
    /// What another program wrote down of it.
    Origin(Stated),
    /// It was opened to be merged.
    Plan,
}

/// An extension that was opened, and is the one it should be.
pub(super) struct Opened {
    pub(super) source: Arc<Source>,
    pub(super) files: Box<dyn FileSystem>,
}

impl<'h> Context<'h> {
    pub(super) fn new(host: &'h Host, options: &Options) -> Self {
        Self { host, images: host, options: options.clone(), certificates: OnceLock::new() }
    }

    /// For a service with a root of its own, whose extensions are on `images`.
    pub(super) fn of_service(images: &'h Host, root: &'h Host, options: &Options) -> Self {
        Self { host: root, images, options: options.clone(), certificates: OnceLock::new() }
    }

    /// Whose signatures count now. Certificates that cannot be read are none.
    fn verifier(&self) -> Option<&dyn Verifier> {
        let read = || self.options.trust.open(self.images).ok().flatten();
        self.certificates.get_or_init(read).as_deref()
    }
}

impl Extended {
    fn new(name: &str, stated: From) -> Self {
        Self { name: name.to_owned(), stated, opened: OnceLock::new() }
    }

    /// One that this library merged.
    pub(super) fn recorded(layer: &Layer) -> Self {
        Self::new(&layer.name, From::Record(Box::new(layer.clone())))
    }

    /// One that another program merged.
    pub(super) fn stated(name: &str, stated: Stated) -> Self {
        Self::new(name, From::Origin(stated))
    }

    /// One that cannot be opened.
    pub(super) fn unknown(unknown: Unknown) -> Self {
        let this = Self::new(&unknown.layer, From::Plan);
        _ = this.opened.set(Err(unknown));
        this
    }

    /// One that was judged just now, to be merged.
    pub(super) fn admitted(extension: Extension, context: &Context<'_>) -> Self {
        Self::judged(extension, KnownFrom::Plan, context)
    }

    /// One that was judged just now, and is taken for a layer on this word.
    pub(super) fn judged(extension: Extension, known_from: KnownFrom, context: &Context<'_>) -> Self {
        let layer = extension.record();
        let this = Self::new(&layer.name, From::Plan);
        let admission::Parts { candidate, body, .. } = extension.into_parts();
        let files: Result<Box<dyn FileSystem>> = match body {
            Body::Image(admitted) => Arc::<Admitted<File>>::from(admitted)
                .shared_file_system(&context.options.limits)
                .map_err(|source| Error::Image { image: candidate.path.display().to_string(), source }),
            Body::Directory(place) => Ok(Box::new(place.directory)),
        };
        let source = Arc::new(Source::new(layer, known_from));
        let opened = files.map(|files| Opened { source, files });
        _ = this.opened.set(opened.map_err(|error| Unknown::new(&this.name, &error)));
        this
    }

    /// Whether it has something in a hierarchy. What cannot be read may have.
    pub(super) fn has_files(&self, hierarchy: &str, context: &Context<'_>) -> bool {
        let Ok(opened) = self.get(context) else { return true };
        match lookup(opened.files.as_ref(), hierarchy.as_bytes()) {
            Ok(None) => false,
            Ok(Some(_)) => {
                opened.files.read_dir(hierarchy.as_bytes()).map_or(true, |entries| !entries.is_empty())
            }
            Err(_) => true,
        }
    }

    /// Its files; opened now if that was not done before.
    pub(super) fn get(&self, context: &Context<'_>) -> std::result::Result<&Opened, &Unknown> {
        let open = || {
            let opened = match &self.stated {
                From::Record(layer) => open_recorded(layer, context),
                From::Origin(stated) => open_stated(&self.name, stated, context),
                From::Plan => Err(changed(&self.name, "nothing", "what was judged".to_owned())),
            };
            opened.map_err(|error| Unknown::new(&self.name, &error))
        };
        self.opened.get_or_init(open).as_ref()
    }
}

/// Opens an extension of which the record says what makes it the same.
fn open_recorded(layer: &Layer, context: &Context<'_>) -> Result<Opened> {
    let (renamed, limits) = (renamed(layer, context), &context.options.limits);
    let layer = renamed.as_ref().unwrap_or(layer);
    let place = Path::new(&layer.path);
    let file = open_file(place, context)?;
    let files = match &layer.identity {
        Identity::Directory { .. } | Identity::Content { .. } if layer.kind == Kind::Directory => {
            let mut files = single_directory(file, context);
            let found = match &layer.identity {
                Identity::Content { .. } => identity::of_directory_content(&files, limits),
                _ => identity::look_at_directory(&mut files),
            };
            same(layer, &found.map_err(|source| in_image(place, source))?)?;
            Box::new(files)
        }
        Identity::Content { .. } => {
            let admitted = judge(file, place, (&Policy::unprotected(), None), context)?;
            let found = identity::of_image_content(admitted.data());
            same(layer, &found.map_err(|source| in_image(place, source))?)?;
            files_of(admitted, place, context)?
        }
        Identity::File { .. } | Identity::Directory { .. } => {
            let stat = directory::statx(file.as_fd());
            let stat = stat.map_err(|error| Error::os("stat", context.images.display(place), error))?;
            same(layer, &identity::of_file(&stat))?;
            files_of(judge(file, place, (&Policy::unprotected(), None), context)?, place, context)?
        }
        Identity::RootHash { root_hash } => {
            // Who signed it was checked at the merge; what counts now is that it is the same tree of hashes.
            let admitted = judge(file, place, (&Policy::verity(), None), context)?;
            if admitted.root_hash() != Some(root_hash) {
                let found = admitted
                    .root_hash()
                    .map_or("no hash tree".to_owned(), |hash| format!("root hash {hash}"));
                return Err(changed(&layer.path, found, show(&layer.identity)));
            }
            if let (Checked::Signed { by, .. }, None) =
                (&layer.checked, admitted.image().claim().signatures().next())
            {
                let expected = format!("a signature by {}", by.subject);
                return Err(changed(&layer.path, "no signature", expected));
            }
            files_of(admitted, place, context)?
        }
    };
    Ok(Opened { source: Arc::new(Source::new(layer.clone(), KnownFrom::Record)), files })
}

/// Where it is now, when attempts of its version were counted, or it was called good, since it was merged: that renames it.
fn renamed(layer: &Layer, context: &Context<'_>) -> Option<Layer> {
    let place = Path::new(&layer.path);
    let known = without_tries(&layer.path);
    let directory = place.parent().filter(|directory| directory.extension().is_some_and(|end| end == "v"))?;
    if context.images.open_path(place, OFlags::NOFOLLOW).is_ok() {
        return None;
    }
    let listed = context.images.open_path(directory, OFlags::DIRECTORY).ok()?;
    let names = directory::names(listed.as_fd()).ok()?;
    let mut paths = names
        .iter()
        .filter_map(|name| Some(format!("{}/{}", directory.to_str()?, str::from_utf8(name).ok()?)));
    let path = paths.find(|path| without_tries(path) == known)?;
    Some(Layer { path, ..layer.clone() })
}

/// Opens an extension that another program merged: what it wrote down of it must be so, and what protects it is checked
/// now, for the first time.
fn open_stated(name: &str, stated: &Stated, context: &Context<'_>) -> Result<Opened> {
    let place = Path::new(&stated.path);
    let file = open_file(place, context)?;
    let stat = directory::statx(file.as_fd());
    let stat = stat.map_err(|error| Error::os("stat", context.images.display(place), error))?;
    let kind = match rustix::fs::FileType::from_raw_mode(u32::from(stat.stx_mode)) {
        rustix::fs::FileType::Directory => Kind::Directory,
        rustix::fs::FileType::BlockDevice => Kind::Block,
        _ => Kind::Raw,
    };
    if let Some(inode) = stated.inode.filter(|inode| *inode != stat.stx_ino) {
        return Err(changed(&stated.path, format!("inode {}", stat.stx_ino), format!("inode {inode}")));
    }
    let layer = |identity, checked, partition| Layer {
        name: name.to_owned(),
        path: stated.path.clone(),
        kind,
        version: None,
        identity,
        checked,
        partition,
        hierarchies: Vec::new(),
        attached: None,
    };
    if kind == Kind::Directory {
        let files = single_directory(file, context);
        let source = Source::new(layer(identity::of_file(&stat), Checked::None, None), KnownFrom::Origin);
        return Ok(Opened { source: Arc::new(source), files: Box::new(files) });
    }
    let admitted = judge_best(file, place, context)?;
    let identity = match (admitted.root_hash(), stated.root_hash.as_deref()) {
        (Some(found), Some(expected)) if found.to_hex() == expected => {
            Identity::RootHash { root_hash: *found }
        }
        // Merged without looking at a hash tree, so the one that is there proves nothing.
        (_, None) => identity::of_file(&stat),
        (found, Some(expected)) => {
            let found = found.map_or("no hash tree".to_owned(), |hash| format!("root hash {hash}"));
            return Err(changed(&stated.path, found, format!("root hash {expected}")));
        }
    };
    let checked = match &identity {
        Identity::RootHash { .. } => Checked::from(admitted.evidence()),
        _ => Checked::None,
    };
    let data = admitted.image().data();
    let partition = Partition {
        designator: data.designator.as_str().to_owned(),
        number: data.number.map(confext_ddi::units::PartitionNumber::value),
        uuid: data.uuid,
    };
    let source = Source::new(layer(identity, checked, Some(partition)), KnownFrom::Origin);
    Ok(Opened { source: Arc::new(source), files: files_of(admitted, place, context)? })
}

/// The strongest that is true of the image: signed by somebody who counts, under a hash tree, or nothing.
fn judge_best(file: OwnedFd, place: &Path, context: &Context<'_>) -> Result<Admitted<File>> {
    let mut last = None;
    let verifier = context.verifier();
    for (policy, verifier) in
        [(Policy::signed(), verifier), (Policy::verity(), None), (Policy::unprotected(), None)]
    {
        let file =
            file.try_clone().map_err(|error| Error::os("open", context.images.display(place), error))?;
        match judge(file, place, (&policy, verifier), context) {
            Ok(admitted) => return Ok(admitted),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| changed(&place.to_string_lossy(), "nothing", "an image".to_owned())))
}

fn judge(
    file: OwnedFd,
    place: &Path,
    (policy, verifier): (&Policy, Option<&dyn Verifier>),
    context: &Context<'_>,
) -> Result<Admitted<File>> {
    let mut options = image::Options::default().limits(context.options.limits.clone());
    options.architecture = context.images.architecture();
    let image: Image<File> = sidecars::open_below(context.images, place, file.into(), &options)?;
    policy.judge(image, verifier).map_err(|source| in_image(place, source))
}

fn files_of(admitted: Admitted<File>, place: &Path, context: &Context<'_>) -> Result<Box<dyn FileSystem>> {
    let files = Arc::new(admitted).shared_file_system(&context.options.limits);
    files.map_err(|source| in_image(place, source))
}

fn open_file(place: &Path, context: &Context<'_>) -> Result<OwnedFd> {
    context.images.open_file(place).map_err(|error| Error::os("open", context.images.display(place), error))
}

/// A directory as it was merged: without the mounts below it, where that can be had.
fn single_directory(file: OwnedFd, context: &Context<'_>) -> Directory {
    let file = sys::clone_tree(file.as_fd(), c"", Depth::Single).unwrap_or(file);
    Directory::new(file, &context.options.limits)
}

fn in_image(place: &Path, source: confext_ddi::Error) -> Error {
    Error::Image { image: place.display().to_string(), source }
}

fn same(layer: &Layer, found: &Identity) -> Result<()> {
    if *found == layer.identity {
        return Ok(());
    }
    Err(changed(&layer.path, show(found), show(&layer.identity)))
}

fn changed(path: &str, found: impl Into<String>, expected: String) -> Error {
    Error::conflict("layer-changed", path, found, expected)
}

fn show(identity: &Identity) -> String {
    match identity {
        Identity::RootHash { root_hash } => format!("root hash {root_hash}"),
        Identity::File { inode, size_bytes, .. } => {
            format!("inode {inode} of {size_bytes} bytes or other times")
        }
        Identity::Content { sha256 } => format!("content with digest {sha256}"),
        Identity::Directory { inode, listing, .. } => format!("inode {inode} with listing {listing}"),
    }
}
