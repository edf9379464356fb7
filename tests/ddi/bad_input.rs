//! Bad input of every kind: each has its own stable code, and says what was found, what was expected and what to do.

use confext_ddi::build::{Meta, ReleaseFields, Tree, erofs};
use confext_ddi::dps::{Architecture, Designator, PartitionType};
use confext_ddi::error::all_codes;
use confext_ddi::image::{Copies, Image, Select};
use confext_ddi::policy::Policy;
use confext_ddi::release::{self, Class, Host, Release, Scope, Strictness};
use confext_ddi::signature::{Certificates, Json, KeyPair, Sign as _, Time, Verifier};
use confext_ddi::{Limits, Result, RootHash};
use confext_tests::images::{self, NAME, NOW};
use confext_tests::reseal::reseal;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::Path;

const DAY: i64 = 24 * 60 * 60;
const SECTOR: usize = 512;

/// What a user sees of an error, whichever crate it is from.
#[derive(Debug)]
struct Shown {
    code: String,
    text: String,
    hint: String,
}

impl From<confext_ddi::Error> for Shown {
    fn from(error: confext_ddi::Error) -> Self {
        Self { code: error.code().to_owned(), text: error.to_string(), hint: error.hint().to_owned() }
    }
}

impl From<confext_core::Error> for Shown {
    fn from(error: confext_core::Error) -> Self {
        Self { code: error.code().to_owned(), text: error.explain(), hint: error.hint().to_owned() }
    }
}

/// One kind of bad input.
struct Case {
    what: &'static str,
    code: &'static str,
    /// Parts of the message: what was found, what was expected.
    says: &'static [&'static str],
    outcome: Result<(), Shown>,
}

fn case<E: Into<Shown>>(
    what: &'static str,
    code: &'static str,
    says: &'static [&'static str],
    outcome: Result<(), E>,
) -> Case {
    Case { what, code, says, outcome: outcome.map_err(Into::into) }
}

/// What a caller does with an image before it is used.
struct Check<'a> {
    policy: Policy,
    verifier: Option<&'a dyn Verifier>,
    name: &'static str,
    host: &'static str,
    architecture: Architecture,
}

impl Check<'_> {
    fn run(&self, image: &[u8]) -> Result<()> {
        let limits = Limits::default();
        let options = images::options().architecture(self.architecture);
        let admitted = self.policy.judge(Image::open(image, &options)?, self.verifier)?;
        let files = admitted.file_system(&limits)?;
        release::check_content(&*files, Class::Confext, &limits)?;
        let found = admitted.release(Class::Confext, self.name, Strictness::Strict)?;
        let os_release = Release::parse(self.host.as_bytes(), &limits)?;
        Host::new(os_release, images::ARCHITECTURE, Scope::System)?.admits(&found.release, Class::Confext)?;
        images::read_everything(&*files, &limits).map(drop)
    }
}

/// The check of a machine that trusts the vendor.
fn check(verifier: &Certificates) -> Check<'_> {
    Check {
        policy: Policy::signed(),
        verifier: Some(verifier),
        name: NAME,
        host: "ID=debian\nVERSION_ID=13\n",
        architecture: images::ARCHITECTURE,
    }
}

/// The check of one that trusts nobody and takes anything.
fn anything(policy: Policy) -> Check<'static> {
    Check {
        policy,
        verifier: None,
        name: NAME,
        host: "ID=debian\nVERSION_ID=13\n",
        architecture: images::ARCHITECTURE,
    }
}

fn signed_for(release: ReleaseFields) -> Vec<u8> {
    images::build(images::builder(images::one_file()).release(release), Some(&images::vendor())).0
}

/// A bare file system with these entries and nothing else.
fn file_system(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut tree = Tree::new();
    for (path, text) in entries {
        tree.add_file(path, *text, Meta::new(0o644)).unwrap();
    }
    let mut out = Cursor::new(Vec::new());
    erofs::write(&tree, &erofs::Options::default(), &mut out).unwrap();
    out.into_inner()
}

fn with_release(text: &str) -> Vec<u8> {
    file_system(&[(&format!("etc/extension-release.d/extension-release.{NAME}"), text)])
}

fn edited(mut image: Vec<u8>, change: impl Fn(&mut [[u8; 128]])) -> Vec<u8> {
    images::edit_entries(&mut image, change);
    image
}

/// Makes the entry at `index` one for another part.
fn set_designator(entries: &mut [[u8; 128]], index: usize, designator: Designator) {
    let kind = PartitionType { designator, architecture: Some(images::ARCHITECTURE) };
    entries[index][..16].copy_from_slice(&kind.to_guid().unwrap().to_disk_bytes());
}

/// The image with another text in its signature partition.
fn with_signature(text: &[u8]) -> Vec<u8> {
    let (mut image, built) = images::signed();
    let range = built.partitions[2].range;
    let (start, end) = (usize::try_from(range.start()).unwrap(), usize::try_from(range.end()).unwrap());
    image[start..end].fill(0);
    image[start..start + text.len()].copy_from_slice(text);
    image
}

fn signature_of(image: (Vec<u8>, confext_ddi::build::Built)) -> Json {
    Json::parse(images::part(&image.0, &image.1, 2), &Limits::default()).unwrap()
}

fn files(dir: &Path) -> Vec<Case> {
    let open = |path: &Path| confext_core::image_file::open(path).map(drop);
    vec![
        case(
            "missing file",
            "image-missing",
            &["found nothing", "expected a disk image"],
            open(&dir.join("none")),
        ),
        case("directory", "image-file-type", &["found a directory", "expected a disk image"], open(dir)),
    ]
}

fn tables() -> Vec<Case> {
    let trusted = images::trusted_at(NOW);
    let run = |image: &[u8]| check(&trusted).run(image);
    let (signed, built) = images::signed();
    let damage = |places: &[usize], seal: bool| {
        let mut image = signed.clone();
        places.iter().for_each(|at| image[*at] ^= 0xff);
        if seal {
            reseal(&mut image);
        }
        image
    };
    let last = signed.len() - SECTOR;
    let cut_off = usize::try_from(built.partitions[1].range.start()).unwrap();
    let foreign = Check { architecture: Architecture::Arm64, ..check(&trusted) };
    let mut tiny = Limits::default();
    tiny.gpt_entries_bytes = 128;
    let limited = Image::open(&signed[..], &images::options().limits(tiny)).map(drop);
    let mut two_things = signed.clone();
    two_things[..4].copy_from_slice(b"hsqs");
    two_things[28..32].copy_from_slice(&[4, 0, 0, 0]);
    let copies = images::options().copies(Copies::Both);
    let named = images::options().select(Select::RootHash(RootHash::from_bytes([7; 32])));
    vec![
        case("empty file", "image-empty", &["found 0 bytes", "expected a partition table"], run(b"")),
        case(
            "no partition table and no file system",
            "image-unknown",
            &["found 65536 bytes", "expected a partition table or a file system"],
            run(&confext_tests::source::noise(1, 65_536)),
        ),
        case(
            "two root partitions",
            "partitions-ambiguous",
            &["two root partitions", "numbers 1 and 2", "expected one"],
            run(&edited(signed.clone(), |entries| {
                let kind: [u8; 16] = entries[0][..16].try_into().unwrap();
                entries[1][..16].copy_from_slice(&kind);
            })),
        ),
        case(
            "root and usr partition",
            "root-and-usr",
            &["root in partition 1", "usr in partition 3", "expected one of them"],
            run(&edited(signed.clone(), |entries| {
                set_designator(entries, 2, Designator::Usr);
            })),
        ),
        case(
            "no root partition",
            "no-data-partition",
            &["found 1 partitions", "1 of them not to be used", "expected one"],
            run(&edited(images::unprotected(), |entries| {
                entries[0][..16].fill(0x5a);
            })),
        ),
        case(
            "hash tree for a partition that is not there",
            "verity-without-data",
            &["partition 2 is root-verity", "found no root partition"],
            run(&edited(images::unsigned().0, |entries| set_designator(entries, 0, Designator::Usr))),
        ),
        case(
            "signature without hash tree",
            "signature-without-verity",
            &["partition 3 is root-verity-sig", "found no root-verity partition"],
            run(&edited(signed.clone(), |entries| entries[1].fill(0))),
        ),
        case(
            "image for another architecture",
            "foreign-architecture",
            &["found x86-64", "expected arm64"],
            foreign.run(&signed),
        ),
        case(
            "table and file system at once",
            "image-ambiguous",
            &["squashfs", "expected one of them"],
            run(&two_things),
        ),
        case(
            "both table headers damaged",
            "gpt-header-crc",
            &["found", "expected"],
            run(&damage(&[SECTOR + 56, last + 56], false)),
        ),
        case(
            "both entry arrays damaged",
            "gpt-entries-crc",
            &["found", "expected"],
            run(&damage(&[1024, last - 32 * SECTOR], false)),
        ),
        case(
            "table of another revision",
            "gpt-revision",
            &["found", "expected"],
            run(&damage(&[SECTOR + 8, last + 8], true)),
        ),
        case(
            "entries of odd size",
            "gpt-entry-size",
            &["found", "expected"],
            run(&damage(&[SECTOR + 84, last + 84], true)),
        ),
        case(
            "partition past the usable range",
            "gpt-partition-outside",
            &["1", "expected"],
            run(&edited(signed.clone(), |entries| entries[0][41] = 0xff)),
        ),
        case(
            "partition that ends before it starts",
            "gpt-partition-range",
            &["1", "found"],
            run(&edited(signed.clone(), |entries| entries[0][40..48].fill(0))),
        ),
        case(
            "partitions that overlap",
            "gpt-overlap",
            &["1", "2"],
            run(&edited(signed.clone(), |entries| entries[0][40..48].copy_from_slice(&56_u64.to_le_bytes()))),
        ),
        case(
            "partitions of one identifier",
            "gpt-duplicate",
            &["partitions 1 and 2", "expected one of each"],
            run(&edited(signed.clone(), |entries| {
                let id: [u8; 16] = entries[0][16..32].try_into().unwrap();
                entries[1][16..32].copy_from_slice(&id);
            })),
        ),
        case(
            "one copy of the table where two are asked for",
            "gpt-copies",
            &["found a damaged backup copy", "expected a primary and a backup copy"],
            Image::open(damage(&[last + 56], false), &copies).map(drop),
        ),
        case(
            "root hash of another image",
            "root-hash-partition",
            &["no root partition", "expected 07070707-0707-0707-0707-070707070707"],
            Image::open(&signed[..], &named).map(drop),
        ),
        case("copy that was cut off", "gpt-usable-range", &["found", "expected"], run(&signed[..cut_off])),
        case("more than a limit allows", "limit-bytes", &["found 16384 bytes", "at most 128"], limited),
    ]
}

fn protection() -> Vec<Case> {
    let trusted = images::trusted_at(NOW);
    let at = |days: i64| images::trusted_at(Time::from_unix(NOW.as_unix() + days * DAY));
    let stranger = KeyPair::generate("confext-test stranger", NOW, 2).unwrap();
    let (signed, _) = images::signed();
    let (unsigned, built) = images::unsigned();
    let verity = || anything(Policy::verity());
    let mut other = images::one_file();
    other.add_file("etc/other.conf", "", Meta::new(0o644)).unwrap();
    let other = || images::build(images::builder(other.clone()), Some(&images::vendor()));
    let json = signature_of(images::signed());
    let borrowed = Json { signature_der: signature_of(other()).signature_der, ..json.clone() };
    let by_stranger = images::build(images::builder(images::one_file()), Some(&stranger)).0;
    let mut tampered = images::build(images::builder(images::one_of_each()), Some(&images::vendor())).0;
    let data = usize::try_from(built.partitions[0].range.start()).unwrap();
    tampered[data + 4096 + 17] ^= 1;
    let mut not_a_tree = unsigned.clone();
    not_a_tree[usize::try_from(built.partitions[1].range.start()).unwrap()] = b'V';
    let mut locked = images::unprotected();
    locked[data..data + 8].copy_from_slice(b"LUKS\xba\xbe\0\x02");
    let both = locked.clone();
    locked[data + 8..data + 4096].fill(0);
    let writable = edited(unsigned.clone(), |entries| entries[0][48..56].fill(0));
    vec![
        case(
            "signed by an unknown key",
            "unknown-signer",
            &["claims", "confext-test stranger", "none of 1 trusted"],
            check(&trusted).run(&by_stranger),
        ),
        case(
            "expired certificate",
            "certificate-expired",
            &["confext-test vendor", "found end of validity 2023-11-16", "expected 2023-11-17"],
            check(&at(3)).run(&signed),
        ),
        case(
            "certificate of tomorrow",
            "certificate-not-yet-valid",
            &["confext-test vendor", "found start of validity 2023-11-14", "expected 2023-11-12"],
            check(&at(-2)).run(&signed),
        ),
        case(
            "no trusted certificate",
            "no-certificates",
            &["found no trusted certificate", "expected at least 1"],
            check(&Certificates::new(NOW)).run(&signed),
        ),
        case(
            "nothing to check a signature with",
            "signature-unchecked",
            &["found no certificates", "expected those of its signer"],
            anything(Policy::signed()).run(&signed),
        ),
        case(
            "signature of another image",
            "signature-mismatch",
            &["confext-test vendor", "did not sign this root hash"],
            check(&trusted).run(&with_signature(&borrowed.to_bytes())),
        ),
        case(
            "signature partition of another image",
            "root-hash-uuid",
            &["found UUID", "expected"],
            check(&trusted).run(&with_signature(&signature_of(other()).to_bytes())),
        ),
        case(
            "signature partition of zeros",
            "signature-empty",
            &["found", "expected"],
            check(&trusted).run(&with_signature(b"")),
        ),
        case(
            "signature partition with one key twice",
            "signature-key-twice",
            &["rootHash"],
            check(&trusted).run(&with_signature(br#"{"rootHash":"00","rootHash":"00"}"#)),
        ),
        case(
            "root hash of another image",
            "root-hash",
            &["top is", "expected root hash"],
            verity().run(&edited(unsigned.clone(), |entries| entries[0][16..32].fill(7))),
        ),
        case(
            "root hash of zeros",
            "verity-uuid-zero",
            &["partition 1 has a zero UUID", "expected one half of the root hash"],
            verity().run(&edited(unsigned.clone(), |entries| entries[0][16..32].fill(0))),
        ),
        case(
            "changed data",
            "data-block",
            &["data block 1", "does not match"],
            check(&trusted).run(&tampered),
        ),
        case(
            "hash partition without a superblock",
            "verity-magic",
            &["found", "expected"],
            verity().run(&not_a_tree),
        ),
        case(
            "unsigned under a policy of signed",
            "policy",
            &["root partition", "found protection verity", "expected signed"],
            check(&trusted).run(&unsigned),
        ),
        case(
            "file system the policy does not name",
            "policy-file-system",
            &["found file system erofs", "expected squashfs"],
            anything(Policy::parse("root=verity+squashfs:=absent").unwrap()).run(&unsigned),
        ),
        case(
            "attribute the policy does not name",
            "policy-attribute",
            &["found attribute read-only-off", "expected read-only-on"],
            anything(Policy::parse("root=verity+read-only-on:=absent").unwrap()).run(&writable),
        ),
        case(
            "two file systems in one place",
            "fs-ambiguous",
            &["found the magic of erofs and of crypto_LUKS", "expected one"],
            anything(Policy::unprotected()).run(&both),
        ),
        case(
            "encrypted root partition",
            "encrypted",
            &["root", "found"],
            anything(Policy::unprotected()).run(&locked),
        ),
        case("word no policy has", "policy-flag", &["found \"sigend\"", "expected"], policy("root=sigend")),
        case(
            "partition no policy has",
            "policy-designator",
            &["found \"boot\"", "expected"],
            policy("boot=signed"),
        ),
        case("policy without flags", "policy-rule", &["found \"root\"", "expected"], policy("root")),
        case(
            "two rules for one partition",
            "policy-rule-twice",
            &["root"],
            policy("root=signed:root=absent"),
        ),
        case(
            "policies that exclude each other",
            "policy-disjoint",
            &["found signed and absent", "expected a common flag"],
            Policy::parse("root=signed")
                .and_then(|one| one.intersect(&Policy::parse("root=absent")?))
                .map(drop),
        ),
    ]
}

fn policy(text: &str) -> Result<()> {
    Policy::parse(text).map(drop)
}

fn releases() -> Vec<Case> {
    let trusted = images::trusted_at(NOW);
    let any_image = || anything(Policy::unprotected());
    let on = |host: &'static str, release| Check { host, ..check(&trusted) }.run(&signed_for(release));
    let renamed = Check { name: "other", ..check(&trusted) };
    const DEBIAN: &str = "ID=debian\nVERSION_ID=13\nCONFEXT_LEVEL=2\n";
    vec![
        case(
            "no release file",
            "release-missing",
            &["found none", "expected etc/extension-release.d/extension-release.app"],
            any_image().run(&file_system(&[("etc/app.conf", "x")])),
        ),
        case(
            "release file of another name",
            "release-name",
            &["found extension-release.app", "expected etc/extension-release.d/extension-release.other"],
            renamed.run(&images::signed().0),
        ),
        case(
            "release file without ID",
            "release-id",
            &["found nothing", "expected an operating system or _any"],
            any_image().run(&with_release("VERSION_ID=13\n")),
        ),
        case(
            "release file of junk",
            "release-line",
            &["line 1", "found \"junk\""],
            any_image().run(&with_release("junk\n")),
        ),
        case(
            "quote that is not closed",
            "release-quote",
            &["line 1"],
            any_image().run(&with_release("ID=\"x\n")),
        ),
        case(
            "release file that is no text",
            "release-text",
            &["line 1"],
            any_image().run(&with_release("ID=a\0b\n")),
        ),
        case(
            "wrong host",
            "host-os",
            &["found ID=\"fedora\"", "expected \"debian\""],
            on(DEBIAN, ReleaseFields::new("fedora")),
        ),
        case(
            "wrong version of the host",
            "host-version",
            &["found VERSION_ID=\"12\"", "expected \"13\""],
            on(DEBIAN, ReleaseFields::new("debian").version_id("12")),
        ),
        case(
            "wrong level of the host",
            "host-level",
            &["found CONFEXT_LEVEL=\"1\"", "expected \"2\""],
            on(DEBIAN, ReleaseFields::new("debian").level("1")),
        ),
        case(
            "wrong kind of host",
            "host-scope",
            &["found CONFEXT_SCOPE=\"initrd\"", "expected a list with system"],
            on(DEBIAN, ReleaseFields::any().scope("initrd")),
        ),
        case(
            "wrong architecture of the host",
            "host-architecture",
            &["found ARCHITECTURE=\"arm64\"", "expected \"x86-64\""],
            on(DEBIAN, ReleaseFields::any().architecture(Architecture::Arm64)),
        ),
        case("host without ID", "host-id-missing", &["found nothing"], on("NAME=x\n", ReleaseFields::any())),
        case(
            "image that brings an os-release",
            "forbidden-content",
            &["found etc/os-release", "expected no such file"],
            any_image().run(&file_system(&[("etc/os-release", "ID=evil\n")])),
        ),
    ]
}

fn all() -> Vec<Case> {
    let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().unwrap();
    [files(dir.path()), tables(), protection(), releases()].into_iter().flatten().collect()
}

#[test]
fn each_kind_has_its_own_code_and_says_what_to_do() {
    let ddi = all_codes().map(|(_, code, hint)| (code, hint));
    let documented: BTreeMap<&str, &str> = ddi.chain(confext_core::error::all_codes()).collect();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for Case { what, code, says, outcome } in all() {
        let Err(shown) = outcome else {
            wrong.push(format!("{what}: not refused"));
            continue;
        };
        if shown.code != code || !says.iter().all(|part| shown.text.contains(part)) {
            wrong.push(format!("{what}: expected {code} and {says:?} in {shown:?}"));
        }
        if documented.get(&*shown.code) != Some(&&*shown.hint) {
            wrong.push(format!("{what}: not the documented advice: {shown:?}"));
        }
        if !seen.insert(code) {
            wrong.push(format!("{what}: {code} is the code of another row, too"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen.len() >= 50, "{} kinds", seen.len());
}

/// The checks above are not simply always against it.
#[test]
fn what_is_fine_passes_the_same_checks() {
    let trusted = images::trusted_at(NOW);
    check(&trusted).run(&images::signed().0).unwrap();
    check(&trusted).run(&signed_for(ReleaseFields::new("debian").version_id("13"))).unwrap();
    anything(Policy::verity()).run(&images::unsigned().0).unwrap();
    anything(Policy::unprotected()).run(&images::unprotected()).unwrap();
    anything(Policy::unprotected()).run(&images::bare()).unwrap();
    anything(Policy::unprotected()).run(&with_release("ID=_any\n")).unwrap();
    let text = signature_of(images::signed()).to_bytes();
    check(&trusted).run(&with_signature(&text)).unwrap();
}

/// Whatever a signature partition of an image under a hash tree says, nobody else's name comes out of it.
#[test]
fn a_signer_is_named_only_after_a_check() {
    let stranger = KeyPair::generate("confext-test stranger", NOW, 2).unwrap();
    let image = images::build(images::builder(images::one_file()), Some(&stranger)).0;
    let open = || Image::open(&image[..], &images::options()).unwrap();
    let admitted = Policy::verity().judge(open(), None).unwrap();
    assert!(admitted.evidence().signer().is_none(), "{:?}", admitted.evidence());
    let trusted = images::trusted_at(NOW);
    // The policy would take an image without a signature, but not one whose signature does not check.
    for policy in [Policy::verity(), Policy::unprotected(), Policy::signed()] {
        assert_eq!(policy.judge(open(), Some(&trusted)).unwrap_err().code(), "unknown-signer");
    }
    let known = images::trust(&stranger, NOW);
    let admitted = Policy::verity().judge(open(), Some(&known)).unwrap();
    let fingerprint = admitted.evidence().signer().map(|signer| signer.fingerprint);
    assert_eq!(fingerprint, Some(stranger.certificate_fingerprint()));
}
