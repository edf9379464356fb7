use super::*;
use crate::attach::{BlockChecks, CheckedBy, Mapped, Mode, Reads, Reason, Way};
use crate::consumers::Heard;
use crate::discover::Kind;
use crate::loopdev::Io;
use confext_ddi::RootHash;
use confext_ddi::settings::Mutability;

fn record() -> Record {
    Record {
        format: FORMAT,
        class: Class::Confext,
        hierarchy: "etc".into(),
        merged_at: 5,
        policy: "root=signed".into(),
        created: false,
        device: Some((0, 40)),
        layers: vec![Layer {
            name: "a".into(),
            path: "/run/confexts/a.raw".into(),
            kind: Kind::Raw,
            version: Some("1".into()),
            identity: Identity::RootHash { root_hash: RootHash::from_bytes([7; 32]) },
            checked: Checked::Verity { root_hash: RootHash::from_bytes([7; 32]) },
            partition: Some(Partition { designator: "root".into(), number: Some(1), uuid: None }),
            hierarchies: vec!["etc".into()],
            attached: Some(Way {
                asked: Mode::InPlace,
                reads: Reads::LoopDevice,
                io: Some(Io::Direct),
                because: Reason::FileSystem,
                detail: Some("why".into()),
                verity: Some(Mapped {
                    name: "n".into(),
                    signature: CheckedBy::Kernel,
                    checks: BlockChecks::default(),
                }),
            }),
        }],
        base: None,
        mutable: Mutable {
            mode: Mutability::Auto,
            writes: Writes::Directory { path: "a".into(), work: "b".into() },
            imported: None,
        },
        execution: Execution::Forbidden,
        heard: Some(Heard::nothing()),
    }
}

#[test]
fn every_identity_is_read_as_it_was_written() {
    let mut record = record();
    for identity in [
        Identity::File { device: (1, 2), inode: u64::MAX, size_bytes: 3, modified: (-1, 9), changed: (5, 6) },
        Identity::Directory { device: (1, 2), inode: 4, listing: "00".into() },
        Identity::Content { sha256: "00".into() },
    ] {
        record.layers[0].identity = identity;
        let bytes = serde_json::to_vec(&record).unwrap();
        assert_eq!(parse(&bytes, Class::Confext, "etc", "/etc").unwrap(), record);
    }
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let bytes = serde_json::to_vec(&record()).unwrap();
    assert_eq!(parse(&bytes, Class::Confext, "etc", "/etc").unwrap(), record());
    let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["mutable"]["writes"]["to"], "directory");
    value.as_object_mut().unwrap().remove("mutable");
    value.as_object_mut().unwrap().remove("heard");
    let older = parse(value.to_string().as_bytes(), Class::Confext, "etc", "/etc").unwrap();
    assert_eq!(older, Record { mutable: Mutable::default(), heard: None, ..record() });
}

#[test]
fn a_record_that_does_not_fit_is_refused() {
    let other = Record { format: 2, ..record() };
    for bytes in [b"".to_vec(), b"{}".to_vec(), serde_json::to_vec(&other).unwrap()] {
        assert_eq!(parse(&bytes, Class::Confext, "etc", "/etc").unwrap_err().code(), "stack-metadata");
    }
    let bytes = serde_json::to_vec(&record()).unwrap();
    assert_eq!(parse(&bytes, Class::Sysext, "usr", "/usr").unwrap_err().code(), "stack-metadata");
}

#[test]
fn a_copy_of_a_merged_tree_is_no_stack() {
    let root = tempfile::tempdir().unwrap();
    let metadata = root.path().join("etc/.systemd-confext");
    std::fs::create_dir_all(&metadata).unwrap();
    let host = Host::open(root.path()).unwrap();
    let stat = directory::statx(host.open_path(Path::new("etc"), OFlags::empty()).unwrap().as_fd()).unwrap();
    std::fs::write(metadata.join("dev"), format!("{}:{}\n", stat.stx_dev_major, stat.stx_dev_minor)).unwrap();
    assert!(matches!(look(&host, Class::Confext, "etc").unwrap(), Current::Bare(_)));
    assert!(matches!(look(&host, Class::Sysext, "opt").unwrap(), Current::Missing));
}
