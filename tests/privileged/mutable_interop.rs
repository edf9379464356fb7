//! Stacks that can be written to, merged by systemd and taken away here, and the other way round.

use std::fs::{self};
use std::os::unix::fs::PermissionsExt as _;

use confext_core::admission::Options;
use confext_core::settings::Mutability;
use confext_core::stack::{Change, Outcome};
use confext_core::state::HierarchyState;
use confext_core::{Host, merge, refresh, status, unmerge};
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_tests::peer::{Place, Systemd};
use confext_tests::sweep::isolated;

const MODES: [Mutability; 4] = [Mutability::Yes, Mutability::Auto, Mutability::Import, Mutability::Ephemeral];
const DIRECTORY: &str = "root/var/lib/extensions.mutable";

/// A place with a root that has one confext, and something that was written before.
fn place(systemd: Systemd) -> (Place, Host) {
    let place = Place::of(systemd);
    for (path, content) in [
        ("root/usr/lib/os-release", "ID=test\nVERSION_ID=1\n"),
        ("root/etc/base", "base"),
        ("root/var/lib/confexts/a/etc/new", "a"),
        ("root/var/lib/confexts/a/etc/extension-release.d/extension-release.a", "ID=_any\n"),
        ("root/var/lib/extensions.mutable/etc/before", "before"),
    ] {
        let path = place.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    for path in ["root/etc", "root/var/lib/extensions.mutable/etc"] {
        fs::set_permissions(place.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let host = Host::open(place.path("root")).unwrap();
    (place, host)
}

fn with(mutability: Mutability) -> Options {
    let mut options = Options::default();
    options.policy = Policy::unprotected();
    options.mutability = mutability;
    options
}

fn writable(mode: Mutability) -> bool {
    mode != Mutability::Import
}

/// Nothing is merged, no work directory is left, and only what was written to a directory of the host is still there.
fn assert_gone(place: &Place, mode: Mutability, written: bool) {
    assert!(!place.path("root/etc/new").exists() && !place.path("root/etc/written").exists());
    let left = fs::read_dir(place.path(DIRECTORY)).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["etc"], "{mode}");
    let kept = written && matches!(mode, Mutability::Yes | Mutability::Auto);
    assert_eq!(place.path(&format!("{DIRECTORY}/etc/written")).exists(), kept, "{mode}");
}

/// Runs `test` in the mount namespace of the peer, where systemd has merged.
fn in_merge_of_systemd(place: &Place, mode: Mutability, test: impl FnOnce()) {
    let root = place.text("root");
    place.during(&format!("systemd-confext --root={root} --no-reload --mutable={mode} merge"), test);
}

#[test]
#[ignore = "needs root"]
fn a_stack_of_systemd_that_can_be_written_to_is_shown_exchanged_and_taken_away() {
    isolated(|| {
        for (systemd, mode) in Systemd::ALL.into_iter().flat_map(|one| MODES.map(|mode| (one, mode))) {
            for exchange in [false, true] {
                let (place, _) = place(systemd);
                in_merge_of_systemd(&place, mode, || {
                    let host = Host::open(place.path("root")).unwrap();
                    if writable(mode) {
                        fs::write(place.path("root/etc/written"), "by them").unwrap();
                    }
                    let all = status(&host, Class::Confext).unwrap();
                    let HierarchyState::Merged { extensions, record, doubts, .. } = &all[0].state else {
                        panic!("{all:?}")
                    };
                    assert_eq!(
                        (extensions.join(" ").as_str(), record, doubts.len()),
                        ("a", &None, 0),
                        "{doubts:?}"
                    );
                    if exchange {
                        let outcome = refresh(&host, Class::Confext, &with(mode)).unwrap().outcome;
                        assert_eq!(outcome, Outcome::Refreshed { because: vec![Change::Unknown] });
                        assert_eq!(fs::read_to_string(place.path("root/etc/new")).unwrap(), "a");
                        let kept = matches!(mode, Mutability::Yes | Mutability::Auto);
                        assert_eq!(place.path("root/etc/written").exists(), kept);
                    }
                    unmerge(&host, Class::Confext, &with(Mutability::No)).unwrap();
                    assert_gone(&place, mode, true);
                });
            }
        }
    });
}

#[test]
#[ignore = "needs root"]
fn systemd_shows_and_takes_away_a_stack_of_ours_that_can_be_written_to() {
    isolated(|| {
        for (systemd, mode) in Systemd::ALL.into_iter().flat_map(|one| MODES.map(|mode| (one, mode))) {
            let (place, host) = place(systemd);
            merge(&host, Class::Confext, &with(mode)).unwrap();
            if writable(mode) {
                fs::write(place.path("root/etc/written"), "by us").unwrap();
            }
            let root = format!("--root={}", place.text("root"));
            let shown = place.peer(&["systemd-confext", &root, "--json=short", "status"]);
            assert!(shown.contains("\"extensions\":[\"a\"]"), "{shown}");
            // In its own namespace, with whose end it is mounted here still; the work directory is gone for both.
            let script = format!(
                "systemd-confext {root} --no-reload unmerge >&2 && cd {} && ls etc && ls -A var/lib/extensions.mutable",
                place.text("root"),
            );
            let left = place.peer(&["sh", "-c", &script]);
            assert_eq!(left.split_whitespace().collect::<Vec<_>>(), ["base", "etc"], "{mode}");
            unmerge(&host, Class::Confext, &with(Mutability::No)).unwrap();
            assert_gone(&place, mode, true);
        }
    });
}
