//! Manifests and extraction against programs we did not write: NetBSD's mtree checks an extracted directory against our
//! manifest, libarchive reads it, and the kernel's mount of an image has what is extracted from it.

use confext_core::extract::{self, Devices, Ownership, SetId, extract};
use confext_ddi::build::{DirectoryOptions, Tree, erofs};
use confext_ddi::fs::{self, FileSystem};
use confext_ddi::fstype::FsType;
use confext_ddi::manifest::{self, Dialect, Manifest};
use confext_ddi::{Limits, ReadAt};
use confext_tests::namespace::{in_mount_namespace, run};
use confext_tests::source;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

/// Writes an image of a directory and opens it.
fn image_of(source: &Path, image: &Path) -> std::fs::File {
    let tree = Tree::from_directory(source, &DirectoryOptions::default()).unwrap();
    let mut file = std::fs::File::options().read(true).write(true).create_new(true).open(image).unwrap();
    erofs::write(&tree, &erofs::Options::default(), &mut file).unwrap();
    file
}

fn open(image: &impl ReadAt) -> Box<dyn FileSystem + '_> {
    fs::open(image, FsType::Erofs, &Limits::default()).unwrap()
}

/// A directory with one of everything, but for the file of 8 GiB of holes, which takes long to hash.
fn everything(dir: &Path) {
    std::fs::create_dir(dir).unwrap();
    source::populate_as_root(dir);
    std::fs::remove_file(dir.join("sparse")).unwrap();
}

fn mtree(files: &dyn FileSystem, path: &Path) -> Manifest {
    let limits = Limits::default();
    let manifest = Manifest::of(files, &manifest::Options::default(), &limits, |_| {}).unwrap();
    let mut out = std::fs::File::create(path).unwrap();
    manifest.write_mtree(Dialect::Bsd, &mut out).unwrap();
    manifest
}

/// All of it: owners, rights, devices and every attribute.
fn as_it_is() -> extract::Options {
    let mut options = extract::Options::default();
    options.ownership = Ownership::AsIs;
    options.devices = Devices::Make;
    options.set_id = SetId::Keep;
    options.xattrs =
        ["user.", "security.", "system.", "trusted.", "trusted.overlay."].map(str::to_owned).to_vec();
    options
}

fn put(files: &dyn FileSystem, to: &Path) {
    extract(files, to, &as_it_is(), &Limits::default(), |_| ControlFlow::Continue(())).unwrap();
}

#[test]
#[ignore = "needs root"]
fn what_is_extracted_is_what_the_kernel_mounts() {
    in_mount_namespace(|dir| {
        let source = dir.join("source");
        everything(&source);
        let image = dir.join("confext-test-files.raw");
        let file = image_of(&source, &image);
        let mounted = dir.join("mounted");
        std::fs::create_dir(&mounted).unwrap();
        run("mount", &["-t", "erofs", "-o", "loop,ro", image.to_str().unwrap(), mounted.to_str().unwrap()]);
        let extracted = dir.join("extracted");
        put(open(&file).as_ref(), &extracted);
        source::assert_same(&source::record(&extracted), &source::record(&mounted));
    });
}

/// Runs a program that has to succeed and returns what it prints.
fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
#[ignore = "needs root"]
fn mtree_of_netbsd_finds_the_extracted_files_to_be_those_of_the_manifest() {
    in_mount_namespace(|dir| {
        let source = dir.join("source");
        everything(&source);
        let file = image_of(&source, &dir.join("confext-test-files.raw"));
        let files = open(&file);
        let (extracted, spec) = (dir.join("extracted"), dir.join("spec"));
        put(files.as_ref(), &extracted);
        mtree(files.as_ref(), &spec);
        let check = || Command::new("mtree").arg("-f").arg(&spec).arg("-p").arg(&extracted).output().unwrap();
        let found = check();
        let text = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(
            found.status.success() && text.is_empty(),
            "{text}{}",
            String::from_utf8_lossy(&found.stderr)
        );
        std::fs::write(extracted.join("size-70000"), source::noise(1, 70_000)).unwrap();
        let text = String::from_utf8_lossy(&check().stdout).into_owned();
        assert!(text.contains("size-70000") && text.contains("sha256"), "the check finds a change: {text}");
    });
}

#[test]
#[ignore = "needs root"]
fn libarchive_reads_the_manifest() {
    in_mount_namespace(|dir| {
        let source = dir.join("source");
        everything(&source);
        // It does not know sockets.
        std::fs::remove_file(source.join("socket")).unwrap();
        let file = image_of(&source, &dir.join("confext-test-files.raw"));
        let spec = dir.join("spec");
        let manifest = mtree(open(&file).as_ref(), &spec);
        let listed = output(Command::new("bsdtar").arg("-tf").arg(&spec).env("LC_ALL", "C"));
        // It escapes what is not printable, so that each name has a line.
        let lines = listed.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
        assert_eq!(lines, manifest.entries().len());
        let text = String::from_utf8_lossy(&listed).into_owned();
        for name in ["./size-4096", "./many", "./link-4095", "./null", "./deep/second"] {
            assert!(text.lines().any(|line| line == name), "{name}");
        }
    });
}
