//! Signatures compared with the `openssl` program: same bytes, each accepts the other's, the same ones refused.

use confext_ddi::RootHash;
use confext_ddi::build::{Existing, SignOptions, erofs, sign_file, to_sign};
use confext_ddi::digest::{HashAlgorithm, Salt};
use confext_ddi::dps::{Architecture, Designator, PartitionType};
use confext_ddi::id::Uuid;
use confext_ddi::image::{self, Image};
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_ddi::signature::{
    Certificate, Certificates, DigestAlgorithm, Embed, KeyPair, RemoteKey, Sign as _, SignedData, Time,
    ToSign, Verifier as _,
};
use confext_ddi::verity::{self, Superblock};
use confext_tests::peer::{self, Protect, Systemd};
use confext_tests::tools;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;
use tempfile::TempDir;

const ROOT: RootHash = RootHash::from_bytes([0x3c; 32]);

/// A directory with a key, its certificate and the content to sign.
struct Place(TempDir);

impl Place {
    fn new(key_options: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().expect("a temporary directory");
        let place = Self(dir);
        std::fs::write(place.file("content"), ROOT.to_hex()).expect("room");
        let fixed = ["req", "-x509", "-nodes", "-days", "3", "-subj", "/O=Vendor/CN=images"];
        let files = ["-keyout", "key.pem", "-out", "cert.pem"];
        succeeded(&place.openssl(&[&fixed[..], &files, key_options].concat()));
        place
    }

    fn rsa() -> Self {
        Self::new(&["-newkey", "rsa:2048"])
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs `openssl`, which has to be there: an oracle that is not asked proves nothing.
    fn openssl(&self, arguments: &[&str]) -> Output {
        Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .unwrap_or_else(|error| panic!("openssl cannot be run ({error}): install openssl"))
    }

    /// Lets `openssl` sign; the key's options have to follow the signer.
    fn signed(&self, options: &[&str]) -> Vec<u8> {
        let (command, options) = options.split_first().expect("a command");
        let signer = ["-sign", "-signer", "cert.pem", "-inkey", "key.pem"];
        let files = ["-binary", "-in", "content", "-outform", "der", "-out", "signature"];
        succeeded(&self.openssl(&[&[*command], &signer[..], options, &files].concat()));
        self.read("signature")
    }

    fn pair(&self) -> KeyPair {
        KeyPair::from_pem(&self.read("key.pem"), &self.read("cert.pem"))
            .expect("openssl's key and certificate")
    }

    fn trusting(&self) -> Certificates {
        let mut set = Certificates::new(Time::from(SystemTime::now()));
        set.add_pem(&self.read("cert.pem")).expect("openssl's certificate");
        set
    }

    /// Whether `openssl` accepts a signature with our certificate, no chain looked at.
    fn accepts(&self, signature: &[u8]) -> bool {
        std::fs::write(self.file("ours"), signature).expect("room");
        let fixed = ["smime", "-verify", "-noverify", "-nointern", "-binary", "-inform", "der"];
        let files = ["-in", "ours", "-content", "content", "-certfile", "cert.pem", "-out", "verified"];
        let accepted = self.openssl(&[&fixed[..], &files].concat()).status.success();
        assert!(!accepted || self.read("verified") == ROOT.to_hex().as_bytes());
        accepted
    }
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}

const EC: [&[&str]; 2] = [
    &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
];

/// Every RSA size and digest: both forms are the bytes that `openssl` writes.
#[test]
fn the_bytes_are_the_same() {
    for size in ["rsa:2048", "rsa:3072", "rsa:4096"] {
        let place = Place::new(&["-newkey", size]);
        for digest in DigestAlgorithm::ALL {
            let pair = place.pair().digest(digest);
            let options = ["smime", "-noattr", "-md", digest.name()];
            assert_eq!(pair.sign(&ROOT).expect("a signature"), place.signed(&options), "{size} {digest:?}");
            let bare = pair.embed(Embed::Nothing).sign(&ROOT).expect("a signature");
            let options = ["smime", "-noattr", "-nocerts", "-md", digest.name()];
            assert_eq!(bare, place.signed(&options), "{size} {digest:?}");
        }
    }
}

/// The signature itself is random; everything around it is what `openssl` writes.
#[test]
fn around_an_ecdsa_signature_the_bytes_are_the_same() {
    for key in EC {
        let place = Place::new(key);
        let certificate = place.pair().certificate_der().expect("DER");
        for digest in DigestAlgorithm::ALL {
            let theirs = place.signed(&["smime", "-noattr", "-md", digest.name()]);
            let parsed = SignedData::parse(&theirs).expect("our form");
            assert_eq!(parsed.to_der(&[&certificate]), theirs, "{key:?} {digest:?}");
        }
    }
}

#[test]
fn ours_are_accepted() {
    for options in [&["-newkey", "rsa:2048"][..]].into_iter().chain(EC) {
        let place = Place::new(options);
        for digest in DigestAlgorithm::ALL {
            for embed in [Embed::Certificate, Embed::Nothing] {
                let pair = place.pair().digest(digest).embed(embed);
                let signature = pair.sign(&ROOT).expect("a signature");
                assert!(place.accepts(&signature), "{options:?} {digest:?} {embed:?}");
                let other = pair.sign(&RootHash::from_bytes([0; 32])).expect("a signature");
                assert!(!place.accepts(&other), "{options:?} {digest:?} {embed:?}");
            }
        }
    }
}

#[test]
fn theirs_are_accepted() {
    for key in [&["-newkey", "rsa:2048"][..]].into_iter().chain(EC) {
        let place = Place::new(key);
        for digest in DigestAlgorithm::ALL.map(DigestAlgorithm::name) {
            for options in [
                &["smime", "-noattr", "-md", digest][..],
                &["smime", "-noattr", "-nocerts", "-md", digest],
                &["cms", "-noattr", "-nocerts", "-md", digest],
                &["cms", "-noattr", "-md", digest],
            ] {
                let signature = place.signed(options);
                let signer = place
                    .trusting()
                    .verify(&ROOT, &signature)
                    .unwrap_or_else(|error| panic!("{options:?}: {error}"));
                assert_eq!(signer.subject, "O=Vendor, CN=images");
                assert_eq!(signer.fingerprint, Some(place.pair().certificate_fingerprint()));
            }
        }
    }
}

/// `openssl` as the service that has the key: it signs the content, or only a digest of it.
#[test]
fn raw_signatures_of_others_become_ours() {
    for key in [&["-newkey", "rsa:2048"][..]].into_iter().chain(EC) {
        let place = Place::new(key);
        let certificate = Certificate::from_pem(&place.read("cert.pem")).expect("openssl's certificate");
        for digest in DigestAlgorithm::ALL {
            let name = digest.name();
            succeeded(&place.openssl(&[
                "dgst",
                &format!("-{name}"),
                "-sign",
                "key.pem",
                "-out",
                "raw",
                "content",
            ]));
            let message = certificate.complete(&ROOT, &place.read("raw"), Embed::Nothing).expect("it checks");
            assert!(place.accepts(&message), "{key:?} {name}");

            let service = |to_sign: &ToSign, digest: DigestAlgorithm| {
                std::fs::write(place.file("digest"), to_sign.digest(digest))?;
                let padding = format!("digest:{}", digest.name());
                let arguments = [
                    "pkeyutl", "-sign", "-inkey", "key.pem", "-in", "digest", "-out", "raw", "-pkeyopt",
                    &padding,
                ];
                succeeded(&place.openssl(&arguments));
                Ok(place.read("raw"))
            };
            let remote = RemoteKey::new(certificate.clone(), service).digest(digest);
            let message = remote.sign(&ROOT).expect("it checks");
            assert!(place.accepts(&message), "{key:?} {name}");
            assert!(place.trusting().verify(&ROOT, &message).is_ok(), "{key:?} {name}");
        }
    }
}

#[test]
fn other_forms_are_refused_by_name() {
    let place = Place::rsa();
    let second = Place::new(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let path = |file: &str| -> String { text(&second.file(file)) };
    let (key, certificate) = (path("key.pem"), path("cert.pem"));
    let two = ["smime", "-noattr", "-signer", &certificate, "-inkey", &key];
    for (options, code) in [
        (&["smime"][..], "signature-attributes"),
        (&["cms"], "signature-attributes"),
        (&["smime", "-noattr", "-nodetach"], "signature-attached"),
        (&["smime", "-noattr", "-md", "sha1"], "signature-digest"),
        (&["smime", "-noattr", "-md", "md5"], "signature-digest"),
        (&["cms", "-noattr", "-keyid"], "signature-signer-id"),
        (&["cms", "-noattr", "-stream"], "signature-der"),
        (&["cms", "-noattr", "-keyopt", "rsa_padding_mode:pss"], "signature-algorithm"),
        (&two, "signature-signers"),
    ] {
        let signature = place.signed(options);
        let error = place.trusting().verify(&ROOT, &signature).expect_err("not our form");
        assert_eq!((error.code(), error.family()), (code, "unverified"), "{options:?}: {error}");
    }
    let error = second.trusting().verify(&ROOT, &place.signed(&["smime", "-noattr"])).expect_err("unknown");
    assert_eq!(error.code(), "unknown-signer");
    assert!(error.to_string().contains("issuer O=Vendor, CN=images"), "{error}");
}

fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are UTF-8").to_owned()
}

/// What our key pair writes, `openssl` reads: key, certificate, validity.
#[test]
fn generated_certificates_are_read() {
    let place = Place::rsa();
    let pair = KeyPair::generate("generated", Time::from(SystemTime::now()), 5).expect("a key pair");
    std::fs::write(place.file("cert.pem"), pair.certificate_pem().expect("PEM")).expect("room");
    std::fs::write(place.file("key.pem"), pair.private_key_pem().expect("PEM")).expect("room");
    succeeded(&place.openssl(&["x509", "-in", "cert.pem", "-noout", "-checkend", "431000"]));
    assert!(!place.openssl(&["x509", "-in", "cert.pem", "-noout", "-checkend", "433000"]).status.success());
    succeeded(&place.openssl(&["verify", "-check_ss_sig", "-CAfile", "cert.pem", "cert.pem"]));
    let output = place.openssl(&["x509", "-in", "cert.pem", "-noout", "-fingerprint", "-sha256", "-subject"]);
    let text = String::from_utf8_lossy(&output.stdout).replace(':', "").to_lowercase();
    assert!(text.contains(&pair.certificate_fingerprint().to_string()), "{text}");
    assert_eq!(place.signed(&["smime", "-noattr"]), pair.sign(&ROOT).expect("a signature"));
    assert!(place.accepts(&pair.sign(&ROOT).expect("a signature")));
}

/// systemd's signed image gets a second signature here, and ours its first: both releases of systemd see a signed image
/// still, with the first signature, and sgdisk a sound table; all signers are found here.
#[test]
#[ignore = "needs root"]
fn systemd_reads_the_first_of_several_signatures() {
    let other = Place::new(EC[0]);
    let other = other.pair();
    for systemd in Systemd::ALL {
        let place = peer::Place::of(systemd);
        place.populate(Class::Confext, "tree");
        place.repart(Class::Confext, Protect::Signed, ("tree", "theirs.raw"), &[]);
        place.build(Class::Confext, Protect::Signed, peer::settings(Class::Confext), "ours.raw");
        place.build(Class::Confext, Protect::Verity, peer::settings(Class::Confext), "unsigned.raw");
        let sign = |image: &str, key: &KeyPair, options: &SignOptions| {
            sign_file(place.path(image), place.path(image), key, options).expect("a sound image")
        };
        sign("unsigned.raw", place.key(), &SignOptions::default());
        let keep = SignOptions::default().existing(Existing::Keep);
        for image in ["theirs.raw", "ours.raw", "unsigned.raw"] {
            sign(image, &other, &keep);
            // One that makes the partition larger: with certificates of RSA keys three do not fit 4096 bytes.
            sign(image, &KeyPair::generate("third", Time::from(SystemTime::now()), 1).expect("a key"), &keep);
            let output =
                place.attempt(&["systemd-dissect", "--validate", "--image-policy=root=signed", image]);
            assert!(output.status.success(), "{image}: {}", String::from_utf8_lossy(&output.stderr));
            let text = place.peer(&["systemd-dissect", "--json=short", image]);
            let json: serde_json::Value = serde_json::from_str(text.trim()).expect("JSON");
            assert_eq!(json["mounts"][0]["verity"], "signed", "{image}: {json}");
            let table = peer::Place::of(Systemd::Newest);
            std::fs::copy(place.path(image), table.path(image)).expect("room");
            let verdict = table.peer(&["sgdisk", "--verify", image]);
            assert!(verdict.contains("No problems found"), "{image}: {verdict}");

            let mut trusted = place.certificates();
            trusted.add(other.certificate().clone());
            for (trusted, count) in [(&place.certificates(), 1), (&trusted, 2)] {
                let file = std::fs::File::open(place.path(image)).expect("the image");
                let opened = Image::open(file, &image::Options::default()).expect("a sound image");
                let admitted = Policy::signed().judge(opened, Some(trusted)).expect("a trusted signer");
                assert_eq!(admitted.signers().len(), count, "{image}");
                let by = admitted.evidence().signer().expect("signed").fingerprint;
                assert_eq!(by, Some(place.key().certificate_fingerprint()), "{image}: the first one counts");
            }
        }
    }
}

/// Writes an image whose hash tree is of this algorithm, without a signature, as no builder here makes one.
fn image_of(place: &peer::Place, algorithm: HashAlgorithm) -> RootHash {
    let mut data = std::io::Cursor::new(Vec::new());
    erofs::write(&peer::settings(Class::Confext), &erofs::Options::default(), &mut data).expect("a tree");
    let data = data.into_inner();
    let blocks = u64::try_from(data.len() / 4096).expect("a small file system");
    let mut superblock = Superblock::new(Uuid::from_bytes([1; 16]), blocks, Salt::default());
    superblock.algorithm = algorithm;
    let tree = verity::build(&data, &superblock).expect("a hash tree");
    let hash = tree.root_hash.as_bytes();
    let id = |half: &[u8]| Uuid::from_bytes(half.try_into().expect("16 bytes")).to_string();
    let kind = |designator| {
        let kind = PartitionType { designator, architecture: Architecture::of_build() };
        kind.to_guid().expect("a type").to_string()
    };
    let root = format!("start=2048, size=2048, type={}, uuid={}", kind(Designator::Root), id(&hash[..16]));
    let verity = format!(
        "start=4096, size=2048, type={}, uuid={}",
        kind(Designator::RootVerity),
        id(&hash[hash.len() - 16..])
    );
    std::fs::write(place.path("script"), format!("label: gpt\n{root}\n{verity}\n")).expect("room");
    let file = std::fs::File::create(place.path("app.raw")).expect("room");
    file.set_len(4 << 20).expect("room");
    file.write_all_at(&data, 1 << 20).expect("room");
    file.write_all_at(&tree.bytes, 2 << 20).expect("room");
    tools::run("sh", &["-c", "sfdisk --quiet app.raw <script"], place.dir());
    tree.root_hash
}

/// The text that is signed is the root hash in lower-case hex, also where it has 128 digits and the identifiers of
/// partitions hold a half of it: signed here or by `openssl`, the image is the same to systemd, to `openssl` and here.
#[test]
#[ignore = "needs root"]
fn root_hashes_of_any_length_are_signed() {
    for (algorithm, digits) in [(HashAlgorithm::Sha256, 64), (HashAlgorithm::Sha512, 128)] {
        let place = peer::Place::create();
        let root_hash = image_of(&place, algorithm);
        let (path, key) = (place.path("app.raw"), place.key());
        let file = std::fs::File::open(&path).expect("the image");
        let wanted = to_sign(file, &SignOptions::default()).expect("a sound image");
        assert_eq!((wanted.content(), wanted.content().len()), (&*root_hash.to_hex(), digits));
        std::fs::write(place.path("content"), wanted.content()).expect("room");
        let sign = "openssl smime -sign -noattr -binary -signer signer.pem -inkey signer.key -in content -outform der \
                    -out theirs.p7s";
        tools::run("sh", &["-c", sign], place.dir());
        let theirs = std::fs::read(place.path("theirs.p7s")).expect("a signature");
        assert_eq!(key.sign(&root_hash).expect("a signature"), theirs);
        // Attached as what was made elsewhere, and signed again in place.
        let remote = RemoteKey::new(key.certificate().clone(), move |_: &ToSign, _| Ok(theirs.clone()));
        sign_file(&path, place.path("attached.raw"), &remote, &SignOptions::default())
            .expect("a sound image");
        sign_file(&path, &path, key, &SignOptions::default()).expect("a sound image");
        for image in ["app.raw", "attached.raw"] {
            let file = std::fs::File::open(place.path(image)).expect("the image");
            let opened = Image::open(file, &image::Options::default()).expect("a sound image");
            let admitted = Policy::signed().judge(opened, Some(&place.certificates())).expect("trusted");
            assert_eq!(admitted.root_hash(), Some(&root_hash));
            let theirs =
                place.attempt(&["systemd-dissect", "--validate", "--image-policy=root=signed", image]);
            assert!(theirs.status.success(), "{image}: {}", String::from_utf8_lossy(&theirs.stderr));
            let text = place.peer(&["systemd-dissect", "--json=short", image]);
            let json: serde_json::Value = serde_json::from_str(text.trim()).expect("JSON");
            assert_eq!(json["mounts"][0]["verity"], "signed", "{image}: {json}");
        }
        let both =
            ["app.raw", "attached.raw"].map(|image| std::fs::read(place.path(image)).expect("an image"));
        assert!(both[0] == both[1]);
    }
}
