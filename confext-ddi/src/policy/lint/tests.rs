use super::*;
use crate::policy::Preset;
use crate::policy::algebra::tests::any_policy;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Code and what it is about, for each finding.
fn lint(text: &str) -> Vec<String> {
    let findings = Policy::parse(text).unwrap().lint();
    findings.into_iter().map(|finding| format!("{} {}", finding.lint, finding.found)).collect()
}

/// Policies, and what is to be said about each.
const CASES: &[(&str, &[&str])] = &[
    ("root=signed+absent:usr=signed+absent", &[]),
    ("root=signed", &[]),
    ("root=signed+absent:usr=signed+absent:=absent", &[]),
    ("root=verity+signed+absent", &["signed-or-verity root=verity+signed+absent"]),
    ("root=verity+signed", &["signature-unchecked-by-systemd root=verity+signed"]),
    ("root=verity", &["signature-ignored root=verity"]),
    (
        "usr=verity+unprotected+absent",
        &[
            "unprotected-among-protections usr=verity+unprotected+absent",
            "signature-ignored usr=verity+unprotected+absent",
        ],
    ),
    ("root=signed+unprotected", &["unprotected-among-protections root=signed+unprotected"]),
    ("root=unprotected", &["tree-ignored-by-systemd root=unprotected"]),
    ("root=", &["open root=open"]),
    ("root=erofs", &["open root=open+erofs"]),
    ("*", &["default-admits =open"]),
    ("root=signed:=open", &["default-admits =open"]),
    (
        "root=signed:=unprotected+absent",
        &["default-admits =unprotected+absent", "tree-ignored-by-systemd =unprotected+absent"],
    ),
    (
        "root=signed:=signed",
        &[
            "both-required root=signed:=signed",
            "default-forbids-protection =signed",
            "required-but-not-used =signed",
        ],
    ),
    ("root=signed+absent:=signed+absent", &["default-forbids-protection =signed+absent"]),
    ("root=signed+absent:usr=signed+absent:=signed+absent", &[]),
    ("-", &["nothing-usable -"]),
    ("~", &["nothing-usable ~"]),
    ("home=unused+absent", &["nothing-usable home=ignore", "redundant home=ignore"]),
    ("root=signed:usr=signed", &["both-required root=signed:usr=signed"]),
    ("root=signed:home=verity", &["never-satisfied home=verity"]),
    ("root=signed:root-verity=signed", &["never-satisfied root-verity=signed"]),
    ("root=signed:home=unprotected", &["required-but-not-used home=unprotected"]),
    ("root=signed:home=unprotected+absent", &[]),
    ("root=signed:root-verity=absent", &["protection-forbidden root-verity=absent"]),
    ("root=signed:root-verity-sig=absent", &["protection-forbidden root-verity-sig=absent"]),
    ("root=signed:root-verity=unprotected", &[]),
    ("root=signed:root-verity-sig=unused", &["protection-forbidden root-verity-sig=unused"]),
    (
        "root=unprotected:root-verity-sig=unprotected",
        &["signature-without-tree root-verity-sig=unprotected", "tree-ignored-by-systemd root=unprotected"],
    ),
    ("root=encrypted", &["encrypted-only root=encrypted"]),
    ("root=signed+encrypted", &["encrypted root=signed+encrypted"]),
    ("root=signed+vfat", &["file-systems-not-merged root=signed+vfat"]),
    ("root=signed+erofs", &[]),
    ("root=signed+erofs+ext4", &["file-systems-ignored-by-systemd root=signed+erofs+ext4"]),
    ("root=signed+read-only-on", &["attributes-need-a-table root=signed+read-only-on"]),
    ("root=signed+read-only-off", &[]),
    ("root=signed:home=verity+absent", &["no-effect home=verity"]),
    ("root=signed:home=absent+erofs+read-only-on", &["no-effect home=read-only-on+erofs"]),
    (
        "root=signed:root-verity-sig=verity+unprotected+xfs",
        &["no-effect root-verity-sig=verity+xfs", "redundant root-verity-sig=verity+unprotected+xfs"],
    ),
];

#[test]
fn what_is_said_about_each() {
    for (text, expected) in CASES {
        let mut expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
        let mut found = lint(text);
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn every_lint_has_a_case_and_a_code_of_its_own() {
    let seen: BTreeSet<_> =
        CASES.iter().flat_map(|(_, lines)| *lines).map(|line| line.split(' ').next().unwrap()).collect();
    let codes: BTreeSet<_> = Lint::ALL.iter().map(|lint| lint.code()).collect();
    assert_eq!(seen, codes);
    assert_eq!(codes.len(), Lint::ALL.len());
}

#[test]
fn warnings_come_first_and_the_default_has_none() {
    let findings = Policy::parse("root=signed+encrypted:home=verity").unwrap().lint();
    let levels: Vec<_> = findings.iter().map(|finding| finding.lint.level()).collect();
    assert_eq!(levels, [Level::Warning, Level::Note]);
    assert_eq!(
        findings[0].to_string(),
        "warning[never-satisfied]: home=verity: no partition of this kind can have the uses that are named, so no image \
         is admitted"
    );
    assert_eq!(Policy::signed().lint(), []);
    for strict in [Preset::SysextStrict, Preset::ConfextStrict] {
        assert_eq!(strict.policy().lint(), []);
    }
    assert!(
        Preset::Sysext
            .policy()
            .lint()
            .iter()
            .any(|finding| finding.lint == Lint::UnprotectedAmongProtections)
    );
}

/// What each warning claims is so.
mod claims {
    use super::*;
    use crate::policy::Protection;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_policy_without_a_warning_admits_only_what_is_signed(text in any_policy()) {
            let policy = Policy::parse(&text).unwrap();
            let quiet = policy.lint().iter().all(|finding| {
                finding.lint.level() == Level::Note && finding.lint != Lint::TreeIgnoredBySystemd
            });
            if quiet {
                for data in [Designator::Root, Designator::Usr] {
                    prop_assert!(!policy.admits(data, Protection::Verity), "{}", policy);
                }
            }
        }

        #[test]
        fn a_redundant_rule_can_be_left_out(text in any_policy()) {
            let policy = Policy::parse(&text).unwrap();
            for finding in policy.lint().into_iter().filter(|finding| finding.lint == Lint::Redundant) {
                let mut without = policy.clone();
                without.rules.remove(&finding.designator.unwrap());
                prop_assert!(without.is_equivalent(&policy));
            }
        }
    }
}
