//! Layers of every file system and of directories, and an overlay of them.

use super::*;

#[test]
#[ignore = "needs root"]
fn layers_of_each_file_system_have_their_files_and_flags() {
    isolated(|| {
        for fs_type in ["erofs", "squashfs", "ext4"] {
            for mode in [Mode::SealedMemory, Mode::Plain] {
                let dir = scratch();
                let image = make_image(fs_type, dir.path());
                let before = fs::read(&image).unwrap();
                let layer = mount(&image, mode, Class::Confext);
                let settings = layer.read("etc/app/settings", 1 << 10).unwrap().unwrap();
                assert_eq!(settings, b"colour = blue\n", "{fs_type} {mode:?}");
                assert_eq!(layer.hierarchies().unwrap().len(), 1);
                let Source::Image { origin, .. } = layer.source() else { panic!("an image") };
                assert_eq!(origin.fs_type.as_str(), fs_type);

                let flags = sys::volume_flags(layer.mount_fd()).unwrap();
                let safe = StatVfsMountFlags::RDONLY | StatVfsMountFlags::NODEV;
                let inert = StatVfsMountFlags::NOSUID | StatVfsMountFlags::NOEXEC;
                assert!(flags.contains(safe | inert), "{flags:?}");
                let sysext = mount(&image, mode, Class::Sysext);
                let flags = sys::volume_flags(sysext.mount_fd()).unwrap();
                assert!(flags.contains(safe) && !flags.intersects(inert), "{flags:?}");
                let paths: Vec<&str> = sysext.hierarchies().unwrap().iter().map(|found| found.path).collect();
                assert_eq!(paths, ["usr"]);
                drop((layer, sysext));
                assert!(fs::read(&image).unwrap() == before, "{fs_type}: the mount changed the image");
            }
        }
    });
}

#[test]
#[ignore = "needs root"]
fn an_ext4_journal_is_left_alone_and_may_be_missing() {
    isolated(|| {
        for features in ["^metadata_csum", "^metadata_csum,^has_journal"] {
            let dir = scratch();
            let image = dir.path().join("ext4.raw");
            let file = File::create_new(&image).unwrap();
            file.set_len(4 << 20).unwrap();
            let tree = tree(dir.path());
            let (image_arg, tree_arg) = (image.to_str().unwrap(), tree.to_str().unwrap());
            run("mkfs.ext4", &["-q", "-O", features, "-d", tree_arg, image_arg]);
            if features.ends_with("csum") {
                // needs_recovery: as if it had not been unmounted. A plain read-only mount would replay the journal.
                let incompatible = 1024 + 0x60;
                let file = File::options().read(true).write(true).open(&image).unwrap();
                let mut flags = [0];
                file.read_exact_at(&mut flags, incompatible).unwrap();
                file.write_all_at(&[flags[0] | 0x4], incompatible).unwrap();
            }
            let before = fs::read(&image).unwrap();
            for mode in [Mode::SealedMemory, Mode::Plain] {
                let layer = mount(&image, mode, Class::Confext);
                assert_eq!(layer.read("etc/app/settings", 1 << 10).unwrap().unwrap(), b"colour = blue\n");
            }
            assert!(fs::read(&image).unwrap() == before);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_file_system_no_layer_can_be_is_refused() {
    isolated(|| {
        let dir = scratch();
        let admitted = admit(&make_image("vfat", dir.path()));
        let error = attach(admitted, Mode::SealedMemory).unwrap_err();
        assert_eq!(error.code(), "layer-file-system");
        assert!(error.to_string().contains("vfat"), "{error}");
    });
}

#[test]
#[ignore = "needs root"]
fn a_broken_file_system_is_an_error_of_its_context() {
    isolated(|| {
        let dir = scratch();
        let image = make_image("erofs", dir.path());
        // A feature that a reader must know, and that nobody knows: bit 30 of the superblock's incompatible features.
        File::options().write(true).open(&image).unwrap().write_all_at(&[0x40], 1024 + 83).unwrap();
        let attached = attach_image(&image, Mode::SealedMemory);
        let options = layer::Options::new("confext-test-layer", Class::Confext, &image);
        let error = Layer::mount(attached, options).unwrap_err();
        assert_eq!(error.code(), "file-system-context");
        assert!(error.to_string().starts_with("fsconfig erofs create: "), "{error}");
    });
}

#[test]
#[ignore = "needs root"]
fn the_kernels_message_is_in_the_error() {
    isolated(|| {
        let error = FsContext::open("overlay").unwrap().set_string("nonsense", "1").unwrap_err();
        assert!(error.to_string().contains("'nonsense'"), "{error}");
        assert_eq!(error.log.len(), 1);
        let error = FsContext::open("confext-test-none").unwrap_err();
        assert_eq!(error.to_string(), "fsopen confext-test-none: failed");
        assert_eq!(error.source.raw_os_error(), Some(libc::ENODEV));
    });
}

#[test]
#[ignore = "needs root"]
fn a_directory_is_a_read_only_layer_without_the_mounts_below_it() {
    isolated(|| {
        let dir = scratch();
        let tree = tree(dir.path());
        fs::create_dir(tree.join("etc/below")).unwrap();
        let below = tmpfs(&[("hidden", "hidden")]);
        let target = File::open(tree.join("etc/below")).unwrap();
        sys::move_mount(below.as_fd(), target.as_fd(), c"", Place::OnTop).unwrap();
        assert!(tree.join("etc/below/hidden").exists());

        let layer = directory_layer(&tree, Class::Confext).unwrap();
        assert_eq!(layer.read("etc/app/settings", 1 << 10).unwrap().unwrap(), b"colour = blue\n");
        assert_eq!(layer.read("etc/below/hidden", 1 << 10).unwrap(), None);
        assert_eq!(layer.source(), &Source::Directory);
        let flags = OFlags::CREATE | OFlags::WRONLY;
        let error = sys::open_beneath(layer.mount_fd(), "new", flags, ResolveFlags::empty()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        let flags = sys::volume_flags(layer.mount_fd()).unwrap();
        assert!(
            flags.contains(StatVfsMountFlags::NOEXEC | StatVfsMountFlags::NODEV | StatVfsMountFlags::NOSUID)
        );
        fs::write(tree.join("etc/app/still-writable"), "the original is not read-only").unwrap();
        drop((layer, below));
        sys::detach_path(&tree.join("etc/below")).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn a_hierarchy_that_is_no_directory_is_an_error_and_one_that_is_missing_is_none() {
    isolated(|| {
        let dir = scratch();
        let root = dir.path().join("tree");
        fs::create_dir_all(root.join("real")).unwrap();
        let layer = directory_layer(&root, Class::Confext).unwrap();
        assert!(layer.hierarchy("etc").unwrap().is_none());
        assert!(layer.hierarchies().unwrap().is_empty());
        for target in ["real", "/real", "../../../../etc", "nowhere", "etc"] {
            symlink(target, root.join("etc")).unwrap();
            let error = layer.hierarchy("etc").unwrap_err();
            assert_eq!(error.code(), "layer-type", "{target}");
            assert!(error.to_string().contains("symbolic link"), "{error}");
            fs::remove_file(root.join("etc")).unwrap();
        }
        fs::write(root.join("etc"), "").unwrap();
        assert_eq!(layer.hierarchy("etc").unwrap_err().code(), "layer-type");
        assert_eq!(layer.read("real", 10).unwrap_err().code(), "layer-type");
        let file = File::open(root.join("etc")).unwrap();
        let options = layer::Options::new("confext-test-file", Class::Confext, root.join("etc"));
        assert_eq!(Layer::from_directory(file.as_fd(), options).unwrap_err().code(), "layer-type");
    });
}

#[test]
#[ignore = "needs root"]
fn reading_a_file_of_a_layer_stays_inside_it_and_inside_the_limit() {
    isolated(|| {
        let dir = scratch();
        let root = dir.path().join("tree");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/passwd"), "inside").unwrap();
        symlink("/etc/passwd", root.join("link")).unwrap();
        let layer = directory_layer(&root, Class::Confext).unwrap();
        assert_eq!(layer.read("link", 6).unwrap().unwrap(), b"inside");
        assert_eq!(layer.read("link", 5).unwrap_err().code(), "limit-bytes");
        assert_eq!(layer.read("etc/../../etc/passwd", 6).unwrap().unwrap(), b"inside");
        run("mkfifo", &[root.join("pipe").to_str().unwrap()]);
        assert_eq!(layer.read("pipe", 6).unwrap_err().code(), "layer-type");
    });
}

#[test]
#[ignore = "needs root"]
fn a_lookup_through_a_parent_survives_mounts_meanwhile() {
    isolated(|| {
        let dir = scratch();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("file"), "found").unwrap();
        symlink("../../file", dir.path().join("etc/link")).unwrap();
        let root = File::open(dir.path()).unwrap();
        std::thread::scope(|scope| {
            let mounting = scope.spawn(|| {
                for _ in 0..2000 {
                    let target = File::open(dir.path().join("etc")).unwrap();
                    let tree = sys::clone_tree(target.as_fd(), c"", Depth::Single).unwrap();
                    sys::move_mount(tree.as_fd(), target.as_fd(), c"", Place::OnTop).unwrap();
                    sys::detach(tree.as_fd()).unwrap();
                }
            });
            while !mounting.is_finished() {
                sys::open_path(root.as_fd(), "etc/link", OFlags::empty(), ResolveFlags::empty()).unwrap();
            }
        });
    });
}

#[test]
#[ignore = "needs root"]
fn an_overlay_takes_its_layers_as_descriptors_and_swaps_without_a_gap() {
    isolated(|| {
        let dir = scratch();
        let overlay = |version: &str| {
            let root = dir.path().join(version);
            fs::create_dir_all(root.join("etc")).unwrap();
            fs::write(root.join("etc/version"), version).unwrap();
            let layer = directory_layer(&root, Class::Confext).unwrap();
            let etc = layer.hierarchy("etc").unwrap().unwrap();
            let base = File::open(dir.path().join("base")).unwrap();
            let context = FsContext::open("overlay").unwrap();
            context.set_fd("lowerdir+", etc.as_fd()).unwrap();
            context.set_fd("lowerdir+", base.as_fd()).unwrap();
            context.create(Sharing::Exclusive).unwrap();
            context.mount(MountAttrFlags::MOUNT_ATTR_RDONLY).unwrap()
        };
        fs::create_dir(dir.path().join("base")).unwrap();
        fs::create_dir(dir.path().join("target")).unwrap();
        let target = dir.path().join("target");
        let first = overlay("one");
        sys::move_mount(first.as_fd(), File::open(&target).unwrap().as_fd(), c"", Place::OnTop).unwrap();
        let first_id = sys::mount_id(first.as_fd()).unwrap();
        let info = sys::mount_info(first_id).unwrap();
        assert_eq!(info.fs_type, b"overlay");
        assert_eq!(info.mount_point, target.as_os_str().as_encoded_bytes());
        assert!(info.attributes.contains(MountAttrFlags::MOUNT_ATTR_RDONLY));
        assert!(sys::mounts_below(sys::MountId::ROOT).unwrap().iter().any(|info| info.id == first_id));

        let second = overlay("two");
        sys::move_mount(second.as_fd(), File::open(&target).unwrap().as_fd(), c"", Place::Beneath).unwrap();
        assert_eq!(fs::read_to_string(target.join("version")).unwrap(), "one");
        sys::detach(first.as_fd()).unwrap();
        assert_eq!(fs::read_to_string(target.join("version")).unwrap(), "two");
        assert_eq!(sys::mount_info(first_id).unwrap_err().raw_os_error(), Some(libc::ENOENT));
        sys::detach(second.as_fd()).unwrap();
        assert!(!target.join("version").exists());
    });
}
