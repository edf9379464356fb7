use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::machine::{Listed, Machine};
use super::*;

fn now() -> SystemTime {
    SystemTime::now()
}

fn item<'a>(report: &'a Report, id: &str) -> &'a Item {
    report.items.iter().find(|item| item.id == id).unwrap_or_else(|| panic!("no {id}"))
}

#[test]
fn every_item_is_there_once_and_says_why_and_what_to_do() {
    let report = report(&Host::open("/").unwrap(), now());
    let found: Vec<_> = report.items.iter().map(|item| item.id).collect();
    assert_eq!(found, ids().collect::<Vec<_>>());
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len());
    for Item { id, state, why, advice, needed_for } in &report.items {
        assert!(id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{id}");
        assert!(!why.is_empty() && !needed_for.is_empty(), "{id}");
        assert!(advice.as_ref().is_none_or(|advice| !advice.is_empty()), "{id}");
        // Where there is another way anyway, nothing has to be done.
        let harmless = ["detached-layers", "mount-beneath", "mount-numbers", "dm-verity-signatures"];
        if *state == State::No && !harmless.contains(id) {
            assert!(advice.is_some(), "{id}: {why}");
        }
    }
}

#[test]
fn what_is_below_a_root_is_looked_up_there() {
    let root = tempfile::tempdir().unwrap();
    let host = Host::open(root.path()).unwrap();
    let bare = report(&host, now());
    for id in ["extension-directories", "certificates"] {
        assert_eq!(item(&bare, id).state, State::No, "{:?}", item(&bare, id));
    }
    fs::create_dir_all(root.path().join("var/lib/confexts/app/etc")).unwrap();
    let listed = report(&host, now());
    let found = item(&listed, "extension-directories");
    assert_eq!((found.state, found.why.as_str()), (State::Yes, "/var/lib/confexts with 1 extensions"));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing is made");
}

#[test]
fn a_clock_is_wrong_that_is_before_the_system_itself() {
    let root = tempfile::tempdir().unwrap();
    let host = Host::open(root.path()).unwrap();
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    fs::create_dir_all(root.path().join("usr/lib")).unwrap();
    let file = fs::File::create(root.path().join("usr/lib/clock-epoch")).unwrap();
    file.set_modified(at(2000)).unwrap();
    for (now, state) in [(1999, State::No), (2000, State::Yes), (3000, State::Yes)] {
        let report = report(&host, at(now));
        assert_eq!(item(&report, "clock").state, state, "{:?}", item(&report, "clock"));
    }
}

#[test]
fn certificates_count_while_they_are_valid() {
    use confext_ddi::signature::{KeyPair, Time};
    let root = tempfile::tempdir().unwrap();
    let host = Host::open(root.path()).unwrap();
    let pair = KeyPair::generate("vendor", Time::from_unix(1_000_000), 1).unwrap();
    fs::create_dir_all(root.path().join("etc/verity.d")).unwrap();
    fs::write(root.path().join("etc/verity.d/vendor.crt"), pair.certificate_pem().unwrap()).unwrap();
    for (now, state) in [(999_000, State::No), (1_001_000, State::Yes), (9_000_000, State::No)] {
        let report = report(&host, UNIX_EPOCH + Duration::from_secs(now));
        assert_eq!(item(&report, "certificates").state, state, "{:?}", item(&report, "certificates"));
    }
}

#[test]
fn a_file_system_is_there_or_to_be_loaded_or_not_there() {
    let (root, kernel) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let host = Host::open(root.path()).unwrap();
    let write = |path: &str, text: &str| {
        let path = kernel.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("proc/sys/kernel/osrelease", "6.1.0-test\n");
    write("proc/filesystems", "nodev\toverlay\n\text4\n");
    let listed = |name: &str| Machine::with_kernel(&host, now(), Path::new(kernel.path())).file_system(name);
    assert_eq!(listed("overlay"), Listed::Yes);
    assert_eq!(listed("erofs"), Listed::Unseen, "its modules cannot be seen");
    write("proc/misc", "");
    assert_eq!(listed("erofs"), Listed::No, "a kernel without modules");
    write("proc/modules", "");
    write("lib/modules/6.1.0-test/modules.alias", "alias fs-erofs erofs\n");
    write("lib/modules/6.1.0-test/modules.dep", "kernel/fs/squashfs/squashfs.ko.xz:\n");
    for (name, expected) in [
        ("ext4", Listed::Yes),
        ("erofs", Listed::AsModule),
        ("squashfs", Listed::AsModule),
        ("vfat", Listed::No),
        ("over", Listed::No),
    ] {
        assert_eq!(listed(name), expected, "{name}");
    }
    write("proc/sys/kernel/modules_disabled", "1\n");
    assert_eq!(listed("erofs"), Listed::No, "nothing is loaded any more");
}
