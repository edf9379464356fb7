//! What is different between what is merged and what should be, with the reasons.

use std::collections::BTreeMap;

use confext_ddi::release::Class;

use super::{Change, bare};
use crate::attach::{BlockChecks, Mode};
use crate::error::Result;
use crate::host::Host;
use crate::plan::Fate;
use crate::state::{Execution, Layer, Merged, Record};

/// Whether a change did not come to its end: there are two stacks over a hierarchy, or none where its record has one.
///
/// # Errors
///
/// `os`.
pub(super) fn interrupted(host: &Host, class: Class, stacks: &[(&'static str, Merged)]) -> Result<bool> {
    for (hierarchy, merged) in stacks {
        // Others that leave such things know what they mean by it.
        let Some(record) = &merged.record else { continue };
        let mut recorded = record.layers.iter().flat_map(|layer| &layer.hierarchies);
        if recorded.any(|wanted| !stacks.iter().any(|(there, _)| there == wanted))
            || bare::count(host, class, hierarchy, &merged.top)? > 1
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is different between the merged hierarchies and the extensions that should be merged.
pub(crate) fn changes(
    merged: &[(&'static str, Option<&Record>)],
    wanted: &[Layer],
    policy: &str,
) -> Vec<Change> {
    let mut records = Vec::new();
    for (_, record) in merged {
        match record {
            Some(record) => records.push(*record),
            None => return vec![Change::Unknown],
        }
    }
    let Some(first) = records.first() else { return vec![Change::Unknown] };
    let mut changes = Vec::new();
    if first.policy != policy {
        changes.push(Change::Policy { found: first.policy.clone(), expected: policy.to_owned() });
    }
    compare(&first.layers, wanted, &mut changes);
    // Every hierarchy that the recorded extensions have files in must still be merged, by the same merge.
    let expected = first.layers.iter().flat_map(|layer| &layer.hierarchies);
    let mut missing: Vec<_> =
        expected.filter(|h| !merged.iter().any(|(name, _)| name == h)).cloned().collect();
    let strays = records.iter().skip(1).filter(|record| record.layers != first.layers);
    missing.extend(strays.map(|record| record.hierarchy.clone()));
    missing.sort();
    missing.dedup();
    changes.extend(missing.into_iter().map(|hierarchy| Change::Hierarchy { hierarchy }));
    changes
}

/// The extensions whose images were attached as something else was asked for.
pub(super) fn attached_otherwise(
    merged: &[(&'static str, Option<&Record>)],
    expected: Mode,
    checks: BlockChecks,
) -> Vec<Change> {
    let Some((_, Some(record))) = merged.first() else { return Vec::new() };
    let otherwise = |layer: &Layer| {
        let (name, way) = (layer.name.clone(), layer.attached.as_ref()?);
        match &way.verity {
            _ if way.asked != expected => Some(Change::Attached { name, found: way.asked, expected }),
            Some(mapped) if mapped.checks != checks => {
                Some(Change::Checks { name, found: mapped.checks, expected: checks })
            }
            _ => None,
        }
    };
    record.layers.iter().filter_map(otherwise).collect()
}

/// Whether programs could be run from the stack, and no longer are to be; or the other way.
pub(super) fn executed_otherwise(
    class: Class,
    merged: &[(&'static str, Option<&Record>)],
    expected: Execution,
) -> Option<Change> {
    let found = merged.iter().find_map(|(_, record)| Some(record.as_ref()?.execution))?;
    (found.is_allowed(class) != expected.is_allowed(class)).then_some(Change::Execution { found, expected })
}

fn compare(found: &[Layer], wanted: &[Layer], changes: &mut Vec<Change>) {
    fn by_name(layers: &[Layer]) -> BTreeMap<&str, &Layer> {
        layers.iter().map(|layer| (layer.name.as_str(), layer)).collect()
    }
    let (found, wanted) = (by_name(found), by_name(wanted));
    for (name, before) in &found {
        let fate = wanted.get(name).map(|now| Fate::between(before, now));
        let name = || (*name).to_owned();
        match fate {
            None => changes.push(Change::Removed { name: name() }),
            Some(Fate::Replaced { test }) => changes.push(Change::Replaced { name: name(), test }),
            Some(Fate::Rechecked) => changes.push(Change::Rechecked { name: name() }),
            Some(_) => {}
        }
    }
    for name in wanted.keys().filter(|name| !found.contains_key(*name)) {
        changes.push(Change::Added { name: (*name).to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::{CheckedBy, Mapped, Reads, Reason, Way};
    use crate::dmverity::Checks;
    use crate::state::sample::layer;
    use crate::state::{Checked, FORMAT, Mutable, SignedBy};
    use confext_ddi::RootHash;
    use confext_ddi::signature::TrustSource;

    fn record(layers: Vec<Layer>) -> Record {
        Record {
            format: FORMAT,
            class: Class::Confext,
            hierarchy: "etc".into(),
            merged_at: 0,
            policy: "p".into(),
            created: false,
            device: None,
            layers,
            base: None,
            mutable: Mutable::default(),
            execution: Execution::default(),
            heard: None,
        }
    }

    fn found(record: &Record, wanted: &[Layer], policy: &str) -> Vec<Change> {
        changes(&[("etc", Some(record))], wanted, policy)
    }

    #[test]
    fn the_same_extensions_are_no_change() {
        let mut wanted = vec![layer("b", 2), layer("a", 1)];
        wanted[0].hierarchies.clear();
        assert_eq!(found(&record(vec![layer("a", 1), layer("b", 2)]), &wanted, "p"), []);
    }

    #[test]
    fn each_difference_is_named() {
        let before = record(vec![layer("a", 1), layer("b", 2), layer("c", 3), layer("d", 4)]);
        let mut moved = layer("c", 3);
        moved.path = "/elsewhere".into();
        let mut signed = layer("d", 4);
        let by = SignedBy {
            subject: "CN=x".into(),
            fingerprint: Some("00".into()),
            not_before: Some(0),
            not_after: Some(1),
            source: TrustSource::Caller,
        };
        signed.checked = Checked::Signed { root_hash: RootHash::from_bytes([4; 32]), by };
        let wanted = [layer("b", 9), moved, signed, layer("e", 5)];
        let name = |name: &str| name.to_owned();
        assert_eq!(
            found(&before, &wanted, "q"),
            [
                Change::Policy { found: "p".into(), expected: "q".into() },
                Change::Removed { name: name("a") },
                Change::Replaced { name: name("b"), test: "root-hash" },
                Change::Rechecked { name: name("c") },
                Change::Rechecked { name: name("d") },
                Change::Added { name: name("e") },
            ]
        );
    }

    #[test]
    fn a_hierarchy_that_lost_its_stack_is_a_change() {
        let mut a = layer("a", 1);
        a.hierarchies.push("opt".into());
        let before = record(vec![a.clone()]);
        assert_eq!(found(&before, &[a], "p"), [Change::Hierarchy { hierarchy: "opt".into() }]);
    }

    #[test]
    fn another_way_to_attach_is_a_change() {
        let way = |asked, verity| {
            let (reads, because) = (Reads::LoopDevice, Reason::Asked);
            Way { asked, reads, io: None, because, detail: None, verity }
        };
        let found = |way, expected, checks| {
            let first = Layer { attached: Some(way), ..layer("a", 1) };
            attached_otherwise(&[("etc", Some(&record(vec![first, layer("b", 2)])))], expected, checks)
        };
        let (every, once) = (BlockChecks::default(), BlockChecks::default().checks(Checks::Once));
        let name = "a".to_owned();
        assert_eq!(found(way(Mode::Plain, None), Mode::Plain, every), []);
        // Without dm-verity there is nothing that checks in another way.
        assert_eq!(found(way(Mode::Auto, None), Mode::Auto, once), []);
        let change =
            Change::Attached { name: name.clone(), found: Mode::SealedMemory, expected: Mode::Plain };
        assert_eq!(found(way(Mode::SealedMemory, None), Mode::Plain, every), [change]);
        let mapped = |checks| Some(Mapped { name: "n".into(), signature: CheckedBy::Nobody, checks });
        assert_eq!(found(way(Mode::Auto, mapped(once)), Mode::Auto, once), []);
        let change = Change::Checks { name, found: every, expected: once };
        assert_eq!(found(way(Mode::Auto, mapped(every)), Mode::Auto, once), [change]);
    }

    #[test]
    fn a_stack_of_another_program_is_replaced() {
        assert_eq!(changes(&[("etc", None)], &[layer("a", 1)], "p"), [Change::Unknown]);
    }
}
