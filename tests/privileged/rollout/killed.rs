//! The end of the orchestrator at each system call of a rollout: the next one finishes it, whichever it is

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use confext_core::publish::Store;
use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::release::Class;
use confext_ddi::signature::{KeyPair, Time};
use confext_tests::faults::{self, Calls, End, Fault};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("confext-test-").tempdir_in("/var/tmp").unwrap();
        let key = KeyPair::generate("CN=confext-test publisher", Time::from(SystemTime::now()), 1).unwrap();
        fs::write(dir.path().join("cert.pem"), key.certificate_pem().unwrap()).unwrap();
        for version in 1..=3 {
            let mut tree = Tree::new();
            tree.add_file("etc/app.conf", version.to_string().as_bytes(), Meta::new(0o644)).unwrap();
            let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
            builder.build_file(dir.path().join(format!("app_{version}.raw")), Some(&key)).unwrap();
        }
        Self { dir }
    }

    /// Version 1 is used, and the service runs it.
    fn reset(&self) {
        let store = self.dir.path().join("app.raw.v");
        let _ = fs::remove_dir_all(&store);
        fs::create_dir(&store).unwrap();
        fs::copy(self.dir.path().join("app_1.raw"), store.join("app_1.raw")).unwrap();
        for file in ["sees", "runs"] {
            fs::write(self.dir.path().join(file), "1").unwrap();
        }
    }

    /// Rolls out a version that works, or one that does not.
    fn roll(&self, version: &str, works: bool, at: Option<usize>, fault: Fault) -> (End, Calls) {
        let mut worker = Command::new(env!("CARGO_BIN_EXE_confext-test-worker"));
        let verb = format!("rollout-{version}{}", if works { "" } else { "-broken" });
        worker.arg(self.dir.path()).args(["-", &verb]);
        faults::run(worker, at, fault)
    }

    fn runs(&self) -> String {
        fs::read_to_string(self.dir.path().join("runs")).unwrap()
    }

    fn used(&self) -> String {
        let store: &Path = &self.dir.path().join("app.raw.v");
        Store::open(store, Class::Confext).unwrap().used().unwrap().version
    }
}

fn everywhere(fault: Fault) {
    let place = Place::new();
    for works in [true, false] {
        place.reset();
        let (end, calls) = place.roll("2", works, None, Fault::Once);
        let (word, version) = if works { ("ok new", "2") } else { ("ok previous", "1") };
        assert_eq!(
            (end, place.runs(), place.used()),
            (End::Said(word.into()), version.into(), version.into())
        );
        println!("{fault:?}: {} calls", calls.len());
        for at in (0..calls.len()).filter(|at| faults::is_chosen(&calls, *at, 23)) {
            place.reset();
            let (end, made) = place.roll("2", works, Some(at), fault);
            let context = format!("{fault:?} at {at} of {works} (call {:?}): {end:?}", made.get(at));
            if let End::Said(text) = &end {
                said(&place, text, &context);
            }
            // A broken version comes next, and then one that works.
            let good = Store::open(place.dir.path().join("app.raw.v"), Class::Confext).unwrap();
            let good = good.versions().unwrap().into_iter().find(|it| it.tries.is_none()).unwrap().version;
            let (end, _) = place.roll("3", false, None, Fault::Once);
            assert_eq!(end, End::Said("ok previous".into()), "after {context}");
            assert_eq!((place.runs(), place.used()), (good.clone(), good), "after {context}");
        }
    }
}

/// What it says of a rollout is so.
fn said(place: &Place, text: &str, context: &str) {
    let (runs, used) = (place.runs(), place.used());
    match text {
        "ok new" => assert_eq!((&runs[..], &used[..]), ("2", "2"), "{context}"),
        "ok previous" => assert_eq!((&runs[..], &used[..]), ("1", "1"), "{context}"),
        "ok unknown" => {}
        // The service was not touched.
        error => {
            assert!(error.starts_with("error") && runs == "1" && used == "1", "{context}: {runs} {used}")
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_rollout_is_killed_at_every_call() {
    everywhere(Fault::Kill);
}

#[test]
#[ignore = "needs root"]
fn a_rollout_fails_at_every_call() {
    everywhere(Fault::Once);
}
