//! The stacks of a service: planned from its settings, or as a process sees them

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use confext_ddi::release::Class;

use super::layers::{Context, Extended};
use super::stack::{Live, Stack, Trouble};
use super::{KnownFrom, Options, Tracer, Unknown, View};
use crate::admission::Extension;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::state::{Record, SERVICE_METADATA};
use crate::sys;

/// An overlay that a process has over a hierarchy.
pub(crate) struct Overlay {
    pub(crate) class: Class,
    pub(crate) hierarchy: &'static str,
    /// Its root.
    pub(crate) top: OwnedFd,
    /// What is under it.
    pub(crate) base: OwnedFd,
    pub(crate) made: Made,
}

/// Who made an overlay, and what that says of its layers.
pub(crate) enum Made {
    /// It was made here, and the record says of what.
    Here(Box<Record>),
    /// Systemd made it: the places of its layers in the settings, bottom first.
    Systemd(Vec<usize>),
    /// There is no telling.
    Unclear(&'static str),
}

impl<'h> Tracer<'h> {
    /// For what a service would see if it had these extensions, bottom first, over these directories of its root.
    pub(crate) fn of_extensions(
        host: &'h Host,
        root: &'h Host,
        (extensions, mut bases): (Vec<Extension>, Vec<(&'static str, OwnedFd)>),
        options: &Options,
    ) -> Self {
        let context = Context::of_service(host, root, options);
        let judged = |extension: Extension| {
            let classes = extension.classes().to_vec();
            (classes, Arc::new(Extended::judged(extension, KnownFrom::Plan, &context)))
        };
        let layers: Vec<_> = extensions.into_iter().map(judged).collect();
        let mut stacks = Vec::new();
        for class in [Class::Confext, Class::Sysext] {
            for &hierarchy in class.hierarchies() {
                let used = |(classes, extended): &&(Vec<Class>, Arc<Extended>)| {
                    classes.contains(&class) && extended.has_files(hierarchy, &context)
                };
                let layers: Vec<_> = layers.iter().filter(used).map(|(_, layer)| Arc::clone(layer)).collect();
                let base = bases.iter().position(|(name, _)| *name == hierarchy);
                let base = base.map(|at| bases.swap_remove(at).1);
                if layers.is_empty() {
                    continue;
                }
                let place = base.as_ref().and_then(|base| root.path_of(base.as_fd()));
                let place = place.unwrap_or_else(|| PathBuf::from(hierarchy));
                let mut stack = Stack::new(class, hierarchy, place);
                stack.layers = layers;
                stack.created = base.is_none();
                stack.over(base.map(|base| Directory::new(base, &context.options.limits)));
                stacks.push(stack);
            }
        }
        Self { context, view: View::Planned, stacks, covers: Vec::new() }
    }

    /// For what a process sees. What systemd made is explained by `listed`: what the settings have at the places of its
    /// layers, judged now.
    ///
    /// # Errors
    ///
    /// When what is mounted cannot be asked about.
    pub(crate) fn of_process(
        host: &'h Host,
        root: &'h Host,
        (overlays, listed): (Vec<Overlay>, Vec<(usize, Extension)>),
        options: &Options,
    ) -> Result<Self> {
        let context = Context::of_service(host, root, options);
        let judged = |(place, extension): (usize, Extension)| {
            (place, Arc::new(Extended::judged(extension, KnownFrom::Settings, &context)))
        };
        let listed: Vec<_> = listed.into_iter().map(judged).collect();
        let mut stacks = Vec::new();
        for Overlay { class, hierarchy, top, base, made } in overlays {
            let failed = |error| Error::os("ask about the mount of", hierarchy, error);
            let Some(path) = root.path_of(top.as_fd()) else { continue };
            let mut stack = Stack::new(class, hierarchy, path);
            match made {
                Made::Here(record) => {
                    stack.metadata = SERVICE_METADATA;
                    stack.layers =
                        record.layers.iter().map(|one| Arc::new(Extended::recorded(one))).collect();
                }
                Made::Systemd(places) => {
                    let layer = |place: &usize| match listed.iter().find(|(index, _)| index == place) {
                        Some((_, layer)) => Arc::clone(layer),
                        None => Arc::new(unknown(*place)),
                    };
                    stack.layers = places.iter().map(layer).collect();
                }
                Made::Unclear(because) => stack.trouble = Some(Trouble { because, doubts: Vec::new() }),
            }
            stack.over(Some(Directory::new(base, &context.options.limits)));
            let mount = sys::mount_id(top.as_fd()).map_err(failed)?;
            stack.live = Some(Live { top, mount });
            stacks.push(stack);
        }
        Ok(Self { context, view: View::Live, stacks, covers: Vec::new() })
    }
}

/// An extension that the settings do not have, or not any more.
fn unknown(place: usize) -> Extended {
    let name = format!("number {}", place.saturating_add(1));
    let reason = "systemd mounted it, and what the settings have in its place cannot be used now".to_owned();
    let unknown = Unknown { layer: name, code: "layer-changed", reason };
    Extended::unknown(unknown)
}
