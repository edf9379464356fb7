//! Archives of GNU tar and of Python's tarfile, read here: the image is the same as that of the directory.

use confext_ddi::build::{DirectoryOptions, TarOptions, Tree, erofs};
use confext_tests::namespace::{in_mount_namespace, run};
use confext_tests::peer::record_files;
use confext_tests::source;
use std::fs::File;
use std::path::Path;

fn image(tree: &Tree) -> Vec<u8> {
    let mut image = Vec::new();
    erofs::write(tree, &erofs::Options::default(), &mut image).unwrap();
    image
}

fn of_archive(path: &Path) -> Tree {
    Tree::from_tar(File::open(path).unwrap(), &TarOptions::default()).unwrap()
}

/// One of everything that an archive can hold: it has no sockets.
fn populate(dir: &Path) -> Tree {
    std::fs::create_dir(dir).unwrap();
    source::populate_as_root(dir);
    std::fs::remove_file(dir.join("socket")).unwrap();
    Tree::from_directory(dir, &DirectoryOptions::default()).unwrap()
}

#[test]
#[ignore = "needs root"]
fn an_archive_of_gnu_tar_is_the_same_image_as_its_directory() {
    in_mount_namespace(|dir| {
        let source = dir.join("source");
        let expected = populate(&source);
        let archive = dir.join("a.tar");
        let (from, to) = (source.to_str().unwrap(), archive.to_str().unwrap());
        let attributes = ["--xattrs", "--xattrs-include=*"];
        let pax = [&["--format=posix", "--sparse", "-C", from, "-cf", to][..], &attributes, &["."]].concat();
        run("tar", &pax);
        assert!(image(&of_archive(&archive)) == image(&expected));

        // GNU's own format has neither attributes nor fractions of seconds.
        run("tar", &["--format=gnu", "--sparse", "-C", from, "-cf", to, "."]);
        let limits = confext_ddi::Limits::default();
        let mut expected = record_files(&expected.files(&limits));
        for entry in expected.values_mut() {
            entry.xattrs.clear();
            entry.mtime.1 = 0;
        }
        let found = of_archive(&archive);
        source::assert_same(&record_files(&found.files(&limits)), &expected);
    });
}

#[test]
#[ignore = "needs root"]
fn an_archive_of_python_is_the_same_image_as_its_directory() {
    in_mount_namespace(|dir| {
        let source = dir.join("source");
        populate(&source);
        // Of no use in an archive that has no holes and no attributes.
        for name in ["sparse", "hole"] {
            std::fs::remove_file(source.join(name)).unwrap();
        }
        let mut options = DirectoryOptions::default();
        options.xattrs = confext_ddi::build::Xattrs::Leave;
        let expected = Tree::from_directory(&source, &options).unwrap();
        let limits = confext_ddi::Limits::default();
        let expected = record_files(&expected.files(&limits));
        for format in ["GNU_FORMAT", "PAX_FORMAT"] {
            let archive = dir.join(format);
            let script = "import sys, tarfile\n\
                          with tarfile.open(sys.argv[2], 'w', format=getattr(tarfile, sys.argv[3])) as t:\n    \
                          t.add(sys.argv[1], '.')\n";
            run("python3", &["-c", script, source.to_str().unwrap(), archive.to_str().unwrap(), format]);
            let mut found = record_files(&of_archive(&archive).files(&limits));
            // It keeps times as floating-point numbers.
            let mut expected = expected.clone();
            for entry in found.values_mut().chain(expected.values_mut()) {
                entry.mtime = (0, 0);
            }
            source::assert_same(&found, &expected);
        }
    });
}
