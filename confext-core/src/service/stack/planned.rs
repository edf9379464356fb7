//! What the extensions of a service change, over the directories of its root

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use confext_ddi::fs::FileSystem;
use confext_ddi::limits::Limits;
use confext_ddi::release::Class;

use super::HIERARCHIES;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::{Input, LayerFiles, Plan};
use crate::sys::OFlags;

/// An extension whose files can be planned with.
pub(super) trait Planned {
    /// Its files in a hierarchy, if it has any there.
    fn files<'a>(&'a self, hierarchy: &'static str) -> Option<LayerFiles<'a>>;
}

/// A plan for each class that has files.
pub(super) fn plan(
    layers: &[impl Planned],
    bases: &[(&str, BorrowedFd<'_>)],
    limits: &Limits,
) -> Result<Vec<Plan>> {
    let mut plans = Vec::new();
    for class in [Class::Sysext, Class::Confext] {
        let mut grounds = Vec::new();
        for (hierarchy, _) in HIERARCHIES.into_iter().filter(|(_, own)| *own == class) {
            let files: Vec<_> = layers.iter().filter_map(|layer| layer.files(hierarchy)).collect();
            if !files.is_empty() {
                let base = bases.iter().find(|(name, _)| *name == hierarchy).map(|(_, base)| *base);
                grounds.push((hierarchy, files, base.map(|base| directory(base, limits)).transpose()?));
            }
        }
        let inputs: Vec<_> = grounds
            .iter_mut()
            .map(|(hierarchy, files, base)| Input {
                hierarchy,
                layers: std::mem::take(files),
                base: base.as_ref().map(|base| -> &dyn FileSystem { base }),
            })
            .collect();
        if !inputs.is_empty() {
            plans.push(Plan::new(class, &inputs, limits)?);
        }
    }
    Ok(plans)
}

fn directory(base: BorrowedFd<'_>, limits: &Limits) -> Result<Directory> {
    let copy = base.try_clone_to_owned().map_err(|error| Error::os("open", "a hierarchy", error))?;
    Ok(Directory::new(copy, limits))
}

/// The directories of a root as they are seen now; those that it has.
pub(crate) fn bases(root: &Host) -> Result<Vec<(&'static str, OwnedFd)>> {
    let mut bases = Vec::new();
    for (hierarchy, _) in HIERARCHIES {
        match root.open_path(Path::new(hierarchy), OFlags::DIRECTORY) {
            Ok(directory) => bases.push((hierarchy, directory)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::os("open", root.display(Path::new(hierarchy)), error)),
        }
    }
    Ok(bases)
}

/// The same, borrowed.
pub(super) fn borrowed<'a>(bases: &'a [(&'static str, OwnedFd)]) -> Vec<(&'static str, BorrowedFd<'a>)> {
    bases.iter().map(|(hierarchy, base)| (*hierarchy, base.as_fd())).collect()
}
