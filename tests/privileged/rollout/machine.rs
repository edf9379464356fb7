//! A machine whose process 1 is systemd, with images to be rolled out on it

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

use confext_core::admission::Trust;
use confext_core::publish::{Options, Store};
use confext_core::rollout::{Direct, Refresh};
use confext_core::{Host, service};
use confext_ddi::Limits;
use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::release::Class;
use confext_ddi::signature::{Certificates, KeyPair, Time};
use confext_ddi::unit::{Assignment, Extensions, Name, Specifiers};

/// Says in the environment of the second run of a test that it is on the machine.
const INSIDE: &str = "CONFEXT_TEST_INSIDE";

/// Which systemd is process 1 of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Systemd {
    /// 262, of Debian unstable.
    V262,
    /// 257, of Debian 13, whose reload refreshes nothing.
    V257,
}

/// The test runs twice: here it makes the directory and starts the machine, there it does what it is about.
pub fn on_machine(test: &str, prepare: impl FnOnce(&Outside), inside: impl FnOnce(&Inside)) {
    on_machine_of(Systemd::V262, test, prepare, inside);
}

/// The same with this systemd.
pub fn on_machine_of(
    systemd: Systemd,
    test: &str,
    prepare: impl FnOnce(&Outside),
    inside: impl FnOnce(&Inside),
) {
    if std::env::var_os(INSIDE).is_some() {
        return inside(&Inside { work: std::env::current_dir().unwrap() });
    }
    let outside = Outside::new();
    prepare(&outside);
    let work = outside.dir.path();
    fs::copy(std::env::current_exe().unwrap(), work.join("test")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("manager.sh");
    let output = Command::new(script)
        .args((systemd == Systemd::V257).then_some("--stable"))
        .arg(work)
        .args(["env", &format!("{INSIDE}=1"), "./test", "--exact", test, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    println!("{said}");
    assert!(output.status.success() && said.contains("1 passed"), "{:?}", output.status);
}

/// The directory before the machine starts.
pub struct Outside {
    pub dir: tempfile::TempDir,
    pub key: KeyPair,
}

impl Outside {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("confext-test-").tempdir_in("/var/tmp").unwrap();
        let key = KeyPair::generate("CN=confext-test vendor", Time::from(SystemTime::now()), 1).unwrap();
        fs::write(dir.path().join("vendor.crt"), key.certificate_pem().unwrap()).unwrap();
        Self { dir, key }
    }

    /// A signed image with one file.
    pub fn image(&self, name: &str, version: u32, path: &str, content: &str) {
        self.image_of(name, version, &[(path, content)]);
    }

    /// A signed image with these files.
    pub fn image_of(&self, name: &str, version: u32, files: &[(&str, &str)]) {
        let mut tree = Tree::new();
        for (path, content) in files {
            tree.add_file(path, content.as_bytes(), Meta::new(0o644)).unwrap();
        }
        let file = self.dir.path().join(format!("{name}_{version}.raw"));
        let builder = Builder::new(Class::Confext, name).tree(tree).release(ReleaseFields::any());
        builder.build_file(&file, Some(&self.key)).unwrap();
    }

    /// Puts a version into its store before the machine starts.
    pub fn installed(&self, name: &str, version: u32) {
        let store = self.dir.path().join(format!("root/var/lib/confexts/{name}.raw.v"));
        fs::create_dir_all(&store).unwrap();
        let file = format!("{name}_{version}.raw");
        fs::copy(self.dir.path().join(&file), store.join(file)).unwrap();
    }

    /// A file of the machine.
    pub fn file(&self, path: &str, content: &str) {
        let path = self.dir.path().join("root").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// What the service manager has to know: where the images are, and that this kernel cannot check them for it.
pub fn extensions(name: &str) -> String {
    format!("ExtensionImages=/var/lib/confexts/{name}.raw.v\nExtensionImagePolicy=root=unprotected+absent\n")
}

/// On the machine.
pub struct Inside {
    work: PathBuf,
}

impl Inside {
    pub fn store(&self, name: &str) -> Store {
        Store::open(format!("/var/lib/confexts/{name}.raw.v"), Class::Confext).unwrap()
    }

    pub fn open(&self, name: &str, version: u32) -> File {
        File::open(self.work.join(format!("{name}_{version}.raw"))).unwrap()
    }

    /// A version that the vendor has to have signed.
    pub fn options(&self, version: u32) -> Options {
        let mut certificates = Certificates::new(Time::from(SystemTime::now()));
        certificates.add_pem(&fs::read(self.work.join("vendor.crt")).unwrap()).unwrap();
        let mut options = Options::new(version.to_string());
        options.verifier = Some(Arc::new(certificates));
        options
    }
}

/// The store is all that the unit has, and our own refresh has its main process see it.
pub fn directly_by<'a>(inside: &Inside, host: &'a Host, name: &str) -> Refresh<'a> {
    let (unit, limits) = (Name::parse("any.service").unwrap(), Limits::default());
    let mut extensions = Extensions::default();
    let store = format!("/var/lib/confexts/{name}.raw.v");
    let setting = Assignment::new("Service", "ExtensionImages", &store);
    extensions.assign(&setting, &Specifiers::new(&unit), &limits).unwrap();
    let mut options = confext_core::Options::default();
    options.trust = Trust::Verifier(inside.options(1).verifier.unwrap());
    Refresh::Direct(Box::new(Direct { host, extensions, options: service::Options::new(options) }))
}

/// Runs a command that must succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    confext_tests::namespace::run(program, arguments)
}
