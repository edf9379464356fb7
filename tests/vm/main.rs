//! dm-verity of Debian's kernel, in a virtual machine: it accepts images of systemd and of ours, and no changed ones.

mod attached;
mod kernels;
mod keyring;
mod mapped;

use confext_ddi::build::Built;
use confext_ddi::release::Class;
use confext_tests::peer::{self, Place, Protect, SETTINGS, settings_path};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const CONTENT: &str = "read through dm-verity\n";

/// Runs a command of the peer root on the files below `dir`.
fn peer(dir: &Path, command: &[&str]) -> Output {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peer.sh"))
        .arg(dir)
        .args(command)
        .output()
        .expect("peer.sh starts")
}

/// The same for a command that has to succeed.
fn peer_ok(dir: &Path, command: &[&str]) {
    let output = peer(dir, command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `tests/vm/run.sh` with its arguments: exit status, stdout.
fn machine(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = confext_tests::machine::boot(dir, &[], arguments);
    let text = String::from_utf8(output.stdout).expect("the guest prints UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!matches!(output.status.code(), None | Some(124 | 125)), "the machine itself failed: {errors}");
    (output.status.code(), text)
}

/// A key and its self-signed certificate: `NAME.key`, `NAME.pem`.
fn make_key(dir: &Path, name: &str) {
    let (key, certificate, subject) =
        (format!("{name}.key"), format!("{name}.pem"), format!("/CN=confext-test-{name}"));
    peer_ok(
        dir,
        &[
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &certificate,
        ],
    );
}

/// A confext that systemd-repart makes and signs with `signer.key`: `demo.confext.raw`.
fn make_image(dir: &Path) {
    make_key(dir, "signer");
    fs::create_dir_all(dir.join("tree/etc/extension-release.d")).expect("a tree");
    fs::write(dir.join("tree/etc/extension-release.d/extension-release.demo"), "ID=_any\n").expect("a tree");
    fs::write(dir.join("tree/etc/demo.conf"), CONTENT).expect("a tree");
    let source = format!("--copy-source={}", dir.join("tree").display());
    peer_ok(
        dir,
        &[
            "systemd-repart",
            "--make-ddi=confext",
            &source,
            "--private-key=signer.key",
            "--certificate=signer.pem",
            "demo.confext.raw",
        ],
    );
}

const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vm/verity.sh");

#[test]
#[ignore = "needs root"]
fn the_kernel_accepts_an_image_of_systemd() {
    let dir = tempfile::tempdir().expect("a directory");
    make_image(dir.path());
    let before = fs::read(dir.path().join("demo.confext.raw")).expect("the image");

    let check = ["--disk", "demo.confext.raw", "--file", "signer.pem", CHECK, "etc/demo.conf", "signer.pem"];
    let (status, text) = machine(dir.path(), &check);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains(CONTENT), "{text}");
    assert!(text.contains("verified (with signature)"), "{text}");

    let after = fs::read(dir.path().join("demo.confext.raw")).expect("the image");
    assert!(before == after, "what the guest writes to its disk reached the file");
}

#[test]
#[ignore = "needs root"]
fn the_check_fails_for_another_signer() {
    let dir = tempfile::tempdir().expect("a directory");
    make_image(dir.path());
    make_key(dir.path(), "other");
    let check = ["--disk", "demo.confext.raw", "--file", "other.pem", CHECK, "etc/demo.conf", "other.pem"];
    let (status, text) = machine(dir.path(), &check);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("verity.sh: the kernel refused the signature"), "{text}");
}

#[test]
#[ignore = "needs root"]
fn the_check_fails_for_a_changed_image() {
    let dir = tempfile::tempdir().expect("a directory");
    make_image(dir.path());
    let path = dir.path().join("demo.confext.raw");
    let mut image = fs::read(&path).expect("the image");
    let magic = [0xe2, 0xe1, 0xf5, 0xe0];
    let at = image.windows(4).position(|bytes| bytes == magic).expect("an EROFS superblock");
    image[at + 100] ^= 1;
    fs::write(&path, image).expect("the image is writable");
    let (status, text) = machine(dir.path(), &["--disk", "demo.confext.raw", CHECK, "etc/demo.conf"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("verity.sh: the kernel refused to mount the image"), "{text}");
}

/// Checks an image of ours for the certificate of `signer`.
fn check(place: &Place, class: Class, signer: &str) -> (Option<i32>, String) {
    let arguments = ["--disk", "ours.raw", "--file", signer, CHECK, settings_path(class), signer];
    machine(place.dir(), &arguments)
}

#[test]
#[ignore = "needs root"]
fn the_kernel_accepts_our_images_and_our_signatures() {
    let place = Place::create();
    for class in [Class::Confext, Class::Sysext] {
        for tree in [peer::settings(class), peer::large(class)] {
            place.build(class, Protect::Signed, tree, "ours.raw");
            let (status, text) = check(&place, class, "signer.pem");
            assert_eq!(status, Some(0), "{text}");
            assert!(text.contains(SETTINGS), "{text}");
            assert!(text.contains("verified (with signature)"), "{text}");
            assert!(text.ends_with("verity.sh: accepted, and refused when changed\n"), "{text}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn the_kernel_refuses_our_images_when_signer_data_or_tree_are_not_right() {
    let place = Place::create();
    let stranger = peer::make_key("confext-test stranger");
    fs::write(place.path("stranger.pem"), stranger.certificate_pem().unwrap()).unwrap();
    let built = place.build(Class::Confext, Protect::Signed, peer::large(Class::Confext), "ours.raw");
    let (status, text) = check(&place, Class::Confext, "stranger.pem");
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("verity.sh: the kernel refused the signature"), "{text}");

    let original = fs::read(place.path("ours.raw")).unwrap();
    for (index, offset) in [(0, 1 << 20), (1, 3 * 4096)] {
        let mut image = original.clone();
        image[byte(&built, index, offset)] ^= 1;
        fs::write(place.path("ours.raw"), image).unwrap();
        let (status, text) = check(&place, Class::Confext, "signer.pem");
        assert_eq!(status, Some(1), "{text}");
        assert!(text.contains("verity.sh: not every block of the unchanged image can be read"), "{text}");
    }
}

/// Where byte `offset` of the partition at `index` is.
fn byte(built: &Built, index: usize, offset: u64) -> usize {
    usize::try_from(built.partitions[index].range.start() + offset).unwrap()
}

#[test]
#[ignore = "needs root"]
fn arguments_go_in_and_the_exit_status_comes_out() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("script"), "printf '<%s>' \"$@\"; cat note; exit 42\n").expect("a script");
    fs::write(dir.path().join("note"), "note\n").expect("a file");
    let (status, text) = machine(dir.path(), &["--file", "note", "script", "a b", "c'd", ""]);
    assert_eq!((status, text.as_str()), (Some(42), "<a b><c'd><>note\n"));
}
