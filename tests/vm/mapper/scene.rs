//! Images, how they are admitted and activated, and the sweep for mapped devices, loop devices and keys.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use confext_core::dmverity::{Options, Signature, VerityDevice};
use confext_core::{Error, dmverity};
use confext_ddi::build::{Builder, Built, Meta, ReleaseFields, Tree};
use confext_ddi::image::{self, Image};
use confext_ddi::policy::{Admitted, Policy};
use confext_ddi::release::Class;
use confext_ddi::signature::{Fingerprint, KeyPair, Sign, Time};
use confext_ddi::{Result, RootHash};
use confext_tests::source::noise;

/// The kernel takes down a device after the call that let go of it. This long is a leak.
const PATIENCE: Duration = Duration::from_secs(30);

/// A key whose certificate is valid.
pub fn key(subject: &str) -> KeyPair {
    let now = Time::from(SystemTime::now());
    KeyPair::generate(subject, Time::from_unix(now.as_unix() - 60), 2).unwrap()
}

/// Files that make more than one level of a hash tree.
pub fn tree() -> Tree {
    tree_of(3)
}

/// The same with other bytes, as many.
pub fn tree_of(seed: u64) -> Tree {
    let mut tree = Tree::new();
    tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644)).unwrap();
    tree.add_file("etc/large", noise(seed, 600 << 10), Meta::new(0o644)).unwrap();
    tree
}

/// Builds an image, signed or not.
pub fn build(name: &str, signer: Option<&dyn Sign>) -> (PathBuf, Built) {
    build_of(name, tree(), signer)
}

/// The same, of any tree.
pub fn build_of(name: &str, tree: Tree, signer: Option<&dyn Sign>) -> (PathBuf, Built) {
    let path = fs::canonicalize(".").unwrap().join(name);
    let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
    let builder = if signer.is_some() { builder } else { builder.unsigned() };
    let built = builder.replace_file().build_file(&path, signer).unwrap();
    (path, built)
}

/// A signer who does something else than was asked for.
pub struct Bad<'a> {
    pub key: &'a KeyPair,
    pub how: How,
}

/// What is wrong with the signature.
#[derive(Clone, Copy)]
pub enum How {
    /// Its last byte.
    LastByte,
    /// It is over another root hash.
    OtherHash,
}

impl Sign for Bad<'_> {
    fn sign(&self, root_hash: &RootHash) -> Result<Vec<u8>> {
        match self.how {
            How::LastByte => {
                let mut signature = self.key.sign(root_hash)?;
                *signature.last_mut().unwrap() ^= 1;
                Ok(signature)
            }
            How::OtherHash => self.key.sign(&RootHash::from_bytes([7; 32])),
        }
    }

    fn certificate_fingerprint(&self) -> Fingerprint {
        self.key.certificate_fingerprint()
    }
}

/// Admits an image under its hash tree; its signature is left to the kernel.
pub fn admit(path: &Path) -> Admitted<File> {
    let image = Image::open(File::open(path).unwrap(), &image::Options::default()).unwrap();
    Policy::parse("root=verity+signed+unprotected+absent").unwrap().judge(image, None).unwrap()
}

/// The kernel is shown no signature.
pub fn unsigned<'a>() -> Options<'a> {
    Options::default().signature(Signature::NotPassed)
}

/// Admits and activates.
pub fn activate(path: &Path, options: &Options<'_>) -> std::result::Result<VerityDevice, Error> {
    VerityDevice::activate(&admit(path), options)
}

/// Asserts that the kernel refuses the image's signature, with a code that says why.
pub fn refused(path: &Path, code: &str) {
    let error = activate(path, &Options::default()).unwrap_err();
    assert_eq!(error.code(), code, "{}", error.explain());
    assert!(dmverity::is_refusal(&error));
    swept();
}

/// All bytes of a device, or the first error.
pub fn read(device: &VerityDevice) -> std::io::Result<Vec<u8>> {
    drop_caches();
    fs::read(device.path())
}

/// Where the data is in the image.
pub fn data_range(built: &Built) -> std::ops::Range<usize> {
    let range = built.partitions[0].range;
    usize::try_from(range.start()).unwrap()..usize::try_from(range.end()).unwrap()
}

/// The data that the image was built with.
pub fn data(path: &Path, built: &Built) -> Vec<u8> {
    fs::read(path).unwrap()[data_range(built)].to_vec()
}

/// Changes one byte of a file that others have open.
pub fn flip(path: &Path, at: usize) {
    use std::os::unix::fs::FileExt;
    let file = File::options().read(true).write(true).open(path).unwrap();
    let (mut byte, at) = ([0], u64::try_from(at).unwrap());
    FileExt::read_exact_at(&file, &mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    file.sync_all().unwrap();
    drop_caches();
}

pub fn drop_caches() {
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
}

/// What a program of the machine prints; it has to succeed.
pub fn run(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// What is there of what an activation makes.
fn leftovers() -> String {
    let keys = fs::read_to_string("/proc/keys").unwrap();
    let keys =
        keys.lines().filter(|line| line.contains(" user ") && line.contains("confext-")).map(str::to_owned);
    let devices = fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap().path());
    let used = devices.filter(|path| path.join("dm").exists() || path.join("loop").exists());
    let seen: Vec<String> = used.map(|path| path.display().to_string()).chain(keys).collect();
    // What sysfs shows is asked for first: a program takes long in this machine. It does not show devices without table.
    if seen.is_empty() { run(&["dmsetup", "ls"]).replace("No devices found", "") } else { seen.join("\n") }
}

/// Asserts that nothing is left: no mapped device, no loop device, no key.
pub fn swept() {
    let left = left_after(PATIENCE);
    assert!(left.is_empty(), "left behind: {left}");
}

/// What is left after some patience.
pub fn left_after(patience: Duration) -> String {
    let deadline = Instant::now() + patience;
    loop {
        let left = leftovers();
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Takes away what a case that failed left behind.
pub fn clear() {
    run(&["dmsetup", "remove_all", "--force"]);
    run(&["losetup", "--detach-all"]);
}
