//! Extensions under dm-verity, on a kernel that has it, beside systemd: `vm-guest dm-verity`.
//!
//! The kernel's keyring for signers of images has one of three signers, `verity.d` of the machine another one.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use confext_core::admission::Trust;
use confext_core::attach::{CheckedBy, Mode, Reads, Reason, Way};
use confext_core::keyring::{KernelKeyring, Keyring, PrivateKeyring};
use confext_core::service::portable::{Portable, detach};
use confext_core::service::{self, Lifetime};
use confext_core::stack::{Outcome, Report};
use confext_core::state::Checked;
use confext_core::trace::Answer;
use confext_core::{Error, Host, Options, merge, refresh, status, trace, unmerge};
use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::limits::Limits;
use confext_ddi::release::{Class, ImageKind};
use confext_ddi::signature::{Certificate, KeyPair, Time, TrustSource};
use confext_tests::root::{Root, key};
use confext_tests::sweep::isolated;

use super::{Tally, always};

/// The cases, and the signers they are about.
pub fn run() -> bool {
    let signers = Signers::new();
    type Case = (&'static str, fn(&Signers));
    let cases: [Case; 7] = [
        ("a signer whom the kernel knows", known_to_the_kernel),
        ("a signer whom a certificate vouches for", known_by_certificate),
        ("keyrings vouch for signers", known_by_keyring),
        ("no signature", without_signature),
        ("a block that changes", a_block_that_changes_is_never_read),
        ("the same verdicts as systemd", verdicts),
        ("a failure in the middle", failure),
    ];
    let mut tally = Tally::default();
    let mut tried = |name, case: &dyn Fn()| {
        let before = Left::look();
        tally.run(name, || {
            case();
            before.assert_same();
        });
    };
    for (name, case) in cases {
        tried(name, &|| isolated(|| case(&signers)));
    }
    // systemd mounts by propagation, so that a namespace of our own would see nothing of it.
    tried("beside systemd", &|| beside_systemd(&signers));
    tried("a portable service", &|| portable(&signers));
    tally.any_failed()
}

struct Signers {
    /// In the kernel's keyring, and in `verity.d`.
    kernel: KeyPair,
    /// In `verity.d`.
    certificate: KeyPair,
    /// Nowhere.
    stranger: KeyPair,
}

impl Signers {
    fn new() -> Self {
        let signers =
            Self { kernel: key("kernel"), certificate: key("certificate"), stranger: key("stranger") };
        for (name, key) in [("kernel", &signers.kernel), ("certificate", &signers.certificate)] {
            fs::create_dir_all("/etc/verity.d").unwrap();
            fs::write(format!("/etc/verity.d/{name}.crt"), key.certificate_pem().unwrap()).unwrap();
        }
        // By other programs than the one under test.
        let der = output("openssl", &["x509", "-in", "/etc/verity.d/kernel.crt", "-outform", "DER"], b"");
        output("keyctl", &["padd", "asymmetric", "", "%:.dm-verity"], &der.stdout);
        // The kernel ignores the keyring until it is sealed.
        output("keyctl", &["restrict_keyring", "%:.dm-verity"], b"");
        signers
    }

    /// A root whose certificates are those of the machine.
    fn root(&self) -> Root {
        let root = Root::new();
        for name in ["kernel", "certificate"] {
            let path = format!("etc/verity.d/{name}.crt");
            root.file(&path, &fs::read_to_string(Path::new("/").join(&path)).unwrap());
        }
        root
    }
}

/// Runs a program that has to succeed.
fn output(program: &str, arguments: &[&str], input: &[u8]) -> Output {
    let output = attempt(program, arguments, input);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn attempt(program: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who does not read its input has ended before it was written.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn text(program: &str, arguments: &[&str]) -> String {
    String::from_utf8(output(program, arguments, b"").stdout).unwrap()
}

/// What must not be left: mapped devices, bound loop devices, keys of this process.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    mapped: Vec<String>,
    loops: Vec<String>,
    keys: Vec<String>,
}

impl Left {
    fn look() -> Self {
        let devices = |prefix: &str, file: &str, what: &str| {
            let entries = fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap());
            let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
            let used = named.filter(|entry| entry.path().join(file).exists());
            let mut found: Vec<String> =
                used.filter_map(|entry| fs::read_to_string(entry.path().join(what)).ok()).collect();
            found.sort();
            found
        };
        let keys = fs::read_to_string("/proc/keys").unwrap();
        let keys = keys.lines().filter(|line| line.contains("confext") || line.contains("cryptsetup"));
        let keys = keys.map(str::to_owned).collect();
        // A loop device is known by the number of its use.
        let (mapped, loops) = (devices("dm-", "dm/name", "dm/name"), devices("loop", "loop", "diskseq"));
        Self { mapped, loops, keys }
    }

    /// The kernel takes devices down after the call that let go of them.
    fn assert_same(&self) {
        let mut now = Self::look();
        for _ in 0..200 {
            if now == *self {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            now = Self::look();
        }
        assert_eq!(now, *self, "left behind");
    }
}

fn options(attach: Mode) -> Options {
    let mut options = always();
    options.policy = Options::default().policy;
    options.attach = attach;
    options
}

fn way(report: &Report) -> Way {
    report.layers[0].attached.clone().unwrap()
}

fn image(root: &Root, content: &str, signer: Option<&KeyPair>) {
    let files = [("etc/app.conf", content), ("etc/large", &"text\n".repeat(40_000))];
    root.image(Class::Confext, "run/confexts/app.raw", &files, signer);
}

fn known_to_the_kernel(signers: &Signers) {
    let root = signers.root();
    image(&root, "one", Some(&signers.kernel));
    let report = merge(&root.host(), Class::Confext, &options(Mode::DmVerity)).unwrap();
    let found = way(&report);
    assert_eq!((found.reads, found.because, &found.detail), (Reads::DmVerity, Reason::Asked, &None));
    let mapped = found.verity.unwrap();
    assert_eq!(mapped.signature, CheckedBy::Kernel);
    let table = text("dmsetup", &["table", &mapped.name]);
    assert!(table.contains(" root_hash_sig_key_desc "), "{table}");
    assert!(text("dmsetup", &["status", &mapped.name]).contains(" verity V"));
    assert_eq!(root.read("etc/app.conf").as_deref(), Some("one"));
    // As everybody else sees it.
    let found = serde_json::to_value(status(&root.host(), Class::Confext).unwrap()).unwrap();
    let layer = &found[0]["record"]["layers"][0];
    assert_eq!(layer["attached"]["reads"], "dm-verity", "{layer}");
    assert_eq!(layer["attached"]["verity"]["signature"], "kernel", "{layer}");
    assert_eq!(layer["attached"]["verity"]["name"], *mapped.name, "{layer}");
    assert_eq!(found[0]["doubts"], serde_json::json!([]), "{found}");

    // No reader misses a file while one device takes the place of another.
    image(&root, "two", Some(&signers.kernel));
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let seen = root.read("etc/app.conf").unwrap();
                assert!(["one", "two"].contains(&seen.as_str()), "{seen}");
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        let reports: Vec<_> =
            (0..5).map(|_| refresh(&root.host(), Class::Confext, &options(Mode::DmVerity))).collect();
        done.store(true, Ordering::Relaxed);
        assert!(
            reports.into_iter().all(|report| matches!(report.unwrap().outcome, Outcome::Refreshed { .. }))
        );
    });
    assert!(reads.load(Ordering::Relaxed) > 5);
    assert_eq!(root.read("etc/app.conf").as_deref(), Some("two"));
    let answer = trace(&root.host(), "/etc/app.conf", &Limits::default()).unwrap().answer;
    let Answer::Layer { source, .. } = answer else { panic!("{answer:?}") };
    let attached = source.attached.clone().unwrap();
    assert_eq!(attached.verity.unwrap().signature, CheckedBy::Kernel);
    // Nothing has changed, so that nothing is made.
    let mut same = options(Mode::DmVerity);
    same.replace = Default::default();
    assert!(matches!(
        refresh(&root.host(), Class::Confext, &same).unwrap().outcome,
        Outcome::Unchanged { .. }
    ));
    root.unmerge(Class::Confext);
    assert_eq!(root.mounts(), [""; 0]);
}

fn known_by_certificate(signers: &Signers) {
    for mode in [Mode::Auto, Mode::DmVerity] {
        let root = signers.root();
        image(&root, "one", Some(&signers.certificate));
        let report = merge(&root.host(), Class::Confext, &options(mode)).unwrap();
        let found = way(&report);
        assert_eq!(found.reads, Reads::DmVerity);
        assert_eq!(found.verity.as_ref().unwrap().signature, CheckedBy::Library);
        assert!(found.detail.as_ref().unwrap().contains("none of the kernel's keyrings"), "{found:?}");
        let table = text("dmsetup", &["table", &found.verity.unwrap().name]);
        assert!(!table.contains("root_hash_sig_key_desc"), "{table}");
        assert_eq!(root.read("etc/app.conf").as_deref(), Some("one"));
        root.unmerge(Class::Confext);
        // A kernel that asks for a signature of its own has the last word, whatever else there is.
        let parameter = "/sys/module/dm_verity/parameters/require_signatures";
        if fs::write(parameter, "1").is_ok() {
            let error = merge(&root.host(), Class::Confext, &options(mode)).unwrap_err();
            assert_eq!(error.code(), "kernel-signature-required");
            fs::write(parameter, "0").unwrap();
        }
    }
}

/// No certificate is asked: a key of the kernel's own keyring, and one of a keyring that only this process has.
fn known_by_keyring(signers: &Signers) {
    let now = Time::from(SystemTime::now());
    let own = PrivateKeyring::new().unwrap();
    let stranger = Certificate::from_pem(&signers.stranger.certificate_pem().unwrap()).unwrap();
    own.keyring().unwrap().add(&stranger).unwrap();
    let kernel = Keyring::named(".dm-verity").unwrap();
    let cases = [
        (&signers.kernel, kernel, CheckedBy::Kernel),
        (&signers.stranger, own.keyring().unwrap(), CheckedBy::Library),
    ];
    for (signer, keyring, by) in cases {
        let name = keyring.description().to_owned();
        let mut options = options(Mode::DmVerity);
        options.trust = Trust::Verifier(Arc::new(KernelKeyring::new(now).keyring(keyring)));
        let root = Root::new();
        image(&root, "one", Some(signer));
        let report = merge(&root.host(), Class::Confext, &options).unwrap();
        assert_eq!(way(&report).verity.unwrap().signature, by);
        let answer = trace(&root.host(), "/etc/app.conf", &Limits::default()).unwrap().answer;
        let Answer::Layer { source, .. } = answer else { panic!("{answer:?}") };
        let Checked::Signed { by, .. } = &source.checked else { panic!("{source:?}") };
        assert!(matches!(&by.source, TrustSource::Keyring { keyring, .. } if *keyring == name), "{by:?}");
        root.unmerge(Class::Confext);
        // Who is in another keyring is nobody here.
        image(&root, "two", Some(&signers.certificate));
        let error = merge(&root.host(), Class::Confext, &options).unwrap_err();
        assert_eq!(error.code(), "unknown-signer");
    }
}

fn without_signature(signers: &Signers) {
    let root = signers.root();
    image(&root, "one", None);
    let mut options = options(Mode::DmVerity);
    options.policy = confext_ddi::policy::Policy::verity();
    let report = merge(&root.host(), Class::Confext, &options).unwrap();
    assert_eq!(way(&report).verity.unwrap().signature, CheckedBy::Nobody);
    root.unmerge(Class::Confext);
    // What has no hash tree is not for dm-verity, and copied where there is a choice.
    let root = signers.root();
    root.file("run/confexts/tree/etc/extension-release.d/extension-release.app", "ID=_any\n");
    root.file("run/confexts/tree/etc/app.conf", "bare");
    let (tree, bare) = (root.path("run/confexts/tree"), root.path("run/confexts/app.raw"));
    output("mkfs.erofs", &["--quiet", bare.to_str().unwrap(), tree.to_str().unwrap()], b"");
    fs::remove_dir_all(tree).unwrap();
    options.policy = confext_ddi::policy::Policy::unprotected();
    assert_eq!(merge(&root.host(), Class::Confext, &options).unwrap_err().code(), "dm-verity-unprotected");
    options.attach = Mode::Auto;
    let report = merge(&root.host(), Class::Confext, &options).unwrap();
    assert_eq!((way(&report).reads, way(&report).because), (Reads::SealedMemory, Reason::NoHashTree));
    root.unmerge(Class::Confext);
}

fn a_block_that_changes_is_never_read(signers: &Signers) {
    let root = signers.root();
    image(&root, "one", Some(&signers.kernel));
    merge(&root.host(), Class::Confext, &options(Mode::DmVerity)).unwrap();
    let path = root.path("run/confexts/app.raw");
    let bytes = fs::read(&path).unwrap();
    let part = "text\n".repeat(100);
    let at = bytes.windows(part.len()).position(|bytes| bytes == part.as_bytes()).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"lies\n", u64::try_from(at).unwrap()).unwrap();
    file.sync_all().unwrap();
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    let error = fs::read(root.path("etc/large")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert_eq!(root.read("etc/app.conf").as_deref(), Some("one"));
    root.unmerge(Class::Confext);
}

/// The same images, given to systemd and to us, with the same signers.
fn verdicts(signers: &Signers) {
    fn find(bytes: &[u8], what: &[u8]) -> usize {
        bytes.windows(what.len()).position(|part| part == what).unwrap()
    }
    let unchanged = |_: &mut Vec<u8>| {};
    let in_signature = |bytes: &mut Vec<u8>| {
        let start = find(bytes, b"\"signature\":\"") + 13;
        // Near its end, where the number is that the key made.
        let at = start + find(&bytes[start..], b"\"") - 60;
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    };
    let in_root_hash = |bytes: &mut Vec<u8>| {
        let at = find(bytes, b"\"rootHash\":\"") + 12;
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    };
    let in_superblock = |bytes: &mut Vec<u8>| {
        let at = find(bytes, &[0xe2, 0xe1, 0xf5, 0xe0]) + 40;
        bytes[at] ^= 1;
    };
    /// Whose signature, what is done to the image, and whether it is good then.
    type Case<'a> = (&'static str, &'a KeyPair, &'a dyn Fn(&mut Vec<u8>), bool);
    let cases: [Case<'_>; 6] = [
        ("kernel", &signers.kernel, &unchanged, true),
        ("certificate", &signers.certificate, &unchanged, true),
        ("stranger", &signers.stranger, &unchanged, false),
        ("signature", &signers.kernel, &in_signature, false),
        ("root hash", &signers.kernel, &in_root_hash, false),
        ("data", &signers.kernel, &in_superblock, false),
    ];
    for (what, signer, change, good) in cases {
        let root = signers.root();
        image(&root, "same", Some(signer));
        let path = root.path("run/confexts/app.raw");
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let ours = merge(&root.host(), Class::Confext, &options(Mode::DmVerity));
        assert_eq!(ours.is_ok(), good, "{what}: {ours:?}");
        if good {
            root.unmerge(Class::Confext);
        }
        let at = root.path("at");
        fs::create_dir(&at).unwrap();
        let (path, at) = (path.to_str().unwrap(), at.to_str().unwrap());
        let policy = "--image-policy=root=signed+absent:=ignore";
        let theirs = attempt("systemd-dissect", &["--mount", "--read-only", policy, path, at], b"");
        assert_eq!(theirs.status.success(), good, "{what}: {}", String::from_utf8_lossy(&theirs.stderr));
        if good {
            assert_eq!(root.read("at/etc/app.conf").as_deref(), Some("same"));
            output("systemd-dissect", &["--umount", at], b"");
        }
    }
}

/// What was activated for a merge that then fails goes, and what was there before stays.
fn failure(signers: &Signers) {
    let root = signers.root();
    image(&root, "one", Some(&signers.kernel));
    merge(&root.host(), Class::Confext, &options(Mode::DmVerity)).unwrap();
    let before = Left::look();
    assert_eq!((before.mapped.len(), before.loops.len()), (1, 2));
    image(&root, "two", Some(&signers.kernel));
    // Activated and mounted after the first one, and then objected to.
    let files = [("etc/verity.d/own.crt", "")];
    root.image(Class::Confext, "run/confexts/zzz.raw", &files, Some(&signers.kernel));
    let error = refresh(&root.host(), Class::Confext, &options(Mode::DmVerity)).unwrap_err();
    assert_eq!(error.code(), "brings-certificates");
    before.assert_same();
    assert_eq!(root.read("etc/app.conf").as_deref(), Some("one"));
    // The second one is refused when the first one is active.
    root.image(Class::Confext, "run/confexts/zzz.raw", &[("etc/z", "z")], Some(&signers.kernel));
    let path = root.path("run/confexts/zzz.raw");
    let mut bytes = fs::read(&path).unwrap();
    let magic = [0xe2, 0xe1, 0xf5, 0xe0];
    let at = bytes.windows(4).position(|part| part == magic).unwrap();
    bytes[at + 40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = refresh(&root.host(), Class::Confext, &options(Mode::DmVerity)).unwrap_err();
    assert!(matches!(error, Error::Image { .. }), "{error}");
    before.assert_same();
    assert_eq!(root.read("etc/app.conf").as_deref(), Some("one"));
    root.unmerge(Class::Confext);
}

/// One host, both programs: each takes over what the other one activated, and nothing of it stays.
fn beside_systemd(signers: &Signers) {
    let before = Left::look();
    let place = signers.root();
    image(&place, "one", Some(&signers.kernel));
    fs::create_dir_all("/run/confexts").unwrap();
    let copy = || fs::copy(place.path("run/confexts/app.raw"), "/run/confexts/app.raw").unwrap();
    copy();
    let host = Host::open("/").unwrap();
    let options = options(Mode::DmVerity);
    let app = || fs::read_to_string("/etc/app.conf").ok();
    let policy = "--image-policy=root=signed+absent:=ignore";

    // Theirs, then ours, then none.
    output("systemd-confext", &["merge", policy], b"");
    let theirs = Left::look();
    assert_eq!((theirs.mapped.len(), app().as_deref()), (before.mapped.len() + 1, Some("one")));
    image(&place, "two", Some(&signers.kernel));
    copy();
    let report = refresh(&host, Class::Confext, &options).unwrap();
    assert!(matches!(report.outcome, Outcome::Refreshed { .. }), "{report:?}");
    assert_eq!(app().as_deref(), Some("two"));
    let ours = way(&report).verity.unwrap().name;
    for _ in 0..200 {
        if Left::look().mapped == [format!("{ours}\n")] {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(Left::look().mapped, [format!("{ours}\n")], "theirs is still there");
    unmerge(&host, Class::Confext, &options).unwrap();
    assert_eq!(app(), None);
    before.assert_same();

    // Theirs, and we take it away.
    output("systemd-confext", &["merge", policy], b"");
    unmerge(&host, Class::Confext, &options).unwrap();
    before.assert_same();

    // Ours, and they leave it alone, and take it away.
    merge(&host, Class::Confext, &options).unwrap();
    let mapped = Left::look();
    output("systemd-confext", &["refresh", policy], b"");
    assert_eq!(Left::look(), mapped, "an unchanged stack was replaced");
    assert_eq!(app().as_deref(), Some("two"));
    output("systemd-confext", &["unmerge"], b"");
    assert_eq!(app(), None);
    fs::remove_file("/run/confexts/app.raw").unwrap();
    before.assert_same();
}

/// systemd opens the images of a portable service under dm-verity, by the policies that were pinned, and the service is refreshed
/// here; with an image of less protection it does not start.
fn portable(signers: &Signers) {
    let place = tempfile::Builder::new().prefix("confext-test-").tempdir_in("/var/tmp").unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let system = |signed: bool| {
        let mut tree = Tree::new();
        for name in ["usr/bin", "usr/lib64", "run", "proc", "sys", "dev", "tmp", "var/tmp", "etc"] {
            tree.add_dir(name, Meta::new(0o755)).unwrap();
        }
        for name in ["bin", "lib", "lib64", "sbin"] {
            tree.add_symlink(name, format!("usr/{name}"), Meta::new(0o777)).unwrap();
        }
        let unit = "[Service]\nType=exec\nExecStart=/usr/bin/sleep infinity\nMountAPIVFS=yes\n\
            BindReadOnlyPaths=/usr/bin /usr/lib -/usr/lib64\n";
        for (path, text) in
            [("etc/os-release", "ID=inner\n"), ("usr/lib/systemd/system/portable-test.service", unit)]
        {
            tree.add_file(path, text.as_bytes(), Meta::new(0o644)).unwrap();
        }
        let builder = Builder::new(ImageKind::Portable, "portable-test").tree(tree).replace_file();
        if signed {
            builder.build_file(path("portable-test.raw"), Some(&signers.kernel)).unwrap();
        } else {
            builder.unsigned().build_file(path("portable-test.raw"), None).unwrap();
        }
    };
    system(true);
    let versions = path("site.raw.v");
    fs::create_dir(&versions).unwrap();
    let put = |version: u32| {
        let mut tree = Tree::new();
        tree.add_file("etc/site.conf", version.to_string().into_bytes(), Meta::new(0o644)).unwrap();
        let builder = Builder::new(Class::Confext, "site").tree(tree).release(ReleaseFields::any());
        builder.build_file(format!("{versions}/site_{version}.raw"), Some(&signers.kernel)).unwrap();
    };
    put(1);
    let host = Host::open("/").unwrap();
    let mut wanted = Portable::new(path("portable-test.raw"));
    wanted.extensions = vec![versions.clone()];
    wanted.profile = None;
    wanted.lifetime = Lifetime::Runtime;
    let attachment = wanted.plan(&host, &Options::default()).unwrap();
    assert_eq!(attachment.root_policy.as_ref().unwrap().to_string(), "root=signed:=absent");
    attachment.attach(&host).unwrap();
    output("systemctl", &["daemon-reload"], b"");
    output("systemctl", &["start", "portable-test.service"], b"");
    let pid = text("systemctl", &["show", "-P", "MainPID", "portable-test.service"]).trim().parse().unwrap();
    let seen = || fs::read_to_string(format!("/proc/{pid}/root/etc/site.conf")).unwrap();
    assert_eq!(seen(), "1");
    assert!(text("dmsetup", &["ls"]).lines().count() >= 2, "both images are under dm-verity");
    put(2);
    let unit = service::Unit::read(&host, "portable-test").unwrap().service;
    let process = service::Process::open(pid).unwrap();
    let how = service::Options::new(options(Mode::DmVerity));
    service::refresh(&host, &process, &unit.extensions, &how).unwrap();
    assert_eq!(seen(), "2");
    drop(process);
    output("systemctl", &["stop", "portable-test.service"], b"");
    system(false);
    assert!(!attempt("systemctl", &["start", "portable-test.service"], b"").status.success());
    output("systemctl", &["reset-failed", "portable-test.service"], b"");
    detach(&host, "portable-test").unwrap();
    output("systemctl", &["daemon-reload"], b"");
}
