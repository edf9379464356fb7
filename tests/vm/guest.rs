//! What the virtual machine runs: merge, refresh, trace, run and unmerge, each case once.
//!
//! ```text
//! vm-guest                      what needs a kernel, on an old one
//! vm-guest dm-verity            extensions under dm-verity, beside systemd
//! vm-guest without-dm-verity    the same where there is none
//! vm-guest keyring              the keyring of dm-verity, filled and sealed
//! ```
//!
//! Prints a line for each case; the exit status is 0 when all were right. Not a test of its own: `kernels.rs`,
//! `attached.rs` and `keyring.rs` have it run.

mod keys;
mod on_device;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use confext_core::admission::{Exchange, Options, Replace};
use confext_core::attach::{Mode, Reads, Reason};
use confext_core::exec::{self, Root as RunRoot};
use confext_core::host::Ability;
use confext_core::stack::{Outcome, Stack};
use confext_core::state::Checked;
use confext_core::sys::MountSource;
use confext_core::trace::Answer;
use confext_core::{Host, merge, refresh, status, trace};
use confext_ddi::limits::Limits;
use confext_ddi::release::Class;
use confext_tests::root::{Root, key, unprotected};
use confext_tests::sweep::isolated;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

fn main() -> ExitCode {
    let failed = match std::env::args().nth(1).as_deref() {
        None => every_kernel(),
        Some("dm-verity") => on_device::run(),
        Some(what @ "without-dm-verity") => run_cases([(what, d37_without_dm_verity)]),
        Some("keyring") => run_cases([(
            "the keyring of dm-verity",
            keys::the_keyring_of_dm_verity_counts_when_it_is_sealed as fn(),
        )]),
        Some(other) => panic!("no cases are called {other}"),
    };
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn every_kernel() -> bool {
    let host = Host::open("/").unwrap();
    println!("mounts: {:?}", MountSource::current());
    println!("{:?}", host.capabilities());
    let cases: [(&str, fn()); 8] = [
        ("directories", directories),
        ("signed image", signed_image),
        ("two hierarchies", two_hierarchies),
        ("no gap", no_gap),
        ("mounts below", mounts_below),
        ("mount point", mount_point),
        ("run", run),
        ("many layers", many_layers),
    ];
    run_cases(cases)
}

/// Whether one failed.
fn run_cases<const N: usize>(cases: [(&str, fn()); N]) -> bool {
    let mut tally = Tally::default();
    for (name, case) in cases {
        tally.run(name, || isolated(case));
    }
    tally.any_failed()
}

/// How many cases were run, and how many were right.
#[derive(Default)]
struct Tally {
    count: usize,
    right: usize,
}

impl Tally {
    fn run(&mut self, name: &str, case: impl FnOnce()) {
        let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(case));
        self.count += 1;
        self.right += usize::from(verdict.is_ok());
        println!("{name}: {}", if verdict.is_ok() { "ok" } else { "FAILED" });
    }

    /// Says the sum, last of all.
    fn any_failed(&self) -> bool {
        println!("vm-guest: {} of {} cases right", self.right, self.count);
        self.right != self.count
    }
}

/// What cannot be had is said, and nothing weaker takes its place than what was checked.
fn d37_without_dm_verity() {
    let (root, signer) = (Root::new(), key("guest"));
    root.trust(&signer);
    root.image(Class::Confext, "run/confexts/app.raw", &[("etc/app.conf", "one")], Some(&signer));
    let mut options = signed();
    options.attach = Mode::DmVerity;
    let error = merge(&root.host(), Class::Confext, &options).unwrap_err();
    assert_eq!(error.code(), "missing-capability");
    println!("dm-verity: {}", error.explain());
    options.attach = Mode::Auto;
    let report = merge(&root.host(), Class::Confext, &options).unwrap();
    let way = report.layers[0].attached.as_ref().unwrap();
    assert_eq!((way.reads, way.because), (Reads::SealedMemory, Reason::NoDmVerity));
    assert_eq!(way.detail.as_deref(), Some(error.explain().as_str()));
    assert!(matches!(report.layers[0].checked, Checked::Signed { .. }), "{report:?}");
    assert_eq!(root.read("etc/app.conf").as_deref(), Some("one"));
    root.unmerge(Class::Confext);
    assert_eq!(root.mounts(), [""; 0]);
}

fn tmpfs(at: &Path) {
    rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::empty(), None).unwrap();
}

fn always() -> Options {
    let mut options = unprotected();
    options.replace = Replace::Always;
    options
}

fn directories() {
    let root = Root::new();
    root.confext("a", "etc/new", "a").confext("b", "etc/base", "over").file("etc/kept", "kept");
    assert_eq!(root.merge(Class::Confext).unwrap().outcome, Outcome::Merged);
    assert_eq!(root.read("etc/new").as_deref(), Some("a"));
    assert_eq!(root.read("etc/base").as_deref(), Some("over"));
    assert_eq!(root.read("etc/kept").as_deref(), Some("kept"));
    assert!(fs::write(root.path("etc/new"), "x").is_err());
    let flags = rustix::fs::statvfs(root.path("etc")).unwrap().f_flag;
    use rustix::fs::StatVfsMountFlags as F;
    assert!(flags.contains(F::RDONLY | F::NODEV | F::NOSUID | F::NOEXEC), "{flags:?}");
    let found = format!("{:?}", status(&root.host(), Class::Confext).unwrap());
    assert!(found.contains("doubts: []"), "{found}");
    let answer = |path| trace(&root.host(), path, &Limits::default()).unwrap().answer;
    assert!(matches!(answer("/etc/new"), Answer::Layer { source, .. } if source.layer == "a"));
    assert!(matches!(answer("/etc/kept"), Answer::Base { hierarchy: "etc", .. }));
    root.confext("a", "etc/new", "second");
    assert!(matches!(root.refresh(Class::Confext).unwrap().outcome, Outcome::Refreshed { .. }));
    assert_eq!(root.read("etc/new").as_deref(), Some("second"));
    assert_eq!(root.unmerge(Class::Confext).outcome, Outcome::Unmerged);
    assert_eq!((root.read("etc/new"), root.read("etc/base").as_deref()), (None, Some("base")));
    assert_eq!(root.mounts(), [""; 0]);
}

fn signed_image() {
    let (root, signer) = (Root::new(), key("guest"));
    root.trust(&signer);
    let image =
        |text| root.image(Class::Confext, "run/confexts/app.raw", &[("etc/app.conf", text)], Some(&signer));
    image("one");
    let report = merge(&root.host(), Class::Confext, &signed()).unwrap();
    assert!(matches!(report.layers[0].checked, Checked::Signed { .. }), "{report:?}");
    assert_eq!(root.read("etc/app.conf").as_deref(), Some("one"));
    image("two");
    refresh(&root.host(), Class::Confext, &signed()).unwrap();
    assert_eq!(root.read("etc/app.conf").as_deref(), Some("two"));
    let answer = trace(&root.host(), "/etc/app.conf", &Limits::default()).unwrap().answer;
    assert!(matches!(&answer, Answer::Layer { source, .. } if source.layer == "app"), "{answer:?}");
    root.unmerge(Class::Confext);
    assert_eq!(root.mounts(), [""; 0]);
}

/// The options of [`unprotected`], but for what images must have.
fn signed() -> Options {
    let mut options = unprotected();
    options.policy = Options::default().policy;
    options
}

fn two_hierarchies() {
    let root = Root::new();
    root.sysext("s", "usr/bin/tool", "t").sysext("s", "opt/app/x", "x");
    assert_eq!(root.merge(Class::Sysext).unwrap().hierarchies, ["usr", "opt"]);
    assert_eq!(root.read("usr/bin/tool").as_deref(), Some("t"));
    assert_eq!(root.read("opt/app/x").as_deref(), Some("x"));
    fs::remove_dir_all(root.path("var/lib/extensions/s/opt")).unwrap();
    assert_eq!(root.refresh(Class::Sysext).unwrap().hierarchies, ["usr"]);
    root.unmerge(Class::Sysext);
    assert_eq!(root.mounts(), [""; 0]);
}

fn no_gap() {
    for kind in [MountPropagationFlags::PRIVATE, MountPropagationFlags::SHARED] {
        let root = Root::new();
        rustix::mount::mount_bind(root.path(""), root.path("")).unwrap();
        rustix::mount::mount_change(root.path(""), kind).unwrap();
        let mounts = root.mounts();
        root.confext("a", "etc/dir/f", "a");
        let host = Host::open(root.path("")).unwrap();
        merge(&host, Class::Confext, &unprotected()).unwrap();
        let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(fs::read_to_string(root.path("etc/dir/f")).unwrap(), "a");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
            let results: Vec<_> = (0..20).map(|_| refresh(&host, Class::Confext, &always())).collect();
            done.store(true, Ordering::Relaxed);
            for result in results {
                result.unwrap();
            }
        });
        assert!(reads.load(Ordering::Relaxed) > 20);
        root.unmerge(Class::Confext);
        assert_eq!(root.mounts(), mounts);
        rustix::mount::unmount(root.path(""), UnmountFlags::DETACH).unwrap();
    }
}

fn mounts_below() {
    let root = Root::new();
    root.confext("a", "etc/a", "a").file("etc/sub/x", "").file("etc/late/x", "").file("bound", "bound");
    tmpfs(&root.path("etc/sub"));
    root.file("etc/sub/inner/x", "");
    tmpfs(&root.path("etc/sub/inner"));
    root.file("etc/sub/inner/deep", "deep");
    rustix::mount::mount_bind(root.path("bound"), root.path("etc/base")).unwrap();
    let check = || {
        assert_eq!(root.read("etc/sub/inner/deep").as_deref(), Some("deep"));
        assert_eq!(root.read("etc/base").as_deref(), Some("bound"));
    };
    root.merge(Class::Confext).unwrap();
    check();
    refresh(&root.host(), Class::Confext, &always()).unwrap();
    check();
    tmpfs(&root.path("etc/late"));
    root.file("etc/late/new", "new");
    root.unmerge(Class::Confext);
    check();
    assert_eq!(root.read("etc/late/new").as_deref(), Some("new"));
    for path in ["etc/late", "etc/sub", "etc/base"] {
        rustix::mount::unmount(root.path(path), UnmountFlags::DETACH).unwrap();
    }
    assert_eq!(root.mounts(), [""; 0]);
}

/// No path leads to what a stack is mounted on when the hierarchy is itself a mount point.
fn mount_point() {
    let root = Root::new();
    tmpfs(&root.path("etc"));
    root.confext("a", "etc/a", "1").file("etc/kept", "kept");
    root.merge(Class::Confext).unwrap();
    root.confext("b", "etc/b", "2");
    let result = root.refresh(Class::Confext);
    if root.host().capabilities().mount_beneath == Ability::Present {
        assert_eq!(result.unwrap().gaps, [""; 0]);
    } else {
        assert_eq!(result.unwrap_err().code(), "missing-capability");
        assert_eq!((root.read("etc/a").as_deref(), root.read("etc/b")), (Some("1"), None));
        let mut options = unprotected();
        options.exchange = Exchange::GapAllowed;
        assert_eq!(refresh(&root.host(), Class::Confext, &options).unwrap().gaps, ["etc"]);
    }
    assert_eq!(root.read("etc/b").as_deref(), Some("2"));
    assert_eq!(root.read("etc/kept").as_deref(), Some("kept"));
    root.unmerge(Class::Confext);
    assert_eq!(root.mounts(), ["/etc"]);
    rustix::mount::unmount(root.path("etc"), UnmountFlags::DETACH).unwrap();
}

fn run() {
    let root = Root::new();
    root.confext("a", "etc/a", "seen by one command");
    let stack = Stack::assemble(&root.host(), Class::Confext, &unprotected()).unwrap();
    let placements = stack.into_placements().into_iter().map(|mut placement| {
        placement.hierarchy = root.path("").strip_prefix("/").unwrap().join(placement.hierarchy);
        placement
    });
    let mut command = Command::new("/usr/bin/cat");
    command.arg(root.path("etc/a")).stdout(Stdio::piped());
    let output = exec::run(&RunRoot::Host, placements.collect(), command).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "seen by one command");
    assert_eq!(root.mounts(), [""; 0]);
}

fn many_layers() {
    let root = Root::new();
    for number in 0..200 {
        root.confext(&format!("x{number}"), &format!("etc/f{number}"), "x");
    }
    root.merge(Class::Confext).unwrap();
    assert!((0..200).all(|number| root.read(&format!("etc/f{number}")).is_some()));
    root.unmerge(Class::Confext);
    assert_eq!(root.mounts(), [""; 0]);
}
