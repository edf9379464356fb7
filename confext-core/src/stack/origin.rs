//! What systemd writes down to see at a refresh whether anything changed.

use std::collections::BTreeMap;

use confext_ddi::settings::Mutability;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::identity::Seen;
use crate::state::{Identity, Layer};

#[derive(Serialize)]
struct Origin<'a> {
    mutable: Mutable<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extensions: BTreeMap<&'a str, Entry<'a>>,
}

#[derive(Serialize)]
struct Mutable<'a> {
    mode: &'static str,
    #[serde(rename = "mutableDirs", skip_serializing_if = "BTreeMap::is_empty")]
    directories: &'a BTreeMap<String, String>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verity_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_mount_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_handle: Option<Handle>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crtime: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<u64>,
}

#[derive(Serialize)]
struct Handle {
    #[serde(rename = "type")]
    kind: i32,
    handle: String,
}

impl<'a> Entry<'a> {
    fn new(layer: &'a Layer, seen: &Seen) -> Self {
        let path = layer.path.as_str();
        if let Identity::RootHash { root_hash } = &layer.identity {
            let verity_hash = Some(root_hash.to_hex());
            return Self { path, verity_hash, ..Self::default() };
        }
        let handle = seen.handle.as_ref();
        Self {
            path,
            verity_hash: None,
            on_mount_id: seen.mount,
            file_handle: handle
                .map(|handle| Handle { kind: handle.kind, handle: const_hex::encode(&handle.bytes) }),
            inode: handle.is_none().then_some(seen.inode),
            crtime: Some(seen.created_usec),
            mtime: Some(seen.modified_usec),
        }
    }
}

/// The text of the `origin` file: JSON indented with tabs.
///
/// systemd compares the whole as JSON: where nothing has changed it leaves the stack alone. `directories` has, for each
/// hierarchy with one, the directory that writes go to or come from.
pub(super) fn text<'a>(
    layers: impl Iterator<Item = (&'a Layer, &'a Seen)>,
    mode: Mutability,
    directories: &BTreeMap<String, String>,
) -> Result<String> {
    let extensions = layers.map(|(layer, seen)| (layer.name.as_str(), Entry::new(layer, seen)));
    let mutable = Mutable { mode: mode.as_str(), directories };
    let origin = Origin { mutable, extensions: extensions.collect() };
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    origin
        .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
        .map_err(|error| Error::os("write", "the origin of a stack", std::io::Error::from(error)))?;
    bytes.push(b'\n');
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::Kind;
    use crate::state::Checked;
    use confext_ddi::RootHash;

    fn layer(name: &str, identity: Identity) -> Layer {
        Layer {
            name: name.into(),
            path: format!("/run/confexts/{name}"),
            kind: Kind::Raw,
            version: None,
            identity,
            checked: Checked::None,
            partition: None,
            hierarchies: vec![],
            attached: None,
        }
    }

    #[test]
    fn it_says_what_systemd_says() {
        let hashed = layer("a", Identity::RootHash { root_hash: RootHash::from_bytes([0xab; 32]) });
        let directory = Identity::Directory { device: (1, 2), inode: 3, listing: String::new() };
        let (handled, numbered) = (layer("b", directory.clone()), layer("c", directory));
        let handle = Some(crate::sys::FileHandle { kind: 1, bytes: vec![0x0a, 0xf0] });
        let seen = Seen { mount: Some(4), handle, inode: 3, created_usec: 5, modified_usec: 0 };
        let without = Seen { handle: None, ..seen.clone() };
        let layers = [(&hashed, &seen), (&handled, &seen), (&numbered, &without)];
        let found: serde_json::Value =
            serde_json::from_str(&text(layers.into_iter(), Mutability::No, &BTreeMap::new()).unwrap())
                .unwrap();
        let expected = serde_json::json!({
            "mutable": { "mode": "no" },
            "extensions": {
                "a": { "path": "/run/confexts/a", "verityHash": "ab".repeat(32) },
                "b": {
                    "path": "/run/confexts/b",
                    "onMountId": 4,
                    "fileHandle": { "type": 1, "handle": "0af0" },
                    "crtime": 5,
                    "mtime": 0,
                },
                "c": { "path": "/run/confexts/c", "onMountId": 4, "inode": 3, "crtime": 5, "mtime": 0 },
            },
        });
        assert_eq!(found, expected);
        let none = text(std::iter::empty(), Mutability::No, &BTreeMap::new()).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&none).unwrap().as_object().unwrap().len(), 1);
        let directories = BTreeMap::from([("/etc".to_owned(), "/var/lib/extensions.mutable/etc".to_owned())]);
        let auto = text(std::iter::empty(), Mutability::Auto, &directories).unwrap();
        let found: serde_json::Value = serde_json::from_str(&auto).unwrap();
        let expected = serde_json::json!({ "mode": "auto", "mutableDirs": directories });
        assert_eq!(found["mutable"], expected);
    }
}
