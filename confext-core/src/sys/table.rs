//! The table of mounts in `/proc/PID/mountinfo`, for kernels without `statmount` and for the mounts of another process:
//! read and taken apart strictly.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::mount::MountAttrFlags;

use super::statmount::{MountId, MountInfo};

/// `SB_RDONLY`, `SB_SYNCHRONOUS`, `SB_DIRSYNC`, `SB_LAZYTIME`: those of a superblock's flags that the kernel shows.
const SUPERBLOCK_FLAGS: [(&[u8], u32); 4] =
    [(b"ro", 1), (b"sync", 16), (b"dirsync", 128), (b"lazytime", 1 << 25)];
/// `MS_UNBINDABLE`, `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`
const UNBINDABLE: u64 = 1 << 17;
const PRIVATE: u64 = 1 << 18;
const SLAVE: u64 = 1 << 19;
const SHARED: u64 = 1 << 20;

/// `statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID)`: the number that the table has for the mount a descriptor is on. It is
/// given to another mount when this one is gone.
///
/// # Needs
///
/// Linux 5.8.
///
/// # Errors
///
/// `Unsupported` when the kernel does not tell.
pub fn mount_id(fd: BorrowedFd<'_>) -> io::Result<MountId> {
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(MountId::new(stat.stx_mnt_id))
}

/// What the table says of one mount.
///
/// # Errors
///
/// `ENOENT` when it has no such mount, which includes those that are not below the caller's root.
pub(super) fn mount_info(id: MountId) -> io::Result<MountInfo> {
    let found = read()?.into_iter().find(|info| info.id == id);
    found.ok_or_else(|| rustix::io::Errno::NOENT.into())
}

/// Every mount below `parent`, at any depth.
///
/// # Errors
///
/// As reading the table.
pub(super) fn mounts_below(parent: MountId) -> io::Result<Vec<MountInfo>> {
    Ok(below(read()?, parent))
}

fn below(all: Vec<MountInfo>, parent: MountId) -> Vec<MountInfo> {
    if parent == MountId::ROOT {
        return all;
    }
    let mut found: Vec<MountInfo> = Vec::new();
    let mut rest = all;
    rest.retain(|info| info.id != parent);
    // A mount may stand before the one it is on: moving changes what is on what, not the order.
    loop {
        let is_below =
            |info: &MountInfo| info.parent == parent || found.iter().any(|outer| outer.id == info.parent);
        let (more, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(is_below);
        if more.is_empty() {
            return found;
        }
        found.extend(more);
        rest = others;
    }
}

/// Reads the table of the calling thread's namespace.
fn read() -> io::Result<Vec<MountInfo>> {
    until_the_same(|| std::fs::read("/proc/thread-self/mountinfo"))
}

/// The mounts that a process sees, by its open directory `/proc/PID`: also where the caller has no `/proc` at hand. The
/// numbers are those of [`mount_id`] here.
///
/// # Errors
///
/// `ESRCH`, `EINVAL` when the process is gone.
pub fn mounts_of(process: BorrowedFd<'_>) -> io::Result<Vec<MountInfo>> {
    until_the_same(|| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mut text = Vec::new();
        let file = rustix::fs::openat(process, "mountinfo", flags, Mode::empty())?;
        io::Read::read_to_end(&mut std::fs::File::from(file), &mut text)?;
        Ok(text)
    })
}

fn until_the_same(read: impl Fn() -> io::Result<Vec<u8>>) -> io::Result<Vec<MountInfo>> {
    const ATTEMPTS: u32 = 16;
    // The kernel hands the table out in pieces, between which it may change: until it is twice the same.
    let mut text = read()?;
    for _ in 0..ATTEMPTS {
        let again = read()?;
        if again == text {
            break;
        }
        text = again;
    }
    parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Every line; `None` when one of them cannot be understood.
fn parse(text: &[u8]) -> Option<Vec<MountInfo>> {
    let lines = match text {
        [] => return Some(Vec::new()),
        [lines @ .., b'\n'] => lines,
        _ => return None,
    };
    lines.split(|byte| *byte == b'\n').map(line).collect()
}

/// ```text
/// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
/// ```
/// number, parent, device, root, mount point, attributes, any number of tags, `-`, type, source, options. Spaces in a
/// field are escaped.
fn line(text: &[u8]) -> Option<MountInfo> {
    let mut fields = text.split(|byte| *byte == b' ');
    let id = MountId::new(number(fields.next()?)?);
    let parent = MountId::new(number(fields.next()?)?);
    let device = device(fields.next()?)?;
    let root = unescape(fields.next()?)?;
    let mount_point = unescape(fields.next()?)?;
    let attributes = attributes(fields.next()?);
    let mut propagation = 0;
    let mut peer_group = 0;
    loop {
        match fields.next()? {
            b"-" => break,
            tag => {
                propagation |= kind(tag);
                if let Some(group) = tag.strip_prefix(b"shared:") {
                    peer_group = number(group)?;
                }
            }
        }
    }
    if propagation == 0 {
        propagation = PRIVATE;
    }
    let fs_type = unescape(fields.next()?)?;
    let source = unescape(fields.next()?)?;
    let (superblock_flags, options) = superblock(&unescape(fields.next()?)?);
    if fields.next().is_some() {
        return None;
    }
    // Behind the dot is what a program says the file system is.
    let fs_type = fs_type.split(|byte| *byte == b'.').next()?.to_vec();
    let (source, options) = (Some(source), Some(options));
    Some(MountInfo {
        id,
        parent,
        attributes,
        propagation,
        peer_group,
        device,
        superblock_flags,
        fs_type,
        root,
        mount_point,
        source,
        options,
    })
}

/// Decimal digits and nothing else.
fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn device(text: &[u8]) -> Option<(u32, u32)> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    Some((number(text.get(..colon)?)?, number(text.get(colon.checked_add(1)?..)?)?))
}

/// A tag that is not known says nothing about propagation.
fn kind(tag: &[u8]) -> u64 {
    let name = tag.split(|byte| *byte == b':').next().unwrap_or_default();
    match name {
        b"shared" => SHARED,
        b"master" => SLAVE,
        b"unbindable" => UNBINDABLE,
        _ => 0,
    }
}

fn attributes(text: &[u8]) -> MountAttrFlags {
    // The kernel names the usual way of keeping access times, and not the strict one.
    let mut found = MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    for word in text.split(|byte| *byte == b',') {
        match word {
            b"ro" => found |= MountAttrFlags::MOUNT_ATTR_RDONLY,
            b"nosuid" => found |= MountAttrFlags::MOUNT_ATTR_NOSUID,
            b"nodev" => found |= MountAttrFlags::MOUNT_ATTR_NODEV,
            b"noexec" => found |= MountAttrFlags::MOUNT_ATTR_NOEXEC,
            b"nodiratime" => found |= MountAttrFlags::MOUNT_ATTR_NODIRATIME,
            b"nosymfollow" => found |= MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW,
            b"idmapped" => found |= MountAttrFlags::MOUNT_ATTR_IDMAP,
            b"relatime" => found.remove(MountAttrFlags::MOUNT_ATTR_STRICTATIME),
            b"noatime" => {
                found.remove(MountAttrFlags::MOUNT_ATTR_STRICTATIME);
                found |= MountAttrFlags::MOUNT_ATTR_NOATIME;
            }
            _ => {}
        }
    }
    found
}

/// The superblock's flags, which stand in front, and the file system's own options.
fn superblock(text: &[u8]) -> (u32, Vec<u8>) {
    let mut flags = 0;
    let mut words = text.split(|byte| *byte == b',').peekable();
    while let Some(word) = words.peek() {
        match SUPERBLOCK_FLAGS.iter().find(|(name, _)| name == word) {
            Some((_, flag)) => flags |= flag,
            None if *word == b"rw" || *word == b"mand" => {}
            None => break,
        }
        words.next();
    }
    (flags, words.collect::<Vec<_>>().join(&b','))
}

/// `\040` is the byte with that octal number; no other backslash is written.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut found = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            found.push(byte);
            continue;
        }
        let mut value = 0_u8;
        for _ in 0..3 {
            let digit = bytes.next().filter(|digit| (b'0'..=b'7').contains(digit))?;
            value = value.checked_mul(8)?.checked_add(digit.checked_sub(b'0')?)?;
        }
        found.push(value);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r"36 35 98:0 /a\040b /mnt\134\011\012\043 ro,nosuid,noatime shared:7 master:1 new:x - fuse.x /dev/\040 rw,sync,a=b,ro";

    #[test]
    fn every_field_of_a_line_is_read() {
        let found = line(LINE.as_bytes()).unwrap();
        assert_eq!((found.id, found.parent), (MountId::new(36), MountId::new(35)));
        assert_eq!(found.device, (98, 0));
        assert_eq!((found.root, found.mount_point), (b"/a b".to_vec(), b"/mnt\\\t\n#".to_vec()));
        let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOATIME;
        assert_eq!((found.attributes, found.propagation, found.peer_group), (flags, SHARED | SLAVE, 7));
        assert_eq!((found.fs_type, found.source), (b"fuse".to_vec(), Some(b"/dev/ ".to_vec())));
        assert_eq!((found.superblock_flags, found.options), (16, Some(b"a=b,ro".to_vec())));
    }

    #[test]
    fn no_tag_is_private_and_no_word_about_access_times_is_strict() {
        let found =
            line(b"1 1 0:2 / / rw -  x  rw").unwrap_or_else(|| line(b"1 1 0:2 / / rw - x  rw").unwrap());
        assert_eq!(found.propagation, PRIVATE);
        assert_eq!(found.attributes, MountAttrFlags::MOUNT_ATTR_STRICTATIME);
        assert_eq!((found.source, found.options), (Some(Vec::new()), Some(Vec::new())));
        let found = line(b"1 1 0:2 / / rw,relatime unbindable - x y ro").unwrap();
        assert_eq!((found.propagation, found.attributes.bits()), (UNBINDABLE, 0));
        assert_eq!(found.superblock_flags, 1);
    }

    #[test]
    fn a_line_that_is_not_right_is_none() {
        for (right, wrong) in [
            ("36 35", "+36 35"),
            ("36 35", "36 x"),
            ("36 35", "36"),
            ("36 35", "36  35"),
            ("36 35", "36 99999999999999999999"),
            ("shared:7", "shared:x"),
            ("98:0", "98"),
            ("98:0", "98:"),
            ("98:0", "4294967296:0"),
            (r"\040b", r"\04"),
            (r"\040b", r"\400"),
            (r"\040b", r"\08 "),
            (" - ", " "),
            ("a=b,ro", "a=b,ro more"),
            (" rw,sync,a=b,ro", ""),
        ] {
            let text = LINE.replacen(right, wrong, 1);
            assert_ne!(text, LINE);
            assert_eq!(line(text.as_bytes()), None, "{text}");
            assert_eq!(parse(format!("{LINE}\n{text}\n").as_bytes()), None, "{text}");
        }
        assert_eq!(parse(LINE.as_bytes()), None, "the end is missing");
        assert_eq!(parse(format!("{LINE}\n{LINE}\n").as_bytes()).unwrap().len(), 2);
        assert_eq!(parse(b"").unwrap(), []);
        assert_eq!(parse(b"\n"), None);
    }

    #[test]
    fn below_is_at_any_depth_and_in_any_order() {
        let table = b"5 4 0:1 / /a/b/c rw - x x rw\n1 1 0:1 / / rw - x x rw\n2 1 0:1 / /a rw - x x rw\n\
            4 2 0:1 / /a/b rw - x x rw\n3 1 0:1 / /z rw - x x rw\n";
        let ids = |parent| {
            let found = below(parse(table).unwrap(), parent);
            found.iter().map(|info| info.id.number()).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(ids(MountId::new(2)), [4, 5].into());
        assert_eq!(ids(MountId::new(1)), [2, 3, 4, 5].into());
        assert_eq!(ids(MountId::new(5)), [].into());
        assert_eq!(ids(MountId::ROOT), [1, 2, 3, 4, 5].into());
    }
}
