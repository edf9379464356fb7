//! The service a verb is about: its unit, its root, and the conditions on which its extensions are used

use std::path::PathBuf;

use clap::Args;
use confext_ddi::unit::{Covered, Extensions};

use super::super::failure::Failure;
use super::super::{host, trust};
use crate::admission::Options;
use crate::host::Host;
use crate::service::{Ground, Unit, ground_of, root_of};

/// Which service, and on which conditions its extensions are used.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    host: host::Arguments,
    #[command(flatten)]
    trust: trust::Arguments,
    #[command(flatten)]
    choice: host::ChoiceArguments,
    /// The root directory of the service, instead of the one that its unit says.
    #[arg(long, value_name = "DIR")]
    service_root: Option<PathBuf>,
    /// The unit, like nginx.service: its files are read below the root directory.
    #[arg(value_name = "UNIT")]
    pub(super) unit: String,
}

/// A service, ready to be asked about.
pub(super) struct Asked<R> {
    pub(super) host: Host,
    /// What it sees as `/` below its extensions.
    pub(super) root: R,
    pub(super) extensions: Extensions,
    /// What the unit mounts over them.
    pub(super) covered: Vec<Covered>,
    pub(super) options: Options,
}

impl Arguments {
    /// The service as its unit says that it is started, or with this root.
    pub(super) fn open(&self) -> Result<Asked<Box<dyn Ground>>, Failure> {
        let (host, unit, options) = self.read()?;
        let root: Box<dyn Ground> = match &self.service_root {
            Some(directory) => Box::new(Host::open(directory)?),
            None => ground_of(&host, &unit.service, &options)?,
        };
        let (extensions, covered) = (unit.service.extensions, unit.service.covered);
        Ok(Asked { host, root, extensions, covered, options })
    }

    /// The same where it has to be a directory.
    pub(super) fn open_directory(&self) -> Result<Asked<Host>, Failure> {
        let (host, unit, options) = self.read()?;
        let root = match &self.service_root {
            Some(directory) => Host::open(directory)?,
            None => root_of(&host, &unit.service.root)?,
        };
        let (extensions, covered) = (unit.service.extensions, unit.service.covered);
        Ok(Asked { host, root, extensions, covered, options })
    }

    pub(super) fn read(&self) -> Result<(Host, Unit, Options), Failure> {
        let host = self.host.open()?;
        let unit = Unit::read(&host, &self.unit)?;
        let mut options = self.trust.options(&host, None)?;
        self.choice.apply(&mut options);
        Ok((host, unit, options))
    }
}
