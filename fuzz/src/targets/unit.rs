//! Files of units, and what they say of extensions.

use confext_ddi::unit::{self, Name, Service, Specifiers};

/// A file of a unit: its settings are where it says, and what is printed of the extensions says the same when it is read.
pub fn unit(bytes: &[u8]) {
    let limits = super::limits();
    let name = Name::parse("a-b@c-d.service").expect("this is a name");
    let specifiers = Specifiers::new(&name);
    let Ok(settings) = unit::parse(bytes, "f", &limits) else { return };
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let mut service = Service::default();
    for setting in &settings {
        assert!(usize::try_from(setting.place.line).is_ok_and(|line| (1..=lines).contains(&line)));
        assert!(!setting.key.is_empty() && !setting.value.contains(['\n', '\r', '\0']));
        if service.assign(setting, &name, &specifiers, &limits).is_err() {
            return;
        }
    }
    let extensions = &service.extensions;
    // A directory whose path the specifiers or quotes made one of several lines cannot be, and is not, printed.
    let Ok(lines) = extensions.lines() else { return };
    let text = format!("[Service]\n{}\n", lines.join("\n"));
    let mut again = Service::default();
    for setting in
        unit::parse(text.as_bytes(), "g", &super::Limits::default()).expect("what is printed parses")
    {
        again.assign(&setting, &name, &specifiers, &limits).expect("what is printed is taken");
    }
    assert_eq!(&again.extensions, extensions);
    assert_eq!(again.extensions.is_refreshed_on_reload(), extensions.is_refreshed_on_reload());
}
