//! What holds for any policy: random ones against images of every kind of protection.

use super::*;

/// Random policies, mostly about what the samples have.
fn policies() -> impl Strategy<Value = String> {
    let words = prop::sample::subsequence(
        vec![
            "verity",
            "signed",
            "unprotected",
            "absent",
            "unused",
            "encrypted",
            "erofs",
            "ext4",
            "read-only-on",
            "read-only-off",
            "growfs-off",
        ],
        1..8,
    );
    let name =
        prop::sample::select(vec!["root", "root", "usr", "home", "root-verity", "root-verity-sig", ""]);
    prop::collection::btree_map(name, words, 0..4).prop_map(|rules| {
        let rules = rules.into_iter().map(|(name, words)| format!("{name}={}", words.join("+")));
        rules.collect::<Vec<_>>().join(":")
    })
}

/// Images of every kind of protection, with and without a partition that is not used.
static IMAGES: LazyLock<Vec<Image<Vec<u8>>>> = LazyLock::new(|| {
    let home = Part::new(Designator::Home, None, sample::erofs());
    let writable = Part { attributes: Attributes::GROWFS, ..signed()[0].clone() };
    let with_home = [signed(), vec![home]].concat();
    vec![
        bare(),
        open(&[writable]),
        open(&signed()[..1]),
        open(&signed()[..2]),
        open(&signed()),
        open(&with_home),
    ]
});

/// What a policy says to each of [`IMAGES`].
fn verdicts(policy: &Policy, trust: Option<&Trust>) -> Vec<&'static str> {
    let verifier = trust.map(|trust| -> &dyn Verifier { trust });
    let judged = IMAGES.iter().map(|image| policy.judge(image.clone(), verifier));
    judged
        .map(|judged| judged.map_or_else(|error| error.code(), |yes| yes.evidence().protection().as_str()))
        .collect()
}

/// Which of [`IMAGES`] a policy admits.
fn admitted(policy: &Policy, trust: Option<&Trust>) -> Vec<bool> {
    let admitted = |verdict| ["none", "verity", "signed"].contains(&verdict);
    verdicts(policy, trust).into_iter().map(admitted).collect()
}

fn trusts() -> [Option<Trust>; 3] {
    [None, Some(Trust(true)), Some(Trust(false))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_printed_is_parsed_to_the_same(text in policies()) {
        let policy = Policy::parse(&text).unwrap();
        prop_assert_eq!(&Policy::parse(&policy.to_string()).unwrap(), &policy);
        if let Ok(both) = policy.intersect(&policy) {
            prop_assert_eq!(&Policy::parse(&both.to_string()).unwrap(), &both);
        }
    }

    #[test]
    fn any_text_parses_or_is_refused(text in "[a-z=:+*~ -]{0,40}|.{0,40}") {
        match Policy::parse(&text) {
            Ok(policy) => prop_assert_eq!(&Policy::parse(&policy.to_string()).unwrap(), &policy),
            Err(error) => prop_assert!(error.code().starts_with("policy-")),
        }
    }

    #[test]
    fn acceptance_is_monotone_in_protection(text in policies()) {
        let policy = Policy::parse(&text).unwrap();
        for designator in [Designator::Root, Designator::Usr, Designator::Home] {
            let admits = [Protection::None, Protection::Verity, Protection::Signed]
                .map(|protection| policy.admits(designator, protection));
            prop_assert!(admits.is_sorted(), "{} {:?}", text, admits);
        }
    }

    #[test]
    fn an_intersection_admits_what_both_admit_and_a_union_what_either_does(first in policies(), second in policies()) {
        let [one, other] = [&first, &second].map(|text| Policy::parse(text).unwrap());
        let (both, either) = (one.intersect(&other), one.union(&other));
        for trust in trusts() {
            let of = |policy: &Policy| admitted(policy, trust.as_ref());
            let (by_one, by_other, by_either) = (of(&one), of(&other), of(&either));
            let by_both = both.as_ref().map_or_else(|_| vec![false; IMAGES.len()], of);
            for at in 0..IMAGES.len() {
                prop_assert_eq!(by_both[at], by_one[at] && by_other[at], "{} and {}, image {}", first, second, at);
                prop_assert!(by_either[at] || !by_one[at] && !by_other[at], "{} or {}, image {}", first, second, at);
            }
            if one.is_as_strict_as(&other) {
                prop_assert!(by_one.iter().zip(&by_other).all(|(one, other)| *other || !one), "{} < {}", first, second);
            }
        }
    }

    #[test]
    fn the_shortest_form_has_the_same_verdicts(text in policies()) {
        let policy = Policy::parse(&text).unwrap();
        let short = policy.simplify();
        for trust in trusts() {
            // Where two things speak against an image, the shorter form may name the other one first.
            let of = |policy: &Policy| -> Vec<_> {
                let verdicts = verdicts(policy, trust.as_ref()).into_iter();
                verdicts.map(|verdict| if verdict == "policy-protection" { "policy" } else { verdict }).collect()
            };
            prop_assert_eq!(of(&policy), of(&short), "{}: {}", policy, short);
        }
    }

    #[test]
    fn nothing_unprotected_without_the_word(text in policies()) {
        let policy = Policy::parse(&text).unwrap();
        for image in IMAGES.iter().cloned() {
            let designator = image.data().designator;
            if let Ok(admitted) = policy.judge(image, Some(&Trust(true)))
                && admitted.evidence().protection() == Protection::None
            {
                prop_assert!(policy.judged(designator).contains(Flags::UNPROTECTED), "{}", text);
            }
        }
    }
}
