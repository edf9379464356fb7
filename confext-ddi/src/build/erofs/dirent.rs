//! Directories as EROFS stores them: blocks of entries followed by their names, sorted by bytes.

use super::BLOCK;
use crate::build::tree::{Kind, NodeId, Tree};
use crate::erofs::Dirent;
use std::collections::BTreeMap;
use zerocopy::IntoBytes as _;

const BLOCK_BYTES: usize = 4096;
const _: () = assert!(BLOCK == 4096);

/// A name of a directory and the node it stands for.
pub(super) type Name<'a> = (&'a [u8], NodeId);

/// A directory's names as the kernel's binary search needs them: by bytes, with `.` and `..` in their places.
pub(super) fn sorted(children: &BTreeMap<Vec<u8>, NodeId>, this: NodeId, parent: NodeId) -> Vec<Name<'_>> {
    let own: [Name<'_>; 2] = [(b".", this), (b"..", parent)];
    let mut names: Vec<Name<'_>> =
        own.into_iter().chain(children.iter().map(|(name, node)| (name.as_slice(), *node))).collect();
    names.sort_unstable_by_key(|(name, _)| *name);
    names
}

/// Cuts sorted names into as few blocks as they fit: each entry takes 12 bytes and its name.
fn blocks<'n, 'a>(names: &'n [Name<'a>]) -> impl Iterator<Item = &'n [Name<'a>]> {
    let mut rest = names;
    std::iter::from_fn(move || {
        let mut used = 0_usize;
        let fits = rest.iter().take_while(|(name, _)| {
            used = used.saturating_add(entry_bytes(name));
            used <= BLOCK_BYTES
        });
        let (block, after) = rest.split_at_checked(fits.count())?;
        rest = after;
        (!block.is_empty()).then_some(block)
    })
}

const fn entry_bytes(name: &[u8]) -> usize {
    name.len().saturating_add(size_of::<Dirent>())
}

/// A directory's size: all its blocks but the last count in full.
pub(super) fn size_bytes(names: &[Name<'_>]) -> u64 {
    blocks(names).fold(0, |size: u64, block| {
        let used = block.iter().map(|(name, _)| entry_bytes(name)).fold(0, usize::saturating_add);
        size.next_multiple_of(BLOCK).saturating_add(u64::try_from(used).unwrap_or(u64::MAX))
    })
}

/// A directory's bytes; `nid_of` gives the inode number of a node.
pub(super) fn encode(tree: &Tree, names: &[Name<'_>], nid_of: impl Fn(NodeId) -> u64) -> Vec<u8> {
    let mut out = Vec::new();
    for block in blocks(names) {
        out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
        let mut name_offset = block.len().saturating_mul(size_of::<Dirent>());
        for (name, node) in block {
            let entry = Dirent {
                nid: nid_of(*node).into(),
                // At most 4096 - 12: the first name starts behind at least one entry, and one byte of it fits.
                name_offset: u16::try_from(name_offset).unwrap_or(u16::MAX).into(),
                file_type: file_type(&tree.node(*node).kind),
                reserved: 0,
            };
            out.extend_from_slice(entry.as_bytes());
            name_offset = name_offset.saturating_add(name.len());
        }
        for (name, _) in block {
            out.extend_from_slice(name);
        }
    }
    out
}

const fn file_type(kind: &Kind) -> u8 {
    use crate::build::tree::Device;
    match kind {
        Kind::File(_) => 1,
        Kind::Directory(_) => 2,
        Kind::Device(Device::Character { .. }) => 3,
        Kind::Device(Device::Block { .. }) => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
        Kind::Symlink(_) => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tree::Meta;

    #[test]
    fn names_below_a_dot_sort_before_it_and_sizes_agree() {
        let mut tree = Tree::new();
        let long: Vec<Vec<u8>> =
            (0..40_u8).map(|i| [vec![b'a' + i % 26, 128 + i], vec![b'x'; 253]].concat()).collect();
        for name in [&b"-"[..], b"\xff", b"!", b"..."].into_iter().chain(long.iter().map(Vec::as_slice)) {
            tree.add_fifo(name, Meta::new(0o600)).unwrap();
        }
        let Kind::Directory(children) = &tree.node(NodeId::ROOT).kind else { unreachable!() };
        let names = sorted(children, NodeId::ROOT, NodeId::ROOT);
        let first: Vec<&[u8]> = names.iter().take(5).map(|(name, _)| *name).collect();
        assert_eq!(first, [&b"!"[..], b"-", b".", b"..", b"..."]);
        let bytes = encode(&tree, &names, |_| 36);
        assert_eq!(bytes.len() as u64, size_bytes(&names));
        // 15 entries of 267 bytes fill a block: 4 + 40 names and two dots need three.
        assert_eq!(bytes.len().div_ceil(4096), 3);
    }
}
