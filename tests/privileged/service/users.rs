//! Processes whose mount namespace belongs to a user namespace of its own, as containers have it

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::process::Command;

use confext_core::service::{Found, How, Owners};
use confext_core::stack::Outcome;
use confext_tests::faults::{self, End, Fault};
use confext_tests::namespace::{run, unmount};
use confext_tests::subject::Subject;
use confext_tests::sweep::isolated;

use super::{ETC, Layers};

/// Root of the host is root inside, and nobody else is anybody.
const ROOT: &[&str] = &["--user", "--map-root-user", "--mount", "--propagation", "private"];

/// Runs a script as root of its user namespace; says whether it came to its end.
fn as_root_inside(subject: &Subject, script: &str) -> bool {
    let mut command = Command::new("nsenter");
    command.args(["--target", &subject.pid().to_string(), "--user", "--mount", "sh", "-c", script]);
    command.stderr(std::process::Stdio::null()).status().unwrap().success()
}

/// A supervisor without privileges, as of containers without root: nobody on the host is root inside.
fn rootless(setup: &str) -> Subject {
    let inside = format!("set -e; {setup}\necho ready; exec cat").replace('\'', "'\\''");
    Subject::start(
        &["--mount", "--propagation", "private"],
        &format!(
            "exec setpriv --reuid=65534 --regid=65534 --clear-groups unshare --user --map-root-user --mount \
             --propagation private sh -c '{inside}'"
        ),
    )
}

fn exchanged(subject: &Subject) {
    let layers = Layers::new();
    let changed = layers.put(subject, &["a"]);
    assert_eq!((&changed.outcome, changed.found), (&Outcome::Merged, Found::Nothing));
    assert_eq!(changed.owners, Some(Owners::Namespace));
    assert_eq!(subject.read("etc/version").as_deref(), Some("a"));
    assert_eq!(subject.read("etc/base").as_deref(), Some("base"));
    assert!(matches!(layers.put(subject, &["a"]).outcome, Outcome::Unchanged { .. }));
    let all = subject.mounts("/etc");
    assert_eq!(all.last().map(|line| line.split(' ').next()), Some(Some("/etc/sub")), "{all:?}");
    for names in [&["a", "b"][..], &["b"], &["b", "a"]] {
        let changed = layers.put(subject, names);
        assert!(matches!(changed.outcome, Outcome::Refreshed { .. }), "{changed:?}");
        assert_eq!(changed.attributes, ["ro", "nosuid", "nodev"]);
        assert_eq!(subject.read("etc/version").as_deref(), names.last().copied());
        assert_eq!(subject.read("etc/sub/f").as_deref(), Some("kept"));
        assert_eq!(subject.mounts("/etc").len(), all.len());
    }
    // Whoever is root there can neither write to it nor have its device nodes or set-id programs count; nor look under the
    // mounts on it.
    for flag in ["rw", "dev", "suid"] {
        let others = ["ro", "nodev", "nosuid"].into_iter().filter(|other| !other.ends_with(flag));
        let others: Vec<_> = others.filter(|other| (*other, flag) != ("ro", "rw")).collect();
        assert!(!as_root_inside(subject, &format!("mount -o remount,bind,{flag},{} /etc", others.join(","))));
    }
    assert!(as_root_inside(subject, "mount -o remount,bind,ro,nodev,nosuid,noexec /etc"));
    assert!(!as_root_inside(subject, "umount /etc/sub"));
    assert_eq!(layers.put(subject, &["a"]).attributes, ["ro", "nosuid", "nodev", "noexec"]);
    // All of it can be taken away, as before.
    assert!(as_root_inside(subject, "umount -l /etc"));
    assert_eq!(subject.read("etc/version").as_deref(), Some("base"));
}

const SUB: &str = "mkdir /etc/sub; mount -t tmpfs sub /etc/sub; echo -n kept >/etc/sub/f";

#[test]
#[ignore = "needs root"]
fn a_process_in_a_user_namespace_of_root() {
    isolated(|| exchanged(&Subject::start(ROOT, &format!("{ETC}; {SUB}"))));
}

#[test]
#[ignore = "needs root"]
fn a_process_of_an_ordinary_user_who_is_root_inside() {
    isolated(|| exchanged(&rootless(&format!("{ETC}; {SUB}"))));
}

/// What the user namespace got from the host is not to be uncovered there: the kernel gives no copy of what is below.
#[test]
#[ignore = "needs root"]
fn mounts_that_cannot_be_taken_off_are_said() {
    isolated(|| {
        let layers = Layers::new();
        let subject = Subject::start(
            &["--mount", "--propagation", "private"],
            &format!(
                "{ETC}; {SUB}; exec unshare --user --map-root-user --mount --propagation private sh -c 'echo ready; exec cat'"
            ),
        );
        let error = subject.exchange(&[&layers.path("a")], How::default()).unwrap_err();
        assert_eq!(error.code(), "mounts-locked", "{}", error.explain());
        assert_eq!(subject.read("etc/version").as_deref(), Some("base"));
        assert_eq!(subject.read("etc/sub/f").as_deref(), Some("kept"));
    });
}

/// A key that only root may read, and a file of a user whom nobody is inside.
fn with_owners() -> Layers {
    let layers = Layers::new();
    layers.0.confext("a", "etc/key", "secret").confext("a", "etc/other", "other");
    let at = |name: &str| layers.path("a").join(name);
    fs::set_permissions(at("etc/key"), fs::Permissions::from_mode(0o600)).unwrap();
    chown(at("etc/other"), Some(1), Some(1)).unwrap();
    layers
}

const ROOT_HAS_THE_KEY: &str =
    r#"test "$(cat /etc/key)" = secret -a "$(stat -c %u:%g:%a /etc/key)" = 0:0:600"#;

#[test]
#[ignore = "needs root"]
fn files_belong_to_the_users_of_the_namespace() {
    isolated(|| {
        let layers = with_owners();
        let subject = rootless(ETC);
        assert_eq!(layers.put(&subject, &["a"]).owners, Some(Owners::Namespace));
        assert!(as_root_inside(&subject, ROOT_HAS_THE_KEY));
        assert!(as_root_inside(&subject, r#"test "$(stat -c %u:%g /etc/other)" = 65534:65534"#));
        // Mounted again, and nothing changed: the layers that others use are as they were.
        assert_eq!(layers.put(&subject, &["a", "b"]).owners, Some(Owners::Namespace));
        assert_eq!(layers.put(&subject, &["a", "b"]).owners, None);
        assert!(as_root_inside(&subject, ROOT_HAS_THE_KEY));
        let metadata = fs::metadata(layers.path("a").join("etc/key")).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0));
        // A process without users of its own.
        let plain = Subject::start(super::PRIVATE, ETC);
        assert_eq!(layers.put(&plain, &["a"]).owners, Some(Owners::Image));
        assert_eq!(fs::metadata(plain.path("etc/other")).unwrap().uid(), 1);
    });
}

/// One kind of owners for all layers: those of the image when a file system cannot give others.
#[test]
#[ignore = "needs root"]
fn a_file_system_without_mapped_owners_keeps_its_own() {
    isolated(|| {
        let layers = with_owners();
        // An overlay cannot be mapped.
        let over = layers.path("a");
        let options = format!("lowerdir={}:{}", over.display(), layers.path("b").display());
        run("mount", &["-t", "overlay", "-o", &options, "overlay", over.to_str().unwrap()]);
        let subject = rootless(ETC);
        assert_eq!(layers.put(&subject, &["b", "a"]).owners, Some(Owners::Image));
        assert_eq!(subject.read("etc/version").as_deref(), Some("a"));
        assert!(!as_root_inside(&subject, ROOT_HAS_THE_KEY));
        assert!(as_root_inside(&subject, r#"test "$(stat -c %u:%g /etc/key)" = 65534:65534"#));
        drop(subject);
        unmount(&over);
    });
}

/// Who is root of a user namespace may not change mounts that belong to the one above it.
#[test]
#[ignore = "needs root"]
fn a_mount_namespace_of_the_user_namespace_above_is_refused() {
    isolated(|| {
        let inside = "exec unshare --user --map-root-user sh -c 'echo ready; exec cat'";
        let subject = Subject::start(super::PRIVATE, &format!("{ETC}; {inside}"));
        let pid = subject.pid().to_string();
        let mut command = Command::new("nsenter");
        let worker = env!("CARGO_BIN_EXE_confext-test-worker");
        command.args(["--target", &pid, "--user", worker, &pid, "service", ""]);
        let (end, _) = faults::run(command, None, Fault::Once);
        let End::Said(text) = end else { panic!("{end:?}") };
        assert!(text.starts_with("error process-users "), "{text}");
        assert_eq!(subject.mounts("/etc").len(), 1);
    });
}
