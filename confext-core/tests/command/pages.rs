//! The pages that show commands: each command is run as it stands there, and prints what stands below it.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::fixture::{Scratch, confext};

/// A fenced block: the word behind the fence, and the lines.
struct Block {
    language: String,
    lines: Vec<String>,
}

/// A command with what it is to print.
struct Step {
    as_root: bool,
    command: String,
    expected: Vec<String>,
}

impl Step {
    fn is_answered_by(&self, printed: &str) -> bool {
        let lines: Vec<&str> = printed.lines().collect();
        lines.len() == self.expected.len()
            && self.expected.iter().zip(&lines).all(|(expected, line)| fits(expected, line))
    }
}

fn page(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(name)).unwrap()
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        match (line.strip_prefix("```"), open) {
            (Some(language), false) => {
                blocks.push(Block { language: language.to_owned(), lines: Vec::new() })
            }
            (None, true) => blocks.last_mut().unwrap().lines.push(line.to_owned()),
            (Some(_), true) => {}
            (None, false) => continue,
        }
        open ^= line.starts_with("```");
    }
    assert!(!open, "a block without an end");
    blocks
}

/// A line that starts with `$` or `#` is a command, for whoever or for root; the lines up to the next are what it prints.
fn steps(block: &Block) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut continued = false;
    for line in &block.lines {
        let prompt = [("$ ", false), ("# ", true)];
        let command = prompt.iter().find_map(|(prompt, root)| Some((line.strip_prefix(prompt)?, *root)));
        match (command, continued) {
            (_, true) => steps.last_mut().unwrap().command.push_str(&format!("\n{line}")),
            (Some((command, as_root)), false) => {
                steps.push(Step { as_root, command: command.to_owned(), expected: Vec::new() });
            }
            (None, false) => steps.last_mut().expect("output of a command").expected.push(line.clone()),
        }
        continued = (command.is_some() || continued) && line.ends_with('\\');
    }
    steps
}

/// Runs a script where the page is read: what it prints, on both outputs, in order; and `[STATUS]` if that is not 0.
fn run(scratch: &Scratch, script: &str) -> String {
    let programs = Path::new(env!("CARGO_BIN_EXE_confext")).parent().unwrap();
    let copies = scratch.path("bin");
    let path = format!("{}:{}:{}", programs.display(), copies.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-euc", &format!("exec 2>&1\n{script}")])
        .current_dir(scratch.path(""))
        .env("PATH", path)
        .output()
        .expect("sh starts");
    let mut text = String::from_utf8(output.stdout).unwrap();
    if !output.status.success() {
        text.push_str(&format!("[{}]\n", output.status.code().unwrap()));
    }
    text
}

/// Whether a line is the one expected, where `…` stands for any text.
fn fits(expected: &str, line: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|start| line.strip_prefix(start)) else { return false };
    for part in parts {
        match rest.find(part) {
            Some(_) if part.is_empty() => rest = "",
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

/// Runs every block of a page, and says how many commands and scripts that were.
fn follow(scratch: &Scratch, name: &str) -> usize {
    let mut ran = 0;
    for block in blocks(&page(name)) {
        match block.language.as_str() {
            "sh" => {
                let printed = run(scratch, &block.lines.join("\n"));
                assert!(!printed.ends_with("]\n"), "{name}: {printed}");
                ran += 1;
            }
            "console" => {
                for step in steps(&block) {
                    // What only root can do, root does: CI is.
                    if step.as_root && !rustix::process::geteuid().is_root() {
                        continue;
                    }
                    let printed = run(scratch, &step.command);
                    let expected = step.expected.join("\n");
                    let right = step.is_answered_by(&printed);
                    assert!(right, "{name}: {}\nexpected:\n{expected}\nfound:\n{printed}", step.command);
                    ran += 1;
                }
            }
            _ => {}
        }
    }
    ran
}

/// Builds an image of a directory as the vendor's.
fn build(scratch: &Scratch, name: &str, source: &str) {
    let (source, output) = (scratch.path(source), scratch.path(name));
    let mut arguments: Vec<_> = ["build", "--class", "confext", "--name", "app", "--release", "ID=_any"]
        .map(std::ffi::OsString::from)
        .to_vec();
    arguments.extend(["--source-date-epoch", "1764201600", "--owner", "0:0", "--source"].map(Into::into));
    arguments.extend([source.into(), "--output".into(), output.into()]);
    confext(arguments.iter().map(AsRef::as_ref).chain(scratch.vendor.signing())).ok();
}

#[test]
fn readme() {
    let scratch = Scratch::new();
    scratch.file("app/etc/app/app.conf", "answer = 42\n");
    let text = page("README.md");
    let shown = blocks(&text);
    let block = shown.iter().find(|block| block.language == "console").unwrap();
    let (mine, of_root): (Vec<Step>, Vec<Step>) = steps(block).into_iter().partition(|step| !step.as_root);
    for step in &mine {
        let printed = run(&scratch, &step.command);
        assert!(step.is_answered_by(&printed), "{}\n{printed}", step.command);
    }
    assert!(mine.len() >= 3 && !of_root.is_empty());
    // What changes the host is run by the quick start, in a mount namespace of its own.
    let quickstart = page("examples/quickstart.sh");
    for step in of_root.iter().filter(|step| step.command.starts_with("confext")) {
        let verb = step.command.split(' ').nth(1).unwrap();
        assert!(quickstart.contains(&format!(" {verb} ")), "{verb}");
    }
}

#[test]
fn building() {
    let scratch = Scratch::new();
    scratch.file("tree/etc/app.conf", "answer = 42\n");
    scratch.file("app/usr/lib/app/main.py", "");
    scratch.file("app/usr/lib/app/main.pyc", "");
    scratch.file("app/usr/share/doc/app/README", "");
    scratch.file("file_contexts", "/usr(/.*)? system_u:object_r:usr_t:s0\n");
    assert!(follow(&scratch, "docs/building.md") >= 2);
    let image = scratch.path("app.raw");
    let listed = confext(["ls", "--policy", "unprotected", "-R", image.to_str().unwrap()]).ok();
    assert!(listed.text().contains("main.py") && !listed.text().contains("main.pyc"), "{}", listed.text());
}

#[test]
fn files() {
    let scratch = Scratch::new();
    scratch.file("1/etc/app.conf", "answer = 42\n");
    scratch.file("2/etc/app.conf", "answer = 420\n");
    scratch.file("2/etc/app.d/more.conf", "");
    build(&scratch, "app.raw", "1");
    symlink("app.raw", scratch.path("app_1.raw")).unwrap();
    build(&scratch, "app_2.raw", "2");
    assert!(follow(&scratch, "docs/files.md") >= 5);
}

#[test]
fn publish() {
    let scratch = Scratch::new();
    scratch.host();
    for (name, content) in [("app-1.raw", "answer = 41\n"), ("app-2.raw", "answer = 42\n")] {
        scratch.file("tree/etc/app.conf", content);
        build(&scratch, name, "tree");
    }
    assert!(follow(&scratch, "docs/publish.md") >= 8);
}

#[test]
fn fec() {
    let scratch = Scratch::new();
    scratch.file("1/etc/app.conf", "answer = 42\n");
    build(&scratch, "app.confext.raw", "1");
    let mut damaged = std::fs::read(scratch.path("app.confext.raw")).unwrap();
    let at = damaged.windows(11).position(|window| window == b"answer = 42").unwrap();
    damaged[at] ^= 0x20;
    scratch.file("damaged.raw", damaged);
    assert!(follow(&scratch, "docs/fec.md") >= 3);
    let read = |name| std::fs::read(scratch.path(name)).unwrap();
    assert!(read("repaired.raw") == read("app.confext.raw"));
}

/// A host with an extension. The steps for root are in a mount namespace of their own.
fn host() -> Scratch {
    let scratch = Scratch::new();
    scratch.host();
    scratch.file("1/etc/app.conf", "answer = 42\n");
    std::fs::create_dir_all(scratch.path("host/run/confexts")).unwrap();
    build(&scratch, "host/run/confexts/app.raw", "1");
    if rustix::process::geteuid().is_root() {
        crate::host::own_mounts();
    }
    scratch
}

#[test]
fn trace() {
    let scratch = host();
    scratch.file("host/etc/app.conf", "of the host\n");
    assert!(follow(&scratch, "docs/trace.md") >= 1);
}

#[test]
fn report() {
    let scratch = host();
    scratch.file("host/etc/app.conf", "of the host\n");
    assert!(follow(&scratch, "docs/report.md") >= 2);
}

#[test]
fn mutable() {
    assert!(follow(&host(), "docs/mutable.md") >= 1);
}

/// On the root of this machine, which has programs; everything is gone with the mount namespace.
#[test]
#[ignore = "needs root"]
fn run_page() {
    let scratch = host();
    std::fs::set_permissions(scratch.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    rustix::mount::mount("confext-test", "/run", "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    std::fs::create_dir_all("/run/confexts").unwrap();
    std::fs::copy(scratch.path("host/run/confexts/app.raw"), "/run/confexts/app.raw").unwrap();
    // Others may not come to where it was built.
    std::fs::create_dir(scratch.path("bin")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_confext"), scratch.path("bin/confext")).unwrap();
    assert!(follow(&scratch, "docs/run.md") >= 5);
}

#[test]
fn trust() {
    let scratch = Scratch::new();
    scratch.host();
    scratch.file("1/etc/app.conf", "answer = 42\n");
    build(&scratch, "app.raw", "1");
    assert!(follow(&scratch, "docs/trust.md") >= 1);
}

#[test]
fn policy() {
    assert!(follow(&Scratch::new(), "docs/policy.md") >= 1);
}

/// `openssl` is the service that has the keys.
#[test]
fn signatures() {
    let scratch = Scratch::new();
    std::fs::rename(scratch.tree(1), scratch.path("tree")).unwrap();
    let site = scratch.key("site", -1, 30);
    for (from, to) in
        [(&scratch.vendor.key, "key.pem"), (&scratch.vendor.certificate, "cert.pem"), (&site.key, "site.pem")]
    {
        std::fs::copy(from, scratch.path(to)).unwrap();
    }
    assert!(follow(&scratch, "docs/signatures.md") >= 1);
    let image = scratch.path("app.confext.raw");
    for key in [&scratch.vendor, &site] {
        confext(["verify", image.to_str().unwrap()].iter().chain(&key.trust())).ok();
    }
}

#[test]
fn what_is_expected_is_what_is_there() {
    for (expected, line, same) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a…", "abc", true),
        ("a…c", "abc", true),
        ("a…c", "abd", false),
        ("a…c", "abcd", false),
        ("…", "", true),
    ] {
        assert_eq!(fits(expected, line), same, "{expected} {line}");
    }
}
