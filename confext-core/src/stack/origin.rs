//! What systemd writes down to see at a refresh whether anything changed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::state::{Identity, Layer};

#[derive(Serialize)]
struct Origin<'a> {
    mutable: Mutable,
    extensions: BTreeMap<&'a str, Entry<'a>>,
}

#[derive(Serialize)]
struct Mutable {
    mode: &'static str,
    #[serde(rename = "mutableDirs")]
    directories: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verity_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
}

/// The text of the `origin` file: JSON indented with tabs.
///
/// systemd compares the whole; without a hash tree it also records mount and file handle, which only it can compare, so
/// that it takes such a stack of ours for changed and replaces it. That is safe; the other way round would not be.
pub(super) fn text(layers: &[Layer]) -> Result<String> {
    let extensions = layers.iter().map(|layer| {
        let (verity_hash, inode) = match &layer.identity {
            Identity::RootHash { root_hash } => (Some(root_hash.to_hex()), None),
            Identity::File { inode, .. } | Identity::Directory { inode, .. } => (None, Some(*inode)),
        };
        (layer.name.as_str(), Entry { path: &layer.path, verity_hash, inode })
    });
    let mutable = Mutable { mode: "no", directories: BTreeMap::new() };
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

    #[test]
    fn it_is_written_like_systemd_writes_it() {
        let root_hash = RootHash::from_bytes([0xab; 32]);
        let layer = Layer {
            name: "a".into(),
            path: "/run/confexts/a.raw".into(),
            kind: Kind::Raw,
            version: None,
            identity: Identity::RootHash { root_hash },
            checked: Checked::Verity { root_hash },
            partition: None,
            hierarchies: vec![],
        };
        let expected = format!(
            "{{\n\t\"mutable\": {{\n\t\t\"mode\": \"no\",\n\t\t\"mutableDirs\": {{}}\n\t}},\n\t\"extensions\": {{\n\t\t\"a\": \
             {{\n\t\t\t\"path\": \"/run/confexts/a.raw\",\n\t\t\t\"verityHash\": \"{}\"\n\t\t}}\n\t}}\n}}\n",
            "ab".repeat(32)
        );
        assert_eq!(text(&[layer]).unwrap(), expected);
    }
}
