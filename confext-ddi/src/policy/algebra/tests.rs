use super::*;
use crate::policy::{Preset, Protection, Use};
use proptest::prelude::*;

fn parse(text: &str) -> Policy {
    Policy::parse(text).unwrap()
}

#[test]
fn shortest_forms() {
    for (text, short) in [
        ("*", "*"),
        ("=open", "*"),
        ("-", "-"),
        ("root=ignore", "-"),
        ("~", "~"),
        ("root=absent:=absent", "~"),
        ("root=signed", "root=signed"),
        ("root=signed:usr=ignore:home=unused+absent", "root=signed"),
        ("usr=signed+absent:root=absent+signed:=ignore", "root=signed+absent:usr=signed+absent"),
        ("home=verity+unprotected", "home=unprotected"),
        ("home=encrypted+encryptedwithintegrity+unprotected+unused+absent", "home=open"),
        ("home=verity", "home=verity"),
        ("home=signed", "home=verity"),
        ("home=verity+absent", "home=absent"),
        ("home=absent+read-only-on+erofs", "home=absent"),
        ("root=read-only-on", "root=open+read-only-on"),
        // What systemd derives for the hash tree of root, and for the signature.
        ("root=verity:root-verity=unprotected", "root=verity:root-verity=unprotected"),
        ("root=open:root-verity=open:root-verity-sig=signed+unprotected+unused+absent", "root=open"),
        ("root=unprotected:root-verity=open", "root=unprotected:root-verity=open"),
        // A rule like the default makes a difference where systemd derives from it.
        ("root=signed:=signed", "root=signed:=signed"),
        ("root=ignore:usr=signed:=ignore", "usr=signed"),
        (
            "root=absent:usr=absent:home=absent:srv=absent:esp=absent:xbootldr=absent:swap=absent:tmp=absent:var=open",
            "root=absent:usr=absent:home=absent:srv=absent:esp=absent:xbootldr=absent:swap=absent:tmp=absent:var=open",
        ),
        (
            "root=absent:usr=absent:home=absent:srv=absent:esp=absent:xbootldr=absent:swap=absent:tmp=absent:\
             root-verity=absent:var=open:=absent",
            "var=open:=absent",
        ),
    ] {
        assert_eq!(parse(text).simplify().to_string(), short, "{text}");
    }
}

#[test]
fn unions() {
    for (first, second, either) in [
        ("root=signed", "root=absent", "root=signed+absent"),
        ("root=verity", "root=signed", "root=verity"),
        ("root=verity+signed", "root=signed", "root=verity+signed"),
        ("root=verity+signed", "root=unprotected+verity+signed", "root=verity+signed+unprotected"),
        ("root=signed", "root=unprotected", "root=unprotected"),
        ("root=verity+erofs", "root=signed+squashfs", "root=verity+erofs+squashfs"),
        ("root=signed+read-only-on", "root=signed+read-only-off", "root=signed"),
        ("root=signed+erofs", "root=absent+xfs", "root=signed+absent+erofs"),
        ("-", "~", "-"),
        ("*", "root=signed", "*"),
        ("home=verity", "home=absent", "home=absent"),
        ("home=verity", "home=signed", "home=verity"),
        ("root=signed:root-verity=unprotected", "root=signed", "root=signed"),
        ("root-verity=absent", "root-verity=unprotected", "root-verity=unprotected+absent"),
    ] {
        let [first, second] = [first, second].map(parse);
        let both = first.union(&second);
        assert!(both.is_equivalent(&parse(either)), "{first} and {second}: {both}, expected {either}");
        assert_eq!(both, second.union(&first));
    }
}

#[test]
fn protections_are_ordered_and_so_are_rules_and_policies() {
    let levels = [Protection::Signed, Protection::Verity, Protection::None];
    for (at, strict) in levels.into_iter().enumerate() {
        for (lax_at, lax) in levels.into_iter().enumerate() {
            let expected = at <= lax_at;
            assert_eq!(Rule::least(strict).is_as_strict_as(&Rule::least(lax)), expected);
            let of =
                |least| Policy::otherwise(Rule::ignore()).with(Designator::Root, Rule::least(least)).unwrap();
            assert_eq!(of(strict).is_as_strict_as(&of(lax)), expected);
        }
    }
    assert!(Policy::signed().is_as_strict_as(&Policy::verity()));
    assert!(Policy::verity().is_as_strict_as(&Policy::unprotected()));
    assert!(Policy::unprotected().is_as_strict_as(&Preset::Sysext.policy()));
    assert!(
        !Preset::Sysext.policy().is_as_strict_as(&Policy::unprotected()),
        "encrypted is not admitted by it"
    );
    assert!(Use::ALL.is_sorted());
    for (strict, lax, expected) in [
        ("signed", "verity", true),
        ("verity", "signed", false),
        ("verity", "verity+signed", false),
        ("verity", "open", false),
        ("verity", "encrypted+encryptedwithintegrity+unprotected+unused+absent", true),
        ("verity+signed", "verity", true),
        ("unprotected+verity", "unprotected", true),
        // A hash tree has to be there where the word is, and `absent` is not.
        ("unprotected", "unprotected+verity", false),
        ("unprotected+absent", "unprotected+verity+absent", true),
        ("encrypted", "unprotected", false),
        ("signed", "encrypted", false),
        ("absent", "signed", false),
        ("absent+erofs", "absent", true),
        ("signed+erofs", "signed", true),
        ("signed", "signed+erofs", false),
        ("signed+read-only-on", "signed+read-only-off", false),
    ] {
        let [first, second] = [strict, lax].map(|words| parse(&format!("root={words}")));
        assert_eq!(first.is_as_strict_as(&second), expected, "{strict} and {lax}");
    }
}

#[test]
fn equivalent_is_more_than_admitting_the_same_here() {
    let [with, without] = ["root=verity+unprotected+absent", "root=unprotected+absent"].map(parse);
    assert!(with.is_as_strict_as(&without) && without.is_as_strict_as(&with));
    assert!(!with.is_equivalent(&without), "systemd uses the hash tree under one of them only");
    assert!(parse("root=signed:=ignore").is_equivalent(&parse("usr=absent+unused:root=signed")));
}

#[test]
fn the_rule_of_each_partition() {
    let policy = parse("root=signed+absent+read-only-on:home=verity:=unprotected+erofs");
    let rule =
        |designator| policy.rule(designator).map_or_else(|| "nothing".to_owned(), |rule| rule.to_string());
    for (designator, expected) in [
        (Designator::Root, "signed+absent+read-only-on"),
        (Designator::RootVerity, "unprotected+absent+read-only-on"),
        (Designator::RootVeritySig, "unprotected+absent+read-only-on"),
        (Designator::Usr, "unprotected+erofs"),
        (Designator::UsrVerity, "unprotected"),
        (Designator::Home, "nothing"),
    ] {
        assert_eq!(rule(designator), expected, "{designator}");
    }
}

/// Any policy that can be written, most with few rules.
pub(in crate::policy) fn any_policy() -> impl Strategy<Value = String> {
    let words = crate::policy::flags::WORDS.map(|(word, _)| word).to_vec();
    let words = prop_oneof![
        4 => prop::sample::subsequence(words[..7].to_vec(), 1..5),
        2 => prop::sample::subsequence(words, 1..9),
        1 => prop::sample::select(vec![vec!["open"], vec!["ignore"], vec![""], vec!["-"]]),
    ];
    let names = [DESIGNATORS.map(Designator::as_str).to_vec(), vec!["", "root", "root", "usr"]].concat();
    policy_of(names, words)
}

/// Policies about what only protects another partition, and its attributes.
fn policy_of_protections() -> impl Strategy<Value = String> {
    let words = ["verity", "signed", "unprotected", "unused", "absent", "growfs-on", "growfs-off"];
    let names = vec!["root", "root-verity", "root-verity-sig", "usr", "usr-verity", ""];
    policy_of(names, prop::sample::subsequence(words.to_vec(), 1..5))
}

fn policy_of(
    names: Vec<&'static str>,
    words: impl Strategy<Value = Vec<&'static str>> + Clone + 'static,
) -> impl Strategy<Value = String> {
    let rules = prop_oneof![3 => 0..5_usize, 1 => 0..14_usize];
    let rules = rules.prop_flat_map(move |count| {
        prop::collection::vec((prop::sample::select(names.clone()), words.clone()), count)
    });
    rules.prop_map(|rules| {
        let rules = rules.into_iter().collect::<BTreeMap<_, _>>();
        let rules = rules.into_iter().map(|(name, words)| format!("{name}={}", words.join("+")));
        rules.collect::<Vec<_>>().join(":")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_printed_is_parsed_to_the_same(text in any_policy()) {
        let policy = parse(&text);
        prop_assert_eq!(&parse(&policy.to_string()), &policy);
    }

    #[test]
    fn the_shortest_form_says_the_same_and_is_its_own(text in any_policy()) {
        let policy = parse(&text);
        let short = policy.simplify();
        prop_assert!(short.is_equivalent(&policy), "{} became {}", policy, short);
        prop_assert_eq!(&short.simplify(), &short);
        prop_assert!(short.to_string().len() <= policy.to_string().len());
        prop_assert_eq!(&parse(&short.to_string()), &short);
    }

    #[test]
    fn equivalent_policies_have_one_shortest_form(text in any_policy(), drop in 0..13_usize) {
        let policy = parse(&text);
        let mut other = policy.clone();
        let designator = DESIGNATORS[drop];
        match other.rules.remove(&designator) {
            Some(_) => {}
            None => { other.rules.insert(designator, shortest(policy.judged(designator), designator)); }
        }
        let same = policy.is_equivalent(&other);
        prop_assert_eq!(policy.simplify() == other.simplify(), same, "{} and {}", policy, other);
    }

    #[test]
    fn the_intersection_is_the_greatest_lower_bound(a in any_policy(), b in any_policy(), c in any_policy()) {
        let [a, b, c] = [a, b, c].map(|text| parse(&text));
        match a.intersect(&b) {
            Ok(both) => {
                prop_assert!(both.is_as_strict_as(&a) && both.is_as_strict_as(&b), "{} and {}: {}", a, b, both);
                prop_assert_eq!(&b.intersect(&a).unwrap(), &both);
                if let Ok(below) = c.intersect(&a).and_then(|below| below.intersect(&b)) {
                    prop_assert!(below.is_as_strict_as(&both), "{}, {} and {}: {} and {}", a, b, c, both, below);
                }
            }
            Err(error) => {
                prop_assert_eq!(error.code(), "policy-disjoint");
                let nothing = |designator| !meet(a.judged(designator), b.judged(designator), designator).intersects(Flags::OPEN);
                prop_assert!(DESIGNATORS.into_iter().any(nothing));
            }
        }
    }

    #[test]
    fn the_union_is_the_least_upper_bound(a in any_policy(), b in any_policy(), c in any_policy()) {
        let [a, b, c] = [a, b, c].map(|text| parse(&text));
        let either = a.union(&b);
        prop_assert!(a.is_as_strict_as(&either) && b.is_as_strict_as(&either), "{} and {}: {}", a, b, either);
        prop_assert_eq!(&b.union(&a), &either);
        let above = a.union(&c).union(&b);
        prop_assert!(either.is_as_strict_as(&above), "{}, {} and {}: {} and {}", a, b, c, either, above);
    }

    #[test]
    fn the_order_of_combining_is_free(
        a in prop_oneof![any_policy(), policy_of_protections()],
        b in policy_of_protections(),
        c in policy_of_protections(),
    ) {
        let [a, b, c] = [a, b, c].map(|text| parse(&text));
        let all = [[&a, &b, &c], [&a, &c, &b], [&b, &c, &a]].map(|[a, b, c]| a.intersect(b).and_then(|both| both.intersect(c)).ok());
        for pair in all.windows(2) {
            prop_assert!(is_same(pair[0].as_ref(), pair[1].as_ref()), "{} and {} and {}: {:?}", a, b, c, pair);
        }
        let all = [a.union(&b).union(&c), a.union(&c).union(&b), b.union(&c).union(&a)];
        for pair in all.windows(2) {
            prop_assert!(is_same(Some(&pair[0]), Some(&pair[1])), "{} or {} or {}: {:?}", a, b, c, pair);
        }
    }

    #[test]
    fn what_is_said_twice_says_nothing_new(a in policy_of_protections(), b in policy_of_protections()) {
        let [a, b] = [a, b].map(|text| parse(&text));
        prop_assert!(is_same(Some(&a.union(&a)), Some(&a)), "{}", a);
        let admits_nothing = DESIGNATORS.into_iter().any(|designator| states(a.judged(designator), designator).is_empty());
        let itself = Some(&a).filter(|_| !admits_nothing);
        prop_assert!(is_same(a.intersect(&a).ok().as_ref(), itself), "{}", a);
        prop_assert!(is_same(a.intersect(&a.union(&b)).ok().as_ref(), itself), "{} and what {} adds", a, b);
    }

    #[test]
    fn an_intersection_lets_in_what_both_let_in(a in policy_of_protections(), b in policy_of_protections()) {
        let [a, b] = [a, b].map(|text| parse(&text));
        let Ok(both) = a.intersect(&b) else { return Ok(()) };
        for designator in DESIGNATORS {
            let [of_both, of_a, of_b] = [&both, &a, &b].map(|policy| states(policy.judged(designator), designator));
            let mut expected: Vec<_> = of_a.into_iter().filter(|state| of_b.contains(state)).collect();
            // What cannot be written: a signature of certain attributes beside a hash tree that is left alone.
            let tree = designator.protects().and_then(Designator::verity);
            let tree_is_used = tree.is_none_or(|tree| both.judged(tree).contains(Flags::UNPROTECTED));
            let has_any_attributes = expected.iter().filter(|(state, ..)| *state != "absent").count() == 32;
            if is_signature(designator) && !tree_is_used && !has_any_attributes {
                expected.retain(|(state, ..)| *state == "absent");
            }
            prop_assert_eq!(&of_both, &expected, "{}: {} and {} make {}", designator, a, b, both);
            let kinds = [(Protection::None, "plain"), (Protection::Verity, "tree"), (Protection::Signed, "signed")];
            for (protection, kind) in kinds.into_iter().filter(|_| designator.verity().is_some()) {
                let lets_in = expected.iter().any(|(state, ..)| *state == kind);
                prop_assert_eq!(both.admits(designator, protection), lets_in, "{} of {}: {}", kind, designator, both);
            }
        }
    }

    #[test]
    fn rules_of_one_partition_are_compared_state_by_state(a in any_policy(), b in any_policy()) {
        let [a, b] = [a, b].map(|text| parse(&text));
        for designator in DESIGNATORS {
            let [first, second] = [&a, &b].map(|policy| policy.judged(designator));
            let expected = states(first, designator).iter().all(|state| states(second, designator).contains(state));
            prop_assert_eq!(is_as_strict(first, second, designator), expected, "{}: {} and {}", designator, a, b);
            let both = states(meet(first, second, designator), designator);
            let common: Vec<_> = states(first, designator).into_iter().filter(|state| states(second, designator).contains(state)).collect();
            prop_assert_eq!(both, common, "{}: {} and {}", designator, a, b);
        }
    }
}

/// Whether two ways of combining policies come to the same, or both to nothing.
fn is_same(first: Option<&Policy>, second: Option<&Policy>) -> bool {
    match (first, second) {
        (Some(first), Some(second)) => first.is_as_strict_as(second) && second.is_as_strict_as(first),
        (first, second) => first.is_none() && second.is_none(),
    }
}

/// What a partition is found to be: how it is used, with which attributes and file system.
type State = (&'static str, Flags, Flags);

/// Every state that a rule lets in at a partition, one by one and without the shortcuts of the code.
fn states(flags: Flags, designator: Designator) -> Vec<State> {
    let has = |flag| flags.contains(flag);
    let there = is_signature(designator) && flags.intersects(Flags::UNPROTECTED | Flags::UNUSED);
    // A signature that is there has its attributes looked at in any case: for it, to be used is the one state.
    let idle = [("absent", has(Flags::ABSENT)), ("unused", has(Flags::UNUSED) && !is_signature(designator))];
    let tree = has(Flags::UNPROTECTED) || has(Flags::VERITY);
    let data = designator.verity().is_some();
    let used = [
        ("plain", has(Flags::UNPROTECTED) || there),
        ("tree", tree && data),
        ("signed", (tree || has(Flags::SIGNED)) && data),
        ("badly signed", tree && !has(Flags::SIGNED) && data),
        ("encrypted", has(Flags::ENCRYPTED)),
        ("authenticated", has(Flags::ENCRYPTED_WITH_INTEGRITY)),
    ];
    let idle = idle.into_iter().filter(|(_, admitted)| *admitted);
    let mut all: Vec<State> = idle.map(|(state, _)| (state, Flags::empty(), Flags::empty())).collect();
    for (state, _) in used.into_iter().filter(|(_, admitted)| *admitted) {
        for read_only in [Flags::READ_ONLY_OFF, Flags::READ_ONLY_ON] {
            for growfs in [Flags::GROWFS_OFF, Flags::GROWFS_ON] {
                let attributes = read_only | growfs;
                let systems = (11..18).map(|bit| Flags::from_bits_retain(1 << bit));
                let fits = systems.filter(|system| flags.contains(*system));
                let other = flags.contains(Flags::FILE_SYSTEMS).then_some(Flags::empty());
                let fits = fits.chain(other).filter(|_| flags.contains(attributes));
                all.extend(fits.map(|system| (state, attributes, system)));
            }
        }
    }
    all
}
