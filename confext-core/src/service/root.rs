//! [`root_of`]: the root directory of a service, as its unit says it, for plans

use std::path::PathBuf;

use confext_ddi::unit::{Entry, Root};
use confext_ddi::vpick::Pattern;

use super::stack;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::OFlags;

/// The root directory that a service would be started with: the host's, or a directory of it, with the version that counts now.
///
/// # Errors
///
/// `os`; `nothing-to-pick`; `missing-capability` for `RootImage=`: what is in the image is known when it is mounted. The
/// process of a service that runs has it (`Process::host`).
pub fn root_of(host: &Host, root: &Root) -> Result<Host> {
    let path = match root {
        Root::Host => "/".to_owned(),
        Root::Directory(path) => path.clone(),
        Root::Image(path) => {
            let why = format!("it is in the image {path}, which is not mounted");
            return Err(Error::Missing { what: "the root directory of the service", why });
        }
    };
    let place = match Entry::directory(path.as_str()).pattern()? {
        Pattern::Literal => PathBuf::from(&path),
        Pattern::Versioned { .. } => stack::directory_of(host, &path)?,
    };
    let failed = |error| Error::os("open", host.display(&place), error);
    let root = host.open_path(&place, OFlags::DIRECTORY).map_err(failed)?;
    Host::of_root(root, host.display(&place))
}
