//! Where the files of a merged stack come from, and what is believed on whose word.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use confext_core::admission::Options;
use confext_core::directory::Directory;
use confext_core::plan::VetoKind;
use confext_core::settings::Mutability;
use confext_core::state::{Checked, HierarchyState};
use confext_core::trace::{
    self as tracing, Answer, Compare, Filter, KnownFrom, Links, Origin, Presence, Shadow, Source, Tracer,
    View,
};
use confext_core::{merge, status, trace, trace_plan};
use confext_ddi::build::{Device, Meta, Tree};
use confext_ddi::fs::{FileSystem, FileType};
use confext_ddi::image::{self, Image};
use confext_ddi::limits::Limits;
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_tests::namespace::run;
use confext_tests::root::{Root, key, unprotected};
use confext_tests::sweep::isolated;
use rustix::mount::{MountFlags, UnmountFlags};

fn tmpfs(at: &Path) {
    rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::empty(), None).unwrap();
}

fn unmount(at: &Path) {
    rustix::mount::unmount(at, UnmountFlags::DETACH).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_trace_answers_for_every_kind_of_place() {
    isolated(|| {
        let root = Root::new();
        root.confext("a", "etc/base", "a").confext("b", "etc/base", "bb").confext("b", "etc/dir/b", "b");
        root.file("etc/dir/host", "h").file("etc/mnt/x", "").file("srv/y", "");
        symlink("base", root.path("etc/link")).unwrap();
        let ask = |path: &str| trace(&root.host(), path, &Limits::default()).unwrap();
        assert_eq!(ask("/etc/base").answer, Answer::NotMerged);
        root.merge(Class::Confext).unwrap();
        tmpfs(&root.path("etc/mnt"));

        assert_eq!(ask("/etc/nothing").answer, Answer::Absent);
        assert_eq!(ask("/srv/y").answer, Answer::NotMerged);
        assert_eq!(ask("/etc/dir/host").answer, Answer::Base { hierarchy: "etc", base: Presence::Present });
        assert_eq!(ask("/etc/link").answer, Answer::Base { hierarchy: "etc", base: Presence::Present });
        assert_eq!(ask("/etc/mnt").answer, Answer::Submount { hierarchy: "etc" });
        assert_eq!(ask("/etc/.systemd-confext/dev").answer, Answer::Metadata { hierarchy: "etc" });
        let Answer::Directory { sources, base, .. } = ask("/etc/dir").answer else { panic!() };
        assert_eq!((sources[0].layer.as_str(), sources.len(), base), ("b", 1, Presence::Present));
        let Answer::Layer { source, shadows, .. } = ask("/etc/dir/../base").answer else { panic!() };
        assert_eq!((source.layer.as_str(), source.confirmed_by), ("b", "directory"));
        assert_eq!(source.image, "/var/lib/confexts/b");
        assert_eq!(shadows.len(), 2);
        assert!(matches!(&shadows[0], Shadow::Layer { source } if source.layer == "a"));
        assert_eq!(shadows[1], Shadow::Base);

        // The extension below changes: it is no longer known what the merged one has. The one on top still is.
        root.confext("a", "etc/other", "x");
        let Answer::Layer { shadows, .. } = ask("/etc/base").answer else { panic!() };
        assert!(matches!(&shadows[0], Shadow::Unknown { unknown } if unknown.code == "layer-changed"));
        // The one on top goes: it could have any path.
        fs::remove_dir_all(root.path("var/lib/confexts/b")).unwrap();
        let Answer::CannotTell { unknown, .. } = ask("/etc/base").answer else { panic!() };
        assert_eq!((unknown[0].layer.as_str(), unknown.len()), ("b", 2));
        rustix::mount::unmount(root.path("etc/mnt"), UnmountFlags::DETACH).unwrap();
        root.unmerge(Class::Confext);
    });
}

/// A program that does not hide what an extension has in the place of the stack's metadata: the extension brings a record
/// that names a signer for it.
#[test]
#[ignore = "needs root"]
fn a_record_that_an_extension_brings_is_not_believed() {
    isolated(|| {
        let (root, key) = (Root::new(), key("vendor"));
        root.trust(&key);
        root.image(Class::Confext, "run/confexts/one.raw", &[("etc/a", "a")], Some(&key));
        merge(&root.host(), Class::Confext, &Options::default()).unwrap();
        let record = root.read("etc/.systemd-confext/provenance.json").unwrap();
        root.unmerge(Class::Confext);
        root.file("evil/etc/a", "evil").file("evil/etc/.systemd-confext/provenance.json", "");
        root.file("meta/.systemd-confext/confexts", "one\n").file("meta/.systemd-confext/dev", "");
        let lower = ["meta", "evil/etc", "etc"].map(|path| root.path(path).display().to_string()).join(":");
        let options = format!("ro,lowerdir={lower},redirect_dir=nofollow");
        let etc = root.path("etc");
        run("mount", &["-t", "overlay", "confext", etc.to_str().unwrap(), "-o", &options]);
        let dev = fs::metadata(&etc).unwrap().dev();
        let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
        root.file("meta/.systemd-confext/dev", &format!("{major}:{minor}\n"));
        // Even if it knew the number of the device.
        let mut forged: serde_json::Value = serde_json::from_str(&record).unwrap();
        for device in [forged["device"].clone(), serde_json::json!([major, minor])] {
            forged["device"] = device;
            root.file("evil/etc/.systemd-confext/provenance.json", &forged.to_string());
            run("mount", &["-o", "remount", etc.to_str().unwrap()]);
            let found = &status(&root.host(), Class::Confext).unwrap()[0];
            let HierarchyState::Merged { doubts, record, .. } = &found.state else { panic!("{found:?}") };
            assert!(record.is_some() && doubts.iter().any(|doubt| doubt.what == "layers"), "{doubts:?}");
            for path in ["/etc/a", "/etc/base", "/etc"] {
                let origin = trace(&root.host(), path, &Limits::default()).unwrap();
                let Answer::CannotTell { doubts, .. } = &origin.answer else { panic!("{origin:?}") };
                assert!(doubts.iter().any(|doubt| doubt.what == "layers"), "{doubts:?}");
                assert!(!format!("{origin:?}").contains("vendor"), "{origin:?}");
            }
        }
        unmount(&etc);
    });
}

/// What an independent walk of a directory finds: every path with its type, also what is below mounts.
fn walk(directory: &Path, found: &mut BTreeMap<PathBuf, fs::FileType>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        found.insert(entry.path(), kind);
        if kind.is_dir() {
            walk(&entry.path(), found);
        }
    }
}

fn meta() -> Meta {
    Meta::new(0o644)
}

/// A host with four extensions over `/etc`: two signed, one with a hash tree only, and a directory; with directories that
/// several have, files that hide others, hard links, links, whiteouts, and a mount below.
fn rich(signer: &confext_ddi::signature::KeyPair) -> Root {
    let root = Root::new();
    root.trust(signer);
    for path in ["d/host", "d/deep/host", "gone", "hidden/x", "hidden/y/z", "mnt/under", "only/a", "only/b/c"]
    {
        root.file(&format!("etc/{path}"), path);
    }
    symlink("base", root.path("etc/link")).unwrap();
    fs::hard_link(root.path("etc/only/a"), root.path("etc/only/hard")).unwrap();

    let mut a = Tree::new();
    a.add_file("etc/base", "a's base", meta()).unwrap();
    a.add_file("etc/d/a", "a", meta()).unwrap();
    a.add_file("etc/d/both", "a's", meta()).unwrap();
    a.add_hardlink("etc/d/a-hard", "etc/d/a").unwrap();
    a.add_file("etc/gone", "a's, and hidden by b", meta()).unwrap();
    a.add_file("etc/large", "x".repeat(3_000_000), meta()).unwrap();
    root.image_of(Class::Confext, "run/confexts/a.raw", a, Some(signer));

    let mut b = Tree::new();
    b.add_file("etc/d/both", "b's, which is longer", meta()).unwrap();
    b.add_file("etc/d/deep/b", "b", Meta::new(0o600)).unwrap();
    b.add_symlink("etc/d/a-link", "/etc/d/a", meta()).unwrap();
    b.add_device("etc/gone", Device::Character { major: 0, minor: 0 }, meta()).unwrap();
    root.image_of(Class::Confext, "run/confexts/b.raw", b, Some(signer));

    root.image(Class::Confext, "run/confexts/c.raw", &[("etc/d/c", "c"), ("etc/empty", "")], None);
    root.confext("z", "etc/d/deep/z", "z").confext("z", "etc/z/one", "z");
    let whiteout = root.path("var/lib/confexts/z/etc/hidden");
    run("mknod", &[whiteout.to_str().unwrap(), "c", "0", "0"]);
    root
}

/// Any protection, and what `rich` does to the host.
fn permissive() -> Options {
    let mut options = unprotected();
    options.policy = Policy::parse("root=signed+verity+unprotected+absent:=ignore").unwrap();
    options.allow = [VetoKind::Whiteout, VetoKind::TypeChange].map(Into::into).to_vec();
    options
}

fn content_of(root: &Root, source: &Source, path: &Path) -> Option<Vec<u8>> {
    let place = root.path(source.image.trim_start_matches('/'));
    let path = path.strip_prefix("/").unwrap().to_str().unwrap().as_bytes();
    let limits = Limits::default();
    if place.is_dir() {
        return Directory::new(File::open(place).unwrap().into(), &limits).read(path).ok();
    }
    let image = Image::open(File::open(place).unwrap(), &image::Options::default()).unwrap();
    let admitted = Policy::verity().judge(image, None).unwrap();
    assert_eq!(admitted.root_hash(), source.root_hash.as_ref());
    admitted.file_system(&limits).unwrap().read(path).ok()
}

fn all(root: &Root, options: &tracing::Options) -> Vec<Origin> {
    Tracer::live(&root.host(), options).unwrap().tree().map(Result::unwrap).collect()
}

#[test]
#[ignore = "needs root"]
fn every_file_of_a_merged_tree_is_accounted_for() {
    isolated(|| {
        let signer = key("vendor");
        let root = rich(&signer);
        let host_files: BTreeMap<_, _> = {
            let mut found = BTreeMap::new();
            walk(&root.path("etc"), &mut found);
            found
                .keys()
                .filter(|path| path.is_file())
                .map(|path| (path.clone(), fs::read(path).unwrap()))
                .collect()
        };
        tmpfs(&root.path("etc/mnt"));
        root.file("etc/mnt/inner/x", "x");
        merge(&root.host(), Class::Confext, &permissive()).unwrap();

        let mut seen = BTreeMap::new();
        walk(&root.path("etc"), &mut seen);
        let mut options = tracing::Options::default();
        let report = all(&root, &options);
        options.compare = Compare::Content;
        assert_eq!(report, all(&root, &options), "the same when all content is compared");

        let mut left = seen.clone();
        let mut counts = BTreeMap::new();
        for origin in &report {
            let place = root.path(origin.path.strip_prefix("/").unwrap().to_str().unwrap());
            let kind = left.remove(&place);
            assert_eq!(
                kind.is_some() || origin.path == Path::new("/etc"),
                origin.file_type.is_some(),
                "{origin:?}"
            );
            let name = serde_json::to_value(&origin.answer).unwrap()["answer"].as_str().unwrap().to_owned();
            *counts.entry(name).or_insert(0) += 1;
            match &origin.answer {
                Answer::Layer { source, .. } if origin.file_type == Some(FileType::Regular) => {
                    assert_eq!(content_of(&root, source, &origin.path), fs::read(&place).ok(), "{origin:?}");
                }
                Answer::Base { base, .. } if place.is_file() && !place.is_symlink() => {
                    assert_eq!(host_files.get(&place), fs::read(&place).ok().as_ref(), "{origin:?}");
                    assert_eq!(*base, Presence::Present);
                }
                Answer::CannotTell { .. } | Answer::Written { .. } | Answer::CopiedUp { .. } => {
                    panic!("{origin:?}")
                }
                _ => {}
            }
            // One path gives what the whole tree gives.
            let single = trace(&root.host(), &origin.path, &Limits::default()).unwrap();
            assert_eq!(single, *origin);
        }
        // What is left is below the mount, and nothing else.
        assert!(left.keys().all(|path| path.starts_with(root.path("etc/mnt"))), "{left:?}");
        assert_eq!(left.len(), 2);
        // The metadata: a directory with names, device, origin and record, and the device under a host that has one.
        assert_eq!((counts["submount"], counts["hidden"]), (1, 2), "{counts:?}");
        assert!(counts["metadata"] >= 5, "{counts:?}");
        let expected = ["base", "directory", "hidden", "layer", "metadata", "submount"];
        assert_eq!(counts.keys().map(String::as_str).collect::<Vec<_>>(), expected);

        let of = |path: &str| &report.iter().find(|origin| origin.path == Path::new(path)).unwrap().answer;
        let Answer::Hidden { source, shadows, .. } = of("/etc/gone") else { panic!("{:?}", of("/etc/gone")) };
        assert_eq!((source.layer.as_str(), shadows.len()), ("b", 2), "{shadows:?}");
        let Answer::Hidden { source, shadows, .. } = of("/etc/hidden") else { panic!() };
        assert_eq!((source.layer.as_str(), shadows), ("z", &vec![Shadow::Base]));
        let Answer::Directory { sources, base, .. } = of("/etc/d/deep") else { panic!() };
        let names: Vec<_> = sources.iter().map(|source| source.layer.as_str()).collect();
        assert_eq!((names.as_slice(), *base), (&["z", "b"][..], Presence::Present));

        reverse(&report);
        root.unmerge(Class::Confext);
        unmount(&root.path("etc/mnt"));
    });
}

/// From images and signers to paths.
fn reverse(report: &[Origin]) {
    let paths = |filter: Filter| -> Vec<String> {
        let files = report.iter().filter(|origin| filter.wants(origin));
        let files = files.filter(|origin| origin.file_type != Some(FileType::Directory));
        files.map(|origin| origin.path.display().to_string()).collect()
    };
    let of_b = [
        "/etc/d/a-link",
        "/etc/d/both",
        "/etc/d/deep/b",
        "/etc/extension-release.d/extension-release.b",
        "/etc/gone",
    ];
    for name in ["b", "b.raw", "/run/confexts/b.raw"] {
        assert_eq!(paths(Filter::Image(name.into())), of_b);
    }
    let signed = paths(Filter::Signer("CN=vendor".into()));
    assert!(of_b.iter().all(|path| signed.contains(&(*path).to_owned())), "{signed:?}");
    assert!(signed.contains(&"/etc/large".to_owned()) && !signed.contains(&"/etc/d/c".to_owned()));
    let of_z = ["/etc/d/deep/z", "/etc/extension-release.d/extension-release.z", "/etc/hidden", "/etc/z/one"];
    assert_eq!(paths(Filter::Unverified), of_z);
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_proven_is_not_told() {
    isolated(|| {
        let signer = key("vendor");
        let root = rich(&signer);
        merge(&root.host(), Class::Confext, &permissive()).unwrap();
        // The topmost is gone: any path could be its, but not what is below it is hidden by.
        fs::remove_dir_all(root.path("var/lib/confexts/z")).unwrap();
        for origin in all(&root, &tracing::Options::default()) {
            match &origin.answer {
                Answer::CannotTell { unknown, .. } => assert_eq!(unknown[0].layer, "z", "{origin:?}"),
                Answer::Directory { unknown, .. } => assert_eq!(unknown[0].layer, "z", "{origin:?}"),
                Answer::Metadata { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn a_plan_says_where_files_would_come_from() {
    isolated(|| {
        let signer = key("vendor");
        let root = rich(&signer);
        let (host, options) = (root.host(), permissive());
        let planned = |host: &confext_core::Host| -> Vec<Origin> {
            let own = tracing::Options::default();
            let tracer = Tracer::planned(host, &[Class::Confext, Class::Sysext], &options, &own).unwrap();
            tracer.tree().map(Result::unwrap).collect()
        };
        let before = planned(&host);
        merge(&host, Class::Confext, &options).unwrap();
        let after = planned(&host);
        assert_eq!(before, after, "what is merged does not change what a merge would give");
        // The plan is what the merge made, but for what only a merged stack has.
        let live: BTreeMap<_, _> = all(&root, &tracing::Options::default())
            .into_iter()
            .filter(|origin| !matches!(origin.answer, Answer::Metadata { .. }))
            .map(|origin| (origin.path.clone(), summary(&origin)))
            .collect();
        let plan: BTreeMap<_, _> =
            before.iter().map(|origin| (origin.path.clone(), summary(origin))).collect();
        assert_eq!(plan, live);
        assert!(before.iter().all(|origin| origin.view == View::Planned));
        root.unmerge(Class::Confext);

        let origin = trace_plan(&host, Class::Confext, "/etc/d/both", &options).unwrap();
        let Answer::Layer { source, shadows, .. } = &origin.answer else { panic!("{origin:?}") };
        assert_eq!((source.layer.as_str(), source.known_from, shadows.len()), ("b", KnownFrom::Plan, 1));
        assert!(matches!(&source.checked, Checked::Signed { by, .. } if by.subject == "CN=vendor"));
        let mut follow = tracing::Options::default();
        follow.links = Links::Follow;
        let tracer = Tracer::planned(&host, &[Class::Confext], &options, &follow).unwrap();
        let link = tracer.trace("/etc/d/a-link").unwrap();
        let target = link.target.as_ref().unwrap();
        assert_eq!((link.file_type, target.path.as_path()), (Some(FileType::Symlink), Path::new("/etc/d/a")));
        assert!(matches!(&target.answer, Answer::Layer { source, .. } if source.layer == "a"));
        for (path, absent) in [("/etc/gone", false), ("/etc/none", true), ("/etc/hidden/x", true)] {
            let origin = tracer.trace(path).unwrap();
            assert_eq!((origin.file_type, origin.answer == Answer::Absent), (None, absent), "{origin:?}");
        }
        assert_eq!(tracer.trace("/usr/lib/os-release").unwrap().answer, Answer::NotMerged);
    });
}

/// What was written before is above the extensions, or below them, also in a plan.
#[test]
#[ignore = "needs root"]
fn a_plan_says_what_was_written_before() {
    isolated(|| {
        for mode in Mutability::ALL {
            for to_host in [false, true] {
                let root = Root::new();
                root.confext("a", "etc/new", "a").confext("a", "etc/base", "a").confext("a", "etc/only", "a");
                let written = "var/lib/extensions.mutable/etc";
                if to_host && matches!(mode, Mutability::Import | Mutability::EphemeralImport) {
                    continue;
                } else if to_host {
                    fs::create_dir_all(root.path("var/lib/extensions.mutable")).unwrap();
                    symlink("/etc", root.path(written)).unwrap();
                } else {
                    root.file(&format!("{written}/new"), "written")
                        .file(&format!("{written}/own"), "written");
                }
                let mut options = unprotected();
                options.mutability = mode;
                let own = tracing::Options::default();
                let answers = |tracer: &Tracer<'_>| -> Vec<_> {
                    ["/etc/new", "/etc/base", "/etc/only", "/etc/own", "/etc/none"]
                        .iter()
                        .map(|path| tracer.trace(path).unwrap())
                        .map(|origin| (origin.path.clone(), summary(&origin)))
                        .collect()
                };
                let host = root.host();
                let planned = answers(&Tracer::planned(&host, &[Class::Confext], &options, &own).unwrap());
                merge(&host, Class::Confext, &options).unwrap();
                let live = answers(&Tracer::live(&host, &own).unwrap());
                assert_eq!(planned, live, "{mode}, {to_host}");
                root.unmerge(Class::Confext);
            }
        }
    });
}

/// What of an answer must be the same before and after a merge.
fn summary(origin: &Origin) -> (Option<FileType>, Vec<String>, String) {
    let value = serde_json::to_value(&origin.answer).unwrap();
    let names = |value: &serde_json::Value| value["layer"].as_str().map(str::to_owned);
    let sources = value["sources"].as_array().into_iter().flatten().chain([&value["source"]]);
    let shadows = value["shadows"].as_array().into_iter().flatten();
    let shadows = shadows.map(|shadow| format!("{}{:?}", shadow["by"], names(&shadow["source"])));
    let all = sources.filter_map(names).chain(shadows).collect();
    (origin.file_type, all, value["answer"].to_string())
}

/// A stack as another program leaves it: metadata, `origin`, and no record.
#[test]
#[ignore = "needs root"]
fn a_stack_of_another_program_is_told_on_its_word() {
    isolated(|| {
        let (root, signer) = (Root::new(), key("vendor"));
        let built = root.image(
            Class::Confext,
            "run/confexts/a.raw",
            &[("etc/a", "a"), ("etc/f", "f")],
            Some(&signer),
        );
        root.confext("b", "etc/b", "b").confext("b", "etc/f", "b's");
        let mount = |hash: &str| {
            let inode = fs::metadata(root.path("var/lib/confexts/b")).unwrap().ino();
            let origin = serde_json::json!({ "mutable": { "mode": "no", "mutableDirs": {} }, "extensions": {
                "a": { "path": "/run/confexts/a.raw", "verityHash": hash },
                "b": { "path": "/var/lib/confexts/b", "onMountId": 5, "inode": inode, "crtime": 1, "mtime": 0 } } });
            root.file("meta/.systemd-confext/origin", &origin.to_string());
            root.file("meta/.systemd-confext/confexts", "a\nb\n").file("meta/.systemd-confext/dev", "");
            fs::create_dir_all(root.path("mounted")).unwrap();
            let image = root.path("image");
            let data = built.partitions[0].range;
            let bytes = fs::read(root.path("run/confexts/a.raw")).unwrap();
            let range = usize::try_from(data.start()).unwrap()..usize::try_from(data.end()).unwrap();
            fs::write(&image, &bytes[range]).unwrap();
            run("mount", &["-o", "loop,ro", image.to_str().unwrap(), root.path("mounted").to_str().unwrap()]);
            let lower = ["meta", "var/lib/confexts/b/etc", "mounted/etc", "etc"];
            let lower = lower.map(|path| root.path(path).display().to_string()).join(":");
            let etc = root.path("etc");
            run(
                "mount",
                &["-t", "overlay", "confext", etc.to_str().unwrap(), "-o", &format!("ro,lowerdir={lower}")],
            );
            let dev = fs::metadata(&etc).unwrap().dev();
            let dev = format!("{}:{}\n", rustix::fs::major(dev), rustix::fs::minor(dev));
            root.file("meta/.systemd-confext/dev", &dev);
        };
        let unmount = || {
            unmount(&root.path("etc"));
            unmount(&root.path("mounted"));
        };
        let ask = |path: &str| trace(&root.host(), path, &Limits::default()).unwrap().answer;
        mount(&built.root_hash.to_hex());
        // Nobody trusts the signer: the root hash is proven, and nobody is named.
        let Answer::Layer { source, .. } = ask("/etc/a") else { panic!("{:?}", ask("/etc/a")) };
        assert_eq!((source.known_from, source.confirmed_by), (KnownFrom::Origin, "root-hash"));
        assert_eq!(source.checked, Checked::Verity { root_hash: built.root_hash });
        let Answer::Layer { source, shadows, .. } = ask("/etc/f") else { panic!("{:?}", ask("/etc/f")) };
        assert_eq!(
            (source.layer.as_str(), source.confirmed_by, &source.checked),
            ("b", "path", &Checked::None)
        );
        assert!(matches!(&shadows[..], [Shadow::Layer { source }] if source.layer == "a"), "{shadows:?}");
        assert_eq!(ask("/etc/base"), Answer::Base { hierarchy: "etc", base: Presence::Present });
        unmount();
        // Now somebody does: the signature is checked for this answer.
        root.trust(&signer);
        mount(&built.root_hash.to_hex());
        let Answer::Layer { source, .. } = ask("/etc/a") else { panic!("{:?}", ask("/etc/a")) };
        assert!(matches!(&source.checked, Checked::Signed { by, .. } if by.subject == "CN=vendor"));
        assert_eq!(source.known_from, KnownFrom::Origin);
        unmount();
        // Another root hash than what was written down: whatever is merged, it is not this image.
        mount(&"ab".repeat(32));
        let Answer::CannotTell { unknown, .. } = ask("/etc/a") else { panic!("{:?}", ask("/etc/a")) };
        assert_eq!((unknown[0].layer.as_str(), unknown[0].code), ("a", "layer-changed"));
        unmount();
    });
}

/// A stack of another program that can be written to: the changes are in a directory, or no path leads to them.
#[test]
#[ignore = "needs root"]
fn what_was_written_after_the_merge_is_told_apart() {
    isolated(|| {
        for mode in ["yes", "ephemeral"] {
            let root = Root::new();
            root.confext("a", "etc/a", "a").confext("a", "etc/d/one", "1").confext("a", "etc/d/two", "2");
            root.file("etc/gone", "of the host").file("etc/d/host", "of the host");
            let lower =
                ["meta", "var/lib/confexts/a/etc", "etc"].map(|path| root.path(path).display().to_string());
            let inode = fs::metadata(root.path("var/lib/confexts/a")).unwrap().ino();
            let directories = match mode {
                "yes" => serde_json::json!({ "/etc": "/var/lib/extensions.mutable/etc" }),
                _ => serde_json::json!({}),
            };
            let origin = serde_json::json!({ "mutable": { "mode": mode, "mutableDirs": directories }, "extensions": {
                "a": { "path": "/var/lib/confexts/a", "inode": inode } } });
            root.file("meta/.systemd-confext/origin", &origin.to_string());
            root.file("meta/.systemd-confext/confexts", "a\n").file("meta/.systemd-confext/dev", "");
            for path in ["var/lib/extensions.mutable/etc", "var/lib/extensions.mutable/work"] {
                fs::create_dir_all(root.path(path)).unwrap();
            }
            let (lower, etc) = (lower.join(":"), root.path("etc"));
            let [upper, work] =
                ["etc", "work"].map(|name| root.path(&format!("var/lib/extensions.mutable/{name}")));
            let options = format!("lowerdir={lower},upperdir={},workdir={}", upper.display(), work.display());
            run("mount", &["-t", "overlay", "confext", etc.to_str().unwrap(), "-o", &options]);
            let dev = fs::metadata(&etc).unwrap().dev();
            let dev = format!("{}:{}\n", rustix::fs::major(dev), rustix::fs::minor(dev));
            root.file("meta/.systemd-confext/dev", &dev);

            fs::write(root.path("etc/a"), "changed").unwrap();
            fs::write(root.path("etc/base"), "changed, too").unwrap();
            fs::write(root.path("etc/new"), "new").unwrap();
            fs::create_dir(root.path("etc/made")).unwrap();
            fs::remove_file(root.path("etc/gone")).unwrap();
            fs::remove_file(root.path("etc/d/two")).unwrap();
            let found: BTreeMap<_, _> = all(&root, &tracing::Options::default())
                .into_iter()
                .map(|origin| (origin.path.display().to_string(), origin.answer))
                .collect();
            let (hierarchy, of) = ("etc", |path: &str| found[path].clone());
            let Answer::CopiedUp { shadows, .. } = of("/etc/a") else { panic!("{mode}: {:?}", of("/etc/a")) };
            assert!(matches!(&shadows[..], [Shadow::Layer { source }] if source.layer == "a"), "{shadows:?}");
            assert_eq!(
                of("/etc/base"),
                Answer::CopiedUp { hierarchy, shadows: vec![Shadow::Base] },
                "{mode}"
            );
            assert_eq!(of("/etc/new"), Answer::Written { hierarchy }, "{mode}");
            assert_eq!(of("/etc/made"), Answer::Written { hierarchy }, "{mode}");
            assert_eq!(of("/etc/gone"), Answer::Deleted { hierarchy, shadows: vec![Shadow::Base] }, "{mode}");
            let Answer::Deleted { shadows, .. } = of("/etc/d/two") else {
                panic!("{mode}: {:?}", of("/etc/d/two"))
            };
            assert!(matches!(&shadows[..], [Shadow::Layer { source }] if source.layer == "a"), "{shadows:?}");
            assert!(matches!(of("/etc/d/one"), Answer::Layer { .. }), "{mode}: {:?}", of("/etc/d/one"));
            assert_eq!(of("/etc/d/host"), Answer::Base { hierarchy, base: Presence::Present }, "{mode}");
            // What is asked of one path is what the whole tree says.
            for (path, answer) in &found {
                assert_eq!(
                    trace(&root.host(), path, &Limits::default()).unwrap().answer,
                    *answer,
                    "{mode}: {path}"
                );
            }
            unmount(&etc);
        }
    });
}
