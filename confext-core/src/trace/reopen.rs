//! Opening a merged extension again, and making sure that it is the same one.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

use confext_ddi::fs::Metadata;
use confext_ddi::image::{self, Image};
use confext_ddi::limits::Limits;
use confext_ddi::policy::Policy;

use crate::directory::{self, Directory, lookup};
use crate::discover::Kind;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::identity;
use crate::sidecars;
use crate::state::{Identity, Layer};
use crate::sys::{self, Depth};

/// What a recorded extension has at `path` (from its root); `None` when nothing.
///
/// # Errors
///
/// `layer-changed` when it is no longer the one that was merged; whatever keeps it from being opened and read.
pub(super) fn look(host: &Host, layer: &Layer, path: &[u8], limits: &Limits) -> Result<Option<Metadata>> {
    let place = Path::new(&layer.path);
    let in_image = |source| Error::Image { image: layer.path.clone(), source };
    let file = host.open_file(place).map_err(|error| Error::os("open", host.display(place), error))?;
    match &layer.identity {
        Identity::Directory { .. } | Identity::Content { .. } if layer.kind == Kind::Directory => {
            // As it was merged: without the mounts below it, where that can be had.
            let file = sys::clone_tree(file.as_fd(), c"", Depth::Single).unwrap_or(file);
            let files = Directory::new(file, limits);
            let found = match &layer.identity {
                Identity::Content { .. } => identity::of_directory_content(&files, limits),
                _ => identity::of_directory(&files, limits),
            };
            same(layer, &found.map_err(in_image)?)?;
            lookup(&files, path).map_err(in_image)
        }
        Identity::Content { .. } => {
            let image = open(host, place, file.into(), limits)?;
            let admitted = Policy::unprotected().judge(image, None).map_err(in_image)?;
            same(layer, &identity::of_image_content(admitted.data()).map_err(in_image)?)?;
            let files = admitted.file_system(limits).map_err(in_image)?;
            lookup(files.as_ref(), path).map_err(in_image)
        }
        Identity::File { .. } | Identity::Directory { .. } => {
            let stat = directory::statx(file.as_fd());
            let stat = stat.map_err(|error| Error::os("stat", host.display(place), error))?;
            same(layer, &identity::of_file(&stat))?;
            let image = open(host, place, file.into(), limits)?;
            look_inside(image, &Policy::unprotected(), path, limits).map_err(in_image).map(|(_, found)| found)
        }
        Identity::RootHash { .. } => {
            // Who signed it was checked at the merge; what counts now is that it is the same tree of hashes.
            let image = open(host, place, file.into(), limits)?;
            let (identity, found) = look_inside(image, &Policy::verity(), path, limits).map_err(in_image)?;
            match identity {
                Some(identity) => same(layer, &identity).map(|()| found),
                None => Err(changed(layer, "no hash tree".to_owned())),
            }
        }
    }
}

type Found = (Option<Identity>, Option<Metadata>);

fn open(host: &Host, place: &Path, file: File, limits: &Limits) -> Result<Image<File>> {
    let mut options = image::Options::default().limits(limits.clone());
    options.architecture = host.architecture();
    sidecars::open_below(host, place, file, &options)
}

fn look_inside(
    image: Image<File>,
    policy: &Policy,
    path: &[u8],
    limits: &Limits,
) -> confext_ddi::Result<Found> {
    let admitted = policy.judge(image, None)?;
    let identity = admitted.root_hash().map(|root_hash| Identity::RootHash { root_hash: *root_hash });
    let files = admitted.file_system(limits)?;
    Ok((identity, lookup(files.as_ref(), path)?))
}

fn same(layer: &Layer, found: &Identity) -> Result<()> {
    if *found == layer.identity {
        return Ok(());
    }
    Err(changed(layer, show(found)))
}

fn changed(layer: &Layer, found: String) -> Error {
    Error::conflict("layer-changed", layer.path.as_str(), found, show(&layer.identity))
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
