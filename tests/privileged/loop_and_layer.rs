//! Loop devices, sealed memory, layers and namespaces on the running kernel.
//!
//! Run as root: `cargo test -p confext-tests --test privileged-loop-and-layer -- --ignored`.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use confext_core::attach::{self, Attached, Mode, attach};
use confext_core::exec::{self, Placement, Root};
use confext_core::layer::{self, Layer, Source};
use confext_core::loopdev::{self, LoopDevice};
use confext_core::sys::{self, Depth, FsContext, MountAttrFlags, OFlags, Place, ResolveFlags, Sharing};
use confext_ddi::build::{Builder, Built, Meta, ReleaseFields, Tree};
use confext_ddi::image::{self, Image};
use confext_ddi::policy::{Admitted, Policy};
use confext_ddi::release::Class;
use confext_ddi::signature::{Certificates, KeyPair, Time};
use confext_ddi::units::ByteRange;
use confext_tests::sweep::isolated;
use rustix::fs::StatVfsMountFlags;
use tempfile::TempDir;

fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("confext-test-").tempdir().unwrap()
}

/// A file of `len` bytes in which every 512-byte sector says its number and `seed`.
fn patterned(path: &Path, len: u64, seed: u64) -> File {
    let mut bytes = Vec::new();
    for sector in 0..len / 512 {
        bytes.extend([sector.to_le_bytes(), seed.to_le_bytes()].concat().repeat(32));
    }
    fs::write(path, &bytes).unwrap();
    File::open(path).unwrap()
}

fn options(start: u64, end: u64) -> loopdev::Options {
    loopdev::Options::new(ByteRange::new(start, end).unwrap())
}

fn tool(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; run tests/setup.sh tools"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The content of every test image: a confext and a sysext in one.
fn tree(dir: &Path) -> PathBuf {
    let root = dir.join("tree");
    fs::create_dir_all(root.join("etc/app")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::write(root.join("etc/app/settings"), "colour = blue\n").unwrap();
    fs::write(root.join("usr/bin/tool"), "#!/bin/sh\necho tool\n").unwrap();
    fs::set_permissions(root.join("usr/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    root
}

fn make_image(fs_type: &str, dir: &Path) -> PathBuf {
    let tree = tree(dir);
    let image = dir.join(format!("{fs_type}.raw"));
    let (image_arg, tree_arg) = (image.to_str().unwrap(), tree.to_str().unwrap());
    match fs_type {
        "erofs" => tool("mkfs.erofs", &["--quiet", image_arg, tree_arg]),
        "squashfs" => tool("mksquashfs", &[tree_arg, image_arg, "-quiet", "-no-progress"]),
        "ext4" => {
            File::create(&image).unwrap().set_len(4 << 20).unwrap();
            tool("mkfs.ext4", &["-q", "-d", tree_arg, image_arg]);
        }
        "vfat" => {
            File::create(&image).unwrap().set_len(4 << 20).unwrap();
            tool("mkfs.vfat", &[image_arg]);
        }
        other => panic!("no recipe for {other}"),
    }
    image
}

/// Admits a bare file system by the explicit choice to check nothing.
fn admit(image: &Path) -> Admitted<File> {
    let image = Image::open(File::open(image).unwrap(), &image::Options::default()).unwrap();
    Policy::unprotected().judge(image, None).unwrap()
}

fn attach_image(image: &Path, mode: Mode) -> Attached {
    attach(admit(image), mode).unwrap()
}

fn mount(image: &Path, mode: Mode, class: Class) -> Layer {
    let options = layer::Options::new("confext-test-layer", class, image);
    Layer::mount(attach_image(image, mode), options).unwrap()
}

fn directory_layer(path: &Path, class: Class) -> confext_core::Result<Layer> {
    let directory = File::open(path).unwrap();
    Layer::from_directory(directory.as_fd(), layer::Options::new("confext-test-dir", class, path))
}

/// A signed confext image, and who trusts it.
fn signed_image(dir: &Path) -> (PathBuf, Built, Certificates) {
    let mut tree = Tree::new();
    tree.add_dir("etc", Meta::new(0o755)).unwrap();
    tree.add_dir("etc/app", Meta::new(0o755)).unwrap();
    tree.add_file("etc/app/settings", "colour = blue\n", Meta::new(0o644)).unwrap();
    // Two blocks of its own, so that a change to it is not in the superblock's block.
    tree.add_file("etc/app/data", vec![0x5a; 8192], Meta::new(0o644)).unwrap();
    let start = Time::from_unix(1_700_000_000);
    let keys = KeyPair::generate("confext-test", start, 10).unwrap();
    let builder = Builder::new(Class::Confext, "confext-test").tree(tree).release(ReleaseFields::any());
    let path = dir.join("signed.raw");
    let mut out = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let built = builder.build(&mut out, Some(&keys)).unwrap();
    let mut trusted = Certificates::new(start.after_days(1).unwrap());
    trusted.add_pem(&keys.certificate_pem().unwrap()).unwrap();
    (path, built, trusted)
}

fn admit_signed(path: &Path, trusted: &Certificates) -> Admitted<File> {
    let image = Image::open(File::open(path).unwrap(), &image::Options::default()).unwrap();
    Policy::signed().judge(image, Some(trusted)).unwrap()
}

fn tmpfs(files: &[(&str, &str)]) -> OwnedFd {
    let context = FsContext::open("tmpfs").unwrap();
    context.create(Sharing::Exclusive).unwrap();
    let mount = context.mount(MountAttrFlags::empty()).unwrap();
    for (path, content) in files {
        let flags = OFlags::CREATE | OFlags::WRONLY;
        let file = sys::open_beneath(mount.as_fd(), *path, flags, ResolveFlags::empty()).unwrap();
        File::from(file).write_all(content.as_bytes()).unwrap();
    }
    mount
}

#[test]
#[ignore = "needs root"]
fn a_loop_device_shows_its_window_and_can_not_be_written() {
    isolated(|| {
        let dir = scratch();
        let file = patterned(&dir.path().join("backing"), 16 << 10, 7);
        let device = LoopDevice::attach(file.as_fd(), &options(4096, 12288)).unwrap();
        let mut expected = vec![0; 8192];
        file.read_exact_at(&mut expected, 4096).unwrap();
        let mut shown = Vec::new();
        File::open(device.path()).unwrap().read_to_end(&mut shown).unwrap();
        assert!(shown == expected);

        // The kernel lets a read-only device be opened for writing, but nothing be written.
        let writer = File::options().write(true).open(device.path()).unwrap();
        let error = writer.write_at(b"x", 0).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        drop(writer);
        let name = device.path().file_name().unwrap().to_str().unwrap().to_owned();
        let attribute = |attribute: &str| {
            fs::read_to_string(format!("/sys/block/{name}/{attribute}")).unwrap().trim().to_owned()
        };
        assert_eq!(attribute("ro"), "1");
        assert_eq!(attribute("loop/autoclear"), "1");
        assert_eq!(attribute("loop/partscan"), "0");
        assert_eq!(attribute("diskseq"), device.disk_sequence().unwrap().to_string());
        assert_eq!(attribute("dev"), device.device_number().to_string());
        device.detach().unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn a_dropped_loop_device_clears_itself() {
    isolated(|| {
        let dir = scratch();
        let file = patterned(&dir.path().join("backing"), 4096, 1);
        let device = LoopDevice::attach(file.as_fd(), &options(0, 4096)).unwrap();
        let (path, sequence) = (device.path().to_owned(), device.disk_sequence());
        drop(device);
        // Free, or in the next use already.
        if let Ok(device) = File::open(path) {
            assert_ne!(sys::disk_sequence(device.as_fd()).ok(), sequence);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn fifty_threads_attach_at_once_and_each_gets_its_own_bytes() {
    isolated(|| {
        let dir = scratch();
        let barrier = std::sync::Barrier::new(50);
        std::thread::scope(|scope| {
            for seed in 0..50 {
                let (dir, barrier) = (dir.path(), &barrier);
                scope.spawn(move || {
                    let file = patterned(&dir.join(format!("backing-{seed}")), 8192, seed);
                    barrier.wait();
                    let device = LoopDevice::attach(file.as_fd(), &options(4096, 8192)).unwrap();
                    let mut sector = [0; 16];
                    File::open(device.path()).unwrap().read_exact_at(&mut sector, 0).unwrap();
                    assert_eq!(sector, *[8_u64.to_le_bytes(), seed.to_le_bytes()].concat());
                    barrier.wait();
                    device.detach().unwrap();
                });
            }
        });
    });
}

#[test]
#[ignore = "needs root"]
fn fifty_threads_seal_and_mount_at_once() {
    isolated(|| {
        let dir = scratch();
        let image = make_image("erofs", dir.path());
        let barrier = std::sync::Barrier::new(50);
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    barrier.wait();
                    let layer = mount(&image, Mode::SealedMemory, Class::Confext);
                    let settings = layer.read("etc/app/settings", 1 << 10).unwrap().unwrap();
                    assert_eq!(settings, b"colour = blue\n");
                    barrier.wait();
                });
            }
        });
    });
}

#[test]
#[ignore = "needs root"]
#[should_panic(expected = "descriptors left behind")]
fn the_sweep_notices_a_descriptor() {
    isolated(|| {
        std::mem::forget(tmpfs(&[]));
    });
}

#[test]
#[ignore = "needs root"]
#[should_panic(expected = "mounts left behind")]
fn the_sweep_notices_a_mount() {
    isolated(|| {
        let target = File::open("/tmp").unwrap();
        sys::move_mount(tmpfs(&[]).as_fd(), target.as_fd(), c"", Place::OnTop).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn what_is_no_window_or_no_file_is_refused() {
    isolated(|| {
        let dir = scratch();
        let file = patterned(&dir.path().join("backing"), 4096, 1);
        for (start, end) in [(0, 8192), (0, 0), (1, 513), (0, 4095)] {
            let error = LoopDevice::attach(file.as_fd(), &options(start, end)).unwrap_err();
            assert_eq!(error.code(), "loop-window", "{start}..{end}");
        }
        let directory = File::open(dir.path()).unwrap();
        assert_eq!(LoopDevice::attach(directory.as_fd(), &options(0, 512)).unwrap_err().code(), "os");
    });
}

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
            tool("mkfs.ext4", &["-q", "-O", features, "-d", tree_arg, image_arg]);
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
fn what_was_sealed_does_not_change_with_the_file() {
    isolated(|| {
        let dir = scratch();
        let image = make_image("erofs", dir.path());
        let attached = attach_image(&image, Mode::SealedMemory);
        let mut device = File::open(attached.device().path()).unwrap();
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
        assert_eq!(Some(signer.fingerprint), built.signed);
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
        tool("mkfifo", &[root.join("pipe").to_str().unwrap()]);
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
        assert!(sys::list_mounts(sys::MountId::ROOT).unwrap().contains(&first_id));

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

#[test]
#[ignore = "needs root"]
fn a_command_sees_what_is_placed_for_it_and_nobody_else_does() {
    isolated(|| {
        let dir = scratch();
        let covered = dir.path().join("covered");
        fs::create_dir(&covered).unwrap();
        let before = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let tree = tmpfs(&[("settings", "placed")]);
        let mut command = Command::new("sh");
        command.arg("-c").arg("cat \"$1/settings\"; exit 7").arg("sh").arg(&covered).stdout(Stdio::piped());
        let placements = vec![Placement { hierarchy: covered.strip_prefix("/").unwrap().to_owned(), tree }];
        let output = exec::run(&Root::Host, placements, command).unwrap();
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(output.stdout, b"placed");
        assert!(!covered.join("settings").exists());
        assert_eq!(fs::read_to_string("/proc/thread-self/mountinfo").unwrap(), before);
    });
}

#[test]
#[ignore = "needs root"]
fn a_command_below_a_directory_sees_it_as_its_root() {
    isolated(|| {
        let dir = scratch();
        let root = dir.path().join("root");
        for name in ["etc", "usr", "bin", "lib", "lib64"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let usr = File::open("/usr").unwrap();
        let placements = vec![
            Placement {
                hierarchy: "usr".into(),
                tree: sys::clone_tree(usr.as_fd(), c"", Depth::Single).unwrap(),
            },
            Placement { hierarchy: "etc".into(), tree: tmpfs(&[("settings", "placed")]) },
        ];
        let mut command = Command::new("/usr/bin/cat");
        command.arg("/etc/settings").stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ["bin", "lib", "lib64"] {
            fs::remove_dir(root.join(name)).unwrap();
            symlink(format!("usr/{name}"), root.join(name)).unwrap();
        }
        let output = exec::run(&Root::Directory(root.clone()), placements, command).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(output.stdout, b"placed");
        assert_eq!(fs::metadata(root.join("etc")).unwrap().dev(), fs::metadata(&root).unwrap().dev());
    });
}

#[test]
#[ignore = "needs root"]
fn what_keeps_a_command_from_running_is_named() {
    isolated(|| {
        let error =
            exec::run(&Root::Host, Vec::new(), Command::new("/nonexistent/confext-test")).unwrap_err();
        assert_eq!(error.to_string(), "start /nonexistent/confext-test: failed");
        let missing = Placement { hierarchy: "nonexistent/confext-test".into(), tree: tmpfs(&[]) };
        let error = exec::run(&Root::Host, vec![missing], Command::new("true")).unwrap_err();
        assert_eq!(error.to_string(), "open /nonexistent/confext-test: failed");
        let root = Root::Directory("/nonexistent/confext-test".into());
        assert_eq!(exec::run(&root, Vec::new(), Command::new("true")).unwrap_err().code(), "os");
    });
}
