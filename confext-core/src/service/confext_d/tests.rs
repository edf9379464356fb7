use super::*;

fn host(entries: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
    let root = tempfile::tempdir().unwrap();
    for (path, what) in entries {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match *what {
            "directory" => std::fs::create_dir_all(path).unwrap(),
            "file" => std::fs::write(path, "").unwrap(),
            target => std::os::unix::fs::symlink(target, path).unwrap(),
        }
    }
    let host = Host::open(root.path()).unwrap();
    (root, host)
}

fn found(entries: &[(&str, &str)], unit: &str) -> Found {
    let (_root, host) = host(entries);
    Found::of(&host, &Name::parse(unit).unwrap()).unwrap()
}

fn paths(found: &Found) -> Vec<&str> {
    found.extensions.bottom_first().map(|entry| entry.path.as_str()).collect()
}

const ETC: &str = "etc/systemd/system/a.service.confext.d";
const USR: &str = "usr/lib/systemd/system/a.service.confext.d";

#[test]
fn the_first_of_a_name_counts_whatever_kind_it_is() {
    let all = [
        (format!("{ETC}/x.raw"), "file"),
        (format!("{USR}/x.raw.v"), "directory"),
        (format!("{USR}/y"), "directory"),
        ("run/systemd/system/a.service.confext.d/y.v".to_owned(), "directory"),
        (format!("{USR}/z.raw"), "file"),
    ];
    let all: Vec<_> = all.iter().map(|(path, what)| (path.as_str(), *what)).collect();
    let found = found(&all, "a.service");
    assert_eq!(
        paths(&found),
        [
            "/etc/systemd/system/a.service.confext.d/x.raw",
            "/usr/lib/systemd/system/a.service.confext.d/z.raw",
            "/run/systemd/system/a.service.confext.d/y.v",
        ]
    );
    assert!(
        found.left_out.iter().all(|left| left.because == Because::Overridden) && found.left_out.len() == 2
    );
    assert!(found.extensions.is_refreshed_on_reload());
}

#[test]
fn a_mask_and_an_unusable_entry_keep_their_name() {
    let mask = format!("{ETC}/x.raw");
    let pipe = format!("{ETC}/y.raw");
    let (x, y) = (format!("{USR}/x.raw"), format!("{USR}/y.raw"));
    let found = found(&[(&mask, "/dev/null"), (&x, "file"), (&pipe, "directory"), (&y, "file")], "a.service");
    assert!(found.extensions.is_empty());
    let because: Vec<_> = found.left_out.iter().map(|left| left.because).collect();
    assert_eq!(because, [Because::Masked, Because::Unknown, Because::Overridden, Because::Overridden]);
}

#[test]
fn instances_have_what_their_template_has() {
    let all = [
        ("etc/systemd/system/t@.service.confext.d/x.raw", "file"),
        ("usr/lib/systemd/system/t@i.service.confext.d/x.raw", "file"),
        ("usr/lib/systemd/system/t@.service.confext.d/y.raw", "file"),
    ];
    assert_eq!(
        paths(&found(&all, "t@i.service")),
        [
            "/usr/lib/systemd/system/t@i.service.confext.d/x.raw",
            "/usr/lib/systemd/system/t@.service.confext.d/y.raw"
        ]
    );
    assert_eq!(paths(&found(&all, "t@j.service")).len(), 2);
    let (_root, host) = host(&all);
    let units: Vec<_> = units(&host).unwrap().iter().map(Name::to_string).collect();
    assert_eq!(units, ["t@.service", "t@i.service"]);
}
