//! A stack of an ordinary user's own: root makes the host, and the rest of each test is run by somebody else.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use confext_core::admission::Options;
use confext_core::attach::{Mode, Reads};
use confext_core::exec::{Root as RunRoot, Running};
use confext_core::stack::Manner;
use confext_core::sys::Signal;
use confext_core::{Host, Stack, service};
use confext_ddi::build::{Device, Meta, Tree};
use confext_ddi::limits::Limits;
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_ddi::signature::KeyPair;
use confext_tests::faults::{self, End, Fault};
use confext_tests::namespace::{run, unmount};
use confext_tests::root::{Root, key};
use confext_tests::sweep::isolated;

/// Says where the hosts are, to who is not root.
const HOSTS: &str = "CONFEXT_TEST_HOSTS";
/// Asks where paths come from.
const PATHS: &str = "CONFEXT_TEST_PATHS";
const NOBODY: &str = "65534";
/// Who the test is run by.
const AS_USER: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// Who the hosts trust.
fn vendor() -> &'static KeyPair {
    static VENDOR: OnceLock<KeyPair> = OnceLock::new();
    VENDOR.get_or_init(|| key("vendor"))
}

/// A host that programs can be run in, and that everybody may look into.
fn host() -> Root {
    let root = Root::new();
    root.file("etc/os-release", "ID=test\nVERSION_ID=1\n").file("proc/x", "").file("dev/x", "");
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.path(name)).unwrap();
    }
    fs::set_permissions(root.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["usr", "proc", "dev"] {
        run("mount", &["--rbind", &format!("/{name}"), root.path(name).to_str().unwrap()]);
    }
    root.trust(vendor());
    root
}

fn forget(root: &Root) {
    for name in ["usr", "proc", "dev"] {
        run("umount", &["--recursive", "--lazy", root.path(name).to_str().unwrap()]);
    }
}

/// Whether this is root's part of a test.
fn is_root() -> bool {
    std::env::var_os(HOSTS).is_none()
}

/// Runs a test again, by way of these programs. Its own file is its input: it can be opened wherever it is.
fn again(by: &[&str], test: &str, hosts: &[&Root]) -> Output {
    let hosts: Vec<_> = hosts.iter().map(|root| root.path("").to_str().unwrap().to_owned()).collect();
    let before = left_behind();
    let output = Command::new(by[0])
        .args(&by[1..])
        .args(["/proc/self/fd/0", "--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env(HOSTS, hosts.join(":"))
        .stdin(File::open("/proc/self/exe").unwrap())
        .current_dir("/")
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{test}: {text}");
    assert_eq!(left_behind(), before, "{test} left something");
    output
}

/// The processes of the ordinary user, and what is in the directories that everybody can write to.
fn left_behind() -> Vec<String> {
    let processes = Command::new("pgrep").args(["-l", "-u", NOBODY]).output().unwrap();
    let mut found = vec![String::from_utf8_lossy(&processes.stdout).into_owned()];
    for dir in ["/tmp", "/var/tmp", "/dev/shm"] {
        let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
        found.extend(
            names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.starts_with(".#")),
        );
    }
    found
}

/// The hosts, in the part of the ordinary user.
fn hosts() -> Vec<Host> {
    assert!(!rustix::process::geteuid().is_root() || !confext_core::exec::may_mount());
    std::env::var(HOSTS).unwrap().split(':').map(|path| Host::open(path).unwrap()).collect()
}

/// What a shell prints that sees a stack.
fn shell(host: &Host, stack: Stack, script: &str) -> String {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = Running::start(&RunRoot::of(host.path()), stack.into_placements(), command).unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{script}");
    String::from_utf8(output.stdout).unwrap()
}

/// Where paths come from, as who sees a stack is told: this test once more, inside.
fn traced(host: &Host, stack: Stack, test: &str, paths: &str) -> String {
    let mut command = Command::new("/proc/self/fd/0");
    command.args(["--exact", test, "--ignored", "--nocapture"]).env(PATHS, paths);
    command.stdin(File::open("/proc/self/exe").unwrap()).stdout(Stdio::piped());
    let running = Running::start(&RunRoot::of(host.path()), stack.into_placements(), command).unwrap();
    String::from_utf8(running.wait_with_output().unwrap().stdout).unwrap()
}

/// Prints where paths come from, if that is what this process is for.
fn is_tracer() -> bool {
    let Ok(paths) = std::env::var(PATHS) else { return false };
    for path in paths.split(' ') {
        let origin = confext_core::trace(&Host::open("/").unwrap(), path, &Limits::default()).unwrap();
        println!("{path}: {}", serde_json::to_string(&origin.answer).unwrap());
    }
    true
}

fn assemble(host: &Host) -> Stack {
    Stack::assemble(host, Class::Confext, &Options::default()).unwrap()
}

#[test]
#[ignore = "needs root"]
fn an_ordinary_user_runs_a_command_with_signed_images() {
    const TEST: &str = "an_ordinary_user_runs_a_command_with_signed_images";
    if is_tracer() {
        return;
    }
    if is_root() {
        return isolated(|| {
            let root = host();
            let files = [("etc/app/a", "first"), ("etc/base", "changed")];
            root.image(Class::Confext, "run/confexts/one.raw", &files, Some(vendor()));
            let files = [("etc/app/a", "second"), ("etc/app/b", "b")];
            root.image(Class::Confext, "run/confexts/two.raw", &files, Some(vendor()));
            again(AS_USER, TEST, &[&root]);
            assert_eq!(root.read("etc/base").as_deref(), Some("base"));
            forget(&root);
        });
    }
    let host = &hosts()[0];
    let stack = assemble(host);
    assert_eq!(*stack.manner(), Manner::Overlay);
    let names: Vec<_> = stack.layers().iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    for layer in stack.layers() {
        assert_eq!(layer.attached.as_ref().unwrap().reads, Reads::Extracted);
        assert_eq!(layer.checked.root_hash().map(|_| layer.checked.clone()), Some(layer.checked.clone()));
    }
    assert_eq!(stack.plan().hierarchies[0].layers, names);
    let seen = shell(
        host,
        stack,
        "cat /etc/app/a /etc/app/b /etc/base; echo; id -u; grep -c 'Cap...:.0000000000000000' /proc/self/status; \
         { touch /etc/new || umount /etc || rm -rf /etc/app; } 2>/dev/null; echo $?; pwd",
    );
    assert_eq!(seen, format!("secondbchanged\n{NOBODY}\n5\n1\n/\n"));
    assert!(!host.path().join("etc/app").exists(), "nobody else sees it");
    let text = traced(host, assemble(host), TEST, "/etc/app/a /etc/base /etc/app /etc/os-release");
    let line = |path: &str| {
        let start = format!("{path}: ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        serde_json::from_str::<serde_json::Value>(line.unwrap_or_else(|| panic!("{text}"))).unwrap()
    };
    for (path, layer) in [("/etc/app/a", "two"), ("/etc/base", "one")] {
        let (answer, signed) = (line(path), "CN=vendor");
        assert_eq!(
            (&answer["answer"], &answer["source"]["layer"]),
            (&"layer".into(), &layer.into()),
            "{answer}"
        );
        assert_eq!(answer["source"]["checked"]["by"]["subject"], signed, "{answer}");
    }
    assert_eq!(line("/etc/app")["answer"], "directory");
    assert_eq!(line("/etc/os-release")["answer"], "base");
}

#[test]
#[ignore = "needs root"]
fn the_stack_under_a_running_command_is_exchanged() {
    if is_root() {
        return isolated(|| {
            let roots = [host(), host()];
            for (root, text) in roots.iter().zip(["1", "2"]) {
                let files = [("etc/app/version", text), ("etc/app/only", text)];
                root.image(Class::Confext, "run/confexts/app.raw", &files, Some(vendor()));
            }
            again(AS_USER, "the_stack_under_a_running_command_is_exchanged", &[&roots[0], &roots[1]]);
            // With root the images are mounted. Root can take them off.
            exchange(&[roots[0].host(), roots[1].host()], 0);
            roots.iter().for_each(forget);
        });
    }
    exchange(&hosts(), 5);
}

/// Has a command see one stack, then another; ends with what becomes of taking it off from inside.
fn exchange(hosts: &[Host], expected: i32) {
    let mut command = Command::new("/bin/sh");
    command.args([
        "-c",
        "while read -r line; do cat /etc/app/version; echo; done; umount --lazy /etc 2>/dev/null || exit 5",
    ]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let root = RunRoot::of(hosts[0].path());
    let mut running = Running::start(&root, assemble(&hosts[0]).into_placements(), command).unwrap();
    let (mut input, mut output) = (running.take_stdin().unwrap(), running.take_stdout().unwrap());
    let mut ask = || {
        input.write_all(b"\n").unwrap();
        let mut answer = [0; 2];
        output.read_exact(&mut answer).unwrap();
        answer[0]
    };
    assert_eq!(ask(), b'1');
    assert_eq!(running.try_wait().unwrap(), None);
    for number in [1, 0, 1] {
        running.refresh(assemble(&hosts[number]).into_placements()).unwrap();
        assert_eq!(ask(), [b'1', b'2'][number]);
    }
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", running.id())).unwrap();
    assert_eq!(mounts.matches(" overlay confext ").count(), 1, "{mounts}");
    // Without a stack it is the host's directory.
    running.refresh(Vec::new()).unwrap();
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", running.id())).unwrap();
    assert!(!mounts.contains(" overlay confext "), "{mounts}");
    running.refresh(assemble(&hosts[1]).into_placements()).unwrap();
    assert_eq!(ask(), b'2');
    drop(input);
    assert_eq!(running.wait().unwrap().code(), Some(expected), "rights over what was mounted for it");
    let error = running.refresh(assemble(&hosts[0]).into_placements()).unwrap_err();
    assert_eq!(error.code(), "not-running");
}

#[test]
#[ignore = "needs root"]
fn a_command_is_waited_for_and_sent_signals() {
    if is_root() {
        return isolated(|| {
            let root = host();
            root.image(Class::Confext, "run/confexts/a.raw", &[("etc/a", "a")], Some(vendor()));
            again(AS_USER, "a_command_is_waited_for_and_sent_signals", &[&root]);
            forget(&root);
        });
    }
    use std::os::unix::process::ExitStatusExt as _;
    let host = &hosts()[0];
    let start = |program: &str, argument: &str| {
        let mut command = Command::new(program);
        command.arg(argument);
        Running::start(&RunRoot::of(host.path()), assemble(host).into_placements(), command)
    };
    let mut running = start("/bin/sleep", "1000").unwrap();
    assert_eq!(running.wait_for(std::time::Duration::from_millis(1)).unwrap(), None);
    running.signal(Signal::TERM).unwrap();
    assert_eq!(running.wait().unwrap().signal(), Some(15));
    running.kill().unwrap();
    let error = start("/no/such/program", "").unwrap_err();
    assert_eq!(error.to_string(), "start /no/such/program: failed");
}

#[test]
#[ignore = "needs root"]
fn what_root_would_refuse_is_refused() {
    if is_root() {
        return isolated(|| {
            let (bad, good) = (host(), host());
            bad.image(Class::Confext, "run/confexts/a.raw", &[("etc/a", "a")], Some(&key("stranger")));
            let text = "x".repeat(20_000);
            good.image(Class::Confext, "run/confexts/a.raw", &[("etc/a", &text)], Some(vendor()));
            good.confext("b", "etc/huge", "");
            File::options()
                .write(true)
                .open(good.path("var/lib/confexts/b/etc/huge"))
                .unwrap()
                .set_len(1 << 43)
                .unwrap();
            let damaged = host();
            damaged.image(Class::Confext, "run/confexts/a.raw", &[("etc/a", &text)], Some(vendor()));
            let path = damaged.path("run/confexts/a.raw");
            let mut bytes = fs::read(&path).unwrap();
            let at = bytes.windows(9).position(|window| window == b"xxxxxxxxx").unwrap();
            bytes[at + 10_000] = b'X';
            fs::write(&path, bytes).unwrap();
            again(AS_USER, "what_root_would_refuse_is_refused", &[&bad, &good, &damaged]);
            [bad, good, damaged].iter().for_each(forget);
        });
    }
    let hosts = hosts();
    let code = |host: &Host, options: &Options| {
        Stack::assemble(host, Class::Confext, options).map(|_| ()).unwrap_err().code()
    };
    let signed = Options::default();
    assert_eq!(code(&hosts[0], &signed), "unknown-signer");
    assert_eq!(code(&hosts[2], &signed), "data-block");
    // A directory has nothing that could be checked.
    assert_eq!(code(&hosts[1], &signed), "policy");
    let mut open = Options::default();
    open.policy = Policy::unprotected();
    assert_eq!(code(&hosts[1], &open), "limit-bytes");
    open.limits.content_bytes = u64::MAX;
    assert_eq!(code(&hosts[1], &open), "memory-short");
    open.attach = Mode::DmVerity;
    assert_eq!(code(&hosts[1], &open), "missing-capability");
}

#[test]
#[ignore = "needs root"]
fn where_no_overlay_can_be_the_tree_is_the_same() {
    const TEST: &str = "where_no_overlay_can_be_the_tree_is_the_same";
    if is_root() {
        return isolated(|| {
            let root = host();
            root.file("etc/dir/base", "b")
                .file("etc/dir/hidden/x", "x")
                .file("etc/gone", "")
                .file("etc/mount/x", "x");
            root.file("etc/resolv.conf", "");
            symlink("base", root.path("etc/link")).unwrap();
            let mut tree = Tree::new();
            tree.add_file("etc/dir/app", "app", Meta::new(0o640)).unwrap();
            tree.add_file("etc/resolv.conf", "image", Meta::new(0o644)).unwrap();
            tree.add_file("etc/new/deep/file", "deep", Meta::new(0o644)).unwrap();
            tree.add_device("etc/gone", Device::Character { major: 0, minor: 0 }, Meta::new(0)).unwrap();
            tree.add_dir("etc/dir/hidden", Meta::new(0o755)).unwrap();
            tree.set_xattr("etc/dir/hidden", "trusted.overlay.opaque", "y").unwrap();
            tree.add_file("etc/dir/hidden/y", "y", Meta::new(0o644)).unwrap();
            root.image_of(Class::Confext, "run/confexts/a.raw", tree, Some(vendor()));
            let files = [("etc/dir/app2", "2"), ("etc/new/deep/other", "o")];
            root.image(Class::Confext, "run/confexts/b.raw", &files, Some(vendor()));
            again(AS_USER, TEST, &[&root]);
            // A container mounts files like this one, and in a user namespace they cannot be taken off.
            let path = root.path("etc/resolv.conf");
            run("mount", &["--bind", root.path("etc/base").to_str().unwrap(), path.to_str().unwrap()]);
            again(AS_USER, TEST, &[&root]);
            unmount(&path);
            forget(&root);
        });
    }
    let host = &hosts()[0];
    let mut options = Options::default();
    for kind in ["whiteout", "overlay-attribute"] {
        options.allow.push(confext_core::plan::Allowance::parse(kind).unwrap());
    }
    let stack = Stack::assemble(host, Class::Confext, &options).unwrap();
    let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap().contains("etc/resolv.conf");
    match stack.manner() {
        Manner::Tree { because } => assert!(mounted && because.contains("mounted below"), "{because}"),
        other => assert!(!mounted && *other == Manner::Overlay),
    }
    let seen = shell(
        host,
        stack,
        "cd /etc; for f in $(find . -path ./verity.d -prune -o -path ./.systemd-confext -prune -o -print | sort); do \
         [ -h $f ] && echo $f l || { [ -d $f ] && echo $f d; } || echo $f $(cat $f); done; \
         touch new/x dir/x base 2>/dev/null || echo read-only; ls -A .systemd-confext | wc -l; cd dir; ls -ld . | cut -c-10",
    );
    let resolv = if mounted { "base" } else { "image" };
    let expected = format!(
        ". d\n./base base\n./dir d\n./dir/app app\n./dir/app2 2\n./dir/base b\n./dir/hidden d\n./dir/hidden/y y\n\
         ./extension-release.d d\n./extension-release.d/extension-release.a ID=_any\n\
         ./extension-release.d/extension-release.b ID=_any\n./link l\n./mount d\n./mount/x x\n./new d\n\
         ./new/deep d\n./new/deep/file deep\n./new/deep/other o\n./os-release ID=test VERSION_ID=1\n\
         ./resolv.conf {resolv}\nread-only\n"
    );
    assert!(seen.starts_with(&expected), "{seen}\nexpected {expected}");
}

#[test]
#[ignore = "needs root"]
fn in_a_container_it_works_or_says_what_is_missing() {
    const TEST: &str = "in_a_container_it_works_or_says_what_is_missing";
    if is_root() {
        return isolated(|| {
            let root = host();
            root.image(Class::Confext, "run/confexts/a.raw", &[("etc/a", "a")], Some(vendor()));
            // Root of a user namespace, and root without the right to mount.
            again(&[AS_USER, &["unshare", "--user", "--map-root-user", "--mount"]].concat(), TEST, &[&root]);
            again(&["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"], TEST, &[&root]);
            // A namespace in which there can be no other.
            let none = "echo 0 >/proc/sys/user/max_user_namespaces; exec env CONFEXT_TEST_NONE=1 \"$@\"";
            let by = ["unshare", "--user", "--map-root-user", "sh", "-c", none, "sh"];
            again(&[AS_USER, &by].concat(), TEST, &[&root]);
            forget(&root);
        });
    }
    let host = &hosts()[0];
    match Stack::assemble(host, Class::Confext, &Options::default()) {
        Ok(stack) => {
            assert!(std::env::var_os("CONFEXT_TEST_NONE").is_none());
            let seen = shell(
                host,
                stack,
                "cat /etc/a; grep -c 'Cap...:.0000000000000000' /proc/self/status; umount /etc 2>&1 | wc -l",
            );
            assert_eq!(seen, "a5\n1\n");
        }
        Err(error) => {
            assert!(std::env::var_os("CONFEXT_TEST_NONE").is_some(), "{}", error.explain());
            assert_eq!(error.code(), "missing-capability");
            assert!(error.to_string().contains("user.max_user_namespaces"), "{error}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn the_helper_goes_with_who_asked() {
    if is_root() {
        return isolated(|| {
            let root = host();
            root.image(Class::Confext, "run/confexts/a.raw", &[("etc/a", "a")], Some(vendor()));
            again(AS_USER, "the_helper_goes_with_who_asked", &[&root]);
            forget(&root);
        });
    }
    use confext_core::sys::{Helper, Inside};
    let helper = Helper::start(Inside::New).unwrap();
    let open: Vec<_> = fs::read_dir(format!("/proc/{}/fd", helper.pid())).unwrap().collect();
    assert_eq!(open.len(), 1, "it keeps nothing of this process open");
    assert_eq!(helper.open(Path::new("/none")).unwrap_err().raw_os_error(), Some(libc::ENOENT));
    let long = "x".repeat(20_000);
    assert_eq!(helper.open(Path::new(&long)).unwrap_err().raw_os_error(), Some(libc::ENAMETOOLONG));
    let pid = helper.pid();
    drop(helper);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

/// Each call of this process, of the helper and of the command before it runs fails, or is the last of who asked: nothing is left,
/// neither a process nor a file nor a mount.
#[test]
#[ignore = "needs root"]
fn faults_leave_nothing() {
    isolated(|| {
        let root = host();
        root.image(Class::Confext, "run/confexts/a.raw", &[("etc/a", "a"), ("etc/d/b", "b")], Some(vendor()));
        let worker = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_confext-test-worker"));
            command.arg(root.path("")).args(["rootless", "run"]);
            command
        };
        let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = (left_behind(), mounts());
        let (end, calls) = faults::run(worker(), None, Fault::Once);
        assert_eq!(end, End::Said("ok Some(0)".into()));
        let stride = std::env::var("CONFEXT_FAULT_STRIDE").map_or(37, |text| text.parse().unwrap());
        for fault in [Fault::Kill, Fault::Once, Fault::Always] {
            let mut ended = 0;
            for at in (0..calls.len()).filter(|at| at.is_multiple_of(stride)) {
                let (end, _) = faults::run(worker(), Some(at), fault);
                let code = match &end {
                    End::Said(text) => text.split(' ').next().unwrap().to_owned(),
                    End::Killed => "killed".to_owned(),
                };
                ended += usize::from(code != "ok");
                // Who was killed is gone before its helper is.
                let mut tries = 0;
                while (left_behind(), mounts()) != before {
                    tries += 1;
                    assert!(
                        tries < 500,
                        "{fault:?} at {at} (call {}): {end:?}: {:?}",
                        calls[at],
                        left_behind()
                    );
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            }
            println!("{fault:?}: {} calls, {ended} ended early", calls.len());
            assert!(ended > 2, "{fault:?}");
        }
        forget(&root);
    });
}

/// What a command prints that has the stack of a service.
fn as_service(host: &Host, unit: &str, script: &str) -> confext_core::Result<String> {
    let unit = service::Unit::read(host, unit)?.service;
    let root = service::directory_of(host, &unit.root)?;
    let stacks = service::assemble(host, &root, &unit.extensions, &Options::default())?;
    let placements = stacks.into_iter().flat_map(Stack::into_placements).collect();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = Running::start(&RunRoot::of(root.path()), placements, command)?.wait_with_output()?;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{script}");
    Ok(String::from_utf8(output.stdout).unwrap())
}

/// With root and without, over the host's root and over that of the service.
#[test]
#[ignore = "needs root"]
fn a_command_sees_what_a_service_would() {
    const TEST: &str = "a_command_sees_what_a_service_would";
    let check = |host: &Host, both: Option<&str>| {
        let see = |unit: &str, script: &str| as_service(host, unit, script);
        let cat = "cat /etc/app /etc/base; [ -e /etc/beside ] && cat /etc/beside; true";
        assert_eq!(see("plain", cat).unwrap(), "appbasebeside");
        assert_eq!(see("guest", cat).unwrap(), "appguest");
        let code = |unit: &str| see(unit, "true").unwrap_err().code();
        assert_eq!((code("none"), code("image")), ("no-extensions", "missing-capability"));
        // The unit's own policy counts.
        assert_eq!(code("strict"), "policy");
        assert_eq!(see("both", "cat /etc/app /usr/share/tool").ok().as_deref(), both);
    };
    if !is_root() {
        return check(&hosts()[0], None);
    }
    isolated(|| {
        let root = host();
        root.file("srv/guest/etc/os-release", "ID=guest\n").file("srv/guest/etc/base", "guest");
        root.file("etc/base", "base");
        root.image(Class::Confext, "srv/app.raw", &[("etc/app", "app")], Some(vendor()));
        root.image(Class::Confext, "srv/beside.raw", &[("etc/beside", "beside")], Some(vendor()));
        root.image(Class::Sysext, "srv/tool.raw", &[("usr/share/tool", "tool")], Some(vendor()));
        root.image(Class::Confext, "srv/unsigned.raw", &[("etc/app", "app")], None);
        fs::create_dir_all(root.path("srv/guest/usr")).unwrap();
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{name}"), root.path(&format!("srv/guest/{name}"))).unwrap();
        }
        let guest = root.path("srv/guest/usr");
        run("mount", &["--rbind", "/usr", guest.to_str().unwrap()]);
        let app = "ExtensionImages=/srv/app.raw\n";
        for (name, settings) in [
            ("plain", app.to_owned()),
            ("guest", format!("{app}RootDirectory=/srv/guest\n")),
            ("image", format!("{app}RootImage=/srv/app.raw\n")),
            ("both", format!("{app}ExtensionImages=/srv/tool.raw\n")),
            ("strict", "ExtensionImages=/srv/unsigned.raw\nExtensionImagePolicy=root=signed\n".to_owned()),
            ("none", String::new()),
        ] {
            let text = format!("[Service]\nExecStart=/bin/x\n{settings}");
            root.file(&format!("usr-units/{name}.service"), &text);
        }
        // Beside a unit, and found there without any setting.
        fs::create_dir_all(root.path("etc/systemd")).unwrap();
        fs::rename(root.path("usr-units"), root.path("etc/systemd/system")).unwrap();
        let beside = root.path("etc/systemd/system/plain.service.confext.d");
        fs::create_dir(&beside).unwrap();
        fs::rename(root.path("srv/beside.raw"), beside.join("beside.raw")).unwrap();
        check(&Host::open(root.path("")).unwrap(), Some("apptool"));
        again(AS_USER, TEST, &[&root]);
        run("umount", &["--recursive", "--lazy", guest.to_str().unwrap()]);
        forget(&root);
    });
}
