use super::*;
use crate::discover::Kind;
use crate::state::SignedBy;
use crate::trace::{KnownFrom, View};
use confext_ddi::RootHash;
use confext_ddi::signature::TrustSource;
use std::sync::Arc;

fn source(checked: Checked) -> Arc<Source> {
    Arc::new(Source {
        layer: "app".into(),
        image: "/run/confexts/app.raw.v/app_1.raw".into(),
        kind: Kind::Raw,
        version: Some("1".into()),
        partition: None,
        root_hash: checked.root_hash().copied(),
        checked,
        attached: None,
        known_from: KnownFrom::Record,
        confirmed_by: "root-hash",
    })
}

fn signed() -> Checked {
    let by = SignedBy {
        subject: "CN=vendor".into(),
        fingerprint: Some("0aff".into()),
        not_before: Some(0),
        not_after: Some(1),
        source: TrustSource::Caller,
    };
    Checked::Signed { root_hash: RootHash::from_bytes([1; 32]), by }
}

fn origin(answer: Answer) -> Origin {
    Origin { path: "/etc/x".into(), view: View::Live, file_type: None, answer, target: None }
}

fn layer(checked: Checked) -> Origin {
    origin(Answer::Layer { hierarchy: "etc", source: source(checked), shadows: Vec::new() })
}

#[test]
fn images_are_named_by_extension_by_path_or_by_file() {
    for name in ["app", "/run/confexts/app.raw.v/app_1.raw", "app_1.raw"] {
        assert!(Filter::Image(name.into()).wants(&layer(signed())), "{name}");
    }
    for name in ["", "ap", "app.raw.v/app_1.raw", "CN=vendor"] {
        assert!(!Filter::Image(name.into()).wants(&layer(signed())), "{name}");
    }
}

#[test]
fn signers_are_named_by_subject_or_by_fingerprint() {
    for name in ["CN=vendor", "0aff", "0A:FF"] {
        assert!(Filter::Signer(name.into()).wants(&layer(signed())), "{name}");
        let verity = Checked::Verity { root_hash: RootHash::from_bytes([1; 32]) };
        assert!(!Filter::Signer(name.into()).wants(&layer(verity)), "{name}");
    }
    for name in ["", "vendor", "0af", "cn=vendor"] {
        assert!(!Filter::Signer(name.into()).wants(&layer(signed())), "{name}");
    }
}

#[test]
fn unverified_is_what_nothing_vouches_for() {
    let hierarchy = "etc";
    let directory = |sources| {
        let (base, written) = (crate::trace::Presence::Absent, crate::trace::Presence::Absent);
        origin(Answer::Directory { hierarchy, sources, base, written, unknown: Vec::new() })
    };
    let unverified = [
        layer(Checked::None),
        origin(Answer::Written { hierarchy }),
        origin(Answer::CopiedUp { hierarchy, shadows: Vec::new() }),
        origin(Answer::CannotTell { hierarchy, unknown: Vec::new(), because: None, doubts: Vec::new() }),
        directory(vec![source(Checked::None), source(signed())]),
    ];
    let others = [
        layer(signed()),
        layer(Checked::Verity { root_hash: RootHash::from_bytes([1; 32]) }),
        origin(Answer::NotMerged),
        origin(Answer::Metadata { hierarchy }),
        directory(vec![source(signed()), source(Checked::None)]),
    ];
    for origin in &unverified {
        assert!(Filter::Unverified.wants(origin) && Filter::All.wants(origin), "{origin:?}");
    }
    for origin in &others {
        assert!(!Filter::Unverified.wants(origin) && Filter::All.wants(origin), "{origin:?}");
    }
}
