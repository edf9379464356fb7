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

mod protection;
mod releases;
mod tables;

use protection::protection;
use releases::releases;
use tables::tables;

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
    assert_eq!(fingerprint, Some(Some(stranger.certificate_fingerprint())));
}
