//! [`assemble()`]: the stack of a service for a command that is run with it, without the service

use confext_ddi::release::Class;
use confext_ddi::unit::{Entry, Extensions, Root};

use super::stack::{self, Selected};
use crate::admission::Options;
use crate::error::{Error, Result};
use crate::exec;
use crate::host::Host;
use crate::stack::{Selection, Stack};

/// Assembles what a service would see if it were started now, for [`exec::Running`]: the stacks of its sysexts and of its
/// confexts, over [its root](directory_of). Their placements belong together.
///
/// # Errors
///
/// As [`stack::select`] and [`Stack::assemble`]; `no-extensions` when the service has none; `missing-capability` for who may
/// not mount, when the service has extensions of both classes: each would be in a namespace of its own.
pub fn assemble(host: &Host, root: &Host, extensions: &Extensions, options: &Options) -> Result<Vec<Stack>> {
    let mut options = options.clone();
    options.policy = extensions.policy.clone().unwrap_or(options.policy);
    let mut stacks: Vec<Stack> = Vec::new();
    for class in [Class::Sysext, Class::Confext] {
        let Selected { extensions: members, refused, matcher, .. } =
            stack::select(host, root, extensions, &options)?;
        let mut selection = Selection::of_extensions(Vec::new(), refused, matcher);
        let own = members.into_iter().map(|member| member.extension);
        selection.extensions.extend(own.filter(|extension| extension.classes().contains(&class)));
        if selection.extensions.is_empty() {
            continue;
        }
        if !stacks.is_empty() && !exec::may_mount() {
            let why = "it has sysexts and confexts, which would be in two user namespaces".to_owned();
            return Err(Error::Missing { what: "this stack without root", why });
        }
        stacks.push(Stack::assemble_selected(root, class, &options, selection)?);
    }
    if stacks.is_empty() {
        let (target, expected) = (root.path().display().to_string(), "a confext or sysext of the service");
        return Err(Error::conflict("no-extensions", target, "none", expected));
    }
    Ok(stacks)
}

/// The root directory of a service, as a command can have it: by a path of this process.
///
/// # Errors
///
/// As [`root_of`](super::root_of).
pub fn directory_of(host: &Host, root: &Root) -> Result<Host> {
    match root {
        Root::Host => Host::open(host.path()),
        Root::Directory(path) => {
            let place = stack::place_of(host, &Entry::directory(path.as_str()))?.path;
            Host::open(host.display(&place))
        }
        Root::Image(path) => {
            let why = format!("it is in the image {path}, which is not mounted");
            Err(Error::Missing { what: "the root directory of the service", why })
        }
    }
}
