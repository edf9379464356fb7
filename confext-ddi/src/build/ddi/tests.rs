use super::*;
use crate::gpt::{Source, Table};
use crate::release::Class;
use std::io::Cursor;

struct FixedSigner(usize);

impl Sign for FixedSigner {
    fn sign(&self, root_hash: &RootHash) -> Result<Vec<u8>> {
        Ok(root_hash.as_bytes().iter().copied().cycle().take(self.0).collect())
    }

    fn certificate_fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes([7; 32])
    }
}

const SEED: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";

fn one_file() -> Tree {
    let mut tree = Tree::new();
    tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644)).unwrap();
    tree
}

fn builder(tree: Tree) -> Builder {
    Builder::new(Class::Confext, "app")
        .tree(tree)
        .release(ReleaseFields::any())
        .architecture(Architecture::X86_64)
        .seed(SEED.parse().unwrap())
        .source_date_epoch(1_700_000_000)
}

fn build(builder: Builder) -> (Vec<u8>, Built) {
    let mut out = Cursor::new(Vec::new());
    let built = builder.build(&mut out, Some(&FixedSigner(1400))).unwrap();
    (out.into_inner(), built)
}

fn refused(builder: Builder) -> &'static str {
    let mut out = Cursor::new(Vec::new());
    let error = builder.build(&mut out, Some(&FixedSigner(10))).unwrap_err();
    assert!(out.into_inner().is_empty(), "nothing is written before all checks passed");
    error.code()
}

#[test]
fn the_table_reads_back_as_it_was_built() {
    let (image, built) = build(builder(one_file()));
    assert_eq!(image.len() as u64, built.size_bytes);
    let table = Table::read(&image, &Limits::default()).unwrap().unwrap();
    assert!(matches!(table.source, Source::Primary { .. }), "{:?}", table.source);
    assert_eq!(table.partitions, built.partitions);
    assert_eq!((table.usable.start(), table.usable.end()), (34 * 512, built.size_bytes - 33 * 512));
    let rows: Vec<_> = table
        .partitions
        .iter()
        .map(|partition| (partition.label.as_str(), partition.range.start(), partition.attributes.bits()))
        .collect();
    let expected = [
        ("root-x86-64", 20_480, 1 << 60),
        ("root-x86-64-verity", 24_576, 1 << 60),
        ("root-x86-64-verity-sig", 28_672, 1 << 60),
    ];
    assert_eq!(rows, expected);
    assert_eq!(image.len(), 28_672 + 4096 + 33 * 512);
}

#[test]
fn the_backup_table_alone_says_the_same() {
    let (mut image, built) = build(builder(one_file()));
    image[512..1024].fill(0);
    let table = Table::read(&image, &Limits::default()).unwrap().unwrap();
    assert_eq!(table.partitions, built.partitions);
}

#[test]
fn hash_tree_and_signature_belong_to_the_root_partition() {
    let mut tree = one_file();
    let noise =
        std::iter::successors(Some(1_u32), |x| Some(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)));
    let large: Vec<u8> = noise.map(|x| x.to_be_bytes()[0]).take(1 << 20).collect();
    tree.add_file("etc/large", large, Meta::new(0o600)).unwrap();
    let (image, built) = build(builder(tree));
    let part = |number: usize| {
        let range = built.partitions[number].range;
        image[range.start() as usize..range.end() as usize].to_vec()
    };
    let reader = verity::Reader::new(part(0), part(1), built.root_hash, &Limits::default()).unwrap();
    verity::verify(&reader).unwrap();
    let superblock = verity::Superblock::parse(&part(1), &Limits::default()).unwrap();
    assert_eq!(superblock.data_blocks * 4096, built.partitions[0].range.len_bytes());
    let json = Json::parse(&part(2), &Limits::default()).unwrap();
    assert_eq!((json.root_hash, json.signature_der.len()), (built.root_hash, 1400));
    assert_eq!(
        (json.certificate_fingerprint, built.signed),
        (built.signed, Some(Fingerprint::from_bytes([7; 32])))
    );
    let halves: Vec<String> =
        built.partitions[..2].iter().map(|part| part.unique_guid.to_string().replace('-', "")).collect();
    assert_eq!(halves.concat(), built.root_hash.to_hex());
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    assert!(build(builder(one_file())).0 == build(builder(one_file())).0);
    assert!(build(builder(one_file())).0 != build(builder(one_file()).seed(Uuid::from_bytes([1; 16]))).0);
    assert!(build(builder(one_file())).0 != build(builder(one_file()).source_date_epoch(5)).0);
    let unseeded = |name: &str| {
        let builder = Builder::new(Class::Confext, name).tree(one_file()).release(ReleaseFields::any());
        build(builder.architecture(Architecture::Arm64)).0
    };
    assert!(unseeded("a") == unseeded("a"));
    assert!(unseeded("a") != unseeded("b"));
}

#[test]
fn an_unsigned_image_has_two_partitions_and_is_asked_for() {
    let mut out = Cursor::new(Vec::new());
    let built = builder(one_file()).unsigned().build(&mut out, None).unwrap();
    assert_eq!((built.partitions.len(), built.signed), (2, None));
    let code = |builder: Builder, signer: Option<&dyn Sign>| {
        builder.build(&mut Cursor::new(Vec::new()), signer).unwrap_err().code()
    };
    assert_eq!(code(builder(one_file()), None), "signer-missing");
    assert_eq!(code(builder(one_file()).unsigned(), Some(&FixedSigner(9))), "signer-unexpected");
    let huge = code(builder(one_file()), Some(&FixedSigner(4 << 20)));
    assert_eq!(huge, "limit-bytes");
    let error = builder(one_file()).unsigned().build(&mut out, None).unwrap_err();
    assert_eq!(error.code(), "output-not-empty");
}

#[test]
fn entries_a_host_would_not_merge_are_refused() {
    let with = |path: &str| {
        let mut tree = one_file();
        tree.add_file(path, "x", Meta::new(0o644)).unwrap();
        builder(tree)
    };
    assert_eq!(refused(with("usr/bin/tool")), "outside-hierarchy");
    assert_eq!(refused(with("var/x")), "outside-hierarchy");
    assert_eq!(refused(with("stray")), "outside-hierarchy");
    assert_eq!(refused(with("etc/os-release")), "forbidden-content");
    let sysext = |tree: Tree| Builder::new(Class::Sysext, "app").tree(tree).release(ReleaseFields::any());
    let mut tree = Tree::new();
    tree.add_symlink("usr/lib/os-release", "nowhere", Meta::new(0)).unwrap();
    assert_eq!(refused(sysext(tree)), "forbidden-content");
    let mut tree = Tree::new();
    tree.add_symlink("opt", "usr", Meta::new(0)).unwrap();
    assert_eq!(refused(sysext(tree)), "hierarchy-kind");
    assert_eq!(refused(sysext(one_file())), "outside-hierarchy");
    for name in ["", "a/b", "..", "a\nb", ".#a", &"n".repeat(300)] {
        assert_eq!(
            refused(Builder::new(Class::Confext, name).release(ReleaseFields::any())),
            "build-name",
            "{name:?}"
        );
    }
}

#[test]
fn each_kind_has_its_partitions_and_its_release_file() {
    use crate::fs;
    for (kind, label, path) in [
        (ImageKind::Sysext, "root-arm64", "usr/lib/extension-release.d/extension-release.app"),
        (ImageKind::Confext, "root-arm64", "etc/extension-release.d/extension-release.app"),
        (ImageKind::Portable, "root-arm64", "usr/lib/os-release"),
        (ImageKind::Root, "root-arm64", "usr/lib/os-release"),
        (ImageKind::Usr, "usr-arm64", "lib/os-release"),
    ] {
        let builder = Builder::new(kind, "app").architecture(Architecture::Arm64);
        let (image, built) = build(builder.release(ReleaseFields::new("example")));
        let table = Table::read(&image, &Limits::default()).unwrap().unwrap();
        let found: Vec<_> = table
            .partitions
            .iter()
            .map(|partition| (partition.label.as_str(), PartitionType::from_guid(partition.type_guid)))
            .collect();
        let place = kind.designator();
        let expected =
            [(place, ""), (place.verity().unwrap(), "-verity"), (place.verity_sig().unwrap(), "-verity-sig")]
                .map(|(designator, suffix)| {
                    (
                        format!("{label}{suffix}"),
                        PartitionType { designator, architecture: Some(Architecture::Arm64) },
                    )
                });
        for ((label, of_type), (expected_label, expected_type)) in found.iter().zip(&expected) {
            assert_eq!((*label, *of_type), (expected_label.as_str(), Some(*expected_type)), "{kind}");
        }
        assert_eq!(found.len(), 3);
        let range = built.partitions[0].range;
        let data = &image[range.start() as usize..range.end() as usize];
        let files = fs::open(data, crate::fstype::FsType::Erofs, &Limits::default()).unwrap();
        assert_eq!(files.read(path.as_bytes()).unwrap(), b"ID=example\n", "{kind}");
    }
}

#[cfg(feature = "read-fs")]
#[test]
fn another_file_system_is_made_and_compared() {
    use crate::build::{Compression, Keeps, MakeFileSystem, Squashfs, Target};
    use crate::fs;
    use crate::fstype::FsType;

    let mut tree = one_file();
    tree.add_file("etc/large", "compresses well\n".repeat(50_000), Meta::new(0o600).owner(7, 70_000))
        .unwrap();
    tree.add_hardlink("etc/again", "etc/large").unwrap();
    tree.add_symlink("etc/link", "app.conf", Meta::new(0)).unwrap();
    tree.add_fifo("etc/fifo", Meta::new(0o640).mtime(Timestamp::new(1_600_000_000, 5).unwrap())).unwrap();
    tree.add_file("etc/\u{e9}mpty", "", Meta::new(0o644)).unwrap();
    let (plain, _) = build(builder(tree.clone()));
    for compression in [Compression::Zstd, Compression::Xz, Compression::Gzip] {
        let make = || build(builder(tree.clone()).format(Squashfs::new(compression)));
        let (image, built) = make();
        assert!(image == make().0, "the same bytes each time");
        assert!(image.len() * 5 < plain.len(), "{} of {}", image.len(), plain.len());
        let range = built.partitions[0].range;
        let data = &image[range.start() as usize..range.end() as usize];
        let files = fs::open(data, FsType::Squashfs, &Limits::default()).unwrap();
        assert_eq!(files.read(b"etc/again").unwrap().len(), 800_000);
        assert_eq!(files.stat(b"etc/fifo").unwrap().mtime_sec, 1_600_000_000);
    }
    let mut with_xattr = tree.clone();
    with_xattr.set_xattr("etc/app.conf", "user.a", "1").unwrap();
    assert_eq!(refused(builder(with_xattr).format(Squashfs::default())), "format-loses");
    let mut long = tree.clone();
    long.add_symlink("etc/255", "x".repeat(255), Meta::new(0)).unwrap();
    build(builder(long.clone()).format(Squashfs::default()));
    long.add_symlink("etc/256", "x".repeat(256), Meta::new(0)).unwrap();
    assert_eq!(refused(builder(long).format(Squashfs::default())), "format-loses");
    let mut old = tree.clone();
    old.add_fifo("etc/old", Meta::new(0).mtime(Timestamp::from_seconds(-1))).unwrap();
    assert_eq!(refused(builder(old).format(Squashfs::default())), "format-loses");

    /// Makes a file system of a tree that differs in one thing.
    #[derive(Debug)]
    struct Wrong(fn(&mut Tree));
    impl MakeFileSystem for Wrong {
        fn fs_type(&self) -> FsType {
            FsType::Erofs
        }
        fn keeps(&self) -> Keeps {
            Keeps::ALL
        }
        fn write(&self, tree: &Tree, options: &erofs::Options, mut out: &mut dyn Target) -> Result<u64> {
            let mut tree = tree.clone();
            (self.0)(&mut tree);
            erofs::write(&tree, options, &mut out)
        }
    }
    let mut out = Cursor::new(Vec::new());
    builder(tree.clone()).format(Wrong(|_| ())).unsigned().build(&mut out, None).unwrap();
    let changes: [fn(&mut Tree); 6] = [
        |tree| tree.add_fifo("etc/more", Meta::new(0)).unwrap(),
        |tree| tree.set_xattr("etc/link", "user.a", "1").unwrap(),
        |tree| tree.put_dir(b"etc", Meta::new(0o700)).unwrap(),
        |tree| tree.put_dir(b"etc", Meta::new(0o755).mtime(Timestamp::from_seconds(1))).unwrap(),
        |tree| tree.put_dir(b"etc", Meta::new(0o755).owner(0, 1)).unwrap(),
        |tree| {
            let id = tree.find(b"etc/app.conf").unwrap().unwrap();
            tree.node_mut(id).kind = Kind::File(Arc::new(b"answer = 43\n".to_vec()));
        },
    ];
    for change in changes {
        let mut out = Cursor::new(Vec::new());
        let error = builder(tree.clone()).format(Wrong(change)).unsigned().build(&mut out, None).unwrap_err();
        assert_eq!(error.code(), "format-differs", "{error}");
    }
}

#[test]
fn an_operating_system_brings_its_own_release_file_or_gets_one() {
    let root = |tree: Tree| Builder::new(ImageKind::Root, "os").tree(tree);
    let mut tree = Tree::new();
    tree.add_file("srv/anything", "", Meta::new(0o644)).unwrap();
    assert_eq!(refused(root(tree.clone())), "release-missing");
    tree.add_symlink("etc/os-release", "../usr/lib/os-release", Meta::new(0)).unwrap();
    assert_eq!(refused(root(tree.clone()).release(ReleaseFields::new("x"))), "release-conflict");
    tree.add_file("usr/lib/os-release", "ID=example\n", Meta::new(0o644)).unwrap();
    build(root(tree.clone()));
    build(root(tree.clone()).release(ReleaseFields::new("example")));
    assert_eq!(refused(root(tree).release(ReleaseFields::new("x"))), "release-conflict");
    let mut tree = Tree::new();
    tree.add_file("etc/os-release", "NAME=x\n", Meta::new(0o644)).unwrap();
    assert_eq!(refused(root(tree)), "release-id");
}

#[test]
fn the_release_file_is_written_or_checked() {
    const PATH: &str = "etc/extension-release.d/extension-release.app";
    let with = |text: &str| {
        let mut tree = one_file();
        tree.add_file(PATH, text, Meta::new(0o644)).unwrap();
        tree
    };
    let own = |tree: Tree| Builder::new(Class::Confext, "app").tree(tree);
    assert_eq!(refused(own(one_file())), "release-missing");
    assert_eq!(refused(builder(with("ID=debian\n"))), "release-conflict");
    assert_eq!(refused(own(with("ID=\"open\n"))), "release-quote");
    assert_eq!(refused(own(with("VERSION_ID=13\n"))), "release-id");
    assert_eq!(refused(builder(one_file()).release(ReleaseFields::new("a\nb"))), "release-value");
    let mut directory = one_file();
    directory.add_dir(PATH, Meta::new(0o755)).unwrap();
    assert_eq!(refused(own(directory.clone())), "release-missing");
    assert_eq!(refused(builder(directory)), "release-conflict");
    let (same, _) = build(builder(with("ID=_any\n")));
    assert!(same == build(builder(one_file())).0, "what the fields say may be there already");
    build(own(with("ID=debian\nVERSION_ID=13\n")));
}

#[test]
fn identifiers_follow_from_the_seed() {
    let (image, built) = build(builder(one_file()));
    let table = Table::read(&image, &Limits::default()).unwrap().unwrap();
    let superblock = verity::Superblock::parse(&image[24_576..], &Limits::default()).unwrap();
    let file_system: [u8; 16] = image[20_480 + 1024 + 48..][..16].try_into().unwrap();
    let found = [
        table.disk_guid.to_string(),
        built.partitions[2].unique_guid.to_string(),
        superblock.uuid.to_string(),
        const_hex::encode(superblock.salt.as_bytes()),
        Uuid::from_bytes(file_system).to_string(),
    ];
    // What systemd-repart 262 makes of the same seed: disk, signature partition, hash area, salt, file system.
    let expected = [
        "0c2ffb52-751b-409f-b855-7771f160c7f7",
        "050666ec-2897-4d6f-9f8c-e3e6eb425226",
        "ec8ac097-81e7-4174-9a41-21ab9e9c4eb1",
        "951319215f4425ef9c6cb2005aea43e42dbd6fe9fda733a94b413f0f27fb1945",
        "16b430bb-fefa-459f-9c2e-44fa2a014f37",
    ];
    assert_eq!(found, expected);
}

#[cfg(feature = "openssl")]
#[test]
fn the_smallest_signed_confext_is_at_most_64_kib() {
    use crate::signature::{KeyPair, Time};
    let key = KeyPair::generate("vendor", Time::from_unix(1_700_000_000), 365).unwrap();
    let mut out = Cursor::new(Vec::new());
    let built = builder(one_file()).build(&mut out, Some(&key)).unwrap();
    assert!(built.size_bytes <= 65_536, "{}", built.size_bytes);
    assert_eq!(built.signed, Some(key.certificate_fingerprint()));
}

#[cfg(feature = "directory")]
#[test]
fn a_path_gets_the_whole_image_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.confext.raw");
    let names = || {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let failing = builder(one_file()).build_file(&path, None).unwrap_err();
    assert_eq!((failing.code(), names().len()), ("signer-missing", 0));
    std::fs::write(&path, "old").unwrap();
    std::fs::write(dir.path().join(".#app.confext.raw.0.partial"), "left over by a crash").unwrap();
    let there = builder(one_file()).build_file(&path, Some(&FixedSigner(1400))).unwrap_err();
    assert_eq!((there.code(), std::fs::read(&path).unwrap()), ("output-exists", b"old".to_vec()));
    let builder = |tree| builder(tree).replace_file();
    let too_large = builder(one_file()).build_file(&path, Some(&FixedSigner(4 << 20))).unwrap_err();
    assert_eq!((too_large.code(), std::fs::read(&path).unwrap()), ("limit-bytes", b"old".to_vec()));
    assert_eq!(names().len(), 2);
    let built = builder(one_file()).build_file(&path, Some(&FixedSigner(1400))).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), build(builder(one_file())).0);
    assert_eq!((std::fs::metadata(&path).unwrap().len(), names().len()), (built.size_bytes, 2));
    let missing =
        builder(one_file()).build_file(dir.path().join("no/where"), Some(&FixedSigner(1))).unwrap_err();
    assert_eq!(missing.code(), "io");
}

fn system() -> Builder {
    let mut tree = Tree::new();
    tree.add_file("usr/bin/app", "#!/bin/sh\n", Meta::new(0o755)).unwrap();
    Builder::new(ImageKind::Root, "app")
        .tree(tree)
        .release(ReleaseFields::new("test"))
        .architecture(Architecture::X86_64)
        .seed(SEED.parse().unwrap())
}

fn boot_files() -> Tree {
    let mut tree = Tree::new();
    tree.add_file("EFI/BOOT/BOOTX64.EFI", vec![7; 5000], Meta::new(0o644)).unwrap();
    tree
}

#[test]
fn boot_partitions_come_before_the_others() {
    let build_all = || build(system().esp(boot_files()).xbootldr(boot_files()));
    let (image, built) = build_all();
    assert!(image == build_all().0);
    let table = Table::read(&image, &Limits::default()).unwrap().unwrap();
    assert_eq!(table.partitions, built.partitions);
    let seen: Vec<_> = table
        .partitions
        .iter()
        .map(|partition| {
            let kind = PartitionType::from_guid(partition.type_guid).unwrap();
            (kind.designator.as_str(), &*partition.label, partition.attributes.bits())
        })
        .collect();
    let read_only = Attributes::READ_ONLY.bits();
    assert_eq!(
        seen,
        [
            ("esp", "esp", 0),
            ("xbootldr", "xbootldr", 0),
            ("root", "root-x86-64", read_only),
            ("root-verity", "root-x86-64-verity", read_only),
            ("root-verity-sig", "root-x86-64-verity-sig", read_only),
        ]
    );
    assert_eq!(table.partitions[0].range.start(), 20_480);
    for pair in table.partitions.windows(2) {
        assert_eq!(pair[0].range.end(), pair[1].range.start());
    }
    let (_, without) = build(system());
    assert_eq!(built.root_hash, without.root_hash, "what is before the root does not change it");
    #[cfg(feature = "read-fs")]
    for partition in &table.partitions[..2] {
        let bytes = crate::read::Window::new(&image[..], partition.range).unwrap();
        let files = fs::open(bytes, crate::fstype::FsType::Vfat, &Limits::default()).unwrap();
        assert!(files.read(b"efi/boot/bootx64.efi").unwrap() == vec![7; 5000]);
    }
}

#[test]
fn only_an_operating_system_boots() {
    assert_eq!(refused(builder(one_file()).esp(boot_files())), "boot-partition");
    assert_eq!(refused(builder(one_file()).xbootldr(Tree::new())), "boot-partition");
    let mut links = boot_files();
    links.add_symlink("EFI/link", "BOOT", Meta::new(0o777)).unwrap();
    assert_eq!(refused(system().esp(links)), "vfat-entry");
}
