use super::*;
use crate::RootHash;
use crate::build::{Builder, Meta, ReleaseFields, Tree};
use crate::image::{Image, Options};
use crate::policy::Policy;
use crate::signature::{AdditionalSignature, Json, Sign, TrustSource, Verifier};
use proptest::prelude::*;
use std::io::Cursor;

const A: Fingerprint = Fingerprint::from_bytes([0xaa; 32]);
const B: Fingerprint = Fingerprint::from_bytes([0xbb; 32]);

fn parse(text: &str) -> Result<KeyRules> {
    KeyRules::parse(text.as_bytes(), &Limits::default())
}

/// The signature names its signer by one byte; whoever is named signed.
struct Names;

impl Verifier for Names {
    fn verify(&self, _: &RootHash, signature: &[u8]) -> Result<Signer> {
        let fingerprint = Fingerprint::from_bytes([signature[0]; 32]);
        let (subject, source) = (format!("CN={:x}", signature[0]), TrustSource::Caller);
        let fingerprint = Some(fingerprint);
        Ok(Signer { subject, fingerprint, not_before: Some(0), not_after: Some(0), source })
    }
}

struct Key(u8);

impl Sign for Key {
    fn sign(&self, _: &RootHash) -> Result<Vec<u8>> {
        Ok(vec![self.0])
    }

    fn certificate_fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes([self.0; 32])
    }
}

/// A confext called `app` of this version, signed by these.
fn image(version: Option<&str>, signers: &[u8]) -> Vec<u8> {
    let mut tree = Tree::new();
    tree.add_file("etc/a", "b", Meta::new(0o644)).unwrap();
    let mut fields = ReleaseFields::any();
    if let Some(version) = version {
        fields = fields.field("IMAGE_VERSION", version);
    }
    let builder = Builder::new(Class::Confext, "app").tree(tree).release(fields);
    let mut out = Cursor::new(Vec::new());
    let built = match signers.first() {
        Some(first) => builder.build(&mut out, Some(&Key(*first))).unwrap(),
        None => builder.unsigned().build(&mut out, None).unwrap(),
    };
    let mut bytes = out.into_inner();
    if let [first, others @ ..] = signers {
        let additional = others
            .iter()
            .map(|byte| AdditionalSignature { certificate_fingerprint: None, signature_der: vec![*byte] });
        let json = Json {
            root_hash: built.root_hash,
            certificate_fingerprint: None,
            signature_der: vec![*first],
            additional: additional.collect(),
        };
        let at = usize::try_from(built.partitions[2].range.start()).unwrap();
        bytes[at..at + 4096].fill(0);
        bytes[at..at + json.to_bytes().len()].copy_from_slice(&json.to_bytes());
    }
    bytes
}

fn judge(rules: &str, image: &[u8], name: &str) -> Result<Fingerprint> {
    let image = Image::open(image.to_vec(), &Options::default()).unwrap();
    let admitted = Policy::verity().judge(image, Some(&Names)).unwrap();
    let class = Class::Confext;
    let admitted = parse(rules).unwrap().admit(admitted, name, class, Strictness::Strict)?;
    assert!(admitted.data().size_bytes().unwrap() > 0);
    Ok(admitted.evidence().signer().unwrap().fingerprint.unwrap())
}

fn code(rules: &str, image: &[u8], name: &str) -> &'static str {
    judge(rules, image, name).unwrap_err().code()
}

#[test]
fn a_signer_signs_what_its_rules_allow() {
    let image = image(None, &[0xaa]);
    assert_eq!(judge(&format!("signer={A} name=app"), &image, "app").unwrap(), A);
    assert_eq!(
        judge(&format!("signer={B} name=*\nsigner={A} name=x,a*p class=confext"), &image, "app").unwrap(),
        A
    );
    for rules in [
        String::new(),
        format!("signer={B} name=*"),
        format!("signer={A} name=ap"),
        format!("signer={A} name=app class=sysext"),
    ] {
        let error = judge(&rules, &image, "app").unwrap_err();
        assert_eq!((error.code(), error.family()), ("key-rules", "refused"), "{rules}: {error}");
    }
    let text = judge(&format!("signer={A} name=other"), &image, "app").unwrap_err().to_string();
    assert!(text.contains("found confext \"app\"") && text.contains("CN=aa"), "{text}");
}

#[test]
fn without_a_signature_nothing_is_allowed() {
    assert_eq!(code(&format!("signer={A} name=*"), &image(None, &[]), "app"), "key-rules-unsigned");
    let unchecked = Image::open(image(None, &[0xaa]), &Options::default()).unwrap();
    let unchecked = Policy::verity().judge(unchecked, None).unwrap();
    let rules = parse(&format!("signer={A} name=*")).unwrap();
    let error = rules.admit(unchecked, "app", Class::Confext, Strictness::Strict).unwrap_err();
    assert_eq!(error.code(), "key-rules-unsigned");
}

#[test]
fn the_version_is_the_one_that_is_signed() {
    let image = |version| image(version, &[0xaa]);
    let rule = |demand: &str| format!("signer={A} name=app version={demand}");
    for (demand, version, expected) in [
        (">=2", "2", true),
        (">=2", "2.1", true),
        (">=2", "2~rc1", false),
        (">2", "2", false),
        ("<2", "1.9", true),
        ("<=2,>1", "1.5", true),
        ("<=2,>1", "1", false),
        ("=2", "2", true),
        ("=2", "2.0", false),
    ] {
        match judge(&rule(demand), &image(Some(version)), "app") {
            Ok(_) => assert!(expected, "{version} {demand}"),
            Err(error) => {
                assert_eq!((error.code(), expected), ("key-rules", false), "{version} {demand}: {error}")
            }
        }
    }
    assert_eq!(code(&rule(">=0"), &image(None), "app"), "key-rules-version");
    // A rule without demands does not need one.
    let both = format!("{}\nsigner={A} name=app", rule(">=9"));
    assert!(judge(&both, &image(None), "app").is_ok());
}

#[test]
fn of_several_signers_the_allowed_one_counts() {
    let image = image(Some("3"), &[0xaa, 0xbb]);
    assert_eq!(judge(&format!("signer={A} name=*\nsigner={B} name=*"), &image, "app").unwrap(), A);
    assert_eq!(judge(&format!("signer={B} name=*"), &image, "app").unwrap(), B);
    let rules = format!("signer={A} name=* version=<3\nsigner={B} name=* version=>=3");
    assert_eq!(judge(&rules, &image, "app").unwrap(), B);
    assert_eq!(code(&format!("signer={A} name=* version=<3"), &image, "app"), "key-rules");
}

#[test]
fn nothing_unknown_is_accepted() {
    let good = format!("# who may sign what\n\n  signer={A}\tname=a-*,b?  class=sysext version=>=1,<2\n");
    let rules = parse(&good).unwrap();
    assert_eq!(rules.to_string(), format!("signer={A} name=a-*,b? class=sysext version=>=1,<2\n"));
    assert_eq!((rules.len(), rules.is_empty(), parse("").unwrap().is_empty()), (1, false, true));
    let hex = A.to_string();
    for (line, found) in [
        (format!("signer={A}"), "no name"),
        ("name=a".to_owned(), "no signer"),
        (format!("signer={A} name=a name=b"), "name"),
        (format!("signer={A} name=a extra=1"), "extra"),
        (format!("signer={A} name=a Class=sysext"), "Class"),
        (format!("signer={A} name"), "name"),
        (format!("signer={A} name="), ""),
        (format!("signer={A} name=a,,b"), ""),
        (format!("signer={A} name=a/b"), "a/b"),
        (format!("signer={A} name=ä"), "ä"),
        (format!("signer={A} name=a class=confext,sysext"), "confext,sysext"),
        (format!("signer={A} name=a version="), ""),
        (format!("signer={A} name=a version=1"), "1"),
        (format!("signer={A} name=a version=>="), ">="),
        (format!("signer={A} name=a version==>1"), "=>1"),
        (format!("signer={A} name=a version=>1_2"), ">1_2"),
        (format!("signer={} name=a", &hex[2..]), &hex[2..]),
        (format!("signer={} name=a", hex.to_uppercase()), &hex.to_uppercase()),
        (format!("\u{feff}signer={A} name=a"), "\u{feff}signer"),
        (format!("signer={A} name=a # why"), "#"),
    ] {
        let error = parse(&format!("\n{line}")).unwrap_err();
        assert_eq!(error.code(), "key-rule", "{line}");
        let text = error.to_string();
        assert!(text.contains("line 2") && text.contains(&format!("{found:?}")), "{line}: {text}");
    }
    let error = KeyRules::parse(b"\xff", &Limits::default()).unwrap_err();
    assert_eq!(error.code(), "key-rule");
    let limits = Limits { key_rules_bytes: 3, ..Limits::default() };
    assert_eq!(KeyRules::parse(b"#   ", &limits).unwrap_err().code(), "limit-bytes");
}

#[test]
fn patterns_match_whole_names() {
    for (pattern, name, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a", "", false),
        ("*", "", true),
        ("*", "anything", true),
        ("a*", "a", true),
        ("*a*b*", "xxaxxbxx", true),
        ("*a*b*", "xxbxxaxx", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("?*", "", false),
        ("**a", "ba", true),
        ("[a]", "a", false),
        ("[a]", "[a]", true),
    ] {
        assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
    }
    // Does not go round for ever.
    let pattern = format!("{}b", "a*".repeat(200));
    assert!(!matches(pattern.as_bytes(), "a".repeat(5000).as_bytes()));
}

/// The rule for patterns written down again, by recursion.
fn matches_slowly(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skip| matches_slowly(rest, &name[skip..])),
        Some((b'?', rest)) => !name.is_empty() && matches_slowly(rest, &name[1..]),
        Some((byte, rest)) => name.first() == Some(byte) && matches_slowly(rest, &name[1..]),
    }
}

proptest! {
    #[test]
    fn patterns_mean_what_they_say(pattern in "[ab*?]{0,8}", name in "[abc]{0,8}") {
        prop_assert_eq!(
            matches(pattern.as_bytes(), name.as_bytes()),
            matches_slowly(pattern.as_bytes(), name.as_bytes())
        );
    }

    #[test]
    fn what_is_printed_parses(
        rules in proptest::collection::vec(
            (any::<[u8; 32]>(), proptest::collection::vec("[a-z*?.-]{1,6}", 1..3), 0..3_usize,
             proptest::collection::vec((0..5_usize, "[0-9a-z.~^-]{1,5}"), 0..3)),
            0..4,
        ),
    ) {
        let mut all = KeyRules::new();
        for (signer, names, class, versions) in rules {
            let mut rule = KeyRule::new(Fingerprint::from_bytes(signer), &names[0]).unwrap();
            for name in &names[1..] {
                rule = rule.name(name).unwrap();
            }
            if let Some(class) = [Class::Confext, Class::Sysext].get(class) {
                rule = rule.class(*class);
            }
            for (comparison, version) in versions {
                rule = rule.version(Comparison::SIGNS[comparison].1, &version).unwrap();
            }
            all = all.rule(rule);
        }
        prop_assert_eq!(parse(&all.to_string()).unwrap(), all);
    }

    #[test]
    fn any_text_never_panics(text in "(signer=|name=|class=|version=|[<>=,#* \t\n]|aa|b|1){0,30}") {
        if let Ok(rules) = parse(&text) {
            prop_assert_eq!(parse(&rules.to_string()).unwrap(), rules);
        }
    }
}

#[test]
fn a_rule_tells_what_it_was_made_of() {
    let text = format!("signer={} name=app-*,tool class=confext version=>=1.2,<2", "ab".repeat(32));
    let rules = KeyRules::parse(text.as_bytes(), &Limits::default()).unwrap();
    let [rule] = rules.rules() else { panic!("{rules}") };
    assert_eq!(rule.signer(), &Fingerprint::from_bytes([0xab; 32]));
    let names = ["app-*".to_owned(), "tool".to_owned()];
    assert_eq!((rule.names(), rule.only_class()), (&names[..], Some(Class::Confext)));
    let demands = [(Comparison::GreaterOrEqual, "1.2".to_owned()), (Comparison::Less, "2".to_owned())];
    assert_eq!(rule.versions(), demands);
    for (sign, kind) in Comparison::SIGNS {
        assert_eq!((kind.as_str(), Comparison::split(&format!("{sign}1"))), (sign, Some((kind, "1"))));
    }
    assert_eq!(Comparison::split("1"), None);
}
