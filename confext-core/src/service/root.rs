//! [`root_of`] and [`ground_of`]: the root of a service, as its unit says it, for plans and for commands

use confext_ddi::unit::{Entry, Root, Service};

use super::ground::{Ground, RootImage};
use super::stack;
use crate::admission::Options;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::OFlags;

/// The root directory that a service would be started with: the host's, or a directory of it, with the version that counts now.
///
/// # Errors
///
/// `os`; `nothing-to-pick`; `missing-capability` for `RootImage=`: it is no directory before it is mounted, and [`ground_of`]
/// reads it. The process of a service that runs has one (`Process::host`).
pub fn root_of(host: &Host, root: &Root) -> Result<Host> {
    let path = match root {
        Root::Host => "/",
        Root::Directory(path) => path,
        Root::Image(path) => {
            let why = format!("it is in the image {path}, which is not mounted");
            return Err(Error::Missing { what: "the root directory of the service", why });
        }
    };
    let place = if path == "/" { path.into() } else { stack::place_of(host, &Entry::directory(path))?.path };
    let failed = |error| Error::os("open", host.display(&place), error);
    let root = host.open_path(&place, OFlags::DIRECTORY).map_err(failed)?;
    Host::of_root(root, host.display(&place))
}

/// What a service would have below its extensions if it were started now. Of a `RootImage=` the files are read here, through
/// what was checked of it: it is judged by its `RootImagePolicy=`, and where there is none by [`Options::policy`].
///
/// # Errors
///
/// As [`root_of`] and [`RootImage::admit`].
pub fn ground_of(host: &Host, service: &Service, options: &Options) -> Result<Box<dyn Ground>> {
    let Root::Image(path) = &service.root else { return Ok(Box::new(root_of(host, &service.root)?)) };
    let place = stack::place_of(host, &Entry::image(path.as_str()))?.path;
    let policy = service.root_policy.as_ref().unwrap_or(&options.policy);
    Ok(Box::new(RootImage::admit(host, &place, policy, options)?))
}
