use super::*;
use crate::RootHash;
use crate::build::{Builder, Meta, ReleaseFields, Tree};
use crate::digest::HashAlgorithm;
use crate::dps::Architecture;
use crate::gpt::{BackupState, Source, Table};
use crate::image::Claim;
use crate::release::Class;
use crate::signature::{Signer, TrustSource};
use std::io::Cursor;

/// Signatures of any length that name their signer by their first byte.
struct Key(u8, usize);

impl Sign for Key {
    fn sign(&self, root_hash: &RootHash) -> Result<Vec<u8>> {
        Ok([self.0].into_iter().chain(root_hash.as_bytes().iter().copied().cycle()).take(self.1).collect())
    }

    fn certificate_fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes([self.0; 32])
    }
}

struct Names;

impl crate::signature::Verifier for Names {
    fn verify(&self, _: &RootHash, signature: &[u8]) -> Result<Signer> {
        let fingerprint = Fingerprint::from_bytes([signature[0]; 32]);
        let (subject, source) = (String::new(), TrustSource::Caller);
        let fingerprint = Some(fingerprint);
        Ok(Signer { subject, fingerprint, not_before: Some(0), not_after: Some(0), source })
    }
}

fn builder() -> Builder {
    let mut tree = Tree::new();
    tree.add_file("etc/a", vec![7; 10_000], Meta::new(0o644)).unwrap();
    Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any())
}

fn build(builder: Builder, signer: Option<&dyn Sign>) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    builder.build(&mut out, signer).unwrap();
    out.into_inner()
}

fn sign(image: &[u8], key: &dyn Sign, existing: Existing) -> Result<(Vec<u8>, SignedImage)> {
    let mut out = Cursor::new(image.to_vec());
    let signed = sign_image(&mut out, key, &SignOptions::default().existing(existing));
    let out = out.into_inner();
    match signed {
        Ok(signed) => {
            assert_eq!(signed.size_bytes, u64::try_from(out.len()).unwrap());
            Ok((out, signed))
        }
        Err(error) => {
            assert_eq!(out, image, "on failure nothing is written: {error}");
            Err(error)
        }
    }
}

fn table(image: &[u8]) -> Table {
    let table = Table::read(image, &Limits::default()).unwrap().unwrap();
    assert_eq!(table.source, Source::Primary { backup: BackupState::Same });
    table
}

/// By first bytes, whose signatures an image has; all of it is checked.
fn signers(image: &[u8]) -> Vec<u8> {
    let image = Image::open(image.to_vec(), &image::Options::default()).unwrap();
    let admitted = Policy::signed().judge(image, Some(&Names)).unwrap();
    let Data::Checked(checked) = admitted.data() else { panic!("signed and not checked") };
    checked.verify().unwrap();
    admitted.signers().iter().map(|signer| signer.fingerprint.unwrap().as_bytes()[0]).collect()
}

fn slice(image: &[u8], range: ByteRange) -> &[u8] {
    &image[usize::try_from(range.start()).unwrap()..usize::try_from(range.end()).unwrap()]
}

#[test]
fn signed_later_is_signed_the_same() {
    // 2900 bytes fit the room that is left; of 5000 the partition has to grow.
    for len in [1400, 2900, 5000] {
        let key = Key(1, len);
        let now = build(builder(), Some(&key));
        let later = build(builder().sign_later(), None);
        let waiting = Image::open(later.clone(), &image::Options::default()).unwrap_err();
        assert_eq!(waiting.code(), "signature-empty");
        let (signed, result) = sign(&later, &key, Existing::Replace).unwrap();
        assert!(signed == now, "{len}");
        assert_eq!(
            (result.partition.value(), result.signatures),
            (3, vec![Some(key.certificate_fingerprint())])
        );
        assert!(sign(&later, &key, Existing::Keep).unwrap().0 == now, "nothing is there to be kept");
    }
    let mut out = Cursor::new(Vec::new());
    let error = builder().sign_later().build(&mut out, Some(&Key(1, 1))).unwrap_err();
    assert_eq!(error.code(), "signer-unexpected");
}

#[test]
fn the_bytes_to_sign_are_known_before() {
    let mut out = Cursor::new(Vec::new());
    let built = builder().sign_later().build(&mut out, None).unwrap();
    assert_eq!(built.to_sign().content(), built.root_hash.to_hex());
    let options = SignOptions::default();
    assert_eq!(to_sign(out.into_inner(), &options).unwrap(), built.to_sign());
    assert_eq!(to_sign(build(builder(), Some(&Key(1, 1400))), &options).unwrap(), built.to_sign());
    assert_eq!(to_sign(build(builder().unsigned(), None), &options).unwrap(), built.to_sign());
}

#[test]
fn an_unsigned_image_gets_a_partition() {
    let before = build(builder().unsigned(), None);
    let (after, result) = sign(&before, &Key(1, 1400), Existing::Replace).unwrap();
    assert_eq!(signers(&after), [1]);
    let (old, new) = (table(&before), table(&after));
    assert_eq!((new.disk_guid, result.partition.value()), (old.disk_guid, 3));
    let (kept, added) = new.partitions.split_at(2);
    assert_eq!(kept, old.partitions);
    for partition in kept {
        assert!(slice(&before, partition.range) == slice(&after, partition.range));
    }
    assert_eq!(added[0].label, format!("{}-sig", kept[1].label));
    assert_eq!(added[0].attributes, Attributes::READ_ONLY);
    assert!(!added[0].unique_guid.is_zero());
    assert_eq!(sign(&before, &Key(1, 1400), Existing::Replace).unwrap().0, after, "the same each time");
}

#[test]
fn signatures_are_replaced_or_kept() {
    let image = build(builder(), Some(&Key(1, 700)));
    let (replaced, _) = sign(&image, &Key(2, 700), Existing::Replace).unwrap();
    assert_eq!((signers(&replaced), replaced.len()), (vec![2], image.len()));
    assert!(replaced == build(builder(), Some(&Key(2, 700))), "nothing of the old one is left");

    let (both, result) = sign(&image, &Key(2, 700), Existing::Keep).unwrap();
    assert_eq!((signers(&both), both.len()), (vec![1, 2], image.len()));
    assert_eq!(result.signatures.len(), 2);
    let opened = Image::open(both.clone(), &image::Options::default()).unwrap();
    let Claim::Signed { fingerprint, additional, .. } = opened.claim() else { panic!() };
    assert_eq!(*fingerprint, Some(Fingerprint::from_bytes([1; 32])), "others read the first one");
    assert_eq!(additional.len(), 1);
    // Of the same certificate there is one.
    for key in [1, 2] {
        let (again, _) = sign(&both, &Key(key, 650), Existing::Keep).unwrap();
        assert_eq!(signers(&again), [1, 2]);
    }
    // The partition grows with the signatures.
    let mut many = both;
    for key in 3..=16 {
        many = sign(&many, &Key(key, 1400), Existing::Keep).unwrap().0;
        table(&many);
    }
    assert_eq!(signers(&many), (1..=16).collect::<Vec<u8>>());
    assert_eq!(sign(&many, &Key(17, 1400), Existing::Keep).unwrap_err().code(), "limit-count");
    let (one, _) = sign(&many, &Key(1, 700), Existing::Replace).unwrap();
    assert_eq!((signers(&one), one.len()), (vec![1], many.len()), "it does not shrink again");
}

/// Puts the signature's partition in front of all others, and its number, too.
fn signature_first(image: &[u8]) -> Vec<u8> {
    let old = table(image);
    let range = old.partitions[2].range;
    let mut out = Cursor::new(vec![0; 20_480]);
    let mut partitions = Vec::new();
    for (number, at) in [(7, 2), (2, 0), (9, 1)] {
        let start = out.seek(SeekFrom::End(0)).unwrap();
        let range = append(&mut out, start, slice(image, old.partitions[at].range)).unwrap();
        let number = PartitionNumber::new(number).unwrap();
        partitions.push(Partition { number, range, ..old.partitions[at].clone() });
    }
    assert_eq!(partitions[0].range.len_bytes(), range.len_bytes());
    crate::build::gpt::write(&mut out, old.disk_guid, &partitions, 1 << 20).unwrap();
    out.into_inner()
}

#[test]
fn wherever_the_partition_is_it_is_found_and_may_move() {
    let image = signature_first(&build(builder(), Some(&Key(1, 700))));
    assert_eq!((signers(&image), image.len()), (vec![1], 1 << 20));
    let (fits, result) = sign(&image, &Key(2, 700), Existing::Keep).unwrap();
    assert_eq!((signers(&fits), result.partition.value()), (vec![1, 2], 7));
    assert_eq!(table(&fits), table(&image), "the table is as it was");

    let (moved, result) = sign(&image, &Key(2, 5000), Existing::Keep).unwrap();
    assert_eq!((signers(&moved), result.partition.value(), moved.len()), (vec![1, 2], 7, 1 << 20));
    let (old, new) = (table(&image), table(&moved));
    assert_eq!(old.partitions.len(), new.partitions.len());
    for (old, new) in old.partitions.iter().zip(&new.partitions) {
        if old.number == result.partition {
            assert!(slice(&moved, old.range).iter().all(|byte| *byte == 0));
            assert!(new.range.start() > old.range.start());
            assert_eq!(Partition { range: old.range, ..new.clone() }, *old);
        } else {
            assert_eq!(old, new);
        }
    }
}

#[test]
fn what_cannot_be_signed_is_refused() {
    let code = |image: &[u8], existing| sign(image, &Key(1, 1400), existing).unwrap_err().code();
    assert_eq!(code(&[], Existing::Replace), "image-empty");
    assert_eq!(code(&[0; 8192], Existing::Replace), "image-unknown");
    assert_eq!(code(&image::sample::erofs(), Existing::Replace), "not-protected");

    let image = build(builder(), Some(&Key(1, 1400)));
    let parts = table(&image).partitions;
    let changed = |at: u64| {
        let mut changed = image.clone();
        changed[usize::try_from(at).unwrap()] ^= 1;
        changed
    };
    assert_eq!(code(&changed(parts[0].range.start() + 8192), Existing::Replace), "data-block");
    assert_eq!(code(&changed(parts[1].range.start() + 4096), Existing::Replace), "root-hash");
    // A broken signature can be replaced, but not kept.
    let broken = changed(parts[2].range.start());
    assert_eq!(code(&broken, Existing::Keep), "signature-json");
    assert!(sign(&broken, &Key(1, 1400), Existing::Replace).unwrap().0 == image);
    let json = |root_hash: RootHash| {
        let json =
            Json { root_hash, ..Json::parse(slice(&image, parts[2].range), &Limits::default()).unwrap() };
        let mut foreign = image.clone();
        fill(&mut Cursor::new(&mut foreign[..]), parts[2].range, &json.to_bytes()).unwrap();
        foreign
    };
    assert_eq!(code(&json(RootHash::from_bytes([1; 32])), Existing::Keep), "signature-root-hash");

    // A table of the smallest form has no room for ours.
    let small = image::sample::signed(Architecture::X86_64);
    let small = image::sample::disk(&small);
    assert_eq!(sign(&small, &Key(1, 5000), Existing::Replace).unwrap_err().code(), "gpt-no-room");
    assert_eq!(signers(&sign(&small, &Key(1, 700), Existing::Replace).unwrap().0), [1]);
    let failing = sign(&image, &Key(1, 4 << 20), Existing::Replace).unwrap_err();
    assert_eq!(failing.code(), "limit-bytes");
}

/// Identifiers of partitions hold 32 bytes: the rest of a longer root hash comes from the tree.
#[test]
fn root_hashes_of_any_length_are_signed_whole() {
    let native = Architecture::X86_64;
    for (algorithm, digits) in [(HashAlgorithm::Sha256, 64), (HashAlgorithm::Sha512, 128)] {
        let mut expected = None;
        let mut parts = image::sample::protected_by(algorithm, native, image::sample::erofs(), |root_hash| {
            expected = Some(*root_hash);
            vec![b' '; 2000]
        });
        let expected = expected.unwrap();
        let unsigned = image::sample::disk(&parts[..2]);
        assert_eq!(to_sign(&unsigned[..], &SignOptions::default()).unwrap().content(), expected.to_hex());
        assert_eq!(expected.to_hex().len(), digits);
        let (signed, found) = sign(&image::sample::disk(&parts), &Key(1, 700), Existing::Replace).unwrap();
        assert_eq!(found.root_hash, expected);
        let opened = Image::open(&signed[..], &image::Options::default().architecture(native)).unwrap();
        let admitted = Policy::signed().judge(opened, Some(&Names)).unwrap();
        assert_eq!(admitted.root_hash(), Some(&expected));
        // The tree of another image.
        parts[1].id = image::sample::fresh_id();
        let error = to_sign(&image::sample::disk(&parts[..2])[..], &SignOptions::default()).unwrap_err();
        assert!(["root-hash", "root-hash-partition"].contains(&error.code()), "{error}");
    }
}

#[test]
fn images_of_other_architectures_are_signed_too() {
    for architecture in [Architecture::Arm64, Architecture::S390x] {
        let image = build(builder().architecture(architecture).unsigned(), None);
        let (signed, _) = sign(&image, &Key(1, 700), Existing::Replace).unwrap();
        let open = image::Options::default().architecture(architecture);
        assert!(matches!(Image::open(signed, &open).unwrap().claim(), Claim::Signed { .. }));
    }
}

#[cfg(feature = "openssl")]
#[test]
fn a_signature_made_elsewhere_completes_the_image() {
    use crate::signature::{Certificates, KeyPair, Time};
    let start = Time::from_unix(1_700_000_000);
    let key = KeyPair::generate("vendor", start, 10).unwrap();
    let later = build(builder().sign_later(), None);
    let message = key.sign(&table_root_hash(&later)).unwrap();
    let raw = crate::signature::SignedData::parse(&message).unwrap().signature.to_vec();
    for signature in [&message, &raw] {
        let mut out = Cursor::new(later.clone());
        attach_signature(&mut out, key.certificate(), signature, &SignOptions::default()).unwrap();
        assert!(out.get_ref() == &build(builder(), Some(&key)));
        let mut trusted = Certificates::new(start);
        trusted.add(key.certificate().clone());
        let image = Image::open(out.into_inner(), &image::Options::default()).unwrap();
        assert!(Policy::signed().judge(image, Some(&trusted)).is_ok());
    }
    let other = KeyPair::generate("other", start, 10).unwrap();
    for (certificate, signature, code) in [
        (other.certificate(), &raw, "signature-not-of-key"),
        (other.certificate(), &message, "unknown-signer"),
        (key.certificate(), &vec![0; 256], "signature-not-of-key"),
    ] {
        let mut out = Cursor::new(later.clone());
        let error = attach_signature(&mut out, certificate, signature, &SignOptions::default()).unwrap_err();
        assert_eq!((error.code(), error.path().as_str()), (code, "root-verity-sig/signature"));
        assert!(out.get_ref() == &later);
    }
}

#[cfg(feature = "openssl")]
fn table_root_hash(image: &[u8]) -> RootHash {
    look(image, &image::Options::default()).unwrap().root_hash
}

#[cfg(feature = "directory")]
#[test]
fn a_file_is_signed_whole_or_not_at_all() {
    use crate::build::sign_file;
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.confext.raw");
    let (image, options) = (build(builder().sign_later(), None), SignOptions::default());
    std::fs::write(&path, &image).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let inode =
        |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let old = std::fs::File::open(&path).unwrap();
    let error = sign_file(&path, &path, &Key(1, 4 << 20), &options).unwrap_err();
    assert_eq!((error.code(), std::fs::read(&path).unwrap() == image), ("limit-bytes", true));
    let before = inode(&path);
    sign_file(&path, &path, &Key(1, 1400), &options).unwrap();
    let signed = build(builder(), Some(&Key(1, 1400)));
    assert!(std::fs::read(&path).unwrap() == signed);
    assert_ne!(before, inode(&path), "whoever has the old file open keeps it as it was");
    assert_eq!(old.metadata().unwrap().len(), u64::try_from(image.len()).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);

    let other = dir.path().join("other.raw");
    sign_file(&path, &other, &Key(2, 1400), &options).unwrap();
    assert!(std::fs::read(&path).unwrap() == signed);
    assert_eq!(signers(&std::fs::read(&other).unwrap()), [2]);
    let again = sign_file(&path, &other, &Key(3, 1400), &options).unwrap_err();
    assert_eq!(again.code(), "output-exists");
    assert_eq!(signers(&std::fs::read(&other).unwrap()), [2]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
    let new = dir.path().join("new.raw");
    let missing = sign_file(dir.path().join("none"), &new, &Key(1, 1), &options).unwrap_err();
    assert_eq!((missing.code(), missing.path().ends_with("none")), ("io", true));
}
