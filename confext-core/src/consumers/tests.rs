use super::*;
use crate::units::Request;

fn file(path: &str, digest: &str, over_host: bool) -> Consumed {
    Consumed { path: path.into(), layer: "a".into(), digest: digest.into(), over_host }
}

fn heard(consumed: Vec<Consumed>, requests: &[(&str, &[(&str, &str)])]) -> Heard {
    let request = |fields: &[(&str, &str)]| Request::of(&fields.iter().copied().collect());
    let requests = requests.iter().map(|(name, fields)| ((*name).to_owned(), request(fields)));
    Heard { consumed: Some(consumed), requests: requests.collect() }
}

const UNIT: &str = "usr/lib/systemd/system/a.service";

#[test]
fn each_file_is_told_once_and_by_what_a_program_would_see() {
    let hidden = Consumed::HIDDEN;
    for (old, new, change) in [
        (None, Some(("1", false)), Some(PathChange::Added)),
        (None, Some(("1", true)), Some(PathChange::Changed)),
        (None, Some((hidden, true)), Some(PathChange::Removed)),
        (Some(("1", false)), None, Some(PathChange::Removed)),
        (Some(("1", true)), None, Some(PathChange::Changed)),
        (Some((hidden, true)), None, Some(PathChange::Added)),
        (Some(("1", false)), Some(("1", false)), None),
        (Some(("1", false)), Some(("2", false)), Some(PathChange::Changed)),
        (Some(("1", true)), Some((hidden, true)), Some(PathChange::Removed)),
        (Some((hidden, true)), Some((hidden, true)), None),
        (Some((hidden, true)), Some(("1", true)), Some(PathChange::Added)),
    ] {
        let stack = |one: Option<(&str, bool)>| {
            heard(one.map(|(digest, over_host)| file(UNIT, digest, over_host)).into_iter().collect(), &[])
        };
        let after = After::between(&stack(old), &stack(new));
        assert!(after.complete);
        let found: Vec<_> =
            after.consumers.iter().flat_map(|one| &one.paths).map(|path| path.change).collect();
        assert_eq!(found, change.into_iter().collect::<Vec<_>>(), "{old:?} {new:?}");
    }
}

#[test]
fn changes_are_grouped_by_program() {
    let now = heard(
        vec![
            file("usr/lib/sysusers.d/a.conf", "1", false),
            file(UNIT, "1", false),
            file("usr/lib/systemd/system/b.service", "1", false),
        ],
        &[],
    );
    let after = After::between(&heard(vec![], &[]), &now);
    let found: Vec<_> = after.consumers.iter().map(|one| (one.consumer, one.paths.len())).collect();
    assert_eq!(found, [(Consumer::Units, 2), (Consumer::Sysusers, 1)]);
    assert_eq!(after.manager, Work::default(), "nothing is done that nobody asks for");
    let unknown = Heard { consumed: None, requests: vec![] };
    assert!(!After::between(&unknown, &now).complete);
}

#[test]
fn units_are_restarted_reloaded_and_stopped_as_asked() {
    let restart = ("EXTENSION_RESTART_UNITS", "a.service t@1.service");
    let reload = ("EXTENSION_RELOAD_OR_RESTART_UNITS", "b.service x");
    let template = "usr/lib/systemd/system/t@.service";
    let files = || vec![file(UNIT, "1", false), file(template, "1", false)];
    let none = heard(vec![], &[]);
    let one = heard(files(), &[("one", &[restart])]);
    let merged = After::between(&none, &one).manager;
    assert!(merged.reload);
    assert_eq!((merged.restart.join(" "), merged.stop.len()), ("a.service t@1.service".into(), 0));

    let two =
        heard(files(), &[("one", &[restart]), ("two", &[reload, ("EXTENSION_RESTART_UNITS", "b.service")])]);
    let refreshed = After::between(&one, &two).manager;
    assert_eq!(refreshed.restart, ["a.service", "b.service", "t@1.service"]);
    assert_eq!(refreshed.reload_or_restart, Vec::<String>::new(), "a unit in both lists is restarted");
    assert_eq!(
        (refreshed.invalid[0].layer.as_str(), refreshed.invalid[0].invalid.found.as_str()),
        ("two", "x")
    );

    // Files of the host below: the unit does not vanish.
    let over_host = heard(vec![file(UNIT, "1", true), file(template, "1", false)], &[("one", &[restart])]);
    let gone = After::between(&over_host, &none).manager;
    assert_eq!((gone.restart.join(" "), gone.stop.join(" ")), ("a.service".into(), "t@1.service".into()));
    let gone = After::between(&one, &none).manager;
    assert_eq!(
        (gone.restart.len(), gone.stop.join(" "), gone.reload),
        (0, "a.service t@1.service".into(), true)
    );
}
