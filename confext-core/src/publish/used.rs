//! Which images are in use: those of stacks, and those that loop devices read

use std::collections::BTreeSet;
use std::path::Path;

use confext_ddi::release::Class;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::state::{self, HierarchyState};
use crate::sys::OFlags;

/// The files that the stacks of a host are made of, by device and inode number: for [`Store::prune`](super::Store::prune).
///
/// Stacks elsewhere, of services and of containers, are not seen from here. Removing their images does no harm to them, as
/// the kernel keeps a file that is in use, but nobody could go back to it.
///
/// # Errors
///
/// As [`state::status`].
pub fn in_use(host: &Host) -> Result<BTreeSet<(u64, u64)>> {
    let mut used = BTreeSet::new();
    for class in [Class::Sysext, Class::Confext] {
        for hierarchy in state::status(host, class)? {
            let HierarchyState::Merged { record: Some(record), .. } = hierarchy.state else { continue };
            for layer in &record.layers {
                // One that is not there any more cannot be removed either.
                let Ok(place) = host.open_path(Path::new(&layer.path), OFlags::empty()) else { continue };
                let stat = rustix::fs::fstat(&place)
                    .map_err(|errno| Error::os("stat", host.display(Path::new(&layer.path)), errno))?;
                used.insert((stat.st_dev, stat.st_ino));
            }
        }
    }
    Ok(used)
}

/// The files that loop devices of this machine read, by device and inode number: images that a service manager attached for
/// services are among them.
///
/// # Errors
///
/// `os` when the devices cannot be listed.
pub fn attached() -> Result<BTreeSet<(u64, u64)>> {
    use std::os::unix::fs::MetadataExt as _;

    const BLOCK: &str = "/sys/block";
    let mut used = BTreeSet::new();
    for device in std::fs::read_dir(BLOCK).map_err(|error| Error::os("list", BLOCK, error))? {
        let device = device.map_err(|error| Error::os("list", BLOCK, error))?;
        // What is no loop device has none, and what is detached meanwhile reads nothing.
        let Ok(file) = std::fs::read_to_string(device.path().join("loop/backing_file")) else { continue };
        if let Ok(stat) = std::fs::metadata(file.trim_end_matches('\n')) {
            used.insert((stat.dev(), stat.ino()));
        }
    }
    Ok(used)
}
