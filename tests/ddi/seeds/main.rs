//! The seeds of the fuzzing corpus: made here, and checked to be what is made here.
//!
//! `CONFEXT_BLESS=1 cargo test -p confext-tests --test ddi-seeds` writes them. Besides the seeds a directory of the
//! corpus may have files whose names start with `regression-`, each an input that once went wrong, and images that
//! other programs made (see [`FOREIGN`]).

use confext_ddi::build::{TarOptions, Tree, Whiteouts};
use confext_ddi::filter::Filter;
use confext_ddi::fstype::{self, FsType};
use confext_ddi::image::{Claim, Image};
use confext_ddi::policy::{KeyRules, Policy};
use confext_ddi::release::{Class, Release};
use confext_ddi::settings::Settings;
use confext_ddi::signature::{AdditionalSignature, Certificate, Certificates, Embed, Json, SignedData};
use confext_ddi::unit::{self, Name, Service, Specifiers};
use confext_ddi::verity::Superblock;
use confext_ddi::{Limits, fs, gpt, manifest, verity};
#[path = "../../../fuzz/src/targets/bare.rs"]
mod bare;

mod archives;
mod tables;
mod texts;

use confext_tests::{fat, images};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tables::{SECTOR, compact, seal_compact, table};

/// Images of other programs, by the start of their names. All hold the same files, all owned by root and of time 0:
/// `etc/a.conf` (2000 lines `key=value`), `etc/link` to it, `etc/noise` (1500 bytes that do not compress), `etc/small`
/// with the attribute `user.note`, and a release file.
///
/// - `mksquashfs SOURCE FILE -nopad -all-root -mkfs-time 0 -all-time 0` and `-comp gzip`, `xz`, `lz4` or `zstd`;
///   for `plain` `-noI -noD -noF -noX`; for `b4096` `-b 4096 -no-fragments` (version 4.5.1).
/// - `mkfs.erofs -T0 --all-root -U 4f68bce3-e8cd-4db1-96e7-fbcaf984b709 FILE SOURCE` and `-z` with `lz4`, `deflate`,
///   `lzma` or `zstd`; for `fragments` `-zlz4hc -Efragments,dedupe -C65536`; for `packed`
///   `-zlz4 -Eall-fragments,ztailpacking`; for `chunks` `--chunksize=4096`; for `b512` `-b512` (version 1.9.4). Then
///   bit 0 of byte 1032 was cleared: without the superblock's checksum changes are looked at.
/// - The same with more files: `etc/half` (6000 bytes of `etc/a.conf`, 1000 of `etc/noise`, 9000 and all of them),
///   `etc/moved` (`x` and `etc/half`), `etc/sparse` (24 KiB of zeros but for `middle` at 12288), and twelve of
///   `etc/more/a-rather-long-name-of-a-file-N`, four of which have the attributes `user.note` (`shared`) and
///   `user.org.example.label`. For `big` `-zlz4hc,12 -b512 -C4096`; `legacy` `-zlz4 -Elegacy-compress,ztailpacking -b512`;
///   `tailpacking` `-zlz4hc -Eztailpacking -b512`; `dedupe` `-zlz4hc -Ededupe,fragments -b512 -C4096`;
///   `lzma-big` `-zlzma,9 -C16384 -b1024`; `deflate-fragments` `-zdeflate -Efragments,fragdedupe=full -C32768 -b1024`;
///   `zstd-packed` `-zzstd -Eall-fragments,dedupe -C65536`; `48bit` `-E48bit -zlz4hc -b512 -C4096`;
///   `48bit-extents` `-E48bit -zlz4 -b512 --max-extent-bytes=4096`; `48bit-chunks` `-E48bit --chunksize=512 -b512`;
///   `metabox`, which has two algorithms, `--MZ=i -m1024:zstd -zlz4hc -Ededupe,fragments -C4096 -b1024`;
///   `dirs` `--zD -zlz4 -b512`; `prefixes` `-x1 --xattr-prefix=user.org.example. -zlz4 -b512 -Exattr-name-filter`. For `device`
///   `--chunksize=512 -b512 --blobdev=BLOB`; then the device was put behind the image, and its slot says so.
/// - `mke2fs -b 1024 -N 32 -m 0 -U` and `-E hash_seed=` with that UUID, `-d SOURCE FILE`, in 96 KiB, with `-O ^resize_inode`
///   and `-t ext2`; or `-t ext4` and `-O` with `^has_journal,^metadata_csum` for `plain`, with `inline_data` in addition for
///   `inline`, and `^has_journal,metadata_csum` for `checksums` (version 1.47.0).
/// - `mkfs.vfat --invariant -F 12 -s 1 -r 16`, in 96 KiB; for `wide` `-F 12 -s 2 -f 1 -S 1024 -r 32`, in 256 KiB; for
///   `fat16` `-F 16 -s 1 -r 16 -f 1`, in 2200 KiB; filled by `mcopy -s -m` (versions 4.2 and 4.0.32), without link and
///   attribute, and cut off where only zeros follow.
const FOREIGN: [&str; 3] = ["mkfs-", "mksquashfs-", "mke2fs-"];

/// All of the corpus stays below this.
const MOST_BYTES: u64 = 2 << 20;

/// Target and name.
type Seeds = BTreeMap<(&'static str, String), Vec<u8>>;

/// EROFS without the checksum that stops changes at the door.
fn without_checksum(mut image: Vec<u8>) -> Vec<u8> {
    image[1032] &= !1;
    image
}

/// Makes every seed.
fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    let mut add = |target: &'static str, name: &str, bytes: Vec<u8>| {
        assert!(seeds.insert((target, name.to_owned()), bytes).is_none(), "{target}/{name}");
    };
    add("tar", "ustar", archives::archive(tar::Header::new_ustar));
    add("tar", "gnu", archives::archive(tar::Header::new_gnu));
    add("tar", "records", archives::records());
    let bare_signer = images::vendor().embed(Embed::Nothing);
    let (signed, built) = images::signed();
    let (plain, plain_built) = images::build(images::builder(images::one_file()), Some(&bare_signer));
    let (large, large_built) = images::build(images::builder(images::one_of_each()).unsigned(), None);

    for sector in [512, 1024, 2048, 4096] {
        add("gpt", &format!("sectors-of-{sector}"), table(sector));
    }
    let mut backup_only = table(512);
    backup_only[512..1024].fill(0);
    add("gpt", "backup-only", backup_only);
    let mut primary_only = table(512);
    primary_only[6 * 512..].fill(0);
    add("gpt", "primary-only", primary_only);

    let mut unprotected = compact(&large, &large_built);
    unprotected[2 * SECTOR + 128..3 * SECTOR].fill(0);
    let root = 8 * SECTOR;
    unprotected[root + 1032] &= !1;
    let sectors = unprotected.len();
    unprotected.copy_within(2 * SECTOR..3 * SECTOR, sectors - 2 * SECTOR);
    seal_compact(&mut unprotected, SECTOR);
    add("image", "signed", compact(&signed, &built));
    add("image", "signed-without-certificate", compact(&plain, &plain_built));
    add("image", "unsigned", compact(&large, &large_built));
    add("image", "unprotected", unprotected);
    add("image", "bare", without_checksum(images::bare()));

    let superblock = images::part(&signed, &built, 1)[..512].to_vec();
    let large_superblock = images::part(&large, &large_built, 1)[..512].to_vec();
    let salted = |len: usize| {
        let mut parsed = Superblock::parse(&superblock, &Limits::default()).unwrap();
        parsed.salt = confext_ddi::digest::Salt::new(vec![0x5a; len]).unwrap();
        parsed.to_bytes().to_vec()
    };
    for (name, bytes) in [("one-block", superblock.clone()), ("two-levels", large_superblock.clone())] {
        add("verity_superblock", name, bytes);
    }
    add("verity_superblock", "no-salt", salted(0));
    add("verity_superblock", "longest-salt", salted(256));
    for blocks in [1_usize, 2, 128, 129] {
        let mut parsed = Superblock::parse(&superblock, &Limits::default()).unwrap();
        parsed.data_blocks = u64::try_from(blocks).unwrap();
        let data = (0..blocks).map(|at| at.to_le_bytes()[0]);
        add(
            "verity_reader",
            &format!("blocks-{blocks}"),
            parsed.to_bytes().into_iter().chain(data).collect(),
        );
    }

    for (name, sizes, salt, count) in [
        ("one-block", [3, 3], 32_u8, 1_u8),
        ("usual", [3, 3], 32, 40),
        ("many-levels", [0, 0], 0, 255),
        ("lopsided", [0, 7], 64, 200),
        ("long-salt", [1, 2], 255, 33),
    ] {
        let salt_bytes: Vec<u8> = (0..salt).collect();
        let data = b"what data is made of".to_vec();
        add("hash_tree", name, [sizes.to_vec(), vec![salt, count, count / 2], salt_bytes, data].concat());
    }

    let bare = bare::bare();
    let tree = verity::build(
        &bare,
        &Superblock { data_blocks: 2, ..Superblock::parse(&superblock, &Limits::default()).unwrap() },
    );
    let tree = tree.unwrap();
    for (name, line) in [
        ("right", "app.raw\napp.raw/app.verity/app.roothash"),
        ("misnamed", "app.confext.raw\napp.confext.raw.roothash/App.verity/app.usrhash.sig/other.raw"),
        ("of-another", "app.confext.raw\napp.raw/app.roothash"),
    ] {
        add(
            "sidecar",
            name,
            [format!("{line}\n{}\n", tree.root_hash).into_bytes(), tree.bytes.clone()].concat(),
        );
    }

    let json = Json::parse(images::part(&signed, &built, 2), &Limits::default()).unwrap();
    let short = Json::parse(images::part(&plain, &plain_built, 2), &Limits::default()).unwrap();
    let unnamed = Json { certificate_fingerprint: None, ..short.clone() };
    let other = AdditionalSignature { certificate_fingerprint: None, signature_der: b"MIIJ".to_vec() };
    let several =
        Json { additional: vec![other.clone(), other], signature_der: b"MIIJ".to_vec(), ..json.clone() };
    add("signature_json", "several", several.to_bytes());
    add("signature_json", "with-fingerprint", json.to_bytes());
    add("signature_json", "without-fingerprint", unnamed.to_bytes());
    add("signature_json", "padded", [unnamed.to_bytes(), vec![0; 64]].concat());
    add("signature_json", "other-order", {
        let (hash, signature) = (json.root_hash.to_hex(), "TUlJ");
        format!(
            "{{\n  \"signature\": \"{signature}\",\n  \"more\": [1, {{}}],\n  \"rootHash\": \"{hash}\"\n}}\n"
        )
        .into()
    });
    add("pkcs7", "with-certificate", json.signature_der);
    add("pkcs7", "without-certificate", short.signature_der);

    for (name, bytes) in
        [("sectors-of-512", table(512)), ("sectors-of-4096", table(4096)), ("whole", signed.clone())]
    {
        add("gpt_differential", name, bytes);
    }
    add_programs(&mut add);
    let pem = images::vendor().certificate_pem().unwrap();
    add("certificate", "one", pem.clone());
    add("certificate", "two", [&pem[..], b"\n", &pem].concat());
    add("certificate", "der", Certificate::from_pem(&pem).unwrap().to_der().unwrap());
    let image = Image::open(&large[..], &images::options()).unwrap();
    let admitted = Policy::verity().judge(image, None).unwrap();
    let files = admitted.file_system(&Limits::default()).unwrap();
    let manifest =
        manifest::Manifest::of(&*files, &manifest::Options::default(), &Limits::default(), |_| ()).unwrap();
    let mut text = Vec::new();
    manifest.write_json(&mut text).unwrap();
    add("manifest", "one-of-each", text);
    add("fstype", "erofs", images::bare()[..1200].to_vec());
    add("fstype", "two-systems", {
        let mut both = images::bare()[..1200].to_vec();
        both[..4].copy_from_slice(b"hsqs");
        both
    });

    for bits in [12, 16, 32] {
        add("vfat", &format!("fat{bits}"), fat::volume(bits));
    }
    texts::add(&mut add);
    for (name, tree) in [("one-file", images::one_file()), ("one-of-each", images::one_of_each())] {
        let (image, built) = images::build(images::builder(tree).unsigned(), None);
        let system = images::part(&image, &built, 0).to_vec();
        add("erofs", name, without_checksum(system.clone()));
        if name == "one-file" {
            add("erofs", "with-checksum", system);
        }
    }
    seeds
}

/// Changes of an image, or damage to blocks, as the targets that make them take them.
fn add_programs(add: &mut impl FnMut(&'static str, &str, Vec<u8>)) {
    for (name, options) in [("signed", 0), ("signed-large", 1), ("unsigned", 2), ("unsigned-large", 3)] {
        add("whole_image", name, vec![options]);
        // Each area once: what is there becomes 0xff or 0.
        let areas: Vec<u8> = (0..9).flat_map(|area| [area, 40, 0, 1, 0xff, 0]).collect();
        add("whole_image", &format!("{name}-all"), [&[options][..], &areas].concat());
    }
    for (name, change) in [
        ("salt", &[5, 88, 0, 3, 1, 2, 3, 4][..]),
        ("file-size", &[3, 128 + 8, 0, 0, 200]),
        ("content", &[4, 0x90, 0x04, 0, b'X']),
        ("json", &[7, 1, 0, 0, b'x']),
        ("label", &[1, 56, 0, 0, b'R']),
    ] {
        add("whole_image", name, [&[1][..], change].concat());
    }
    for (option, name) in
        [(0x10, "old-tree"), (0x20, "old-signature"), (0x40, "old-identifiers"), (0x80, "old-sums")]
    {
        add("whole_image", name, vec![option | 1, 4, 0x90, 0x04, 0, b'X']);
    }
    add("fec", "one-block", vec![2, 0, 0, 0, 7, 0, 1]);
    add(
        "fec",
        "as-many-as-roots",
        [&[3, 99][..], &[0, 0, 0, 0, 1], &[9, 0, 0, 0, 1], &[98, 0, 0, 0, 1]].concat(),
    );
    add("fec", "too-many", [&[2, 99][..], &[0, 0, 0, 0, 1], &[9, 0, 0, 0, 1], &[98, 0, 0, 0, 1]].concat());
    add(
        "fec",
        "tree-and-parity",
        [&[5, 139][..], &[140, 0, 0, 0, 1], &[143, 0, 0, 0, 1], &[145, 0, 3, 0, 1]].concat(),
    );
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// Every file of the corpus, as target and name.
fn files() -> BTreeSet<(String, String)> {
    let list = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let of = |target: &String| {
        list(&corpus().join(target)).into_iter().map(|name| (target.clone(), name)).collect()
    };
    list(&corpus()).iter().flat_map(|target| -> Vec<(String, String)> { of(target) }).collect()
}

#[test]
fn the_corpus_is_what_the_code_makes() {
    let seeds = seeds();
    assert!(seeds == self::seeds(), "seeds are the same each time");
    let bless = std::env::var_os("CONFEXT_BLESS").is_some();
    for ((target, name), bytes) in &seeds {
        let path = corpus().join(target).join(name);
        if bless {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
        let found = std::fs::read(&path).unwrap_or_default();
        assert!(found == *bytes, "fuzz/corpus/{target}/{name} is out of date: CONFEXT_BLESS=1 writes it");
    }
    let mut total = 0;
    for (target, name) in files() {
        let known = seeds.keys().any(|(known, seed)| (*known, seed) == (&*target, &name));
        let kept = FOREIGN.iter().chain(&["regression-"]).any(|start| name.starts_with(start));
        assert!(known || kept, "fuzz/corpus/{target}/{name}: no seed and no regression");
        total += std::fs::metadata(corpus().join(target).join(name)).unwrap().len();
    }
    assert!(total < MOST_BYTES, "the corpus has {total} bytes");
}

/// A seed that is refused at once leads a fuzzer nowhere.
#[test]
fn seeds_are_accepted() {
    let limits = Limits::default();
    let mut claims = BTreeSet::new();
    for ((target, name), bytes) in &seeds() {
        let accepted = match *target {
            "gpt" => gpt::Table::read(&bytes[..], &limits).map(|table| table.is_some()),
            "image" => Image::open(&bytes[..], &images::options()).and_then(|image| {
                claims.insert(match image.claim() {
                    Claim::None => "none",
                    Claim::Verity { .. } => "verity",
                    Claim::Signed { .. } => "signed",
                });
                let admitted = Policy::unprotected().judge(image, None)?;
                images::read_everything(&*admitted.file_system(&limits)?, &limits).map(|all| all.len() > 3)
            }),
            "verity_superblock" | "verity_reader" => Superblock::parse(bytes, &limits).map(|_| true),
            "signature_json" => Json::parse(bytes, &limits).map(|_| true),
            "pkcs7" => SignedData::parse(bytes).map(|_| true),
            "settings" => {
                let mut settings = Settings::default();
                settings.read(bytes, Class::Confext, "f").map(|()| settings.mutability.is_some())
            }
            "unit" => {
                let (name, mut service) = (Name::parse("a.service").unwrap(), Service::default());
                unit::parse(bytes, "f", &limits).and_then(|all| {
                    for one in &all {
                        service.assign(one, &name, &Specifiers::new(&name), &limits)?;
                    }
                    Ok(!service.extensions.is_empty())
                })
            }
            "key_rules" => KeyRules::parse(bytes, &limits).map(|rules| !rules.is_empty()),
            "policy" => Policy::parse(std::str::from_utf8(bytes).unwrap()).map(|_| true),
            "image_filter" => {
                Filter::parse(std::str::from_utf8(bytes).unwrap()).map(|filter| !filter.is_empty())
            }
            "release" => Release::parse(bytes, &limits).map(|release| release.iter().count() > 0),
            "erofs" => fs::open(&bytes[..], FsType::Erofs, &limits)
                .and_then(|files| images::read_everything(&*files, &limits).map(|all| all.len() > 3)),
            "vfat" => fs::open(padded(bytes.clone()), FsType::Vfat, &limits)
                .and_then(|files| images::read_everything(&*files, &limits).map(|all| all.len() > 3)),
            "tar" => {
                let mut options = TarOptions::default();
                options.whiteouts = Whiteouts::Overlay;
                Tree::from_tar(bytes.clone(), &options).map(|tree| tree.len() > 1)
            }
            "whole_image" => Ok(!bytes.is_empty()),
            "gpt_differential" => gpt::Table::read(&bytes[..], &limits).map(|table| table.is_some()),
            "certificate" => {
                Certificates::new(images::NOW).add_pem_bundle(bytes).map(|count| count > 0).or_else(|_| {
                    Certificate::from_der(bytes).map(|certificate| !certificate.subject().is_empty())
                })
            }
            "manifest" => manifest::Manifest::parse_json(bytes, &limits).map(|all| all.entries().len() > 3),
            // One of them is meant to be refused.
            "fstype" => Ok(fstype::probe(&bytes[..]).map_or(true, |found| found.is_some())),
            "fec" | "text" | "hash_tree" => Ok(bytes.len() > 5),
            "version" | "vpick" | "sidecar" | "build_rules" => Ok(bytes.contains(&b'\n')),
            other => panic!("a seed for {other}, which is no target"),
        };
        let accepted = accepted.unwrap_or_else(|error| panic!("{target}/{name}: {error}"));
        assert!(accepted, "{target}/{name} says nothing");
    }
    assert_eq!(claims, ["none", "verity", "signed"].into());
}

/// A vfat volume whose end, all zeros, was cut off.
fn padded(mut volume: Vec<u8>) -> Vec<u8> {
    volume.resize(4 << 20, 0);
    volume
}

/// What other programs made of the same files reads the same.
#[test]
fn images_of_other_programs_hold_the_same_files() {
    let limits = Limits::default();
    let (mut count, mut with_more) = (0, 0);
    for (target, name) in files() {
        if !FOREIGN.iter().any(|start| name.starts_with(start)) {
            continue;
        }
        let is_vfat = target == "vfat";
        let bytes = std::fs::read(corpus().join(&target).join(&name)).unwrap();
        let bytes = if is_vfat { padded(bytes) } else { bytes };
        let found = fstype::probe(&bytes[..]).unwrap().unwrap().fs_type;
        assert_eq!(found.as_str(), target, "{name}");
        let files =
            fs::open(&bytes[..], found, &limits).unwrap_or_else(|error| panic!("{target}/{name}: {error}"));
        let all = images::read_everything(&*files, &limits)
            .unwrap_or_else(|error| panic!("{target}/{name}: {error}"));
        let file = |path: &str| &all[path.as_bytes()];
        assert_eq!(file("etc/a.conf").content, "key=value\n".repeat(2000).as_bytes(), "{name}");
        assert_eq!(file("etc/noise").content.len(), 1500, "{name}");
        count += 1;
        if is_vfat {
            continue;
        }
        assert_eq!(file("etc/link").content, b"a.conf", "{name}");
        assert_eq!(file("etc/small").xattrs, [(b"user.note".to_vec(), b"hi".to_vec())], "{name}");
        if all.contains_key(&b"etc/more"[..]) {
            let (text, noise) = (&file("etc/a.conf").content, &file("etc/noise").content);
            let half = [&text[..6000], &noise[..1000], &text[..9000], noise].concat();
            assert!(file("etc/half").content == half, "{name}");
            assert!(file("etc/moved").content == [b"x", &half[..]].concat(), "{name}");
            let mut sparse = vec![0; 24 << 10];
            sparse[12_288..][..6].copy_from_slice(b"middle");
            assert!(file("etc/sparse").content == sparse, "{name}");
            let attributes =
                [("user.note", "shared"), ("user.org.example.label", "2")].map(|(k, v)| (k.into(), v.into()));
            assert_eq!(file("etc/more/a-rather-long-name-of-a-file-2").xattrs, attributes, "{name}");
            with_more += 1;
        }
    }
    assert!(count >= 30 && with_more >= 14, "{count} images, {with_more} with more files");
}
