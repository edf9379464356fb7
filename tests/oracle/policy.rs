//! Policies and filters compared with systemd's: what is parsed, what each partition is judged by, and the verdicts.

use confext_core::sidecars;
use confext_ddi::build::{Builder, ReleaseFields, erofs};
use confext_ddi::digest::Salt;
use confext_ddi::dps::{Architecture, Designator, PartitionType};
use confext_ddi::filter::Filter;
use confext_ddi::id::Uuid;
use confext_ddi::image::{self, Image};
use confext_ddi::policy::{Attribute, Policy, Preset, Rule, Use};
use confext_ddi::release::Class;
use confext_ddi::signature::{KeyPair, Sign as _};
use confext_ddi::verity::{self, Superblock};
use confext_tests::peer::{self, Place, Protect};
use confext_tests::tools;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Cursor;
use std::os::unix::fs::FileExt as _;

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

/// A file system under its hash tree beside it, and what signs its root hash.
fn write_bare(place: &Place, name: &str, signer: Option<&KeyPair>) {
    let mut bytes = Cursor::new(Vec::new());
    erofs::write(&peer::settings(Class::Confext), &erofs::Options::default(), &mut bytes).unwrap();
    let data = bytes.into_inner();
    let blocks = u64::try_from(data.len() / 4096).unwrap();
    let superblock = Superblock::new(Uuid::from_bytes([1; 16]), blocks, Salt::new([2; 32]).unwrap());
    let tree = verity::build(&data, &superblock).unwrap();
    std::fs::write(place.path(&format!("{name}.raw")), &data).unwrap();
    std::fs::write(place.path(&format!("{name}.verity")), &tree.bytes).unwrap();
    std::fs::write(place.path(&format!("{name}.roothash")), tree.root_hash.to_hex()).unwrap();
    if let Some(signer) = signer {
        let signature = signer.sign(&tree.root_hash).unwrap();
        std::fs::write(place.path(&format!("{name}.roothash.p7s")), signature).unwrap();
    }
}

/// Images with each kind of protection, inside and beside them.
fn write_images(place: &Place) -> Vec<&'static str> {
    let tree = || peer::settings(Class::Confext);
    let stranger = peer::make_key("confext-test stranger");
    place.build(Class::Confext, Protect::Signed, tree(), "signed.raw");
    let built = place.build(Class::Confext, Protect::Verity, tree(), "verity.raw");
    let builder = Builder::new(Class::Confext, peer::NAME).tree(tree()).release(ReleaseFields::any());
    builder.build_file(place.path("untrusted.raw"), Some(&stranger)).unwrap();
    // The root hash is beside an image that has its tree inside.
    std::fs::copy(place.path("verity.raw"), place.path("verity-hash.raw")).unwrap();
    std::fs::write(place.path("verity-hash.roothash"), built.root_hash.to_hex()).unwrap();
    write_bare(place, "bare", None);
    std::fs::remove_file(place.path("bare.verity")).unwrap();
    std::fs::remove_file(place.path("bare.roothash")).unwrap();
    write_bare(place, "bare-hash", None);
    write_bare(place, "bare-signed", Some(place.key()));
    write_bare(place, "bare-untrusted", Some(&stranger));
    let file = File::create(place.path("plain.raw")).unwrap();
    file.set_len(4 << 20).unwrap();
    file.write_all_at(&std::fs::read(place.path("bare.raw")).unwrap(), 1 << 20).unwrap();
    let script = format!("label: gpt\\nstart=2048, size=2048, type={}, name=root\\n", root_type());
    tools::run("sh", &["-c", &format!("printf '{script}' | sfdisk --quiet plain.raw")], place.dir());
    // What is beside it has no tree to be about.
    std::fs::copy(place.path("plain.raw"), place.path("plain-hash.raw")).unwrap();
    std::fs::copy(place.path("bare-hash.roothash"), place.path("plain-hash.roothash")).unwrap();
    vec![
        "signed",
        "untrusted",
        "verity",
        "verity-hash",
        "plain",
        "plain-hash",
        "bare",
        "bare-hash",
        "bare-signed",
        "bare-untrusted",
    ]
}

/// The partition type of this machine's root.
fn root_type() -> String {
    let kind = PartitionType { designator: Designator::Root, architecture: Architecture::of_build() };
    kind.to_guid().unwrap().to_string()
}

/// Every set of uses for root with each default, sets of uses without a designator, rules of their own for what
/// protects root, and attributes.
fn rules() -> Vec<String> {
    let uses = &USES[..7];
    let sets: Vec<String> = (1..1_u32 << uses.len())
        .map(|set| {
            let words: Vec<_> =
                uses.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1).map(|(_, word)| *word).collect();
            words.join("+")
        })
        .collect();
    let mut policies: Vec<String> = ["*", "-", "~", ""].map(str::to_owned).into();
    for set in &sets {
        policies.extend(["", ":=absent", ":=open"].map(|default| format!("root={set}{default}")));
        policies.push(format!("={set}"));
    }
    let protections = ["unprotected", "unused", "absent", "unused+absent", "open", "signed"];
    let data =
        ["signed", "verity", "verity+signed", "signed+absent", "unprotected", "verity+unprotected", "open"];
    for data in data {
        for tree in protections {
            policies.push(format!("root={data}:root-verity={tree}"));
            policies.push(format!("root={data}:root-verity-sig={tree}"));
            policies.extend(
                protections
                    .map(|signature| format!("root={data}:root-verity={tree}:root-verity-sig={signature}")),
            );
        }
        for attribute in &MORE[..4] {
            policies.push(format!("root={data}+{attribute}"));
            policies.push(format!("root={data}:root-verity=open+{attribute}"));
            policies.push(format!("root={data}:root-verity-sig=open+{attribute}"));
        }
        policies.push(format!("root={data}:usr=signed"));
        policies.push(format!("root={data}:home=open+absent"));
        policies.push(format!("root={data}+erofs"));
        policies.push(format!("root={data}+squashfs"));
    }
    policies
}

/// Nothing is admitted here that systemd refuses. What is refused here alone has a reason.
#[test]
#[ignore = "needs root"]
fn what_is_admitted_here_is_valid_to_systemd() {
    let place = Place::create();
    let policies = rules();
    // Why images are refused here alone: one of the uses of a partition that is there, `unused` or `encrypted`, is enough
    // for systemd; it does not look at signatures, enforces no set of file systems, and wants a hash tree or signature
    // that the rule names only of images with a partition table.
    let reasons = ["policy", "policy-signature", "unknown-signer", "policy-file-system", "policy-protection"];
    let (mut both, mut laxer) = (0, Vec::new());
    let mut stricter = BTreeMap::new();
    for image in write_images(&place) {
        let path = format!("{image}.raw");
        for (text, theirs) in policies.iter().zip(validate(&place, "image-policy", &policies, &path)) {
            let policy = Policy::parse(text).unwrap();
            let judged = sidecars::open(place.path(&path), &image::Options::default())
                .and_then(|opened| Ok(policy.judge(opened, Some(&place.certificates()))?));
            match (judged, theirs) {
                (Ok(_), true) | (Err(_), false) => both += 1,
                (Err(error), true) => {
                    assert!(reasons.contains(&error.code()), "{image}, {text}: {error}");
                    *stricter.entry(error.code()).or_insert(0) += 1;
                    let by_words = ["unused", "encrypted", "open"].iter().any(|word| text.contains(word));
                    // It asks nothing of the partitions that a bare file system does not have.
                    let bare = image.starts_with("bare");
                    assert!(error.code() != "policy" || by_words || bare, "{image}, {text}: {error}");
                }
                (Ok(admitted), false) => laxer.push(format!("{image}, {text}: {:?}", admitted.evidence())),
            }
        }
    }
    println!("{both} the same, stricter here: {stricter:?}");
    assert!(laxer.is_empty(), "{} are refused by systemd only:\n{}", laxer.len(), laxer.join("\n"));
    assert_eq!(stricter.keys().copied().collect::<BTreeSet<_>>(), reasons.into());
    assert!(both > 3 * stricter.values().sum::<usize>());
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
