//! Which configuration of `sysext.conf`, `confext.conf` and their drop-ins counts: generated roots, merged by systemd

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use confext_core::Host;
use confext_core::settings::{DIRECTORIES, Settings};
use confext_ddi::release::Class;
use confext_tests::peer::Place;

const ROOTS: u64 = 80;
/// The main file, and drop-ins: of these the last but one is for others, and the last one has no ending that counts.
const NAMES: [&str; 6] = ["", "20-b.conf", "10-a.conf", "30-c.conf", ".40-d.conf", "50-e.off"];
const MODES: [&str; 4] = ["auto", "import", "ephemeral", "ephemeral-import"];

/// Which class a root is for.
fn class(number: u64) -> Class {
    if number.is_multiple_of(2) { Class::Confext } else { Class::Sysext }
}

/// Numbers that look random and are the same in each run.
fn next(state: &mut u64, most: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).unwrap() % most
}

/// A host with one extension of the class, and files in most of the places where configuration is looked for.
fn root(number: u64, at: &Path, state: &mut u64) {
    let class = class(number);
    let section = if class == Class::Confext { "ConfExt" } else { "SysExt" };
    let write = |path: &str, text: &str| {
        let path = at.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("usr/lib/os-release", "ID=test\nVERSION_ID=1\n");
    let (place, hierarchy) =
        if class == Class::Confext { ("confexts", "etc") } else { ("extensions", "usr") };
    fs::create_dir_all(at.join("etc")).unwrap();
    // Without it systemd passes over a main file that leads there, and takes the next one.
    write("dev/null", "");
    // Where it is empty systemd fails in some modes.
    write("opt/own", "");
    let release = class.release_directory();
    write(&format!("run/{place}/a/{release}/extension-release.a"), "ID=_any\n");
    write(&format!("run/{place}/a/{hierarchy}/a"), "");
    for directory in DIRECTORIES {
        for name in NAMES {
            let path = match name {
                "" => format!("{directory}/{class}.conf"),
                name => format!("{directory}/{class}.conf.d/{name}"),
            };
            let path = path.trim_start_matches('/');
            // Rarely all of one name, so that those further back count, too.
            let many = if name.is_empty() { 14 } else { 20 };
            match next(state, many) {
                0 => write(path, ""),
                1 => {
                    write(path, "");
                    fs::remove_file(at.join(path)).unwrap();
                    symlink("/dev/null", at.join(path)).unwrap();
                }
                2 => write(path, &format!("# nothing\n[{section}]\n")),
                chosen @ 3..7 => write(path, &format!("[{section}]\nMutable={}\n", MODES[chosen - 3])),
                7 => {
                    write(path, &format!("[{section}]\nMutable=import\nMutable=ephemeral\n"));
                    let real = format!("srv/{number}-{}", next(state, 1_000_000));
                    write(&real, "");
                    fs::rename(at.join(path), at.join(&real)).unwrap();
                    symlink(format!("/{real}"), at.join(path)).unwrap();
                }
                _ => {}
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn generated_configurations_say_what_systemd_does() {
    let place = Place::create();
    let mut state = 0x00c0_ffee;
    for number in 0..ROOTS {
        root(number, &place.path(&format!("roots/{number}")), &mut state);
    }
    // What was merged says in which mode it was.
    let script = format!(
        "for n in $(seq 0 {last}); do class=confext at=etc; [ $((n % 2)) = 0 ] || class=sysext at=usr; \
         root=$PWD/roots/$n; systemd-$class --root=$root --no-reload \"--image-policy=*\" merge >out 2>&1 || {{ cat out; exit 1; }}; \
         tr -d '\\n\\t ' <$root/$at/.systemd-$class/origin; echo; \
         systemd-$class --root=$root --no-reload unmerge >out 2>&1 || {{ cat out; exit 1; }}; done",
        last = ROOTS - 1
    );
    let said = place.peer(&["sh", "-c", &script]);
    let mut seen = std::collections::BTreeSet::new();
    for (number, line) in (0..ROOTS).zip(said.lines()) {
        let origin: serde_json::Value = serde_json::from_str(line).unwrap();
        let theirs = origin["mutable"]["mode"].as_str().unwrap_or("no");
        let host = Host::open(place.path(&format!("roots/{number}"))).unwrap();
        let ours = Settings::read(&host, class(number)).unwrap();
        let mode = ours.mutability.as_ref().map_or("no", |setting| setting.value.as_str());
        assert_eq!(mode, theirs, "root {number}: {ours:?}");
        seen.insert(theirs.to_owned());
    }
    assert_eq!((said.lines().count(), seen.len()), (usize::try_from(ROOTS).unwrap(), MODES.len() + 1));
}
