//! Merges, refreshes or unmerges both classes below a root: the process that other tests disturb, or have many of

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use confext_core::publish::{self, Store};
use confext_core::settings::Mutability;
use confext_core::stack::Verb;
use confext_core::{Host, apply};
use confext_ddi::release::Class;
use confext_ddi::signature::{Certificates, Time};
use confext_tests::faults;
use confext_tests::scene::Scene;

/// `DIRECTORY - publish` and `DIRECTORY - good` publish `source.raw` as version 2, and call it good.
///
/// `ROOT MODE VERB` does it once, with the calls handed to the parent. `ROOT MODE SECONDS` refreshes for so long.
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, root, mode, what] = &arguments[..] else { panic!("arguments: ROOT MODE VERB|SECONDS") };
    if mode == "-" {
        return publish(Path::new(root), what);
    }
    let options = Scene::options(Mutability::from_name(mode).expect("a mode"));
    let classes = [(Class::Sysext, &options), (Class::Confext, &options)];
    let host = Host::open(root).unwrap();
    let verb = match what.as_str() {
        "merge" => Verb::Merge,
        "refresh" => Verb::Refresh,
        "unmerge" => Verb::Unmerge,
        seconds => {
            let until = Instant::now() + Duration::from_secs(seconds.parse().unwrap());
            let mut count = 0;
            while Instant::now() < until {
                apply(&host, Verb::Refresh, &classes).unwrap();
                count += 1;
            }
            return faults::say(&count.to_string());
        }
    };
    faults::hand_over_calls();
    match apply(&host, verb, &classes) {
        Ok(_) => faults::say("ok"),
        Err(error) => faults::say(&format!("error {} {}", error.code(), error.explain())),
    }
}

fn publish(place: &Path, what: &str) {
    let source = File::open(place.join("source.raw")).unwrap();
    let store = Store::open(place.join("app.raw.v"), Class::Confext).unwrap();
    let mut certificates = Certificates::new(Time::from(SystemTime::now()));
    certificates.add_pem(&std::fs::read(place.join("cert.pem")).unwrap()).unwrap();
    let mut options = publish::Options::new("2");
    options.verifier = Some(Arc::new(certificates));
    options.tries = Some(3);
    faults::hand_over_calls();
    let done = match what {
        "publish" => store.publish(&source, &options, &mut |_| ControlFlow::Continue(())).map(drop),
        "good" => store.good("2").map(drop),
        other => panic!("{other}"),
    };
    match done {
        Ok(()) => faults::say("ok"),
        Err(error) => faults::say(&format!("error {} {}", error.code(), error.explain())),
    }
}
