//! Policies and filters compared with systemd's: what is parsed, what each partition is judged by, and the verdicts.

use confext_ddi::dps::Designator;
use confext_ddi::filter::Filter;
use confext_ddi::image::{self, Image};
use confext_ddi::policy::{Attribute, Policy, Preset, Rule, Use};
use confext_ddi::release::Class;
use confext_tests::peer::{self, Place, Protect};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

/// As many policies are generated.
const GENERATED: usize = 400;

/// The same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const USES: [&str; 9] = [
    "verity",
    "signed",
    "encrypted",
    "encryptedwithintegrity",
    "unprotected",
    "unused",
    "absent",
    "open",
    "ignore",
];
const MORE: [&str; 11] = [
    "read-only-on",
    "read-only-off",
    "growfs-on",
    "growfs-off",
    "btrfs",
    "erofs",
    "ext4",
    "f2fs",
    "squashfs",
    "vfat",
    "xfs",
];

/// Policies of all kinds, some with a fault.
fn policies() -> Vec<String> {
    let mut numbers = Numbers(0x5eed_0f0f_1234_9876);
    let mut policies: Vec<String> = [
        "*",
        "-",
        "~",
        "",
        "=",
        "=-",
        "=open",
        "root=",
        "root=-",
        " root = signed + verity ",
        "root=signed:",
        ":root=signed",
        "root",
        "root=signed::usr=signed",
        "root=signed:root=absent",
        "=open:=absent",
        "Root=signed",
        "root=Signed",
        "root=signed+",
        "root=+signed",
        "root=signed++verity",
        "root=-+signed",
        "root=signed=verity",
        "**",
        "root=*",
        "user-home=open",
        "linux-generic=open",
        "root=ntfs",
        "root==signed",
        ":",
        "=",
        "+",
    ]
    .map(str::to_owned)
    .into();
    while policies.len() < GENERATED {
        let mut names: Vec<&str> = Policy::DESIGNATORS.map(Designator::as_str).to_vec();
        names.extend(["", "root", "usr", "root", "root-verity"]);
        let mut rules = BTreeMap::new();
        for _ in 0..=numbers.below(5) {
            let mut words = BTreeSet::new();
            for _ in 0..numbers.below(4) {
                words.insert(numbers.one_of(&USES));
            }
            if numbers.below(3) == 0 {
                for _ in 0..numbers.below(4) {
                    words.insert(numbers.one_of(&MORE));
                }
            }
            let words: Vec<_> = words.into_iter().collect();
            rules.insert(numbers.one_of(&names), words.join("+"));
        }
        let rules: Vec<_> = rules.iter().map(|(name, words)| format!("{name}={words}")).collect();
        let mut text = rules.join(":");
        if numbers.below(12) == 0 {
            let at = numbers.below(text.len());
            text.remove(at);
        }
        policies.push(text);
    }
    policies
}

/// Runs a shell script that prints `## N` before the answer to question N, and returns the answers. An answer to
/// something that was refused is empty.
fn ask(place: &Place, questions: &[String], command: &str) -> Vec<String> {
    std::fs::write(
        place.path("questions"),
        questions.iter().map(|text| format!("{text}\0")).collect::<String>(),
    )
    .unwrap();
    let script = format!(
        "n=0; while IFS= read -r -d '' q; do echo \"## $n\"; {command} || :; n=$((n+1)); done <questions"
    );
    let output = place.peer(&["bash", "-c", &script]);
    let answers: Vec<String> = output
        .split("## ")
        .skip(1)
        .map(|answer| answer.split_once('\n').map_or("", |(_, text)| text).to_owned())
        .collect();
    assert_eq!(answers.len(), questions.len());
    answers
}

/// The table of `systemd-analyze image-policy`: for each partition its uses, attributes and file systems.
fn table(answer: &str) -> BTreeMap<String, [String; 4]> {
    let rows = answer.lines().skip_while(|line| !line.starts_with("PARTITION")).skip(1);
    rows.map(str::split_whitespace)
        .filter_map(|mut row| {
            let name = row.next()?.to_owned();
            Some((name, std::array::from_fn(|_| row.next().expect("five columns").to_owned())))
        })
        .collect()
}

/// The same row from what is parsed here.
fn row(rule: Option<Rule>) -> [String; 4] {
    let Some(rule) = rule else { return ["-"; 4].map(str::to_owned) };
    let uses: BTreeSet<_> = rule.uses().collect();
    let uses = match (Rule::open().uses().all(|known| uses.contains(&known)), rule == Rule::ignore()) {
        (true, _) => "open".to_owned(),
        (_, true) => "ignore".to_owned(),
        _ => {
            let order = &USES[..7];
            let has = |word: &&&str| uses.iter().any(|known| known.as_str() == **word);
            order.iter().filter(has).copied().collect::<Vec<_>>().join("+")
        }
    };
    let attribute = |asked| match asked {
        Attribute::Any => "-".to_owned(),
        Attribute::On => "yes".to_owned(),
        Attribute::Off => "no".to_owned(),
    };
    let systems = rule.file_systems().map_or_else(
        || "-".to_owned(),
        |mut systems| {
            systems.sort_by_key(|system| system.as_str());
            systems.iter().map(|system| system.as_str()).collect::<Vec<_>>().join("+")
        },
    );
    [uses, attribute(rule.asks_read_only()), attribute(rule.asks_growfs()), systems]
}

/// Compares what systemd's table says of each partition with what is read here.
fn compare(text: &str, policy: &Policy, answer: &str) {
    let table = table(answer);
    assert_eq!(table.len(), 14, "{text}: {answer}");
    for designator in Policy::DESIGNATORS {
        let (mut found, rule) = (table[designator.as_str()].clone(), policy.rule(designator));
        let mut expected = row(rule);
        // Words that mean nothing are shown there: what is not used, or protects, has no attributes or file system.
        let used = rule.is_some_and(|rule| rule.uses().any(|allowed| allowed < Use::Unused));
        if !used {
            for at in 1..4 {
                (found[at], expected[at]) = (String::new(), String::new());
            }
        } else if designator.protects().is_some() {
            (found[3], expected[3]) = (String::new(), String::new());
        }
        assert_eq!(found, expected, "{text:?}: {designator}\n{answer}");
    }
}

#[test]
#[ignore = "needs root"]
fn policies_mean_what_they_mean_to_systemd() {
    let place = Place::create();
    let (texts, analyze) = (policies(), "systemd-analyze image-policy \"$q\" 2>/dev/null");
    // The shortest form must mean the same to systemd.
    let parsed: Vec<_> = texts.iter().map(|text| Policy::parse(text)).collect();
    let shorter = parsed.iter().zip(&texts).filter_map(|(policy, text)| {
        let policy = policy.as_ref().ok()?;
        Some((policy, policy.simplify().to_string())).filter(|(_, short)| short != text)
    });
    let shorter: Vec<_> = shorter.collect();
    let questions: Vec<String> =
        texts.iter().chain(shorter.iter().map(|(_, short)| short)).cloned().collect();
    let answers = ask(&place, &questions, analyze);
    let (mut accepted, mut refused) = (0, 0);
    for ((text, policy), answer) in texts.iter().zip(&parsed).zip(&answers) {
        match policy {
            Ok(policy) => {
                compare(text, policy, answer);
                accepted += 1;
            }
            Err(error) => {
                assert_eq!(answer, "", "{text:?} is refused here: {error}");
                refused += 1;
            }
        }
    }
    assert!(shorter.len() >= 100, "{} have a shorter form", shorter.len());
    for ((policy, short), answer) in shorter.iter().zip(answers.iter().skip(texts.len())) {
        compare(short, policy, answer);
    }
    assert!(accepted >= 300 && refused >= 30, "{accepted} accepted, {refused} refused");
}

#[test]
#[ignore = "needs root"]
fn presets_are_those_of_systemd() {
    let place = Place::create();
    // systemd-analyze has no name for the policy of portable services.
    let presets = Preset::ALL.into_iter().filter(|preset| *preset != Preset::Portable);
    let questions: Vec<String> = presets.clone().map(|preset| format!("@{preset}")).collect();
    for (preset, answer) in presets.zip(ask(&place, &questions, "systemd-analyze image-policy \"$q\"")) {
        compare(preset.as_str(), &preset.policy(), &answer);
    }
}

/// What systemd says of an image under each of these values of an option.
fn validate(place: &Place, option: &str, values: &[String], image: &str) -> Vec<bool> {
    let command = format!("systemd-dissect --validate \"--{option}=$q\" {image} 2>/dev/null");
    ask(place, values, &command).iter().map(|answer| answer == "OK\n").collect()
}

#[test]
#[ignore = "needs root"]
fn what_is_admitted_here_is_valid_to_systemd() {
    let place = Place::create();
    let tree = || peer::settings(Class::Confext);
    place.build(Class::Confext, Protect::Signed, tree(), "signed.raw");
    place.build(Class::Confext, Protect::Verity, tree(), "verity.raw");
    let uses = ["verity", "signed", "encrypted", "unprotected", "unused", "absent"];
    let mut policies: Vec<String> = (1..64_u32)
        .map(|set| {
            uses.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1).map(|(_, word)| *word).collect()
        })
        .map(|words: Vec<_>| format!("root={}", words.join("+")))
        .collect();
    policies.extend(
        [
            "*",
            "-",
            "~",
            "root=signed:=absent",
            "root=signed+read-only-on",
            "root=signed+read-only-off",
            "root=verity+growfs-on",
            "root=verity:usr=signed",
            "root=verity:root-verity=absent",
            "root=verity:root-verity-sig=absent",
        ]
        .map(str::to_owned),
    );
    let (mut both, mut stricter, mut laxer) = (0, 0, 0);
    for image in ["signed.raw", "verity.raw"] {
        let theirs = validate(&place, "image-policy", &policies, image);
        for (text, theirs) in policies.iter().zip(theirs) {
            let opened =
                Image::open(File::open(place.path(image)).unwrap(), &image::Options::default()).unwrap();
            let has = |designator| opened.partitions().iter().any(|found| found.designator == designator);
            let policy = Policy::parse(text).unwrap();
            // What systemd derives from a rule that names `verity` or `signed`, but not `absent` or `unused`.
            let must_be_there =
                [Designator::RootVerity, Designator::RootVeritySig].into_iter().find(|designator| {
                    let derived = policy.rules().all(|(named, _)| named != *designator);
                    derived
                        && !has(*designator)
                        && policy.rule(*designator).is_some_and(|rule| !rule.allows(Use::Absent))
                });
            let ours = policy.judge(opened, Some(&place.certificates()));
            match (ours, theirs) {
                (Ok(_), true) | (Err(_), false) => both += 1,
                // systemd takes one of the uses of a partition that is there, `unused` or `encrypted`, for enough.
                (Err(error), true) => {
                    assert_eq!(error.code(), "policy", "{image}, {text}: {error}");
                    assert!(
                        ["unused", "encrypted"].iter().any(|word| text.contains(word)),
                        "{image}, {text}"
                    );
                    stricter += 1;
                }
                (Ok(admitted), false) => {
                    assert!(must_be_there.is_some(), "{image}, {text}: here {:?}", admitted.evidence());
                    laxer += 1;
                }
            }
        }
    }
    let told = format!("{both} the same, {stricter} stricter here, {laxer} without a signature partition");
    assert!(both > stricter + laxer && stricter > 0 && laxer > 0, "{told}");
    println!("{told}");
}

#[test]
#[ignore = "needs root"]
fn filters_leave_out_what_they_leave_out_in_systemd() {
    let place = Place::create();
    place.build(Class::Confext, Protect::Signed, peer::settings(Class::Confext), "app.raw");
    let opened = Image::open(File::open(place.path("app.raw")).unwrap(), &image::Options::default()).unwrap();
    let label = opened.data().label.clone().unwrap();
    assert_eq!(label, "root-x86-64");
    // Each filter, and whether it is refused here for a fault that systemd lets pass.
    let filters = [
        ("", false),
        ("root=*", false),
        ("root=**", false),
        ("root=root-x86-64", false),
        ("root=root-x86", false),
        ("root=ROOT*", false),
        ("root=root?x86?64", false),
        ("root=root-x86[-]64", false),
        ("root=root-x86[!x]64", false),
        ("root=root-x86[^-]64", false),
        ("root=[a-z]oot*", false),
        ("root=[]r]oot*", false),
        ("root=[s-z]oot*", false),
        ("root=*64*", false),
        ("root=*6?", false),
        ("root=", false),
        ("root=?", false),
        ("root='*'", false),
        ("root=\"root*\"", false),
        ("root=\"root-x8[[:digit:]]-64\"", false),
        ("root=\"root-x8[[:alpha:]]-64\"", false),
        ("root=\"root-x8[![:alpha:]]-64\"", false),
        ("root=\"a:b\"", false),
        ("root= *", false),
        ("usr=nothing", false),
        ("home=nothing:root=*", false),
        ("root-verity=nothing", false),
        ("root-verity=root-*-verity", false),
        ("-", false),
        (":", false),
        ("root=*:", false),
        (":root=*", false),
        ("root", false),
        ("=*", false),
        (" root=*", false),
        ("root=a=b", false),
        ("schlumpf=*", false),
        ("root=*:root=*", false),
        ("root=[z-a]oot*", true),
        ("root=[root*", true),
        ("root=r\\oot*", true),
        ("root=[[.r.]]oot*", true),
        ("root=[[:foo:]]*", true),
    ];
    let values: Vec<String> = filters.iter().map(|(text, _)| (*text).to_owned()).collect();
    let theirs = validate(&place, "image-filter", &values, "app.raw");
    for ((text, doubtful), theirs) in filters.into_iter().zip(theirs) {
        let parsed = Filter::parse(text);
        if doubtful {
            assert_eq!(parsed.unwrap_err().code(), "filter-pattern", "{text}");
            continue;
        }
        let file = File::open(place.path("app.raw")).unwrap();
        let ours = parsed.and_then(|filter| Image::open(file, &image::Options::default().filter(filter)));
        assert_eq!(ours.is_ok(), theirs, "{text}: {:?}", ours.err());
    }
}
