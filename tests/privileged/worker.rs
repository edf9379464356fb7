//! Merges, refreshes or unmerges both classes below a root: the process that other tests disturb, or have many of

use std::time::{Duration, Instant};

use confext_core::settings::Mutability;
use confext_core::stack::Verb;
use confext_core::{Host, apply};
use confext_ddi::release::Class;
use confext_tests::faults;
use confext_tests::scene::Scene;

/// `ROOT MODE VERB` does it once, with the calls handed to the parent. `ROOT MODE SECONDS` refreshes for so long.
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, root, mode, what] = &arguments[..] else { panic!("arguments: ROOT MODE VERB|SECONDS") };
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
