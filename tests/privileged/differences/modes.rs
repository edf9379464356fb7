//! How what is merged can be used: written to, and run from

use super::*;
use confext_core::admission::Execution;
use confext_core::settings::Mutability;
use rustix::fs::StatVfsMountFlags;

fn flags(case: &Case<'_>, hierarchy: &str) -> StatVfsMountFlags {
    rustix::fs::statvfs(case.path(hierarchy)).unwrap().f_flag
}

fn with(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = unprotected();
    change(&mut options);
    options
}

#[test]
#[ignore = "needs root"]
fn d35_an_empty_hierarchy_stops_no_merge() {
    let prepare = |place: &Place| {
        extension(place, Sysext, "a");
        fs::remove_file(place.path("root/opt/own")).unwrap();
    };
    for mode in [Mutability::Import, Mutability::Auto] {
        case(Sysext, prepare, |case| {
            let said = case.theirs(&format!("merge --mutable={mode}"));
            assert_ne!(said.status, 0, "{said:?}");
            assert!(!case.exists("usr/a"));
            let options = with(|options| options.mutability = mode);
            let report = merge(case.host, Sysext, &options).unwrap();
            assert_eq!((names(&report), &report.hierarchies[..]), (vec!["a"], &["usr".to_owned()][..]));
            assert!(case.exists("usr/a") && !case.exists("opt/.systemd-sysext"));
            unmerge(case.host, Sysext, &options).unwrap();
        });
    }
}

#[test]
#[ignore = "needs root"]
fn d36_another_choice_of_noexec_is_a_change() {
    let prepare = |place: &Place| drop(extension(place, Sysext, "a"));
    case(Sysext, prepare, |case| {
        case.while_theirs(|case| {
            let said = case.theirs("refresh --noexec=yes");
            assert!(said.text.contains("Skipping"), "{said:?}");
            assert!(!flags(case, "usr").contains(StatVfsMountFlags::NOEXEC));
        });
        assert_eq!(case.theirs("merge --noexec=yes").status, 0);
        assert!(flags(case, "usr").contains(StatVfsMountFlags::NOEXEC));
        assert_eq!(case.theirs("unmerge").status, 0);

        let forbidden = with(|options| options.execution = Execution::Forbidden);
        case.while_ours(|case, _| {
            assert!(!flags(case, "usr").contains(StatVfsMountFlags::NOEXEC));
            let report = refresh(case.host, Sysext, &forbidden).unwrap();
            let (found, expected) = (Execution::ByClass, Execution::Forbidden);
            let because = vec![Change::Execution { found, expected }];
            assert_eq!(report.outcome, Outcome::Refreshed { because });
            assert!(flags(case, "usr").contains(StatVfsMountFlags::NOEXEC | StatVfsMountFlags::NODEV));
            let again = refresh(case.host, Sysext, &forbidden).unwrap();
            assert!(matches!(again.outcome, Outcome::Unchanged { .. }));
        });
    });
}

/// The same with a confext, from which nothing can be run unless it is asked for.
#[test]
#[ignore = "needs root"]
fn d36_a_confext_is_run_from_where_it_is_asked_for() {
    let prepare = |place: &Place| drop(extension(place, Confext, "a"));
    case(Confext, prepare, |case| {
        let all = StatVfsMountFlags::NODEV | StatVfsMountFlags::NOSUID | StatVfsMountFlags::NOEXEC;
        let found = |case: &Case<'_>| flags(case, "etc") & all;
        let without = StatVfsMountFlags::NODEV | StatVfsMountFlags::NOSUID;
        assert_eq!(case.theirs("merge --noexec=no").status, 0);
        assert_eq!(found(case), without);
        assert_eq!(case.theirs("unmerge").status, 0);
        let allowed = with(|options| options.execution = Execution::Allowed);
        merge(case.host, Confext, &allowed).unwrap();
        assert_eq!(found(case), without);
        let doubts = confext_core::status(case.host, Confext).unwrap();
        assert!(format!("{doubts:?}").contains("doubts: []"), "{doubts:?}");
        refresh(case.host, Confext, &unprotected()).unwrap();
        assert_eq!(found(case), all);
        unmerge(case.host, Confext, &allowed).unwrap();
    });
}
