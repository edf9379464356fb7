//! EROFS images of ours, mounted by this kernel and compared with their source entry by entry.

use confext_ddi::build::{DirectoryOptions, Tree, erofs};
use confext_tests::namespace::{in_mount_namespace, run};
use confext_tests::source;
use std::path::Path;

fn write_image(tree: &Tree, path: &Path) -> u64 {
    let mut file = std::fs::File::create(path).unwrap();
    let size = erofs::write(tree, &erofs::Options::default(), &mut file).unwrap();
    assert_eq!(file.metadata().unwrap().len(), size);
    size
}

fn mount(image: &Path, at: &Path) {
    std::fs::create_dir(at).unwrap();
    run("mount", &["-t", "erofs", "-o", "loop,ro", image.to_str().unwrap(), at.to_str().unwrap()]);
}

#[test]
#[ignore = "needs root"]
fn the_kernel_sees_what_the_source_directory_has() {
    in_mount_namespace(|dir| {
        let source = dir.join("source");
        std::fs::create_dir(&source).unwrap();
        source::populate_as_root(&source);
        let expected = source::record(&source);
        assert!(expected.len() > source::MANY + 40);
        let xattr_bytes = |entry: &source::Entry| entry.xattrs.values().map(Vec::len).sum::<usize>();
        assert!(expected.values().any(|entry| xattr_bytes(entry) >= 60_000));

        let tree = Tree::from_directory(&source, &DirectoryOptions::default()).unwrap();
        let image = dir.join("confext-test-erofs.raw");
        let size = write_image(&tree, &image);
        assert!(size < 4 << 20, "holes are not stored: {size} bytes");
        let mounted = dir.join("mounted");
        mount(&image, &mounted);
        source::assert_same(&source::record(&mounted), &expected);
        for name in ["absent", "!", "-", "many/.", "many/entry-99999", "many/é", "many/~"] {
            let found = mounted.join(name).symlink_metadata();
            assert_eq!(found.is_ok(), name == "many/.", "{name}");
        }

        // A second generation: an image of the mounted image is the same image.
        let again = Tree::from_directory(&mounted, &DirectoryOptions::default()).unwrap();
        let second = dir.join("confext-test-erofs-2.raw");
        assert!(write_image(&again, &second) < 4 << 20, "holes are found in EROFS too");
        let second_mounted = dir.join("mounted-2");
        mount(&second, &second_mounted);
        source::assert_same(&source::record(&second_mounted), &expected);
    });
}

#[test]
#[ignore = "needs root"]
fn entries_made_in_memory_mount_as_they_were_added() {
    use confext_ddi::build::{Device, Meta, Timestamp};
    in_mount_namespace(|dir| {
        let mut tree = Tree::new();
        let build_time = Timestamp::new(1_700_000_000, 250).unwrap();
        tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o640).owner(5, 6)).unwrap();
        tree.add_hardlink("etc/alias.conf", "etc/app.conf").unwrap();
        tree.add_symlink("etc/link", "app.conf", Meta::new(0)).unwrap();
        tree.add_device("dev/null", Device::Character { major: 1, minor: 3 }, Meta::new(0o666)).unwrap();
        tree.add_file("etc/later", "", Meta::new(0o600).mtime(Timestamp::from_seconds(1_800_000_000)))
            .unwrap();
        tree.set_xattr("etc", "user.owner", "us").unwrap();
        let mut options = erofs::Options::default();
        options.build_time = build_time;
        options.latest_mtime = Some(build_time);
        let image = dir.join("confext-test-erofs.raw");
        let mut file = std::fs::File::create(&image).unwrap();
        assert_eq!(erofs::write(&tree, &options, &mut file).unwrap(), 4096);
        let mounted = dir.join("mounted");
        mount(&image, &mounted);
        let found = source::record(&mounted);
        let names: Vec<&[u8]> = found.keys().map(Vec::as_slice).collect();
        let expected =
            ["", "dev", "dev/null", "etc", "etc/alias.conf", "etc/app.conf", "etc/later", "etc/link"];
        assert_eq!(names, expected.map(str::as_bytes));
        assert!(found.values().all(|entry| entry.mtime == (1_700_000_000, 250)));
        let entry = |path: &str| &found[path.as_bytes()];
        assert_eq!((entry("etc/app.conf").mode, entry("etc/app.conf").owner), (0o100_640, (5, 6)));
        assert_eq!(entry("etc/app.conf").nlink, 2);
        assert_eq!(entry("etc/app.conf").first_name, b"etc/alias.conf");
        assert_eq!(entry("etc/link").content, b"app.conf");
        assert_eq!(entry("dev/null").device, Some((1, 3)));
        assert_eq!(entry("etc").xattrs[&b"user.owner"[..]], b"us");
        assert_eq!(std::fs::read(mounted.join("etc/link")).unwrap(), b"answer = 42\n");
    });
}
