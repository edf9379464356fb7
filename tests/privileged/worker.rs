//! Merges, refreshes or unmerges both classes below a root: the process that other tests disturb, or have many of

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use confext_core::publish::{self, Store, Version};
use confext_core::rollout::{Limit, Rollout, Service, rollout};
use confext_core::service::portable::{self, Portable};
use confext_core::service::{self, DropIn, How, Lifetime, Process};
use confext_core::settings::Mutability;
use confext_core::stack::Verb;
use confext_core::{Error, Host, Options, Stack, apply, exec};
use confext_ddi::release::Class;
use confext_ddi::signature::{Certificates, Time};
use confext_ddi::unit::{Entry, Extensions, Name};
use confext_tests::faults;
use confext_tests::root::unprotected;
use confext_tests::scene::Scene;
use confext_tests::subject::Opened;

/// `DIRECTORY - publish` and `DIRECTORY - good` publish `source.raw` as version 2, and call it good.
///
/// `ROOT - attach` attaches the portable service `/srv/app`, and `detach` takes it away.
///
/// `ROOT - drop-in-VERSION` writes a drop-in of `app.service`, and `drop-in-none` removes it.
///
/// `DIRECTORY - rollout-VERSION[-broken]` rolls `app_VERSION.raw` out to a service that is two files.
///
/// `PID service DIRECTORY:…` has a process see directories over its `/etc`.
///
/// `PID service-all ROOT:DIRECTORY:…` refreshes all its hierarchies with directories that are extensions.
///
/// `ROOT rootless run` runs a command with the stack of an ordinary user.
///
/// `ROOT MODE VERB` does it once, with the calls handed to the parent. `ROOT MODE SECONDS` refreshes for so long.
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, root, mode, what] = &arguments[..] else { panic!("arguments: ROOT MODE VERB|SECONDS") };
    if mode == "-" {
        return publish(Path::new(root), what);
    }
    if mode == "service" {
        return exchange(root.parse().unwrap(), what);
    }
    if mode == "rootless" {
        return run_as_nobody(Path::new(root));
    }
    if mode == "service-all" {
        return refresh(root.parse().unwrap(), what);
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
    if let Some(version) = what.strip_prefix("drop-in-") {
        return drop_in(place, version);
    }
    if let "attach" | "detach" = what {
        return attach_or_detach(place, what);
    }
    let rolled = what.strip_prefix("rollout-").map(|what| what.trim_end_matches("-broken"));
    let version = rolled.unwrap_or("2");
    let source = rolled.map_or_else(|| "source.raw".to_owned(), |version| format!("app_{version}.raw"));
    let source = File::open(place.join(source)).unwrap();
    let store = Store::open(place.join("app.raw.v"), Class::Confext).unwrap();
    let mut certificates = Certificates::new(Time::from(SystemTime::now()));
    certificates.add_pem(&std::fs::read(place.join("cert.pem")).unwrap()).unwrap();
    let mut options = publish::Options::new(version);
    options.verifier = Some(Arc::new(certificates));
    options.tries = Some(3);
    faults::hand_over_calls();
    if let Some(what) = what.strip_prefix("rollout-") {
        return roll_out((place, &source), &store, options, what.ends_with("-broken"));
    }
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

/// A service: what it sees is in one file, what it runs in the other.
struct Files<'a> {
    place: &'a Path,
    store: &'a Store,
    is_broken: bool,
}

impl Files<'_> {
    fn failed(operation: &'static str, source: std::io::Error) -> Error {
        Error::Os { operation, target: "a file of the service".to_owned(), source }
    }
}

impl Service for Files<'_> {
    fn name(&self) -> &str {
        "files"
    }

    fn look(&mut self, _: &Limit<'_>) -> confext_core::Result<()> {
        Ok(())
    }

    fn refresh(&mut self, _: &Limit<'_>) -> confext_core::Result<()> {
        let used = self.store.used()?.version;
        std::fs::write(self.place.join("sees"), used).map_err(|error| Files::failed("write", error))
    }

    fn reload(&mut self, _: &Limit<'_>) -> confext_core::Result<()> {
        let (sees, runs) = (self.place.join("sees"), self.place.join("runs"));
        std::fs::rename(sees, runs).map_err(|error| Files::failed("rename", error))
    }

    fn check(&mut self, version: Option<&Version>, _: &Limit<'_>) -> confext_core::Result<()> {
        match self.is_broken && version.is_some_and(|version| version.version != "1") {
            true => Err(Error::Missing { what: "a version that works", why: "a test".to_owned() }),
            false => Ok(()),
        }
    }
}

fn roll_out((place, image): (&Path, &File), store: &Store, options: publish::Options, is_broken: bool) {
    let mut wanted = Rollout::new(store, image, options);
    wanted.locks = place.join("locks");
    match rollout(&wanted, &mut Files { place, store, is_broken }, &mut |_| {}) {
        Ok(outcome) => faults::say(&format!("ok {}", outcome.runs.as_str())),
        Err(error) => faults::say(&format!("error {} {}", error.code(), error.explain())),
    }
}

fn exchange(pid: u32, layers: &str) {
    let layers: Vec<_> = layers.split(':').filter(|layer| !layer.is_empty()).map(Path::new).collect();
    let layers = Opened::new(&layers);
    faults::hand_over_calls();
    match Process::open(pid).and_then(|process| layers.exchange(&process, How::default())) {
        Ok(_) => faults::say("ok"),
        Err(error) => faults::say(&format!("error {} {}", error.code(), error.explain())),
    }
}

fn drop_in(root: &Path, version: &str) {
    let unit = Name::parse("app.service").unwrap();
    let drop_in = DropIn::new(&unit, "50-confext.conf", Lifetime::Persistent).unwrap();
    let mut extensions = Extensions::default();
    extensions.images = vec![Entry::image(format!("/srv/app_{version}.raw"))];
    let host = Host::open(root).unwrap();
    faults::hand_over_calls();
    let done = match version {
        "none" => drop_in.remove(&host).map(drop),
        _ => drop_in.write(&host, &extensions).map(drop),
    };
    match done {
        Ok(()) => faults::say("ok"),
        Err(error) => faults::say(&format!("error {} {}", error.code(), error.explain())),
    }
}

fn attach_or_detach(root: &Path, verb: &str) {
    let host = Host::open(root).unwrap();
    // What it looks at first is read only.
    let attachment = match verb {
        "attach" => Some(Portable::new("/srv/app").plan(&host, &unprotected()).unwrap()),
        _ => None,
    };
    faults::hand_over_calls();
    let done = match attachment {
        Some(attachment) => attachment.attach(&host),
        None => portable::detach(&host, "app").map(drop),
    };
    match done {
        Ok(()) => faults::say("ok"),
        Err(error) => faults::say(&format!("error {} {}", error.code(), error.explain())),
    }
}

fn run_as_nobody(root: &Path) {
    const NOBODY: libc::uid_t = 65534;
    // SAFETY: plain calls with numbers; the list of groups is empty.
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one after the other")]
    let done = unsafe {
        [
            libc::setgroups(0, std::ptr::null()),
            libc::setresgid(NOBODY, NOBODY, NOBODY),
            libc::setresuid(NOBODY, NOBODY, NOBODY),
            // As after exec: its files in /proc are its own.
            libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        ]
    };
    assert_eq!(done, [0; 5], "{}", std::io::Error::last_os_error());
    let host = Host::open(root).unwrap();
    faults::hand_over_calls();
    let done = Stack::assemble(&host, Class::Confext, &Options::default()).and_then(|stack| {
        let root = exec::Root::of(host.path());
        exec::Running::start(&root, stack.into_placements(), Command::new("/bin/true"))?.wait()
    });
    match done {
        Ok(status) => faults::say(&format!("ok {:?}", status.code())),
        Err(error) => faults::say(&format!("error {} {}", error.code(), error.explain())),
    }
}

fn refresh(pid: u32, paths: &str) {
    let (root, listed) = paths.split_once(':').unwrap();
    let host = Host::open(root).unwrap();
    let mut extensions = Extensions::default();
    extensions.directories = listed.split(':').map(Entry::directory).collect();
    let mut options = service::Options::new(Scene::options(Mutability::No));
    options.hierarchies = service::Hierarchies::All;
    faults::hand_over_calls();
    let refreshed =
        Process::open(pid).and_then(|process| service::refresh(&host, &process, &extensions, &options));
    match refreshed {
        Ok(_) => faults::say("ok"),
        Err(error) => faults::say(&format!("error {} {}", error.code(), error.explain())),
    }
}
