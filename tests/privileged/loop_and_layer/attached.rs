//! From an admitted image to bytes the kernel reads: sealed memory, signers, limits.

use super::*;

#[test]
#[ignore = "needs root"]
fn what_was_sealed_does_not_change_with_the_file() {
    isolated(|| {
        let dir = scratch();
        let image = make_image("erofs", dir.path());
        let attached = attach_image(&image, Mode::SealedMemory);
        let mut device = File::open(attached.device().unwrap().path()).unwrap();
        let len = fs::metadata(&image).unwrap().len();
        let mut changed = File::options().write(true).open(&image).unwrap();
        changed.write_all(&vec![0xff; usize::try_from(len).unwrap()]).unwrap();
        changed.set_len(0).unwrap();
        changed.sync_all().unwrap();

        let mut magic = [0; 4];
        device.seek(SeekFrom::Start(1024)).unwrap();
        device.read_exact(&mut magic).unwrap();
        assert_eq!(u32::from_le_bytes(magic), 0xe0f5_e1e2);
        drop(device);
        let options = layer::Options::new("confext-test-layer", Class::Confext, &image);
        let layer = Layer::mount(attached, options).unwrap();
        assert_eq!(layer.read("etc/app/settings", 1 << 10).unwrap().unwrap(), b"colour = blue\n");
    });
}

#[test]
#[ignore = "needs root"]
fn sealed_memory_reports_progress_and_leaves_no_descriptor() {
    isolated(|| {
        let dir = scratch();
        let image = make_image("ext4", dir.path());
        let mut last = None;
        let mut report = |step: attach::Progress| {
            last = Some((step.done_bytes, step.total_bytes));
            ControlFlow::Continue(())
        };
        let options = attach::Options::new(Mode::SealedMemory).progress(&mut report);
        let attached = attach(admit(&image), options).unwrap();
        assert_eq!(last, Some((4 << 20, 4 << 20)));
        assert_eq!(attached.origin().len_bytes, 4 << 20);
        let links = fs::read_dir("/proc/self/fd").unwrap();
        let open = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
        assert!(!open.into_iter().any(|target| target.to_string_lossy().contains("memfd:confext")));
        attached.detach().unwrap();

        let mut stop = |_| ControlFlow::Break(());
        let options = attach::Options::new(Mode::SealedMemory).progress(&mut stop);
        assert_eq!(attach(admit(&image), options).unwrap_err().code(), "cancelled");
    });
}

#[test]
#[ignore = "needs root"]
fn a_signed_image_is_a_layer_that_names_its_signer() {
    isolated(|| {
        let dir = scratch();
        let (path, built, trusted) = signed_image(dir.path());
        let attached = attach(admit_signed(&path, &trusted), Mode::SealedMemory).unwrap();
        // Nothing that happens to the file from here on matters.
        fs::write(&path, "").unwrap();
        let options = layer::Options::new("confext-test", Class::Confext, &path);
        let layer = Layer::mount(attached, options).unwrap();
        assert_eq!(layer.root_hash(), Some(&built.root_hash));
        let signer = layer.evidence().signer().unwrap();
        assert_eq!(signer.fingerprint, built.signed);
        assert_eq!(layer.read("etc/app/settings", 1 << 10).unwrap().unwrap(), b"colour = blue\n");
        assert_eq!(layer.read("etc/app/data", 1 << 20).unwrap().unwrap(), [0x5a; 8192]);
        assert!(
            layer.read("etc/extension-release.d/extension-release.confext-test", 1 << 10).unwrap().is_some()
        );
        let json = serde_json::to_value(layer.source()).unwrap();
        assert_eq!(json["kind"], "image");
        assert_eq!(json["evidence"]["root_hash"], built.root_hash.to_hex());
    });
}

#[test]
#[ignore = "needs root"]
fn what_changes_after_it_was_admitted_is_not_attached() {
    isolated(|| {
        let dir = scratch();
        let (path, _, trusted) = signed_image(dir.path());
        let bytes = fs::read(&path).unwrap();
        let data = bytes.windows(64).position(|window| window == [0x5a; 64]).unwrap();
        let admitted = admit_signed(&path, &trusted);
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"!", u64::try_from(data).unwrap() + 100).unwrap();
        let error = attach(admitted, Mode::SealedMemory).unwrap_err();
        assert_eq!(error.code(), "data-block");
    });
}

#[test]
#[ignore = "needs root"]
fn plain_is_refused_where_it_would_throw_away_the_check() {
    isolated(|| {
        let dir = scratch();
        let (path, _, trusted) = signed_image(dir.path());
        let error = attach(admit_signed(&path, &trusted), Mode::Plain).unwrap_err();
        assert_eq!(error.code(), "plain-on-verified");
        assert!(error.to_string().contains("signed"), "{error}");
        let image = Image::open(File::open(&path).unwrap(), &image::Options::default()).unwrap();
        let admitted = Policy::verity().judge(image, Some(&trusted)).unwrap();
        assert_eq!(attach(admitted, Mode::Plain).unwrap_err().code(), "plain-on-verified");
    });
}

#[test]
#[ignore = "needs root"]
fn more_than_the_limit_is_not_held_in_memory() {
    isolated(|| {
        let dir = scratch();
        let file = File::open(make_image("ext4", dir.path())).unwrap();
        let mut limits = confext_ddi::Limits::default();
        limits.image_bytes = (4 << 20) - 1;
        let image = Image::open(file, &image::Options::default().limits(limits)).unwrap();
        let admitted = Policy::unprotected().judge(image, None).unwrap();
        assert_eq!(attach(admitted, Mode::SealedMemory).unwrap_err().code(), "limit-bytes");
    });
}

/// How a layer was attached: what the kernel reads, and why.
fn way(layer: &Layer) -> (Reads, Reason) {
    let Source::Image { origin, device, .. } = layer.source() else { panic!("an image") };
    assert_eq!(origin.way.asked, Mode::InPlace);
    assert_eq!(device.is_none(), origin.way.reads == Reads::File);
    assert_eq!(origin.way.io.is_none(), origin.way.reads == Reads::File);
    (origin.way.reads, origin.way.because)
}

#[test]
#[ignore = "needs root"]
fn erofs_that_nothing_protects_is_read_from_its_file() {
    isolated(|| {
        let dir = scratch();
        let bare = make_image("erofs", dir.path());
        // The same in the middle of a file: there the kernel needs to be told where.
        let content = fs::read(&bare).unwrap();
        let middle = dir.path().join("table.raw");
        let file = File::create(&middle).unwrap();
        file.set_len(4 << 20).unwrap();
        file.write_all_at(&content, 1 << 20).unwrap();
        let script = format!(
            "printf 'label: gpt\\nstart=2048, size={}, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709\\n' | sfdisk --quiet {}",
            content.len() / 512,
            middle.to_str().unwrap()
        );
        run("sh", &["-c", &script]);
        for image in [bare, middle] {
            let before = Census::take().loops;
            let layer = mount(&image, Mode::InPlace, Class::Confext);
            assert_eq!(way(&layer), (Reads::File, Reason::Asked), "{}", image.display());
            assert_eq!(Census::take().loops.len(), before.len());
            assert_eq!(layer.read("etc/app/settings", 1 << 10).unwrap().unwrap(), b"colour = blue\n");
            let flags = sys::volume_flags(layer.mount_fd()).unwrap();
            let inert = StatVfsMountFlags::RDONLY | StatVfsMountFlags::NODEV | StatVfsMountFlags::NOEXEC;
            assert!(flags.contains(inert), "{flags:?}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn what_can_not_be_read_from_its_file_is_attached_otherwise() {
    isolated(|| {
        let dir = scratch();
        for fs_type in ["squashfs", "ext4"] {
            let layer = mount(&make_image(fs_type, dir.path()), Mode::InPlace, Class::Confext);
            assert_eq!(way(&layer), (Reads::LoopDevice, Reason::FileSystem));
            assert_eq!(layer.read("etc/app/settings", 1 << 10).unwrap().unwrap(), b"colour = blue\n");
        }
        // What was checked stays as it was checked.
        let (path, _, trusted) = signed_image(dir.path());
        let attached = attach(admit_signed(&path, &trusted), Mode::InPlace).unwrap();
        fs::write(&path, "").unwrap();
        let options = layer::Options::new("confext-test", Class::Confext, &path);
        let layer = Layer::mount(attached, options).unwrap();
        assert_eq!(way(&layer), (Reads::SealedMemory, Reason::HashTree));
        assert_eq!(layer.read("etc/app/data", 1 << 20).unwrap().unwrap(), [0x5a; 8192]);
        drop(layer);

        // In an overlay, a file system is the second of two that the kernel stacks at most.
        for name in ["upper", "work", "merged"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        make_image("erofs", dir.path());
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let how = format!("lowerdir={},upperdir={},workdir={}", path(""), path("upper"), path("work"));
        run("mount", &["-t", "overlay", "overlay", "-o", &how, &path("merged")]);
        let layer = mount(&dir.path().join("merged/erofs.raw"), Mode::InPlace, Class::Confext);
        assert_eq!(way(&layer), (Reads::LoopDevice, Reason::Place));
        drop(layer);
        unmount(&dir.path().join("merged"));
        // A file system that is none is refused in the same way as on a loop device.
        let bad = dir.path().join("erofs.raw");
        let file = File::options().write(true).open(&bad).unwrap();
        file.write_all_at(&[0xff; 64], 1024 + 4).unwrap();
        let options = layer::Options::new("confext-test-layer", Class::Confext, &bad);
        let error = Layer::mount(attach_image(&bad, Mode::InPlace), options).unwrap_err();
        assert_eq!(error.code(), "file-system-context");
    });
}
