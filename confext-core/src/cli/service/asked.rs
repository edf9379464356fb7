//! The service a verb is about: its unit, its root, and the conditions on which its extensions are used

use std::path::PathBuf;

use clap::Args;
use confext_ddi::unit::{Covered, Extensions};

use super::super::failure::Failure;
use super::super::{host, trust};
use crate::admission::Options;
use crate::host::Host;
use crate::manager;
use crate::service::{Unit, root_of};

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
    /// The unit, like nginx.service: its files are read below the root directory.
    #[arg(value_name = "UNIT")]
    pub(super) unit: String,
}

/// A service, ready to be asked about.
pub(super) struct Asked {
    pub(super) host: Host,
    /// What it sees as `/`.
    pub(super) root: Host,
    pub(super) extensions: Extensions,
    /// What the unit mounts over them.
    pub(super) covered: Vec<Covered>,
    pub(super) options: Options,
}

impl Arguments {
    /// The service as its unit says that it is started, or with this root.
    pub(super) fn open(&self, root: Option<&PathBuf>) -> Result<Asked, Failure> {
        let (host, unit, options) = self.read()?;
        let root = match root {
            Some(directory) => Host::open(directory)?,
            None => root_of(&host, &unit.service.root)?,
        };
        let (extensions, covered) = (unit.service.extensions, unit.service.covered);
        Ok(Asked { host, root, extensions, covered, options })
    }

    pub(super) fn read(&self) -> Result<(Host, Unit, Options), Failure> {
        let host = self.host.open()?;
        let unit = Unit::read(&host, &manager::unit_name(&self.unit))?;
        let mut options = self.trust.options(&host, None)?;
        self.choice.apply(&mut options);
        Ok((host, unit, options))
    }
}
