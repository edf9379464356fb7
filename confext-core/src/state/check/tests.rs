use super::*;
use crate::discover::Kind;
use crate::state::{Checked, FORMAT, Identity, Mutable, Partition};
use crate::sys::MountId;
use confext_ddi::RootHash;

fn layer(name: &str, designator: &str, hierarchies: &[&str]) -> Layer {
    let root_hash = RootHash::from_bytes([7; 32]);
    Layer {
        name: name.into(),
        path: format!("/run/extensions/{name}.raw"),
        kind: Kind::Raw,
        version: None,
        identity: Identity::RootHash { root_hash },
        checked: Checked::Verity { root_hash },
        partition: Some(Partition { designator: designator.into(), number: Some(1), uuid: None }),
        attached: None,
        hierarchies: hierarchies.iter().map(|&hierarchy| hierarchy.to_owned()).collect(),
    }
}

fn merged() -> Merged {
    let layers =
        vec![layer("a", "root", &["usr", "opt"]), layer("b", "usr", &["usr"]), layer("c", "root", &["opt"])];
    let record = Record {
        format: FORMAT,
        class: Class::Sysext,
        hierarchy: "usr".into(),
        merged_at: 5,
        policy: "root=signed".into(),
        created: false,
        device: Some((0, 40)),
        layers,
        base: None,
        mutable: Mutable::default(),
        execution: Default::default(),
        heard: None,
    };
    let top = std::fs::File::open("/").unwrap().into();
    let names = ["a", "b", "c"].map(str::to_owned).to_vec();
    Merged { top, names, since: 5, record: Some(record.into()), fault: None }
}

const OPTIONS: &str = "ro,lowerdir+=/,lowerdir+=/,lowerdir+=/usr,lowerdir+=/,redirect_dir=nofollow";

fn mounted(options: &str) -> MountInfo {
    MountInfo {
        id: MountId::new(1),
        parent: MountId::new(2),
        attributes: MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV,
        peer_group: 0,
        propagation: 0,
        device: (0, 40),
        superblock_flags: 1,
        fs_type: b"overlay".to_vec(),
        root: b"/".to_vec(),
        mount_point: b"/usr".to_vec(),
        source: Some(b"sysext".to_vec()),
        options: Some(options.as_bytes().to_vec()),
    }
}

fn doubts(change: impl FnOnce(&mut MountInfo, &mut Merged)) -> Vec<&'static str> {
    let (mut info, mut merged) = (mounted(OPTIONS), merged());
    change(&mut info, &mut merged);
    compare(&info, &merged, Class::Sysext).into_iter().map(|doubt| doubt.what).collect()
}

/// What is told of the record, to be changed.
fn record(merged: &mut Merged) -> &mut Record {
    merged.record.as_mut().and_then(std::sync::Arc::get_mut).unwrap()
}

#[test]
fn what_a_merge_makes_leaves_no_doubt() {
    assert_eq!(doubts(|_, _| {}), [""; 0]);
    // The host may lack the hierarchy: then there is nothing below the extensions.
    let without = OPTIONS.replace("lowerdir+=/usr,lowerdir+=/,", "lowerdir+=/usr,");
    assert_eq!(doubts(|info, _| info.options = Some(without.into_bytes())), [""; 0]);
}

#[test]
fn a_stack_that_can_be_written_to_has_an_upper_directory() {
    let writable = format!("{OPTIONS},upperdir=/x,workdir=/y").replace("nofollow", "on");
    let change = |info: &mut MountInfo, merged: &mut Merged| {
        info.options = Some(writable.replace("+=/usr", "+=/,lowerdir+=/usr").into_bytes());
        // The layer at the front is the one with the changes of another run.
        record(merged).mutable =
            Mutable { imported: Some("m".into()), writes: Writes::Memory, ..Mutable::default() };
    };
    assert_eq!(doubts(change), [""; 0]);
}

#[test]
fn a_directory_may_be_taken_from_the_mount_of_the_one_it_is_in() {
    let mounted_at = |path: &str| {
        let options = OPTIONS.replace("+=/usr", &format!("+={path}"));
        doubts(|info, merged| {
            info.options = Some(options.into_bytes());
            let layer = &mut record(merged).layers[0];
            (layer.kind, layer.partition, layer.path) =
                (Kind::Directory, None, "/var/lib/extensions/a".into());
        })
    };
    for path in ["/usr", "/a/usr", "/lib/extensions/a/usr"] {
        assert_eq!(mounted_at(path), [""; 0], "{path}");
    }
    for path in ["/", "/a", "/b/usr", "/ba/usr", "/a/usr/usr"] {
        assert_eq!(mounted_at(path), ["layers"], "{path}");
    }
}

#[test]
fn each_thing_that_is_different_is_a_doubt() {
    type Change = Box<dyn FnOnce(&mut MountInfo, &mut Merged)>;
    let options = |text: &str| -> Change {
        let text = text.as_bytes().to_vec();
        Box::new(move |info, _| info.options = Some(text))
    };
    let cases: Vec<(&str, Change)> =
        vec![
            ("file system", Box::new(|info, _| info.fs_type = b"tmpfs".to_vec())),
            ("root of the mount", Box::new(|info, _| info.root = b"/usr".to_vec())),
            ("source", Box::new(|info, _| info.source = Some(b"overlay".to_vec()))),
            ("extensions", Box::new(|_, merged| _ = merged.names.pop())),
            ("recorded device", Box::new(|info, _| info.device = (0, 41))),
            ("recorded device", Box::new(|_, merged| record(merged).device = None)),
            // One extension more or less, another order, another number of layers.
            ("layers", Box::new(|_, merged| record(merged).layers[2].hierarchies.push("usr".into()))),
            ("layers", Box::new(|_, merged| record(merged).layers[0].hierarchies.clear())),
            ("layers", Box::new(|_, merged| record(merged).layers[1].partition = None)),
            (
                "layers",
                options(&OPTIONS.replace(
                    "lowerdir+=/,lowerdir+=/,lowerdir+=/usr",
                    "lowerdir+=/,lowerdir+=/usr,lowerdir+=/",
                )),
            ),
            ("layers", options(&OPTIONS.replace("=/usr,", "=/usr,lowerdir+=/,"))),
            ("layers", options(&OPTIONS.replace(",redirect", "/etc,redirect"))),
            // As systemd mounts it.
            ("layers", options("ro,lowerdir=/run/meta/usr:/run/b:/run/a/usr:/usr,redirect_dir=nofollow")),
            ("redirect_dir", options(&OPTIONS.replace("nofollow", "on"))),
            ("redirect_dir", options(&OPTIONS.replace(",redirect_dir=nofollow", ""))),
            ("upper directory", options(&format!("{OPTIONS},upperdir=/x,workdir=/y"))),
        ];
    for (what, change) in cases {
        assert_eq!(doubts(change), [what]);
    }
    // As if it could be written to, or as if there were changes of another run.
    let writes = |_: &mut MountInfo, merged: &mut Merged| record(merged).mutable.writes = Writes::Memory;
    assert_eq!(doubts(writes), ["redirect_dir", "upper directory"]);
    let imports = |_: &mut MountInfo, merged: &mut Merged| record(merged).mutable.imported = Some("a".into());
    assert_eq!(doubts(imports), ["layers", "redirect_dir"]);
    assert_eq!(doubts(|info, _| info.options = None), ["layers", "redirect_dir"]);
}

#[test]
fn flags_of_the_mount_are_no_doubt_about_the_record() {
    let mut found = Vec::new();
    let mut record = Record::clone(&merged().record.unwrap());
    record.class = Class::Confext;
    attributes(MountAttrFlags::MOUNT_ATTR_NODEV, &record, &mut found);
    let what: Vec<_> = found.iter().map(|doubt| (doubt.what, doubt.expected.as_str())).collect();
    assert_eq!(what, [("mount flags", "nodev,nosuid,noexec")]);
    assert_eq!(found[0].found, "nodev");
}
