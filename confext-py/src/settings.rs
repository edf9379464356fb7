//! What the configuration files of a host say.

use confext_core::settings;
use confext_ddi::release::Class;

use crate::record::{Tuple, record};

record! {
    /// Something that the configuration says.
    Setting {
        /// The value, as it is written where an argument takes it.
        value: String,
        /// The file inside the root, and the line.
        place: String,
    }
}

record! {
    /// What `sysext.conf` or `confext.conf` of a host say, with the drop-ins beside them.
    Settings {
        /// `confext` or `sysext`.
        class_: &'static str,
        /// Whether what is merged can be written to; as `Host(mutable=…)`.
        mutable: Option<Setting>,
        /// What images must have; as `Host(policy=…)`.
        policy: Option<Setting>,
        /// The files that were read, in this order; of two that say something the later one counts.
        files: Tuple<String>,
    }
}

impl Settings {
    pub(crate) fn new(class: Class, settings: &settings::Settings) -> Self {
        let mutable = settings.mutability.as_ref();
        let policy = settings.policy.as_ref();
        Self {
            class_: class.as_str(),
            mutable: mutable.map(|found| Setting::new(found.value.as_str().to_owned(), &found.place)),
            policy: policy.map(|found| Setting::new(found.value.to_string(), &found.place)),
            files: settings.files.iter().cloned().collect(),
        }
    }
}

impl Setting {
    fn new(value: String, place: &str) -> Self {
        Self { value, place: place.to_owned() }
    }
}
