use super::*;
use proptest::prelude::*;

#[test]
fn filters_are_parsed_and_printed() {
    for (text, printed) in [
        ("", ""),
        ("root=*", "root=*"),
        ("usr=foox?:root=kn*arz", "root=kn*arz:usr=foox?"),
        ("root=", "root="),
        ("root='a:b=c'", "root=\"a:b=c\""),
        ("root=a\"*\"b", "root=a*b"),
        ("root='say \"hi\"'", "root=\"say \"'\"'\"hi\"'\"'"),
        ("root=\"it's\"", "root=\"it's\""),
        ("root= a ", "root= a "),
        ("root=\"x8[[:digit:]]\"", "root=\"x8[[:digit:]]\""),
        ("root-verity-sig=**", "root-verity-sig=**"),
    ] {
        let filter = Filter::parse(text).unwrap();
        assert_eq!(filter.to_string(), printed, "{text:?}");
        assert_eq!(printed.parse::<Filter>().unwrap(), filter, "{text:?}");
        assert_eq!(filter.is_empty(), text.is_empty());
    }
    assert_eq!(Filter::parse("root='a:b'").unwrap().pattern(Designator::Root), Some("a:b"));
}

#[test]
fn nothing_doubtful_is_accepted() {
    for (text, code) in [
        ("-", "filter-rule"),
        (":", "filter-rule"),
        ("root=a:", "filter-rule"),
        (":root=a", "filter-rule"),
        ("root", "filter-rule"),
        ("root=a=b", "filter-rule"),
        ("root=[a:z]", "filter-pattern"),
        ("=*", "filter-designator"),
        (" root=*", "filter-designator"),
        ("Root=*", "filter-designator"),
        ("schlumpf=smurf", "filter-designator"),
        ("linux-generic=*", "filter-designator"),
        ("root=a:root=b", "filter-rule-twice"),
        ("root=[abc", "filter-pattern"),
        ("root=[]", "filter-pattern"),
        ("root=[!]", "filter-pattern"),
        ("root=[z-a]", "filter-pattern"),
        ("root=a\\*", "filter-pattern"),
        ("root=[\\]]", "filter-pattern"),
        ("root='[[:foo:]]'", "filter-pattern"),
        ("root='[[:digit]'", "filter-pattern"),
        ("root='[[=a=]]'", "filter-pattern"),
        ("root=[[.a.]]", "filter-pattern"),
        ("root=[a-[]", "filter-pattern"),
        ("root='a", "filter-pattern"),
        ("root=\"a", "filter-pattern"),
    ] {
        assert_eq!(Filter::parse(text).unwrap_err().code(), code, "{text:?}");
    }
}

#[test]
fn labels_match_as_a_whole() {
    for (pattern, yes, no) in [
        ("app_*", vec!["app_", "app_1", "app_*"], vec!["app", "my-app_1", "APP_1", ""]),
        ("*", vec!["", "a", ".hidden", "a/b", "ä"], vec![]),
        ("", vec![""], vec!["a"]),
        ("a?c", vec!["abc", "aäc", "a.c", "a/c"], vec!["ac", "abbc"]),
        ("*a*b*", vec!["ab", "xaxbx", "aabb"], vec!["ba", "a", ""]),
        ("*ab", vec!["ab", "aab", "abab"], vec!["aba"]),
        ("[a-c]x", vec!["ax", "cx"], vec!["dx", "x", "-x"]),
        ("[!a-c]x", vec!["dx", "-x"], vec!["ax", "x"]),
        ("[^a]", vec!["b", "ä"], vec!["a", ""]),
        ("[]a]", vec!["]", "a"], vec!["b"]),
        ("[!]a]", vec!["b"], vec!["]", "a"]),
        ("[a-]", vec!["a", "-"], vec!["b"]),
        ("[-a]", vec!["a", "-"], vec!["b"]),
        ("[*?]", vec!["*", "?"], vec!["a"]),
        ("[[a]", vec!["[", "a"], vec!["b"]),
        ("[a-c-e]", vec!["b", "-", "e"], vec!["d"]),
        ("x8[[:digit:]]", vec!["x86"], vec!["x8a", "x8٣"]),
        ("[[:upper:]_]", vec!["A", "_"], vec!["a"]),
        ("[![:space:]]", vec!["a"], vec![" ", "\u{b}"]),
        ("[α-ω]", vec!["β"], vec!["b"]),
    ] {
        let filter = Filter::parse(&format!("root='{pattern}'")).unwrap();
        for label in yes {
            assert!(filter.admits(Designator::Root, label), "{pattern:?} {label:?}");
        }
        for label in no {
            assert!(!filter.admits(Designator::Root, label), "{pattern:?} {label:?}");
        }
        assert!(filter.admits(Designator::Usr, "anything"));
    }
}

proptest! {
    #[test]
    fn any_text_parses_to_what_it_prints_or_is_refused(text in "(root|usr|home|x)?=?[a\\[\\]:=*?!'\"\\\\-]{0,12}(:usr=.{0,6})?") {
        match Filter::parse(&text) {
            Ok(filter) => prop_assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter),
            Err(error) => prop_assert!(error.code().starts_with("filter-")),
        }
    }

    #[test]
    fn stars_match_as_the_obvious_recursion_says(pattern in "[ab*?]{0,8}", label in "[ab]{0,8}") {
        fn matches(pattern: &[u8], label: &[u8]) -> bool {
            match (pattern.split_first(), label.split_first()) {
                (None, None) => true,
                (Some((b'*', after)), _) => (0..=label.len()).any(|taken| matches(after, &label[taken..])),
                (Some((b'?', after)), Some((_, rest))) => matches(after, rest),
                (Some((wanted, after)), Some((found, rest))) => wanted == found && matches(after, rest),
                _ => false,
            }
        }
        let filter = Filter::parse(&format!("root={pattern}")).unwrap();
        let expected = matches(pattern.as_bytes(), label.as_bytes());
        prop_assert_eq!(filter.admits(Designator::Root, &label), expected);
    }
}
