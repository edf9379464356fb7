//! What docs/systemd-compat.md says that systemd 262 does otherwise on a host: each seen in both, side by side.

use confext_core::admission::{OnBad, Options, Replace};
use confext_core::discover::Severity;
use confext_core::stack::{Change, Outcome, Report};
use confext_core::{Error, Host, merge, refresh, unmerge};
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_tests::beside::{Said, Shell};
use confext_tests::peer::Place;
use confext_tests::sweep::isolated;
use confext_tests::tools;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

mod content;
mod modes;

use Class::{Confext, Sysext};

/// A host, and systemd beside us in one mount namespace.
struct Case<'a> {
    place: &'a Place,
    shell: &'a mut Shell,
    host: &'a Host,
    class: Class,
}

/// Makes a host of one file in each hierarchy, and extensions by `prepare`; runs `test` there.
fn case(class: Class, prepare: impl Fn(&Place) + Sync, test: impl Fn(&mut Case<'_>) + Sync) {
    isolated(|| {
        let place = Place::create();
        for (path, content) in [
            ("usr/lib/os-release", "ID=test\nVERSION_ID=1\n"),
            ("usr/share/own", "of the host"),
            ("opt/own", "of the host"),
            ("etc/own", "of the host"),
        ] {
            write(&place.path("root").join(path), content);
        }
        prepare(&place);
        Shell::with(&place, |shell| {
            let host = Host::open(place.path("root")).unwrap();
            test(&mut Case { place: &place, shell, host: &host, class });
        });
    });
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Where the extensions of a class are.
fn at(place: &Place, class: Class, name: &str) -> PathBuf {
    let directory = if class == Confext { "root/run/confexts" } else { "root/run/extensions" };
    place.path(directory).join(name)
}

/// A directory extension with one file named after it.
fn extension(place: &Place, class: Class, name: &str) -> PathBuf {
    let at = at(place, class, name);
    let release = at.join(class.release_directory()).join(format!("extension-release.{name}"));
    write(&release, "ID=_any\n");
    write(&at.join(class.hierarchies()[0]).join(name), name);
    at
}

/// A squashfs image of an extension: the directory is taken away.
fn image(place: &Place, class: Class, name: &str) -> PathBuf {
    let directory = extension(place, class, name);
    let image = directory.with_extension("raw");
    let paths = [directory.to_str().unwrap(), image.to_str().unwrap()];
    tools::run("mksquashfs", &[&paths[..], &["-quiet", "-noappend", "-no-progress"]].concat(), place.dir());
    fs::remove_dir_all(directory).unwrap();
    image
}

fn unprotected() -> Options {
    let mut options = Options::default();
    options.policy = Policy::unprotected();
    options
}

impl Case<'_> {
    /// What systemd says to a verb.
    fn theirs(&mut self, verb: &str) -> Said {
        self.shell.attempt(&self.command(verb))
    }

    fn command(&self, verb: &str) -> String {
        let policy = "--image-policy=root=unprotected+absent:usr=unprotected+absent";
        format!("systemd-{} --root={} --no-reload {policy} {verb}", self.class, self.place.text("root"))
    }

    /// systemd merges, `look` looks, systemd unmerges.
    fn while_theirs(&mut self, look: impl FnOnce(&mut Self)) {
        let said = self.theirs("merge");
        assert!(said.status == 0 && said.text.contains("Merged"), "{said:?}");
        look(self);
        assert_eq!(self.theirs("unmerge").status, 0);
    }

    /// systemd fails, and nothing is merged.
    fn theirs_fails(&mut self) {
        let said = self.theirs("merge");
        assert_ne!(said.status, 0, "{said:?}");
        assert!(!self.path(&format!("{}/a", self.class.hierarchies()[0])).exists());
    }

    fn ours(&self) -> Result<Report, Error> {
        merge(self.host, self.class, &unprotected())
    }

    /// We merge, `look` looks, we unmerge.
    fn while_ours(&mut self, look: impl FnOnce(&mut Self, Report)) {
        let report = self.ours().unwrap();
        look(self, report);
        unmerge(self.host, self.class, &unprotected()).unwrap();
    }

    /// We refuse, and nothing is merged.
    fn ours_refuses(&self, code: &str) {
        let error = self.ours().unwrap_err();
        assert_eq!(error.code(), code, "{}", error.explain());
        assert!(!self.path(&format!("{}/a", self.class.hierarchies()[0])).exists());
    }

    fn path(&self, path: &str) -> PathBuf {
        self.place.path("root").join(path)
    }

    fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }
}

fn names(report: &Report) -> Vec<&str> {
    report.layers.iter().map(|layer| layer.name.as_str()).collect()
}

fn skip() -> Options {
    let mut options = unprotected();
    options.on_bad = OnBad::Skip;
    options
}

#[test]
#[ignore = "needs root"]
fn d1_a_loop_of_links_is_a_fault_of_its_own() {
    let prepare = |place: &Place| {
        extension(place, Confext, "a");
        symlink("loop.raw", at(place, Confext, "loop.raw")).unwrap();
    };
    case(Confext, prepare, |case| {
        assert_ne!(case.theirs("list").status, 0);
        case.theirs_fails();
        let report = merge(case.host, Confext, &skip()).unwrap();
        assert_eq!(names(&report), ["a"]);
        let [looped] = report.refused.as_slice() else { panic!("{report:?}") };
        assert!(looped.path.ends_with("loop.raw") && looped.severity == Severity::Refused);
        unmerge(case.host, Confext, &skip()).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn d3_names_that_compare_equal_have_a_fixed_order() {
    let prepare = |place: &Place| {
        for name in ["x__", "x", "x_"] {
            write(&extension(place, Confext, name).join("etc/who"), name);
        }
    };
    case(Confext, prepare, |case| {
        let mut options = unprotected();
        options.replace = Replace::Always;
        for _ in 0..5 {
            let report = refresh(case.host, Confext, &options).unwrap();
            assert_eq!(names(&report), ["x", "x_", "x__"]);
            assert_eq!(fs::read_to_string(case.path("etc/who")).unwrap(), "x__");
        }
        unmerge(case.host, Confext, &options).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn d4_one_bad_extension_is_one_bad_extension() {
    type Prepare = fn(&Place);
    // What systemd stops at, and what it passes over although it is the same fault.
    let cases: [(Prepare, bool); 4] = [
        (|place| write(&at(place, Confext, "bad.raw"), ""), true),
        (|place| write(&at(place, Confext, "bad.mstack/file"), ""), true),
        (
            |place| {
                let tree = extension(place, Confext, "bad");
                fs::remove_dir_all(tree.join(Confext.release_directory())).unwrap();
                let paths = [tree.to_str().unwrap(), &format!("{}.raw", tree.to_str().unwrap())];
                tools::run("mksquashfs", &[&paths[..], &["-quiet", "-no-progress"]].concat(), place.dir());
                fs::remove_dir_all(tree).unwrap();
            },
            true,
        ),
        (
            |place| {
                let tree = extension(place, Confext, "bad");
                fs::remove_dir_all(tree.join(Confext.release_directory())).unwrap();
            },
            false,
        ),
    ];
    for (bad, stops) in cases {
        let prepare = |place: &Place| {
            extension(place, Confext, "a");
            bad(place);
        };
        case(Confext, prepare, |case| {
            if stops {
                case.theirs_fails();
            } else {
                case.while_theirs(|case| assert!(case.exists("etc/a")));
            }
            case.ours().unwrap_err();
            let report = merge(case.host, Confext, &skip()).unwrap();
            assert_eq!(names(&report), ["a"]);
            assert_eq!(report.refused[0].name.as_deref(), Some("bad"));
            unmerge(case.host, Confext, &skip()).unwrap();
        });
    }
}

#[test]
#[ignore = "needs root"]
fn d8_success_is_what_can_be_seen_here() {
    let prepare = |place: &Place| drop(extension(place, Confext, "a"));
    case(Confext, prepare, |case| {
        let there = case.path("etc/a");
        let script = format!("{}; test -e {} || echo nothing", case.command("merge"), there.display());
        let said = case.shell.attempt(&format!("unshare --mount --propagation private sh -c '{script}'"));
        assert!(
            said.status == 0 && said.text.contains("Merged") && said.text.contains("nothing"),
            "{said:?}"
        );
        case.shell.run("mount --make-rprivate /");
        case.while_ours(|case, _| assert!(case.exists("etc/a")));
    });
}

#[test]
#[ignore = "needs root"]
fn d9_names_have_no_special_characters() {
    for name in ["com,ma", "co:lon", "back\\slash", "quo'te", "dou\"ble"] {
        let prepare = |place: &Place| drop(extension(place, Confext, name));
        case(Confext, prepare, |case| {
            case.theirs_fails();
            case.while_ours(|case, report| {
                assert_eq!(names(&report), [name]);
                assert!(case.exists(&format!("etc/{name}")));
            });
        });
    }
}

#[test]
#[ignore = "needs root"]
fn d10_many_long_names_fit() {
    let prepare = |place: &Place| {
        for number in 0..100 {
            extension(place, Confext, &format!("{number:03}{}", "n".repeat(80)));
        }
    };
    case(Confext, prepare, |case| {
        case.theirs_fails();
        case.while_ours(|_, report| assert_eq!(report.layers.len(), 100));
    });
}

#[test]
#[ignore = "needs root"]
fn d11_a_hierarchy_keeps_its_owner() {
    let prepare = |place: &Place| {
        extension(place, Confext, "a");
        let etc = place.path("root/etc");
        std::os::unix::fs::chown(&etc, Some(7), Some(8)).unwrap();
        fs::set_permissions(&etc, fs::Permissions::from_mode(0o750)).unwrap();
    };
    case(Confext, prepare, |case| {
        let look = |case: &mut Case<'_>| {
            let stat = fs::metadata(case.path("etc")).unwrap();
            (stat.uid(), stat.gid(), stat.mode() & 0o7777)
        };
        case.while_theirs(|case| assert_eq!(look(case), (0, 0, 0o750)));
        case.while_ours(|case, _| assert_eq!(look(case), (7, 8, 0o750)));
    });
}

#[test]
#[ignore = "needs root"]
fn d13_a_hierarchy_that_no_extension_uses_is_left_as_it_is() {
    let prepare = |place: &Place| {
        extension(place, Sysext, "a");
        fs::create_dir(place.path("root/opt/data")).unwrap();
    };
    case(Sysext, prepare, |case| {
        case.shell.run(&format!("mount -t tmpfs tmpfs {}", case.path("opt/data").display()));
        write(&case.path("opt/data/file"), "of the mount");
        case.while_ours(|case, _| {
            assert!(case.exists("usr/a") && case.exists("opt/own") && case.exists("opt/data/file"));
        });
        assert!(case.exists("opt/own") && case.exists("opt/data/file"));
        case.while_theirs(|case| assert!(!case.exists("opt/own")));
        // Not even afterwards.
        assert!(!case.exists("opt/own"));
    });
}

#[test]
#[ignore = "needs root"]
fn d16_another_policy_is_a_change() {
    let prepare = |place: &Place| drop(image(place, Confext, "a"));
    case(Confext, prepare, |case| {
        case.while_theirs(|case| {
            let other = case.command("refresh").replace("root=unprotected", "root=unprotected+verity");
            assert!(case.shell.run(&other).contains("Skipping"));
        });
        case.while_ours(|case, _| {
            let mut options = unprotected();
            options.policy = Policy::parse("root=unprotected+absent:usr=unprotected+absent").unwrap();
            let report = refresh(case.host, Confext, &options).unwrap();
            let Outcome::Refreshed { because } = report.outcome else { panic!("{report:?}") };
            assert!(matches!(because.as_slice(), [Change::Policy { .. }]), "{because:?}");
        });
    });
}

#[test]
#[ignore = "needs root"]
fn d17_what_a_policy_refuses_is_not_mounted_first() {
    let prepare = |place: &Place| drop(image(place, Confext, "a"));
    case(Confext, prepare, |case| {
        let strict = case.command("merge").replace("unprotected", "signed");
        let said = case.shell.attempt(&format!("SYSTEMD_LOG_LEVEL=debug {strict}"));
        assert!(said.status != 0 && said.text.contains("loop"), "{said:?}");
        // Without any device to mount it from.
        case.shell.run("mount -t tmpfs tmpfs /dev");
        let error = merge(case.host, Confext, &Options::default()).unwrap_err();
        assert_eq!(error.code(), "policy");
        case.shell.run("umount /dev");
    });
}

#[test]
#[ignore = "needs root"]
fn d19_a_set_of_file_systems_is_one() {
    let prepare = |place: &Place| drop(image(place, Confext, "a"));
    case(Confext, prepare, |case| {
        let policy = "root=unprotected+absent+erofs+ext4";
        let theirs = case.command("merge").replace("root=unprotected+absent", policy);
        assert!(case.shell.run(&theirs).contains("Merged"));
        assert_eq!(case.theirs("unmerge").status, 0);
        let mut options = unprotected();
        options.policy = Policy::parse("root=unprotected+absent+erofs+ext4").unwrap();
        assert!(merge(case.host, Confext, &options).is_err());
    });
}

#[test]
#[ignore = "needs root"]
fn d27_an_edit_inside_a_directory_is_a_change() {
    let prepare = |place: &Place| drop(extension(place, Confext, "a"));
    case(Confext, prepare, |case| {
        let file = at(case.place, Confext, "a/etc/a");
        case.while_theirs(|case| {
            fs::write(&file, "edited").unwrap();
            assert!(case.theirs("refresh").text.contains("Skipping"));
        });
        case.while_ours(|case, _| {
            fs::write(&file, "edited again").unwrap();
            let report = refresh(case.host, Confext, &unprotected()).unwrap();
            let change = Change::Replaced { name: "a".into(), test: "directory" };
            assert_eq!(report.outcome, Outcome::Refreshed { because: vec![change] });
        });
    });
}

#[test]
#[ignore = "needs root"]
fn d28_the_place_of_the_work_is_not_shown() {
    let prepare = |place: &Place| drop(extension(place, Confext, "a"));
    case(Confext, prepare, |case| {
        let look = |case: &mut Case<'_>| {
            let etc = format!(" {} ", case.path("etc").display());
            let mounts = case.shell.run("cat /proc/self/mountinfo");
            let mount = mounts.lines().find(|line| line.contains(&etc)).unwrap();
            mount.contains("/run/systemd/sysext")
        };
        case.while_theirs(|case| assert!(look(case)));
        case.while_ours(|case, _| assert!(!look(case)));
    });
}

#[test]
#[ignore = "needs root"]
fn d31_a_hierarchy_that_was_made_is_removed_again() {
    let prepare = |place: &Place| {
        write(&extension(place, Sysext, "a").join("opt/a"), "");
        fs::remove_dir_all(place.path("root/opt")).unwrap();
    };
    case(Sysext, prepare, |case| {
        case.while_ours(|case, _| assert!(case.exists("opt/a")));
        assert!(!case.exists("opt"));
        case.while_theirs(|case| assert!(case.exists("opt/a")));
        assert!(case.exists("opt"));
    });
}

#[test]
#[ignore = "needs root"]
fn d33_the_time_of_a_merge_is_that_of_the_merge_below_the_root() {
    let prepare = |place: &Place| drop(extension(place, Confext, "a"));
    case(Confext, prepare, |case| {
        case.while_ours(|case, _| {
            let merged = fs::metadata(case.path("etc")).unwrap().mtime();
            let status = confext_core::status(case.host, Confext).unwrap();
            let json = serde_json::to_value(&status).unwrap();
            assert_eq!(json[0]["since"].as_i64(), Some(merged));
            let theirs = case.theirs("--json=short status").text;
            let json: serde_json::Value = serde_json::from_str(&theirs).unwrap();
            assert_ne!(json[0]["since"].as_i64().unwrap() / 1_000_000, merged);
        });
    });
}
