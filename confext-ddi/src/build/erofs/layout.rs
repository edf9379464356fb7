//! The first pass: every inode's size, form and place, and the blocks of every file. No content is read.

use super::chunks::Chunks;
use super::space::Space;
use super::{BLOCK, Options, dirent, xattr};
use crate::build::tree::{Kind, Node, NodeId, Timestamp, Tree, Visit};
use crate::erofs::{CompactInode, ExtendedInode, SLOT_BYTES};
use crate::error::{Result, Unsupported};

/// The most blocks an image can have: addresses are 32 bits and the last one means "hole".
const MAX_BLOCKS: u64 = 0xffff_fffe;

/// What an inode stores besides itself and its attributes.
#[derive(Debug)]
pub(super) enum Payload {
    /// Nothing: an empty file, a fifo, a socket, a device node.
    None,
    /// All bytes in order: whole blocks from `block` on, the rest behind the inode when `inline`.
    Flat { block: u64, inline: bool },
    /// Chunks, the holes left out; the table of their addresses behind the inode.
    Chunks(Chunks),
}

/// An inode with its place.
#[derive(Debug)]
pub(super) struct Inode<'t> {
    pub(super) node: &'t Node,
    pub(super) id: NodeId,
    pub(super) parent: NodeId,
    /// The first of its names.
    pub(super) path: Vec<u8>,
    /// From 1, in the order of the walk.
    pub(super) number: u32,
    pub(super) links: u32,
    pub(super) size: u64,
    pub(super) mtime: Timestamp,
    pub(super) extended: bool,
    pub(super) xattr_bytes: u64,
    pub(super) offset: u64,
    pub(super) payload: Payload,
}

impl Inode<'_> {
    pub(super) const fn nid(&self) -> u64 {
        self.offset / SLOT_BYTES
    }

    fn head_bytes(&self) -> usize {
        if self.extended { size_of::<ExtendedInode>() } else { size_of::<CompactInode>() }
    }

    /// How many bytes stand in blocks of their own when the payload is flat.
    pub(super) const fn flat_bytes(&self, inline: bool) -> u64 {
        if inline { self.size.saturating_sub(self.size % BLOCK) } else { self.size }
    }
}

/// Where everything of an image stands.
#[derive(Debug)]
pub(super) struct Layout<'t> {
    /// In the order of the walk: the root first.
    pub(super) inodes: Vec<Inode<'t>>,
    /// Inode numbers by node.
    nids: Vec<u64>,
    pub(super) blocks: u64,
}

impl<'t> Layout<'t> {
    pub(super) fn new(tree: &'t Tree, options: &Options) -> Result<Self> {
        let mut inodes = collect(tree, options)?;
        let mut space = Space::new();
        let mut nids = vec![0; tree.node_count()];
        for inode in &mut inodes {
            place(inode, &mut space)?;
            if let Some(nid) = nids.get_mut(inode.id.index()) {
                *nid = inode.nid();
            }
        }
        let mut blocks = space.blocks();
        for inode in &mut inodes {
            blocks = give_blocks(inode, blocks)?;
        }
        Ok(Self { inodes, nids, blocks })
    }

    pub(super) fn nid_of(&self, node: NodeId) -> u64 {
        self.nids.get(node.index()).copied().unwrap_or_default()
    }
}

/// One inode for each node, with all of it that does not depend on its place.
fn collect<'t>(tree: &'t Tree, options: &Options) -> Result<Vec<Inode<'t>>> {
    let mut inodes: Vec<Inode<'t>> = Vec::with_capacity(tree.node_count());
    let mut seen: Vec<Option<usize>> = vec![None; tree.node_count()];
    for visit in tree.visits() {
        let Some(slot) = seen.get_mut(visit.node.index()) else { continue };
        if let Some(inode) = slot.and_then(|at| inodes.get_mut(at)) {
            inode.links = inode.links.saturating_add(1);
            continue;
        }
        *slot = Some(inodes.len());
        let number = u32::try_from(inodes.len()).unwrap_or(u32::MAX).saturating_add(1);
        inodes.push(inode(tree, options, visit, number)?);
    }
    for inode in &mut inodes {
        inode.extended = needs_extended(inode, options);
    }
    Ok(inodes)
}

fn inode<'t>(tree: &'t Tree, options: &Options, visit: Visit, number: u32) -> Result<Inode<'t>> {
    let node = tree.node(visit.node);
    let (size, links) = match &node.kind {
        Kind::File(content) => (content.size_bytes(), 1),
        Kind::Symlink(target) => (u64::try_from(target.len()).unwrap_or(u64::MAX), 1),
        Kind::Directory(children) => {
            let below = |child: &&NodeId| matches!(tree.node(**child).kind, Kind::Directory(_));
            let links = children.values().filter(below).count().saturating_add(2);
            let names = dirent::sorted(children, visit.node, visit.parent);
            (dirent::size_bytes(&names), u32::try_from(links).unwrap_or(u32::MAX))
        }
        Kind::Device(_) | Kind::Fifo | Kind::Socket => (0, 1),
    };
    let mtime = node.meta.mtime.unwrap_or(options.build_time);
    let mtime = options.latest_mtime.map_or(mtime, |latest| mtime.min(latest));
    if i64::try_from(size).is_err() {
        return Err(Unsupported::ErofsSize { found: size / BLOCK, most: MAX_BLOCKS }.into());
    }
    let xattr_bytes = xattr::encode(&node.xattrs, &visit.path)?.len();
    let payload = match &node.kind {
        Kind::File(content) => content.data().and_then(|data| Chunks::choose(size, data)),
        _ => None,
    };
    let payload = payload.map_or(Payload::None, Payload::Chunks);
    Ok(Inode {
        node,
        id: visit.node,
        parent: visit.parent,
        path: visit.path,
        number,
        links,
        size,
        mtime,
        extended: false,
        xattr_bytes: u64::try_from(xattr_bytes).unwrap_or(u64::MAX),
        offset: 0,
        payload,
    })
}

fn needs_extended(inode: &Inode<'_>, options: &Options) -> bool {
    let meta = &inode.node.meta;
    let fits = [meta.uid, meta.gid, inode.links].iter().all(|value| u16::try_from(*value).is_ok());
    !fits || u32::try_from(inode.size).is_err() || inode.mtime != options.build_time
}

fn place(inode: &mut Inode<'_>, space: &mut Space) -> Result<()> {
    let head = u64::try_from(inode.head_bytes()).unwrap_or(u64::MAX).saturating_add(inode.xattr_bytes);
    let (head, tail) = match &inode.payload {
        Payload::Chunks(chunks) => (head.saturating_add(chunks.table_bytes()), 0),
        Payload::Flat { .. } | Payload::None => (head, inode.size % BLOCK),
    };
    let spot = space.place(head, tail);
    inode.offset = spot.offset;
    if inode.size > 0 && matches!(inode.payload, Payload::None) {
        inode.payload = Payload::Flat { block: 0, inline: spot.inline };
    }
    check_blocks(space.blocks())
}

/// Gives an inode's payload its blocks from `next` on; returns the block after them.
fn give_blocks(inode: &mut Inode<'_>, next: u64) -> Result<u64> {
    let after = match &mut inode.payload {
        Payload::None => next,
        Payload::Flat { block, inline } => {
            *block = next;
            next.saturating_add(if *inline { inode.size / BLOCK } else { inode.size.div_ceil(BLOCK) })
        }
        Payload::Chunks(chunks) => {
            let sizes: Vec<u64> = chunks.runs.iter().map(|run| chunks.blocks(run)).collect();
            chunks.runs.iter_mut().zip(sizes).fold(next, |next, (run, blocks)| {
                run.block = next;
                next.saturating_add(blocks)
            })
        }
    };
    check_blocks(after)?;
    Ok(after)
}

fn check_blocks(found: u64) -> Result<()> {
    if found > MAX_BLOCKS {
        return Err(Unsupported::ErofsSize { found, most: MAX_BLOCKS }.into());
    }
    Ok(())
}
