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

use confext_core::attach::{self, Attached, Mode, Reads, Reason, attach};
use confext_core::exec::{self, Placement, Root};
use confext_core::layer::{self, Layer, Source};
use confext_core::loopdev::{self, Io, LoopDevice};
use confext_core::sys::{self, Depth, FsContext, MountAttrFlags, OFlags, Place, ResolveFlags, Sharing};
use confext_ddi::build::{Builder, Built, Meta, ReleaseFields, Tree};
use confext_ddi::image::{self, Image};
use confext_ddi::policy::{Admitted, Policy};
use confext_ddi::release::Class;
use confext_ddi::signature::{Certificates, KeyPair, Time};
use confext_ddi::units::ByteRange;
use confext_tests::namespace::{run, unmount};
use confext_tests::sweep::{Census, isolated};
use rustix::fs::StatVfsMountFlags;
use tempfile::TempDir;

mod attached;
mod commands;
mod devices;
mod layers;
mod mounts;

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
        "erofs" => run("mkfs.erofs", &["--quiet", image_arg, tree_arg]),
        "squashfs" => run("mksquashfs", &[tree_arg, image_arg, "-quiet", "-no-progress"]),
        "ext4" => {
            File::create(&image).unwrap().set_len(4 << 20).unwrap();
            run("mkfs.ext4", &["-q", "-d", tree_arg, image_arg])
        }
        "vfat" => {
            File::create(&image).unwrap().set_len(4 << 20).unwrap();
            run("mkfs.vfat", &[image_arg])
        }
        other => panic!("no recipe for {other}"),
    };
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
