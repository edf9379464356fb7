//! The verbs of a host: what they find, what they put in place, and that nothing of it stays.

use std::path::Path;

use confext_core::sys::{self, Depth, Propagation};
use confext_ddi::build::{Meta, Tree, erofs};
use serde_json::Value;

use crate::documents::Documented;
use crate::fixture::{Call, Scratch, confext};

/// Calls a verb on the host of a scratch directory, trusting its vendor.
fn call(scratch: &Scratch, verb: &str, more: &[&str]) -> Call {
    let root = scratch.path("host");
    let trust = match verb {
        "status" | "trace" | "unmerge" => &[][..],
        _ => &scratch.vendor.trust()[..],
    };
    let fixed = ["--json", verb, "--root", root.to_str().unwrap()];
    confext(fixed.iter().chain(trust).chain(more))
}

fn ask(scratch: &Scratch, verb: &str, more: &[&str]) -> Value {
    call(scratch, verb, more).ok().json()
}

/// Checks documents, and what is in them and documented by itself.
fn check(verb: &str, documents: &[Value]) {
    Documented::read(verb).check(documents);
}

fn all<'a>(documents: &'a [Value], field: &str) -> Vec<Value> {
    documents.iter().filter_map(|document: &'a Value| document[field].as_array()).flatten().cloned().collect()
}

const DIR: &str = "host/var/lib/confexts";

/// An image without a table and without a release file.
fn without_release(scratch: &Scratch, name: &str) {
    let mut tree = Tree::new();
    tree.add_file("etc/x", "x", Meta::new(0o644)).unwrap();
    let mut image = Vec::new();
    erofs::write(&tree, &erofs::Options::default(), &mut image).unwrap();
    scratch.file(name, image);
}

#[test]
fn d24_what_is_left_out_has_a_code_and_a_reason() {
    let scratch = Scratch::new();
    scratch.host();
    scratch.signed(&format!("{DIR}/app.raw"));
    scratch.signed(&format!("{DIR}/other.raw"));
    without_release(&scratch, &format!("{DIR}/bare.raw"));
    scratch.file(&format!("{DIR}/empty.raw"), "");
    let fedora = scratch.build("fedora.raw", &scratch.vendor.signing(), &["--release", "ID=fedora"]).0;
    std::fs::create_dir(scratch.path(&format!("{DIR}/app.raw.v"))).unwrap();
    let list = ask(&scratch, "list", &["--policy", "root=signed+unprotected+absent"]);
    let refused = list["refused"].as_array().unwrap();
    let code = |name: &str| {
        let one = refused.iter().find(|one| one["path"].as_str().unwrap().ends_with(name));
        let one = one.unwrap_or_else(|| panic!("{name} is not in {list:#}"));
        let message = one["message"].as_str().unwrap();
        assert!(message.contains("found") && message.contains("expected"), "{message}");
        assert!(!one["hint"].as_str().unwrap().is_empty());
        (one["code"].as_str().unwrap().to_owned(), one["severity"].as_str().unwrap().to_owned())
    };
    let pair = |code: &str, severity: &str| (code.to_owned(), severity.to_owned());
    assert_eq!(code("other.raw"), pair("release-name", "refused"));
    assert_eq!(code("bare.raw"), pair("release-missing", "refused"));
    assert_eq!(code("empty.raw"), pair("image-empty", "refused"));
    assert_eq!(list["extensions"][0]["candidate"]["name"], "app");

    std::fs::rename(fedora, scratch.path(&format!("{DIR}/app.raw"))).unwrap();
    let plan = ask(&scratch, "plan", &[]);
    let foreign = plan["refused"].as_array().unwrap().iter().find(|one| one["code"] == "host-os").unwrap();
    assert_eq!(foreign["severity"], "ignored");
    assert!(foreign["message"].as_str().unwrap().contains("fedora"), "{foreign}");
    check("rejection", &all(&[list, plan], "refused"));
}

#[test]
fn a_bad_extension_stops_a_merge_before_anything_is_mounted() {
    let scratch = Scratch::new();
    scratch.host();
    scratch.signed(&format!("{DIR}/other.raw"));
    let merge = call(&scratch, "merge", &[]);
    assert_eq!((merge.status, &merge.json()["error"]["code"]), (1, &"release-name".into()));
    let skipped = ask(&scratch, "merge", &["--on-bad", "skip"]);
    assert_eq!(
        (&skipped["outcome"], &skipped["refused"][0]["code"]),
        (&"nothing".into(), &"release-name".into())
    );
}

/// A host with one extension for each reason, all of them directories.
fn with_every_reason(scratch: &Scratch) {
    scratch.host();
    let confext = |path: &str, name: &str, release: &str| {
        scratch.file(&format!("host/{path}/etc/extension-release.d/extension-release.{name}"), release);
    };
    confext("run/confexts/app.v/app_1", "app", "ID=_any\n");
    scratch.file("host/run/confexts/app.v/README", "x");
    confext("var/lib/confexts/app", "app", "ID=_any\n");
    scratch.file("host/run/confexts/app.img", "x");
    confext("run/confexts/old", "old", "ID=debian\nVERSION_ID=1\n");
    confext("run/confexts/id", "id", "ID=_any\n");
    scratch.file("host/run/confexts/id/etc/os-release", "ID=x\n");
    scratch.file("host/run/confexts/bad.raw", "");
    std::fs::create_dir_all(scratch.path("host/run/confexts/off")).unwrap();
}

#[test]
fn explain_says_of_each_entry_what_becomes_of_it() {
    let scratch = Scratch::new();
    with_every_reason(&scratch);
    let policy = ["--policy", "root=unprotected+absent"];
    let explain = |name: &str, more: &[&str]| {
        let call = call(&scratch, "explain", &[&[name][..], &policy, more].concat());
        (call.status, call.json())
    };
    let skip = ["--on-bad", "skip"];
    let documents: Vec<Value> = [
        ("app", &skip[..], 0, "used", "used"),
        ("app", &[], 1, "refused", "used"),
        ("old", &skip, 1, "not-used", "other-host"),
        ("id", &skip, 1, "not-used", "vetoed"),
        ("id", &["--on-bad", "skip", "--allow", "id:replaces-os-release"], 0, "used", "used"),
        ("bad", &skip, 1, "not-used", "refused"),
        ("off", &skip, 1, "not-used", "masked"),
        ("ap", &skip, 1, "unknown", ""),
    ]
    .into_iter()
    .map(|(name, more, status, verdict, reason)| {
        let (found, document) = explain(name, more);
        assert_eq!((found, &document["verdict"]), (status, &verdict.into()), "{document:#}");
        assert_eq!(document["entries"][0]["reason"].as_str().unwrap_or_default(), reason, "{document:#}");
        document
    })
    .collect();
    let reasons: Vec<_> =
        all(&documents[..1], "entries").iter().map(|entry| entry["reason"].clone()).collect();
    assert_eq!(reasons, ["used", "not-an-extension", "shadowed"]);
    assert_eq!(documents[0]["entries"][0]["passed_over"][0]["code"], "version-rejected");
    assert_eq!(documents[1]["refusal"]["code"], "image-empty");
    assert_eq!(documents[7]["near"][0]["name"], "app");
    check("explain", &documents);
    let entries = all(&documents, "entries");
    let faults =
        entries.iter().filter_map(|entry| entry.get("fault").cloned()).chain(all(&entries, "passed_over"));
    check("fault", &faults.collect::<Vec<_>>());
    check("objection", &all(&entries, "vetoes"));

    let root = scratch.path("host");
    let text = confext(["explain", "old", "--root", root.to_str().unwrap(), policy[0], policy[1]]);
    assert_eq!((text.status, text.stderr.as_str()), (1, ""));
    assert!(text.text().starts_with("confext old is not used\n"), "{}", text.text());
    assert!(text.text().contains("another host, says VERSION_ID\n"), "{}", text.text());
    assert!(text.text().contains("\nmissing  /usr/lib/confexts\n"), "{}", text.text());
}

#[test]
fn a_required_extension_decides_for_all_others() {
    let scratch = Scratch::new();
    with_every_reason(&scratch);
    let fixed = ["--policy", "root=unprotected+absent", "--on-bad", "skip", "--require"];
    for (name, code, status) in [
        ("none", "required-missing", 3),
        ("old", "host-version", 1),
        ("off", "masked", 3),
        ("bad", "image-empty", 1),
    ] {
        let arguments = [&fixed[..], &[name]].concat();
        let merge = call(&scratch, "merge", &arguments);
        assert_eq!((merge.status, &merge.json()["error"]["code"]), (status, &code.into()));
        let plan = ask(&scratch, "plan", &arguments);
        assert_eq!((&plan["refusal"]["code"], &plan["refusal"]["name"]), (&code.into(), &name.into()));
        check("plan", std::slice::from_ref(&plan));
        check("objection", &all(&[plan], "vetoes"));
    }
    assert_eq!(call(&scratch, "plan", &["--allow", "app:unknown"]).status, 2);
}

#[test]
fn a_plan_says_who_has_to_hear_of_it() {
    let scratch = Scratch::new();
    scratch.host();
    let keys = "ID=_any\nEXTENSION_RESTART_UNITS=\"a.service nonsense\"\nEXTENSION_RELOAD_OR_RESTART_UNITS=b.service\n";
    scratch.file("host/run/confexts/app/etc/extension-release.d/extension-release.app", keys);
    for path in ["systemd/system/a.service", "tmpfiles.d/a.conf", "polkit-1/rules.d/a.rules", "app.conf"] {
        scratch.file(&format!("host/run/confexts/app/etc/{path}"), "x");
    }
    scratch.file("host/etc/tmpfiles.d/a.conf", "of the host");
    let plan = ask(&scratch, "plan", &["--policy", "root=unprotected+absent"]);
    let after = plan["after"].clone();
    let found: Vec<_> = all(std::slice::from_ref(&after), "consumers")
        .iter()
        .map(|one| (one["consumer"].clone(), one["paths"][0]["change"].clone()))
        .collect();
    let pair = |consumer: &str, change: &str| (Value::from(consumer), Value::from(change));
    assert_eq!(found, [pair("units", "added"), pair("tmpfiles", "changed"), pair("polkit", "added")]);
    assert_eq!(after["manager"]["restart"], serde_json::json!(["a.service"]));
    assert_eq!(after["manager"]["invalid"][0]["found"], "nonsense");
    check("after", &[after]);
}

#[test]
fn questions_about_a_host_need_no_privilege() {
    let scratch = Scratch::new();
    scratch.host();
    scratch.file("tree-1/etc/motd", "of the extension\n");
    scratch.signed(&format!("{DIR}/app.raw"));
    let list = ask(&scratch, "list", &[]);
    check("list", std::slice::from_ref(&list));
    assert_eq!(list["extensions"][0]["merged"], "no");
    assert_eq!(list["extensions"][0]["layer"]["checked"]["kind"], "signed");
    let plan = ask(&scratch, "plan", &[]);
    let change = |path: &str| {
        let changes = plan["hierarchies"][0]["changes"].as_array().unwrap();
        changes.iter().find(|change| change["path"] == path).unwrap()["effect"].clone()
    };
    assert_eq!((change("motd"), change("app/app.conf")), ("shadowed".into(), "added".into()));
    assert_eq!(plan["layer_changes"], serde_json::json!([{"name": "app", "change": "added"}]));
    for (mode, to, path) in [
        ("no", "nowhere", Value::Null),
        ("yes", "directory", "var/lib/extensions.mutable/etc".into()),
        ("ephemeral", "memory", Value::Null),
    ] {
        let mutable = &ask(&scratch, "plan", &["--mutable", mode])["hierarchies"][0]["mutable"];
        assert_eq!((&mutable["mode"], &mutable["writes"]["to"]), (&mode.into(), &to.into()));
        assert_eq!(mutable["writes"]["path"], path);
    }
    let status = ask(&scratch, "status", &[]);
    assert_eq!(status["hierarchies"].as_array().unwrap().len(), 3);
    assert_eq!(status["hierarchies"][0]["state"], "bare");
    assert_eq!(ask(&scratch, "trace", &["/etc/motd"])["answer"], "not-merged");
    assert_eq!(ask(&scratch, "trace", &["/etc/none"])["answer"], "absent");
}

#[test]
fn a_planned_trace_needs_no_privilege() {
    let scratch = Scratch::new();
    let root = scratch.host();
    scratch.file("tree-1/etc/motd", "of the extension\n");
    scratch.signed(&format!("{DIR}/app.raw"));
    std::os::unix::fs::symlink("motd", root.join("etc/link")).unwrap();
    let [flag, certificate] = scratch.vendor.trust();
    let planned =
        |more: &[&str]| ask(&scratch, "trace", &[&[flag, certificate, "--planned"][..], more].concat());
    let motd = planned(&["/etc/motd"]);
    assert_eq!((&motd["answer"], &motd["view"]), (&"layer".into(), &"planned".into()));
    assert_eq!((&motd["source"]["known_from"], &motd["shadows"][0]["by"]), (&"plan".into(), &"base".into()));
    assert_eq!(motd["source"]["checked"]["kind"], "signed");
    let link = planned(&["--follow", "/etc/link"]);
    assert_eq!((&link["answer"], &link["target"]), (&"base".into(), &motd));

    let all = planned(&["--all"]);
    let count = |document: &Value, answer: &str| document["counts"][answer].as_u64().unwrap_or(0);
    assert_eq!((&all["view"], &all["complete"]), (&"planned".into(), &true.into()));
    assert_eq!(all["stacks"][0]["layers"][0]["layer"], "app");
    assert!(
        all["paths"].as_array().unwrap().iter().any(|path| path["path_base64"] == "L2V0Yy9hcHAvYv9u"),
        "{all}"
    );
    let subject = motd["source"]["checked"]["by"]["subject"].as_str().unwrap();
    let of_signer = planned(&["--signer", subject]);
    let of_image = planned(&["--image", "app"]);
    assert_eq!(of_signer["paths"], of_image["paths"]);
    assert_eq!(count(&of_image, "layer"), count(&all, "layer"));
    assert_eq!(planned(&["--unverified"])["paths"].as_array().unwrap().len(), 0);
    check("trace report", &[all, of_image]);
    let nobody = call(&scratch, "trace", &[flag, certificate, "--planned", "--image", "ap"]);
    assert_eq!((nobody.status, &nobody.json()["error"]["code"]), (3, &"nothing-traced".into()));
    let message = nobody.json()["error"]["message"].to_string();
    assert!(message.contains("found app"), "{message}");
    for wrong in [&["--all", "/etc/motd"][..], &["--all", "--unverified"], &[], &["--follow", "--all"]] {
        assert_eq!(call(&scratch, "trace", wrong).status, 2, "{wrong:?}");
    }
}

/// Moves this thread, and the commands it starts, into a mount namespace of its own.
pub fn own_mounts() {
    sys::unshare_mounts().unwrap();
    sys::set_propagation(Path::new("/"), Propagation::Private, Depth::Recursive).unwrap();
}

/// The mounts below a directory that this thread sees.
fn mounts_below(directory: &Path) -> Vec<String> {
    let all = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    all.lines().filter(|line| line.contains(directory.to_str().unwrap())).map(str::to_owned).collect()
}

/// The loop devices that have the content of an image.
fn loops_of(root_hash: &str) -> Vec<String> {
    let devices = std::fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap().path());
    let files = devices.filter_map(|device| std::fs::read_to_string(device.join("loop/backing_file")).ok());
    files.filter(|file| file.contains(root_hash)).collect()
}

#[test]
fn a_device_of_dm_verity_is_documented() {
    // As it is written down: this machine need not have one.
    let checks = serde_json::json!({"corruption": "panic", "checks": "once", "zero_blocks": "skip"});
    let text = serde_json::json!({"name": "loop0-1-verity", "signature": "kernel", "checks": checks});
    let device: confext_core::attach::Mapped = serde_json::from_value(text.clone()).unwrap();
    let document = serde_json::to_value(&device).unwrap();
    assert_eq!(document, text);
    Documented::read("device").check(&[document]);
}

#[test]
#[ignore = "needs root"]
fn a_stack_comes_is_exchanged_traced_and_goes() {
    own_mounts();
    let scratch = Scratch::new();
    let root = scratch.host();
    let versions = format!("{DIR}/app.raw.v");
    scratch.file("tree-1/etc/motd", "of the extension\n");
    scratch.signed(&format!("{versions}/app_1.raw"));
    std::os::unix::fs::symlink("motd", root.join("etc/link")).unwrap();
    scratch.file("host/run/confexts/base/etc/motd", "of the directory\n");
    scratch.file("host/run/confexts/base/etc/extension-release.d/extension-release.base", "ID=_any\n");
    let policy = ["--policy", "root=signed+unprotected+absent"];

    let merged = ask(&scratch, "merge", &policy);
    assert_eq!(merged["outcome"], "merged");
    assert_eq!(std::fs::read_to_string(root.join("etc/motd")).unwrap(), "of the directory\n");
    let again = call(&scratch, "merge", &policy);
    assert_eq!((again.status, &again.json()["error"]["code"]), (3, &"already-merged".into()));
    let unchanged = ask(&scratch, "refresh", &policy);
    assert_eq!(unchanged["outcome"], "unchanged");
    let status = ask(&scratch, "status", &["--class", "confext"]);
    assert_eq!(status["hierarchies"][0]["state"], "merged");
    let traces =
        ["/etc/motd", "/etc/app/app.conf", "/etc/app", "/etc/os-release", "/etc/.systemd-confext/dev"];
    let mut traces = traces.map(|path| ask(&scratch, "trace", &[path])).to_vec();
    let answers: Vec<_> = traces.iter().map(|trace| trace["answer"].as_str().unwrap().to_owned()).collect();
    assert_eq!(answers, ["layer", "layer", "directory", "base", "metadata"]);
    let signer = &traces[1]["source"]["checked"]["by"]["subject"];
    assert!(signer.as_str().unwrap().contains("vendor"), "{signer}");

    std::fs::write(scratch.path("tree-1/etc/motd"), "of the second version\n").unwrap();
    scratch.signed(&format!("{versions}/app_2.raw"));
    std::fs::remove_dir_all(root.join("run/confexts/base")).unwrap();
    traces.push(ask(&scratch, "trace", &["/etc/motd"]));
    assert_eq!(traces[5]["answer"], "cannot-tell");
    traces.push(ask(&scratch, "trace", &["--follow", "/etc/link"]));
    assert_eq!(traces[6]["target"], traces[5]);
    let report = ask(&scratch, "trace", &["--all"]);
    assert_eq!(report["stacks"][0]["unknown"][0]["layer"], "base");
    let refreshed = ask(&scratch, "refresh", &[]);
    assert_eq!(refreshed["outcome"], "refreshed");
    assert_eq!(std::fs::read_to_string(root.join("etc/motd")).unwrap(), "of the second version\n");
    let root_hash = refreshed["layers"][0]["checked"]["root_hash"].as_str().unwrap().to_owned();
    assert_eq!(loops_of(&root_hash).len(), 1);

    let unmerged = ask(&scratch, "unmerge", &[]);
    assert_eq!(
        (&unmerged["outcome"], &ask(&scratch, "unmerge", &[])["outcome"]),
        (&"unmerged".into(), &"nothing".into())
    );
    assert_eq!(std::fs::read_to_string(root.join("etc/motd")).unwrap(), "of the host\n");
    assert_eq!((mounts_below(&root), loops_of(&root_hash)), (vec![], vec![]));

    let writable = ask(&scratch, "merge", &["--mutable", "yes"]);
    assert_eq!(writable["outcome"], "merged");
    let written_to = ask(&scratch, "status", &["--class", "confext"]);
    assert_eq!(written_to["hierarchies"][0]["record"]["mutable"]["mode"], "yes");
    ask(&scratch, "unmerge", &[]);

    let both = ask(&scratch, "merge", &["--class", "both"]);
    let outcomes = |document: &Value| {
        let of = |at: usize| {
            (document["reports"][at]["class"].clone(), document["reports"][at]["outcome"].clone())
        };
        [of(0), of(1)]
    };
    assert_eq!(outcomes(&both), [("sysext".into(), "nothing".into()), ("confext".into(), "merged".into())]);
    let gone = ask(&scratch, "unmerge", &["--class", "both"]);
    assert_eq!(outcomes(&gone)[1], ("confext".into(), "unmerged".into()));
    check("merge of both", &[both.clone(), gone]);

    let reports =
        [merged, unchanged, refreshed, unmerged, both["reports"][0].clone(), both["reports"][1].clone()];
    check("merge", &reports);
    assert!(reports.iter().all(|report| report["after"]["complete"] == true), "{reports:#?}");
    check("layer", &all(&reports, "layers"));
    check("status", &[status, written_to]);
    let sources = traces.iter().filter_map(|trace| trace.get("source").cloned());
    let sources: Vec<_> = sources.chain(all(&traces, "sources")).collect();
    check("source", &sources);
    check("trace", &traces);
}

#[test]
#[ignore = "needs root"]
fn a_damaged_image_is_not_merged() {
    own_mounts();
    let scratch = Scratch::new();
    let root = scratch.host();
    scratch.file("tree-1/etc/app/large", vec![b'x'; 100_000]);
    let image = scratch.signed(&format!("{DIR}/app.raw"));
    let mut bytes = std::fs::read(&image).unwrap();
    let at = bytes.windows(9).position(|window| window == b"xxxxxxxxx").unwrap();
    bytes[at + 50_000] = b'X';
    std::fs::write(&image, bytes).unwrap();
    let merge = call(&scratch, "merge", &[]);
    assert_eq!((merge.status, &merge.json()["error"]["code"]), (1, &"data-block".into()));
    assert_eq!(mounts_below(&root), Vec::<String>::new());
}

#[test]
#[ignore = "needs root"]
fn run_exits_as_its_command_does() {
    own_mounts();
    let scratch = Scratch::new();
    let root = scratch.host();
    scratch.signed(&format!("{DIR}/app.raw"));
    let [flag, certificate] = scratch.vendor.trust();
    // The root of this machine is the root that has programs; the images are put where it looks for them.
    let dir = Path::new("/run/confexts");
    sys::set_propagation(Path::new("/"), Propagation::Private, Depth::Recursive).unwrap();
    rustix::mount::mount("confext-test", "/run", "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    std::fs::create_dir_all(dir).unwrap();
    std::fs::copy(root.join("var/lib/confexts/app.raw"), dir.join("app.raw")).unwrap();
    let run = |command: &[&str]| confext(["run", flag, certificate, "--"].iter().chain(command));
    let seen = run(&["cat", "/etc/app/app.conf"]).ok();
    assert_eq!(seen.text(), "version = 1\n");
    assert!(!Path::new("/etc/app").exists(), "nobody else sees it");
    assert_eq!(run(&["sh", "-c", "exit 7"]).status, 7);
    assert_eq!(run(&["sh", "-c", "kill -KILL $$"]).status, 137);
    assert_eq!(run(&["/no/such/program"]).status, 127);
    assert_eq!(run(&["/etc/app/app.conf"]).status, 126);
    assert_eq!(confext(["run", "--", "true"]).status, 125, "nobody trusts the vendor");
    // What ends the program is passed on, and the command has the last word.
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done";
    let mut running = std::process::Command::new(env!("CARGO_BIN_EXE_confext"))
        .args(["run", flag, certificate, "--", "sh", "-c", script])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(running.stdout.take().unwrap()), &mut line)
        .unwrap();
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!((line.as_str(), running.wait().unwrap().code()), ("ready\n", Some(9)));
}

#[test]
fn a_report_is_a_page_and_says_what_is_on_it() {
    let scratch = Scratch::new();
    with_every_reason(&scratch);
    let page = scratch.path("report.html");
    let fixed = ["--policy", "root=unprotected+absent", "--time", "0", "-o"];
    let report = |more: &[&str]| call(&scratch, "report", &[&fixed, more].concat()).ok();
    let document = report(&[page.to_str().unwrap()]).json();
    Documented::read("report").check(std::slice::from_ref(&document));
    let text = std::fs::read_to_string(&page).unwrap();
    assert_eq!(document["size_bytes"], text.len());
    assert_eq!((&document["view"], &document["objections"]), (&"planned".into(), &1.into()));
    for part in ["image-empty", "masked", "host-version", "replaces-os-release", "made 1970-01-01T00:00:00Z"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Replaced, and the same again; on standard output nothing but the page.
    report(&[page.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(&page).unwrap(), text);
    assert_eq!(report(&["-"]).text(), text);
    let left: Vec<_> =
        std::fs::read_dir(scratch.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".partial")), "{left:?}");
    let failed = call(&scratch, "report", &[&fixed[..], &["/nowhere/report.html"]].concat());
    assert_eq!((failed.status, &failed.json()["error"]["code"]), (3, &"os".into()));
}

/// A process in a mount namespace of its own.
#[test]
#[ignore = "needs root"]
fn the_view_of_a_process() {
    let scratch = Scratch::new();
    let mut process = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-ec", "mount -t tmpfs tmpfs /etc; echo ready; read end"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(process.stdout.take().unwrap()), &mut line)
        .unwrap();
    let pid = process.id().to_string();
    let refresh = |images: &[&Path]| {
        let [flag, certificate] = scratch.vendor.trust();
        let first = ["--json", "service", "refresh", "--pid", &pid, flag, certificate];
        let mut arguments: Vec<_> = first.iter().map(std::ffi::OsString::from).collect();
        arguments.extend(images.iter().flat_map(|image| ["--image".into(), image.as_os_str().to_owned()]));
        confext(arguments).ok().json()
    };
    let a = scratch.signed("app_1.raw");
    scratch.file("tree-1/etc/app/more", b"x");
    let b = scratch.signed("app_2.raw");
    let mut documents = [&[&*a][..], &[&*a]].map(refresh).to_vec();
    std::fs::rename(&b, &a).unwrap();
    documents.extend([&[&*a][..], &[]].map(refresh));
    let outcome = |document: &Value| document["hierarchies"][0]["outcome"].clone();
    let outcomes: Vec<_> = documents.iter().map(outcome).collect();
    assert_eq!(outcomes, ["merged", "unchanged", "refreshed", "unmerged"]);
    check("service refresh", &documents);
    let status = confext(["--json", "service", "status", "--pid", &pid]).ok().json();
    check("service status", &[status]);
    assert_eq!(confext(["service", "status"]).status, 2);
    drop(process.stdin.take());
    process.wait().unwrap();
    let gone = confext(["--json", "service", "status", "--pid", &pid]);
    assert_eq!((gone.status, &gone.json()["error"]["code"]), (3, &"process-gone".into()));
}
