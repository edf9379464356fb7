//! `.v/` directories against systemd-vpick: many made up, and the two that we choose otherwise from on purpose.

use confext_core::pick::{Picked, Request, pick};
use confext_ddi::dps::Architecture;
use confext_ddi::vpick::Accept;
use confext_tests::peer::Place;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Reads requests, and says of each what systemd picks and the version, architecture and counters it has; or `-`.
const ASK: &str = r#"while IFS=$(printf '\001') read -r path suffix type version architecture; do
    set -- --suffix="$suffix"
    [ -z "$type" ] || set -- "$@" --type="$type"
    [ -z "$version" ] || set -- "$@" -V "$version"
    [ -z "$architecture" ] || set -- "$@" -A "$architecture"
    picked=$(systemd-vpick "$@" -p path -- "$path" 2>/dev/null) || picked=-
    echo "$picked"
done <requests"#;

const DIRECTORIES: usize = 150;

/// A request as both sides take it.
#[derive(Debug)]
struct Asked {
    path: String,
    suffix: &'static str,
    accept: Accept,
    version: &'static str,
    architecture: Option<Architecture>,
}

impl Asked {
    fn line(&self) -> String {
        let kind = match self.accept {
            Accept::Any => "",
            Accept::Raw => "reg",
            Accept::Directory => "dir",
        };
        let architecture = self.architecture.map_or("", Architecture::as_str);
        [&self.path, self.suffix, kind, self.version, architecture].join("\u{1}") + "\n"
    }

    fn ours(&self) -> Option<Picked> {
        let mut request = Request::default();
        request.suffix = self.suffix.into();
        request.accept = self.accept;
        request.version = Some(self.version.to_owned()).filter(|version| !version.is_empty());
        request.architecture = self.architecture;
        match pick(Path::new(&self.path), &request) {
            Ok(picked) => Some(picked),
            Err(error) => {
                assert_eq!(error.code(), "nothing-to-pick", "{self:?}: {error}");
                None
            }
        }
    }
}

/// What systemd picks, in order; a directory without the slash that it puts behind it.
fn theirs(place: &Place, asked: &[Asked]) -> Vec<Option<String>> {
    fs::write(place.path("requests"), asked.iter().map(Asked::line).collect::<String>()).unwrap();
    let answers = place.peer(&["sh", "-c", ASK]);
    let answers: Vec<Option<String>> = answers
        .lines()
        .map(|line| Some(line.trim_end_matches('/').to_owned()).filter(|line| line != "-"))
        .collect();
    assert_eq!(answers.len(), asked.len());
    answers
}

/// Small numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        words[self.roll(words.len())]
    }
}

/// A name for an entry: mostly one that fits. Whatever stands where an architecture could is one that is known: of others
/// systemd makes something else, see below.
fn name(dice: &mut Dice, ending: &'static str) -> String {
    let base = dice.one_of(&["app_", "app_", "app_", "app_", "app_", "app_", "app", "ap_", "other_", ""]);
    let version = dice.one_of(&[
        "1", "2", "10", "1.2", "1.10", "1~rc1", "1^a", "007", "7", "1-3", "a", "x86-64", "2.0~", "1!", "",
    ]);
    let found = if dice.roll(4) == 0 { dice.one_of(&[".raw", "", ".img"]) } else { ending };
    let architecture = match dice.roll(2) {
        0 if found == ending => dice.one_of(&["_x86-64", "_x86", "_arm64", "_riscv64", "_x86-64_x86"]),
        _ => "",
    };
    let tries = match (dice.roll(3), architecture) {
        (0, _) => dice.one_of(&["+0", "+1", "+3-1", "+0-3", "+2-2", "+4294967295"]),
        (1, "") => dice.one_of(&["+", "+x", "+4294967296", "+1-", "+1-2-3", "-1+2"]),
        _ => "",
    };
    [base, version, architecture, tries, found].concat()
}

fn make_entry(dice: &mut Dice, directory: &Path, ending: &'static str) {
    let path = directory.join(name(dice, ending));
    // A name that is there already, or that is the directory itself, is passed over.
    if path.file_name().is_none() || path == directory || path.symlink_metadata().is_ok() {
        return;
    }
    match dice.roll(6) {
        0 => fs::create_dir(path).unwrap(),
        1 => symlink("../a-file", path).unwrap(),
        2 => symlink("../a-directory", path).unwrap(),
        _ => fs::write(path, "").unwrap(),
    }
}

#[test]
#[ignore = "needs root"]
fn systemd_picks_the_same() {
    let place = Place::create();
    fs::write(place.path("a-file"), "").unwrap();
    fs::create_dir(place.path("a-directory")).unwrap();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut asked = Vec::new();
    for turn in 0..DIRECTORIES {
        // The name of the pattern is that of the directory, with and without the ending that is looked for.
        let parent = place.path(&format!("{turn}"));
        fs::create_dir(&parent).unwrap();
        for file in ["a-file", "a-directory"] {
            symlink(place.path(file), parent.join(file)).unwrap();
        }
        let ending = dice.one_of(&[".raw", ".raw", ""]);
        let directory = parent.join(["app", dice.one_of(&[ending, ""]), ".v"].concat());
        fs::create_dir(&directory).unwrap();
        for _ in 0..dice.roll(14) {
            make_entry(&mut dice, &directory, ending);
        }
        let path = directory.to_str().unwrap();
        let mut ask = |path: String, suffix, accept, version, architecture| {
            asked.push(Asked { path, suffix, accept, version, architecture });
        };
        ask(path.into(), ending, Accept::Any, "", None);
        ask(path.into(), ending, Accept::Raw, "", None);
        ask(path.into(), ending, Accept::Directory, "", None);
        ask(format!("{path}/app___{ending}"), "", Accept::Raw, "", None);
        ask(format!("{path}/app___{ending}/"), "", Accept::Any, "", None);
        ask(path.into(), ending, Accept::Any, "", Some(Architecture::Arm64));
        ask(path.into(), ending, Accept::Any, dice.one_of(&["1", "1.2", "7", "9"]), None);
    }
    let answers = theirs(&place, &asked);
    let mut picked = 0;
    for (asked, theirs) in asked.iter().zip(answers) {
        let ours = asked.ours().map(|picked| picked.path.to_str().unwrap().to_owned());
        assert_eq!(ours, theirs, "{asked:?}");
        picked += usize::from(ours.is_some());
    }
    // Neither side says so often that there is nothing, that agreeing would mean little.
    assert!(picked * 3 > asked.len(), "{picked} of {}", asked.len());
    assert!(picked * 3 < asked.len() * 2, "{picked} of {}", asked.len());
}

/// What docs/systemd-compat.md says of `.v` directories.
#[test]
#[ignore = "needs root"]
fn d25_d26_where_systemd_picks_otherwise() {
    let place = Place::create();
    let make = |directory: &str, names: &[&str]| {
        fs::create_dir(place.path(directory)).unwrap();
        for name in names {
            fs::write(place.path(directory).join(name), "").unwrap();
        }
        Asked {
            path: place.text(directory),
            suffix: ".raw",
            accept: Accept::Any,
            version: "",
            architecture: None,
        }
    };
    // The last part is no architecture. systemd cuts it off all the same, and both are version 1 to it.
    let unknown = make("app.v", &["app_1_2.raw", "app_1_bogus.raw", "app_0_x86-64+x.raw"]);
    let dangling = make("broken.v", &["broken_1.raw"]);
    symlink("nowhere", place.path("broken.v/broken_2.raw")).unwrap();
    assert_eq!(unknown.ours(), None);
    let ours = dangling.ours().unwrap();
    assert_eq!((ours.path, ours.version.as_deref()), (place.path("broken.v/broken_1.raw"), Some("1")));
    let theirs = theirs(&place, &[unknown, dangling]);
    assert_eq!(theirs, [Some(place.text("app.v/app_1_bogus.raw")), None]);
}
