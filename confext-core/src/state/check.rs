//! What the kernel says of a merged stack, compared with what its record says.
//!
//! The record is a file in the merged tree, so it says what somebody wrote: a record can show through from an extension
//! that another program merged, and root can write one. The kernel says which layers an overlay has, in which order and
//! from which directory of their file systems; whether there is an upper directory; and which device it is. It does not
//! say which file systems the layers are from: that an image is the one that is merged, its files have to show.

use std::io;
use std::os::fd::AsFd as _;

use confext_ddi::release::Class;
use rustix::fs::StatVfsMountFlags;
use serde::Serialize;

use super::{Layer, Merged, Record, Writes};
use crate::discover::Kind;
use crate::sys::{self, MountAttrFlags, MountInfo};

/// A property of the mount that is not what a merge gives it.
///
/// ```no_run
/// use confext_core::{Host, state::{Doubt, HierarchyState}, status};
/// use confext_ddi::release::Class;
///
/// // Whether anybody has put another stack there, or written over the record.
/// for one in status(&Host::open("/")?, Class::Confext)? {
///     let HierarchyState::Merged { doubts, .. } = one.state else { continue };
///     for Doubt { what, found, expected } in doubts {
///         println!("/{}: {what}: found {found}, expected {expected}", one.hierarchy);
///     }
/// }
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doubt {
    /// Which property.
    pub what: &'static str,
    /// What it is.
    pub found: String,
    /// What it should be.
    pub expected: String,
}

/// Everything about the mount that is not as a merge leaves it.
///
/// # Errors
///
/// When the kernel cannot be asked.
pub(crate) fn cross_check(merged: &Merged, class: Class) -> io::Result<Vec<Doubt>> {
    let info = sys::mount_info(sys::mount_id(merged.top.as_fd())?)?;
    let mut doubts = compare(&info, merged, class);
    if let Some(record) = &merged.record {
        // Of the mount, or of its file system.
        let read_only = rustix::fs::fstatvfs(&merged.top)?.f_flag.contains(StatVfsMountFlags::RDONLY);
        let expected = record.mutable.writes == Writes::Nowhere;
        let writing = |read_only| if read_only { "read-only" } else { "writable" };
        if read_only != expected {
            doubts.push(doubt("writing", writing(read_only), writing(expected)));
        }
        attributes(info.attributes, record, &mut doubts);
    }
    if is_over_another(&info, class) {
        doubts.push(doubt("stacks", "two, one over the other", "one"));
    }
    Ok(doubts)
}

/// Whether what the stack is mounted on is a stack, too: a change did not come to its end, or a program that does not know
/// the lock merged once more. Where the kernel does not say what a mount is of, nothing is said either.
fn is_over_another(top: &MountInfo, class: Class) -> bool {
    sys::mount_info(top.parent).is_ok_and(|below| {
        below.fs_type == b"overlay"
            && below.mount_point == top.mount_point
            && below.source.as_deref() == Some(class.as_str().as_bytes())
    })
}

/// What speaks against believing the record: nothing is left of it when something does.
///
/// # Errors
///
/// When the kernel cannot be asked.
pub(crate) fn doubts_about_record(merged: &Merged, class: Class) -> io::Result<Vec<Doubt>> {
    let info = sys::mount_info(sys::mount_id(merged.top.as_fd())?)?;
    Ok(compare(&info, merged, class))
}

fn compare(info: &MountInfo, merged: &Merged, class: Class) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    let mut expect = |what, found: &[u8], expected: &str| {
        if found != expected.as_bytes() {
            doubts.push(doubt(what, &String::from_utf8_lossy(found), expected));
        }
    };
    expect("file system", &info.fs_type, "overlay");
    expect("root of the mount", &info.root, "/");
    if let Some(source) = &info.source {
        expect("source", source, class.as_str());
    }
    if let Some(fault) = &merged.fault {
        expect("record", fault.explain().as_bytes(), "one that can be understood");
    }
    // Another program may have merged it writable, and may say so elsewhere.
    if let Some(record) = &merged.record {
        let names: Vec<_> = record.layers.iter().map(|layer| layer.name.as_str()).collect();
        expect("extensions", merged.names.join(" ").as_bytes(), &names.join(" "));
        let device = |(major, minor): (u32, u32)| format!("{major}:{minor}");
        let recorded = record.device.map_or_else(|| "none".to_owned(), device);
        expect("recorded device", recorded.as_bytes(), &device(info.device));
        doubts.extend(about_options(info.options.as_deref().unwrap_or_default(), record));
    }
    doubts
}

/// Whether layers were named by their descriptors' numbers, as before Linux 6.15: only how many there are can be compared,
/// with the host's directory or without.
fn is_staged(found: &[String], expected: usize) -> bool {
    let [layers] = found else { return false };
    let is_number = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let count = layers.split(':').count();
    layers.split(':').all(is_number) && (count == expected || Some(count) == expected.checked_add(1))
}

/// What the overlay was made of, as the kernel shows it: `lowerdir+=` once for each layer, topmost first, each with the
/// place of its directory in the detached mount it was taken from.
fn about_options(options: &[u8], record: &Record) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    let fields: Vec<_> = options.split(|&byte| byte == b',').collect();
    let values = |key: &str| -> Vec<String> {
        let value = |field: &&[u8]| {
            let value = field.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        fields.iter().filter_map(value).collect()
    };
    let (found, expected) = (values("lowerdir+"), lower_directories(record));
    // Below the extensions there is the host's directory, if it has one and it is not on top.
    let (extensions, base) = found.split_at_checked(expected.len()).unwrap_or((&found, &[]));
    let fits = extensions.len() == expected.len()
        && extensions.iter().zip(&expected).all(|(found, expected)| expected.is(found))
        && (base.is_empty() || base == ["/"]);
    if !fits && !is_staged(&values("lowerdir"), expected.len()) {
        let expected: Vec<_> = expected.iter().map(|lower| lower.path.as_str()).collect();
        let expected = format!("{} and the host's directory", expected.join(" "));
        let found = if found.is_empty() { "none of this library".to_owned() } else { found.join(" ") };
        doubts.push(doubt("layers", &found, &expected));
    }
    let read_only = record.mutable.writes == Writes::Nowhere;
    // Redirects of images are not followed: they could name any file of a lower layer. What was written has some; where it
    // is only seen, the kernel shows that they are followed as `on`, too.
    let redirects = if read_only && record.mutable.imported.is_none() { "nofollow" } else { "on" };
    if values("redirect_dir") != [redirects] {
        doubts.push(doubt("redirect_dir", &values("redirect_dir").join(" "), redirects));
    }
    let one = |is_there: bool| if is_there { "one" } else { "none" };
    if values("upperdir").is_empty() != read_only {
        doubts.push(doubt("upper directory", one(read_only), one(!read_only)));
    }
    doubts
}

/// Where a layer is from, inside the mount it was taken from.
struct Lower {
    path: String,
    /// Whether more can be in front of it: of a plain directory, the mount may be that of the directory it is in.
    inside: Inside,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// It is all of the path.
    Whole,
    /// It is the end of the path, or only its last component is there.
    End,
    /// Anything.
    Any,
}

impl Lower {
    fn is(&self, found: &str) -> bool {
        match self.inside {
            Inside::Whole => found == self.path,
            Inside::End => {
                let hierarchy = self.path.rfind('/').and_then(|at| self.path.get(at..));
                found.ends_with(&self.path) || Some(found) == hierarchy
            }
            Inside::Any => true,
        }
    }
}

/// The directories of metadata and extensions in their mounts, topmost first.
fn lower_directories(record: &Record) -> Vec<Lower> {
    let hierarchy = &record.hierarchy;
    let used = |layer: &&Layer| layer.hierarchies.contains(hierarchy);
    let directory = |layer: &Layer| match (&layer.partition, layer.kind) {
        // The root of a usr partition is what is mounted at /usr.
        (Some(partition), _) if partition.designator == "usr" => whole("/".to_owned()),
        (_, Kind::Directory) => {
            let name = layer.path.rsplit('/').next().unwrap_or_default();
            Lower { path: format!("/{name}/{hierarchy}"), inside: Inside::End }
        }
        _ => whole(format!("/{hierarchy}")),
    };
    let extensions = record.layers.iter().rev().filter(used).map(directory);
    let imported = record.mutable.imported.as_ref();
    let imported = imported.map(|path| Lower { path: path.clone(), inside: Inside::Any });
    std::iter::once(whole("/".to_owned())).chain(imported).chain(extensions).collect()
}

fn whole(path: String) -> Lower {
    Lower { path, inside: Inside::Whole }
}

fn attributes(found: MountAttrFlags, record: &Record, doubts: &mut Vec<Doubt>) {
    let names = [
        (MountAttrFlags::MOUNT_ATTR_NODEV, "nodev"),
        (MountAttrFlags::MOUNT_ATTR_NOSUID, "nosuid"),
        (MountAttrFlags::MOUNT_ATTR_NOEXEC, "noexec"),
    ];
    let expected = super::mount_flags(record.class, record.execution);
    let show = |flags: MountAttrFlags| {
        let shown: Vec<_> =
            names.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect();
        shown.join(",")
    };
    if !found.contains(expected) {
        doubts.push(doubt("mount flags", &show(found), &show(expected)));
    }
}

fn doubt(what: &'static str, found: &str, expected: &str) -> Doubt {
    Doubt { what, found: found.to_owned(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests;
