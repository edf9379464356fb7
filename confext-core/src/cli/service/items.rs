//! Extensions on the command line: items as units write them

use clap::Args;
use confext_ddi::limits::Limits;
use confext_ddi::unit::{Assignment, Extensions, Name, Specifiers};

use super::super::failure::Failure;

/// Extensions, as units list them.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Items {
    /// An image, as ExtensionImages= has it: [-]PATH, and :OPTIONS behind it. Can be given again; the last one is on top.
    #[arg(long, value_name = "ITEM", allow_hyphen_values = true)]
    image: Vec<String>,
    /// A directory, as ExtensionDirectories= has it: [-]PATH. Can be given again; directories are over images.
    #[arg(long, value_name = "ITEM", allow_hyphen_values = true)]
    directory: Vec<String>,
}

impl Items {
    /// Whether none is named.
    pub(super) const fn is_empty(&self) -> bool {
        self.image.is_empty() && self.directory.is_empty()
    }

    /// What a unit that lists them says.
    pub(super) fn extensions(&self, unit: &Name, limits: &Limits) -> Result<Extensions, Failure> {
        let mut extensions = Extensions::default();
        let images = self.image.iter().map(|item| ("ExtensionImages", item));
        let directories = self.directory.iter().map(|item| ("ExtensionDirectories", item));
        for (key, item) in images.chain(directories) {
            assign(&mut extensions, (key, item), unit, limits)?;
        }
        Ok(extensions)
    }
}

/// Takes over what one argument says, as a setting.
pub(super) fn assign(
    extensions: &mut Extensions,
    (key, value): (&str, &str),
    unit: &Name,
    limits: &Limits,
) -> Result<(), Failure> {
    let mut from = Assignment::new("Service", key, value.trim());
    "command line".clone_into(&mut from.place.file);
    extensions.assign(&from, &Specifiers::new(unit), limits)?;
    Ok(())
}
