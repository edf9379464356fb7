//! What a service sees of its extensions: systemd starts it, and our planner says beforehand what is where

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use confext_core::admission::{OnBad, Options, Trust};
use confext_core::service::{stack, trace};
use confext_core::trace::Answer;
use confext_core::{Host, Result};
use confext_ddi::Limits;
use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::dps::Architecture;
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_ddi::signature::{KeyPair, Time};
use confext_ddi::unit::{self, Extensions, Name, Service, Specifiers};

/// What the host and the guest say they are.
const HOST: &str = "ID=debian\nCONFEXT_LEVEL=2\nSYSEXT_LEVEL=5\n";
const GUEST: &str = "ID=guest\nVERSION_ID=7\n";

/// The files that a service looks at: of all extensions, and one that all of a kind have.
const NAMES: [&str; 16] = ["all", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "s"];

/// What comes of a service.
#[derive(Debug, PartialEq, Eq)]
enum View {
    /// It does not start.
    Refused,
    /// The path of each file, and of the extension that it comes from.
    Seen(BTreeMap<String, String>),
}

/// A service: what its unit lists, its root where it has its own, and why it is to be different, where that is so.
struct Case {
    name: &'static str,
    images: &'static str,
    directories: &'static str,
    root: &'static str,
    better: Option<&'static str>,
}

const fn case(name: &'static str, images: &'static str, directories: &'static str) -> Case {
    Case { name, images, directories, root: "", better: None }
}

const fn in_guest(name: &'static str, images: &'static str, directories: &'static str) -> Case {
    Case { name, images, directories, root: "/srv/guest", better: None }
}

const fn better(name: &'static str, directories: &'static str, why: &'static str) -> Case {
    Case { name, images: "", directories, root: "", better: Some(why) }
}

const CASES: [Case; 33] = [
    case("images", "/srv/a.raw /srv/b.raw", ""),
    case("turned", "/srv/b.raw /srv/a.raw", ""),
    case("directories", "", "/srv/c /srv/d"),
    case("turned-directories", "", "/srv/d /srv/c"),
    case("mixed", "/srv/b.raw /srv/a.raw", "/srv/d /srv/c"),
    case("link", "", "/srv/e_5"),
    case("link-of-another-name", "", "/srv/f"),
    case("versions", "/srv/g.v", ""),
    case("versions-of-directories", "", "/srv/h.v"),
    case("versions-by-pattern", "/srv/g.v/g___.raw", "/srv/h.v/h___"),
    case("tries", "", "/srv/i.v"),
    case("only-exhausted", "", "/srv/j.v"),
    case("version-in-the-name", "/srv/k_1.2.raw", ""),
    case("minus-missing", "-/srv/none.raw /srv/a.raw", "-/srv/none /srv/c"),
    case("minus-no-version", "-/srv/empty.v", "-/srv/empty.v /srv/c"),
    case("missing", "/srv/none.raw", "/srv/c"),
    case("missing-directory", "", "/srv/none /srv/c"),
    case("no-version", "/srv/empty.v", ""),
    case("sysext", "/srv/s.raw", "/srv/t"),
    case("both-classes", "/srv/a.raw /srv/s.raw", "/srv/t /srv/c"),
    case("host", "", "/srv/level"),
    case("wrong-level", "", "/srv/wrong-level"),
    case("wrong-id", "", "/srv/guest-only"),
    case("no-release", "", "/srv/bare"),
    case("no-extension", "", "-/srv/none"),
    case("empty-etc", "", "/srv/hollow /srv/c"),
    in_guest("guest", "/srv/a.raw", "/srv/guest-only"),
    in_guest("guest-wrong-id", "", "/srv/level"),
    in_guest("guest-versions", "/srv/g.v", "/srv/h.v"),
    better("class-confusion", "/srv/c /srv/confused", "a confext's /usr is not used"),
    better("a-link-to-nothing", "/srv/l.v", "a link to nothing is passed over"),
    better("listed-twice", "/srv/c /srv/d /srv/c", "the later one counts"),
    better("os-release", "/srv/c /srv/forged", "nothing replaces the file that extensions are matched with"),
];

struct Scene(tempfile::TempDir, KeyPair);

impl Scene {
    fn host(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.host().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A directory that is an extension; its files say where it is.
    fn tree(&self, path: &str, (class, name): (Class, &str), release: &str) {
        let place = if class == Class::Confext { "etc" } else { "usr/lib" };
        let directory = class.release_directory();
        self.file(&format!("{path}/{directory}/extension-release.{name}"), release);
        for file in ["all", name] {
            self.file(&format!("{path}/{place}/oracle/{file}"), path);
        }
    }

    fn image(&self, path: &str, (class, name): (Class, &str)) {
        let place = if class == Class::Confext { "etc" } else { "usr/lib" };
        let mut tree = Tree::new();
        for file in ["all", name] {
            tree.add_file(format!("{place}/oracle/{file}"), path.as_bytes(), Meta::new(0o644)).unwrap();
        }
        let to = self.host().join(path.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        Builder::new(class, name)
            .tree(tree)
            .release(ReleaseFields::any())
            .architecture(Architecture::of_build().unwrap())
            .build_file(&to, Some(&self.1))
            .unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.host().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn new() -> Self {
        let key = KeyPair::generate("signer", Time::from(SystemTime::now()), 1).unwrap();
        let scene = Self(tempfile::tempdir_in("/var/tmp").unwrap(), key);
        let (c, s, any) = (Class::Confext, Class::Sysext, "ID=_any\n");
        scene.file("etc/os-release", HOST);
        scene.file("srv/guest/etc/os-release", GUEST);
        for directory in ["usr", "proc", "dev", "sys", "run", "tmp", "opt"] {
            fs::create_dir_all(scene.host().join("srv/guest").join(directory)).unwrap();
        }
        for link in ["bin", "lib", "lib64", "sbin"] {
            scene.link(&format!("srv/guest/{link}"), &format!("usr/{link}"));
        }
        for name in ["a", "b"] {
            scene.image(&format!("/srv/{name}.raw"), (c, name));
        }
        scene.image("/srv/k_1.2.raw", (c, "k"));
        scene.image("/srv/s.raw", (s, "s"));
        for version in ["2", "10", "9"] {
            scene.image(&format!("/srv/g.v/g_{version}.raw"), (c, "g"));
            scene.tree(&format!("/srv/h.v/h_{version}"), (c, "h"), any);
        }
        for version in ["1", "2+3-1", "3+0-3"] {
            scene.tree(&format!("/srv/i.v/i_{version}"), (c, "i"), any);
        }
        for version in ["1+0", "2+0-1"] {
            scene.tree(&format!("/srv/j.v/j_{version}"), (c, "j"), any);
        }
        for name in ["c", "d"] {
            scene.tree(&format!("/srv/{name}"), (c, name), any);
        }
        scene.tree("/srv/t", (s, "s"), any);
        scene.link("/srv/t_name", "t");
        scene.tree("/srv/real", (c, "e"), any);
        scene.link("/srv/e_5", "real");
        scene.link("/srv/f", "real");
        fs::create_dir_all(scene.host().join("srv/empty.v")).unwrap();
        scene.tree("/srv/level", (c, "level"), "ID=debian\nCONFEXT_LEVEL=2\n");
        scene.tree("/srv/wrong-level", (c, "wrong-level"), "ID=debian\nCONFEXT_LEVEL=3\n");
        scene.tree("/srv/guest-only", (c, "guest-only"), "ID=guest\nVERSION_ID=7\n");
        scene.file("/srv/bare/etc/oracle/all", "/srv/bare");
        scene.file("/srv/hollow/etc/extension-release.d/extension-release.hollow", any);
        scene.tree("/srv/confused", (c, "confused"), any);
        scene.file("/srv/confused/usr/lib/oracle/all", "/srv/confused");
        scene.tree("/srv/l.v/l_1", (c, "l"), any);
        scene.link("/srv/l.v/l_2", "nowhere");
        scene.tree("/srv/forged", (c, "forged"), any);
        scene.file("/srv/forged/etc/os-release", "ID=forged\n");
        // The release file of a directory is named as the directory.
        scene.link("/srv/t/usr/lib/extension-release.d/extension-release.t", "extension-release.s");
        scene
    }

    fn unit(&self, case: &Case) -> String {
        let out = self.0.path().join("out").join(case.name);
        let root = match case.root {
            "" => String::new(),
            // Not /usr itself: of a mount there and an overlay systemd uses one, and says nothing of the other.
            root => format!(
                "RootDirectory={root}\nMountAPIVFS=yes\nBindReadOnlyPaths=/usr/bin /usr/lib /usr/lib64\n"
            ),
        };
        format!(
            "[Service]\nType=oneshot\n{root}BindPaths={}\nExtensionImages={}\nExtensionDirectories={}\n\
             ExtensionImagePolicy=root=unprotected+absent:usr=unprotected+absent\n\
             ExecStart=/bin/sh -c 'for f in /etc/oracle/* /usr/lib/oracle/*; do [ ! -f $$f ] || \
             echo \"$$f $$(cat $$f)\"; done >{}'\n",
            self.0.path().join("out").display(),
            case.images,
            case.directories,
            out.display(),
        )
    }

    /// What systemd makes of all of them.
    fn started(&self) -> Vec<View> {
        fs::create_dir(self.0.path().join("out")).unwrap();
        let mut script = String::from("systemctl daemon-reload\n");
        for case in &CASES {
            self.file(&format!("etc/systemd/system/oracle-{}.service", case.name), &self.unit(case));
            script += &format!("systemctl start oracle-{0}.service || rm -f out/{0}\n", case.name);
        }
        fs::write(self.0.path().join("script"), script).unwrap();
        let manager = Path::new(env!("CARGO_MANIFEST_DIR")).join("manager.sh");
        let done = Command::new(manager).arg(self.0.path()).args(["bash", "script"]).output().unwrap();
        assert!(done.status.code() != Some(125), "{}", String::from_utf8_lossy(&done.stderr));
        CASES.iter().map(|case| self.seen(case)).collect()
    }

    fn seen(&self, case: &Case) -> View {
        let Ok(text) = fs::read_to_string(self.0.path().join("out").join(case.name)) else {
            return View::Refused;
        };
        let pair = |line: &str| line.split_once(' ').map(|(path, from)| (path.to_owned(), from.to_owned()));
        View::Seen(text.lines().filter_map(pair).collect())
    }

    fn extensions(&self, case: &Case) -> Extensions {
        let (name, limits) = (Name::parse("oracle.service").unwrap(), Limits::default());
        let mut service = Service::default();
        for setting in unit::parse(self.unit(case).as_bytes(), "oracle.service", &limits).unwrap() {
            service.assign(&setting, &name, &Specifiers::new(&name), &limits).unwrap();
        }
        service.extensions
    }

    /// What our planner says of a service.
    fn planned(&self, case: &Case) -> View {
        let host = Host::open(self.host()).unwrap();
        let root = match case.root {
            "" => Host::open(self.host()).unwrap(),
            root => Host::open(self.host().join(root.trim_start_matches('/'))).unwrap(),
        };
        let extensions = self.extensions(case);
        self.plan(&host, &root, &extensions).map_or(View::Refused, View::Seen)
    }

    fn plan(&self, host: &Host, root: &Host, extensions: &Extensions) -> Result<BTreeMap<String, String>> {
        let mut options = Options::default();
        (options.policy, options.trust) = (Policy::unprotected(), Trust::Nobody);
        options.on_bad = OnBad::RefuseAll;
        let selected = stack::select(host, root, extensions, &options)?;
        for plan in selected.plan(root, &options)? {
            if let Some(veto) = plan.objection(&[]) {
                return Err(veto.to_error());
            }
        }
        let tracer = trace::plan(host, root, extensions, &options)?;
        let mut seen = BTreeMap::new();
        let more = ["confused", "level", "guest-only", "forged", "wrong-level"];
        for name in NAMES.iter().chain(&more) {
            for place in ["/etc", "/usr/lib"] {
                let path = format!("{place}/oracle/{name}");
                if let Answer::Layer { source, .. } = tracer.trace(&path)?.answer {
                    seen.insert(path, source.image.clone());
                }
            }
        }
        Ok(seen)
    }
}

#[test]
#[ignore = "needs root"]
fn a_service_sees_what_was_planned() {
    let scene = Scene::new();
    let started = scene.started();
    let mut wrong = Vec::new();
    for (case, systemd) in CASES.iter().zip(started) {
        let ours = scene.planned(case);
        // A difference that is gone is to be taken out of the table.
        if (ours == systemd) != case.better.is_none() {
            wrong.push(format!("{}: systemd {systemd:?}, planned {ours:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
