//! The two ways to ask about mounts: both say the same of every kind of mount.

use super::*;
use confext_core::sys::{MountInfo, MountSource};
use rustix::mount::{MountFlags, MountPropagationFlags};

/// Everything but the numbers, and the order of options, which the two need not have in common.
fn facts(info: MountInfo) -> String {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    format!(
        "{} {} {:?} {:?} {:?} {:?} {:?} {:?}",
        text(info.mount_point),
        text(info.root),
        info.device,
        text(info.fs_type),
        info.attributes,
        info.propagation,
        info.superblock_flags,
        info.source.map(text),
    )
}

#[test]
#[ignore = "needs root"]
fn the_table_says_what_the_calls_say() {
    isolated(|| {
        let dir = scratch();
        let mount = |name: &str, flags: MountFlags, options: &std::ffi::CStr| {
            let at = dir.path().join(name);
            fs::create_dir_all(&at).unwrap();
            rustix::mount::mount("a\tsource \\ #", &at, "tmpfs", flags, Some(options)).unwrap();
            at
        };
        let outer = mount("outer", MountFlags::NODEV | MountFlags::NOATIME, c"size=1M");
        mount("outer/with space\nand line, \\040", MountFlags::RDONLY | MountFlags::NOSUID, c"mode=0700");
        mount("outer/deep/est", MountFlags::NOEXEC | MountFlags::STRICTATIME, c"");
        mount("outer/deep", MountFlags::NODIRATIME, c"");
        let shared = mount("outer/shared", MountFlags::SYNCHRONOUS, c"");
        rustix::mount::mount_change(&shared, MountPropagationFlags::SHARED).unwrap();
        let bound = dir.path().join("outer/bound");
        fs::create_dir_all(shared.join("inside")).unwrap();
        fs::create_dir(&bound).unwrap();
        rustix::mount::mount_bind(shared.join("inside"), &bound).unwrap();
        rustix::mount::mount_change(&bound, MountPropagationFlags::DOWNSTREAM).unwrap();

        let fd = File::open(&outer).unwrap();
        let ask = |source: MountSource| {
            let id = source.id(fd.as_fd()).unwrap();
            // What is listed is all but source and options.
            let whole = |listed: MountInfo| {
                let whole = source.info(listed.id).unwrap();
                let mut less = whole.clone();
                (less.source, less.options) = (None, None);
                assert_eq!(listed, less);
                facts(whole)
            };
            let mut found: Vec<_> = source.below(id).unwrap().into_iter().map(whole).collect();
            found.sort();
            found.push(facts(source.info(id).unwrap()));
            found
        };
        let (calls, table) = (ask(MountSource::Calls), ask(MountSource::Table));
        assert_eq!(calls.len(), 6, "{calls:#?}");
        assert_eq!(calls, table);
        let everything = |source: MountSource| {
            let found = source.below(sys::MountId::ROOT).unwrap();
            found.into_iter().map(facts).collect::<std::collections::BTreeSet<_>>()
        };
        assert!(everything(MountSource::Table).is_superset(&everything(MountSource::Calls)));
        for source in [MountSource::Calls, MountSource::Table] {
            let detached = sys::clone_tree(fd.as_fd(), c"", Depth::Single).unwrap();
            let error = source.id(detached.as_fd()).and_then(|id| source.info(id)).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{source:?}");
        }
        sys::detach_path(&outer).unwrap();
    });
}
