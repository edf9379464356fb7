//! What systemd writes down of a stack in `origin`: where each extension was, and what tells it from another.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What is known of one extension: it is on the word of the stack's metadata until it is checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stated {
    /// The image or directory, inside the root.
    pub(super) path: String,
    /// The root hash that was in use, in hex.
    #[serde(default, rename = "verityHash")]
    pub(super) root_hash: Option<String>,
    /// Where there is no root hash and no file handle.
    #[serde(default)]
    pub(super) inode: Option<u64>,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Origin {
    #[serde(default)]
    pub(super) extensions: BTreeMap<String, Stated>,
    #[serde(default)]
    mutable: Mutable,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct Mutable {
    #[serde(default)]
    mode: String,
    #[serde(default, rename = "mutableDirs")]
    directories: BTreeMap<String, String>,
}

impl Origin {
    /// Reads it; `None` when it is not what systemd writes.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The directory that changes of a hierarchy are in, or were imported from.
    pub(super) fn changes(&self, hierarchy: &str) -> Option<&str> {
        let found = self.mutable.directories.iter().find(|(key, _)| key.trim_matches('/') == hierarchy);
        found.map(|(_, path)| path.as_str())
    }

    /// Whether changes are kept in memory.
    pub(super) fn is_ephemeral(&self) -> bool {
        self.mutable.mode.starts_with("ephemeral")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_systemd_writes_it() {
        let text =
            br#"{"mutable": {"mode": "import", "mutableDirs": {"/usr": "/var/lib/extensions.mutable/usr"}},
            "extensions": {"a": {"path": "/run/extensions/a.raw", "verityHash": "ab"},
            "b": {"path": "/run/extensions/b", "onMountId": 77, "inode": 5, "crtime": 1, "mtime": 0}}}"#;
        let origin = Origin::parse(text).unwrap();
        assert_eq!(origin.extensions["a"].root_hash.as_deref(), Some("ab"));
        assert_eq!(
            (origin.extensions["b"].inode, &*origin.extensions["b"].path),
            (Some(5), "/run/extensions/b")
        );
        assert_eq!(origin.changes("usr"), Some("/var/lib/extensions.mutable/usr"));
        assert_eq!((origin.changes("opt"), origin.is_ephemeral()), (None, false));
        for bad in [&b""[..], b"5", br#"{"extensions": {"a": {}}}"#, br#"{"extensions": 1}"#] {
            assert_eq!(Origin::parse(bad), None);
        }
    }
}
