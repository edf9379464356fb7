//! Signed images, built, merged, exchanged and traced; and every way in which one is refused.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};

use confext_core::admission::{OnBad, Options, Replace, Trust, Watch};
use confext_core::attach::Mode;
use confext_core::stack::{Change, Outcome};
use confext_core::state::Checked;
use confext_core::trace::{Answer, Shadow};
use confext_core::{merge, plan, refresh, trace};
use confext_ddi::limits::Limits;
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_tests::root::{Root, key, unprotected};
use confext_tests::sweep::isolated;

#[test]
#[ignore = "needs root"]
fn a_signed_image_is_merged_and_traced_to_its_signer() {
    isolated(|| {
        let (root, key) = (Root::new(), key("vendor"));
        root.trust(&key);
        let one = root.image(
            Class::Confext,
            "run/confexts/one.raw",
            &[("etc/base", "1"), ("etc/a", "a")],
            Some(&key),
        );
        let two = root.image(Class::Confext, "run/confexts/two.raw", &[("etc/base", "22")], Some(&key));
        let report = merge(&root.host(), Class::Confext, &Options::default()).unwrap();
        assert_eq!(report.outcome, Outcome::Merged);
        assert_eq!(root.read("etc/base").as_deref(), Some("22"));
        assert_eq!(root.read("etc/a").as_deref(), Some("a"));

        let ask = |path: &str| trace(&root.host(), path, &Limits::default()).unwrap().answer;
        let Answer::Layer { source, shadows, .. } = ask("/etc/base") else {
            panic!("{:?}", ask("/etc/base"))
        };
        assert_eq!((source.layer.as_str(), source.image.as_str()), ("two", "/run/confexts/two.raw"));
        assert_eq!((source.root_hash, source.confirmed_by), (Some(two.root_hash), "root-hash"));
        let Checked::Signed { root_hash, by } = &source.checked else { panic!("{source:?}") };
        assert_eq!((*root_hash, by.subject.contains("vendor")), (two.root_hash, true));
        let partition = source.partition.as_ref().unwrap();
        assert_eq!((partition.designator.as_str(), partition.number), ("root", Some(1)));
        assert!(matches!(&shadows[0], Shadow::Layer { source } if source.root_hash == Some(one.root_hash)));
        assert_eq!(shadows[1], Shadow::Base);

        // Another image in its place is not taken for the merged one, even signed by the same key.
        root.image(Class::Confext, "run/confexts/two.raw", &[("etc/base", "333")], Some(&key));
        let Answer::CannotTell { unknown, .. } = ask("/etc/base") else { panic!() };
        assert_eq!(unknown[0].code, "layer-changed");
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn an_image_is_the_same_by_its_root_hash() {
    isolated(|| {
        let (root, key) = (Root::new(), key("vendor"));
        root.trust(&key);
        let path = "run/confexts/one.raw";
        let old = root.image(Class::Confext, path, &[("etc/f", "1")], Some(&key));
        let options = Options::default();
        let refresh = || refresh(&root.host(), Class::Confext, &options).unwrap().outcome;
        assert_eq!(refresh(), Outcome::Merged);
        fs::remove_file(root.path(path)).unwrap();
        assert_eq!(root.image(Class::Confext, path, &[("etc/f", "1")], Some(&key)).root_hash, old.root_hash);
        let Outcome::Unchanged { decided_by } = refresh() else { panic!() };
        assert_eq!(decided_by[0].test, "root-hash");
        root.image(Class::Confext, path, &[("etc/f", "2")], Some(&key));
        let change = Change::Replaced { name: "one".into(), test: "root-hash" };
        assert_eq!(refresh(), Outcome::Refreshed { because: vec![change] });
        assert_eq!(root.read("etc/f").as_deref(), Some("2"));
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn versions_are_picked_and_exchanged() {
    isolated(|| {
        let (root, key) = (Root::new(), key("vendor"));
        root.trust(&key);
        let options = Options::default();
        root.image(Class::Confext, "var/lib/confexts/app.raw.v/app_1.raw", &[("etc/v", "1")], Some(&key));
        let report = merge(&root.host(), Class::Confext, &options).unwrap();
        assert_eq!(report.layers[0].version.as_deref(), Some("1"));
        root.image(Class::Confext, "var/lib/confexts/app.raw.v/app_2.raw", &[("etc/v", "2")], Some(&key));
        refresh(&root.host(), Class::Confext, &options).unwrap();
        assert_eq!(root.read("etc/v").as_deref(), Some("2"));
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn a_sysext_image_needs_no_etc() {
    isolated(|| {
        let (root, key) = (Root::new(), key("vendor"));
        root.trust(&key);
        let files = [("usr/bin/tool", "t"), ("opt/app/x", "x")];
        root.image(Class::Sysext, "var/lib/extensions/s.raw", &files, Some(&key));
        let report = merge(&root.host(), Class::Sysext, &Options::default()).unwrap();
        assert_eq!(report.hierarchies, ["usr", "opt"]);
        assert_eq!(root.read("usr/bin/tool").as_deref(), Some("t"));
        assert_eq!(root.read("opt/app/x").as_deref(), Some("x"));
        root.unmerge(Class::Sysext);
        assert!(!root.path("opt").exists());
    });
}

/// Whatever is wrong with one image: nothing is merged or what was stays, nothing is left, and the code says what it is.
#[test]
#[ignore = "needs root"]
fn bad_images_change_nothing() {
    isolated(|| {
        let (root, key, other) = (Root::new(), key("vendor"), key("stranger"));
        root.trust(&key);
        root.image(Class::Confext, "run/confexts/good.raw", &[("etc/good", "g")], Some(&key));
        let bad = "run/confexts/bad.raw";
        let image = |signer| root.image(Class::Confext, bad, &[("etc/bad", "b")], signer);
        let cases: [(&str, &dyn Fn()); 5] = [
            ("empty", &|| _ = root.file(bad, "")),
            ("junk", &|| _ = root.file(bad, &"x".repeat(100_000))),
            ("unsigned", &|| _ = image(None)),
            ("signed by a stranger", &|| _ = image(Some(&other))),
            ("changed", &|| {
                let built = image(Some(&key));
                let data = built.partitions[0].range;
                let file = fs::OpenOptions::new().write(true).open(root.path(bad)).unwrap();
                file.write_all_at(&[0xff; 16], data.start() + 1100).unwrap();
            }),
        ];
        let options = Options::default();
        for (what, make) in cases {
            make();
            let error = merge(&root.host(), Class::Confext, &options).unwrap_err();
            assert!(error.to_string().contains("bad"), "{what}: {error}");
            assert!(!error.hint().is_empty(), "{what}");
            assert_eq!(root.mounts(), [""; 0], "{what}");

            let mut skip = options.clone();
            skip.on_bad = OnBad::Skip;
            let report = merge(&root.host(), Class::Confext, &skip).unwrap();
            assert_eq!(report.layers.len(), 1, "{what}");
            let refused: Vec<_> = report.refused.iter().map(|refused| refused.code).collect();
            assert_eq!(refused, [error.code()], "{what}");
            // With a stack in place, a refresh that fails leaves it alone.
            let failed = refresh(&root.host(), Class::Confext, &options).unwrap_err();
            assert_eq!(failed.code(), error.code(), "{what}");
            assert_eq!(root.read("etc/good").as_deref(), Some("g"), "{what}");
            assert_eq!(root.mounts(), ["/etc"], "{what}");
            root.unmerge(Class::Confext);
            fs::remove_file(root.path(bad)).unwrap();
        }
    });
}

#[test]
#[ignore = "needs root"]
fn d22_a_weaker_policy_is_an_explicit_choice() {
    isolated(|| {
        let root = Root::new();
        root.image(Class::Confext, "run/confexts/a.raw", &[("etc/a", "a")], None);
        let mut options = Options::default();
        assert_eq!(merge(&root.host(), Class::Confext, &options).unwrap_err().code(), "policy");
        options.policy = Policy::verity();
        options.trust = Trust::Nobody;
        let report = merge(&root.host(), Class::Confext, &options).unwrap();
        assert!(matches!(report.layers[0].checked, Checked::Verity { .. }));
        // The same images under another policy are another stack.
        let report = refresh(&root.host(), Class::Confext, &unprotected()).unwrap();
        assert!(
            matches!(&report.outcome, Outcome::Refreshed { because } if matches!(because[0], Change::Policy { .. }))
        );
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn a_plan_reads_images_without_mounting_them() {
    isolated(|| {
        let (root, key) = (Root::new(), key("vendor"));
        root.trust(&key);
        root.image(Class::Confext, "run/confexts/a.raw", &[("etc/base", "a"), ("etc/new", "n")], Some(&key));
        let found = plan(&root.host(), Class::Confext, &Options::default()).unwrap();
        let changes: Vec<_> = found.hierarchies[0]
            .changes
            .iter()
            .map(|change| String::from_utf8(change.path.clone()).unwrap())
            .collect();
        let release = ["extension-release.d", "extension-release.d/extension-release.a"];
        assert_eq!(changes, [&["base"][..], &release, &["new"]].concat());
        assert_eq!(found.objection(&[]), None);
    });
}

#[test]
#[ignore = "needs root"]
fn exchanging_images_leaves_no_device_and_no_memory() {
    isolated(|| {
        let (root, key) = (Root::new(), key("vendor"));
        root.trust(&key);
        root.image(Class::Confext, "run/confexts/a.raw", &[("etc/a", "a")], Some(&key));
        let mut options = Options::default();
        options.replace = Replace::Always;
        for _ in 0..50 {
            refresh(&root.host(), Class::Confext, &options).unwrap();
            assert_eq!(root.read("etc/a").as_deref(), Some("a"));
        }
        assert_eq!(root.mounts(), ["/etc"]);
        root.unmerge(Class::Confext);
    });
}

/// Two signed versions in turn: the file that both have is there at every moment, with the content of one of them.
#[test]
#[ignore = "needs root"]
fn two_thousand_exchanges_of_signed_versions_and_not_one_miss() {
    isolated(|| {
        use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
        let (root, key) = (Root::new(), key("vendor"));
        root.trust(&key);
        let versions = ["1", "2"].map(|version| {
            let staged = format!("staged/a_{version}.raw");
            root.image(Class::Confext, &staged, &[("etc/dir/version", version)], Some(&key));
            root.path(&staged)
        });
        let (next, image) = (root.path("run/confexts/next"), root.path("run/confexts/a.raw"));
        fs::create_dir_all(root.path("run/confexts")).unwrap();
        let exchange = |version: usize| {
            fs::copy(&versions[version], &next).unwrap();
            fs::rename(&next, &image).unwrap();
        };
        exchange(0);
        let host = root.host();
        merge(&host, Class::Confext, &Options::default()).unwrap();
        let (done, seen) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let path = root.path("etc/dir/version");
                while !done.load(Ordering::Relaxed) {
                    let version = match fs::read_to_string(&path) {
                        Ok(text) if text == "1" => 0,
                        Ok(text) if text == "2" => 1,
                        other => panic!("missed: {other:?}"),
                    };
                    seen[version].fetch_add(1, Ordering::Relaxed);
                }
            });
            let exchanges = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for round in 1..=2000 {
                    exchange(round % 2);
                    let report = refresh(&host, Class::Confext, &Options::default()).unwrap();
                    assert!(matches!(report.outcome, Outcome::Refreshed { .. }), "{report:?}");
                }
            }));
            done.store(true, Ordering::Relaxed);
            exchanges.unwrap();
        });
        assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) > 0), "{seen:?}");
        assert_eq!(root.mounts(), ["/etc"]);
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn who_watches_hears_of_all_images_that_are_copied_and_may_end_it() {
    isolated(|| {
        let (root, key) = (Root::new(), key("vendor"));
        root.trust(&key);
        let text = "x".repeat(3 << 20);
        for name in ["one", "two"] {
            let file = format!("etc/{name}");
            let image = format!("run/confexts/{name}.raw");
            root.image(Class::Confext, &image, &[(&file, &text)], Some(&key));
        }
        let told = Arc::new(Mutex::new(Vec::new()));
        let watching = |flow| {
            let told = Arc::clone(&told);
            let mut options = Options::default();
            options.attach = Mode::SealedMemory;
            options.watch = Watch::new(move |at| {
                told.lock().unwrap().push((at.done_bytes, at.total_bytes));
                flow
            });
            options
        };
        // Also where a bad image is left out: it is not about one of them.
        let mut ended = watching(ControlFlow::Break(()));
        ended.on_bad = OnBad::Skip;
        for options in [watching(ControlFlow::Break(())), ended] {
            let error = merge(&root.host(), Class::Confext, &options).unwrap_err();
            assert_eq!((error.code(), std::mem::take(&mut *told.lock().unwrap()).len()), ("cancelled", 1));
            assert_eq!((root.mounts(), root.read("etc/one")), (vec![], None));
            let links = fs::read_dir("/proc/self/fd").unwrap();
            let open = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
            let left: Vec<_> = open
                .map(|to| to.to_string_lossy().into_owned())
                .filter(|to| to.contains("memfd:confext") || to.contains("/dev/loop"))
                .collect();
            assert_eq!(left, [""; 0]);
        }
        merge(&root.host(), Class::Confext, &watching(ControlFlow::Continue(()))).unwrap();
        let told = std::mem::take(&mut *told.lock().unwrap());
        let (last, total) = *told.last().unwrap();
        assert!(last == total && total > 6 << 20, "{told:?}");
        assert!(told.is_sorted() && told.iter().all(|(_, of)| *of == total), "{told:?}");
        assert_eq!(root.read("etc/two").as_deref(), Some(text.as_str()));
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn who_watches_hears_nothing_of_what_is_not_copied() {
    isolated(|| {
        let root = Root::new();
        root.confext("a", "etc/a", "a");
        let mut options = unprotected();
        options.attach = Mode::SealedMemory;
        options.watch = Watch::new(|at| panic!("{at:?}"));
        merge(&root.host(), Class::Confext, &options).unwrap();
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn a_stack_that_others_take_away_while_images_are_copied_is_merged_anew() {
    isolated(|| {
        let (root, key) = (Root::new(), key("vendor"));
        root.trust(&key);
        root.image(Class::Confext, "run/confexts/one.raw", &[("etc/one", "1")], Some(&key));
        let etc = root.path("etc");
        let taken = Arc::new(Mutex::new(0));
        let mut options = Options::default();
        options.attach = Mode::SealedMemory;
        merge(&root.host(), Class::Confext, &options).unwrap();
        options.replace = Replace::Always;
        let count = Arc::clone(&taken);
        options.watch = Watch::new(move |_| {
            let mut count = count.lock().unwrap();
            if *count == 0 {
                rustix::mount::unmount(&etc, rustix::mount::UnmountFlags::DETACH).unwrap();
            }
            *count += 1;
            ControlFlow::Continue(())
        });
        let report = refresh(&root.host(), Class::Confext, &options).unwrap();
        assert!(*taken.lock().unwrap() > 0 && matches!(report.outcome, Outcome::Refreshed { .. }));
        assert_eq!((root.mounts(), root.read("etc/one").as_deref()), (vec!["/etc".to_owned()], Some("1")));
        root.unmerge(Class::Confext);
        assert_eq!((root.mounts(), root.read("etc/one")), (vec![], None));
    });
}
