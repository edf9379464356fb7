//! What the extensions of a service change, over the directories of its root

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use confext_ddi::fs::FileSystem;
use confext_ddi::limits::Limits;
use confext_ddi::release::Class;

use super::HIERARCHIES;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::{Input, LayerFiles, Plan};
use crate::service::ground::Ground;
use crate::sys::OFlags;

/// An extension whose files can be planned with.
pub(super) trait Planned {
    /// Its files in a hierarchy, if it has any there.
    fn files<'a>(&'a self, hierarchy: &'static str) -> Option<LayerFiles<'a>>;
}

/// A plan for each class that has files.
pub(super) fn plan(
    layers: &[impl Planned],
    bases: &[(&str, &dyn FileSystem)],
    limits: &Limits,
) -> Result<Vec<Plan>> {
    let mut plans = Vec::new();
    for class in [Class::Sysext, Class::Confext] {
        let mut grounds = Vec::new();
        for (hierarchy, _) in HIERARCHIES.into_iter().filter(|(_, own)| *own == class) {
            let files: Vec<_> = layers.iter().filter_map(|layer| layer.files(hierarchy)).collect();
            if !files.is_empty() {
                let base = bases.iter().find(|(name, _)| *name == hierarchy).map(|(_, base)| *base);
                grounds.push((hierarchy, files, base));
            }
        }
        let inputs: Vec<_> = grounds
            .iter_mut()
            .map(|(hierarchy, files, base)| Input { hierarchy, layers: std::mem::take(files), base: *base })
            .collect();
        if !inputs.is_empty() {
            plans.push(Plan::new(class, &inputs, limits)?);
        }
    }
    Ok(plans)
}

/// The hierarchies that a plan is made over, each with its files.
pub(super) type Bases<'a> = Vec<(&'a str, Box<dyn FileSystem + 'a>)>;

/// Those of directories that are open.
pub(super) fn opened<'a>(bases: &[(&'a str, BorrowedFd<'_>)], limits: &Limits) -> Result<Bases<'a>> {
    let open = |(hierarchy, base): &(&'a str, BorrowedFd<'_>)| {
        let copy = base.try_clone_to_owned().map_err(|error| Error::os("open", "a hierarchy", error))?;
        let files: Box<dyn FileSystem + 'a> = Box::new(Directory::new(copy, limits));
        Ok((*hierarchy, files))
    };
    bases.iter().map(open).collect()
}

/// Those that a root has.
pub(super) fn of_ground<'a>(root: &'a dyn Ground, limits: &Limits) -> Result<Bases<'a>> {
    let mut bases: Bases<'a> = Vec::new();
    for (hierarchy, _) in HIERARCHIES {
        bases.extend(root.hierarchy(hierarchy, limits)?.map(|files| (hierarchy, files)));
    }
    Ok(bases)
}

/// The same, borrowed.
pub(super) fn borrowed<'a>(bases: &'a Bases<'_>) -> Vec<(&'a str, &'a dyn FileSystem)> {
    bases.iter().map(|(hierarchy, files)| (*hierarchy, files.as_ref())).collect()
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
