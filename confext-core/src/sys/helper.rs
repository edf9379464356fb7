//! [`Helper`]: a process in namespaces of its own that makes mount calls there, for who asks, and does nothing else.
//!
//! A process with threads can neither make nor join a user namespace, and mounts are made by who is inside. So there is a
//! copy of this process, made by `clone` without `exec`. Locks of other threads stay locked in it for ever: it makes system
//! calls only, allocates nothing, and does nothing that could panic. What is done is decided outside. It ends when the
//! other end of its socket is closed, so also when the process that asked is killed.
#![allow(unsafe_code, reason = "clone, the signal mask and close_range are in no safe interface")]

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{PidfdFlags, Signal};
use rustix::thread::LinkNameSpaceType;

use super::mount::{AttributeChange, Depth, Place, Propagation, set_attributes};

/// Where a helper is.
#[derive(Debug, Clone, Copy)]
pub enum Inside<'a> {
    /// In a user namespace and a mount namespace that are made for it.
    New,
    /// In those of others.
    Of {
        /// The user namespace.
        user: BorrowedFd<'a>,
        /// The mount namespace, which belongs to it.
        mounts: BorrowedFd<'a>,
    },
}

/// A process that makes mount calls in other namespaces. Dropped, it is gone.
#[derive(Debug)]
pub struct Helper {
    pid: u32,
    process: OwnedFd,
    socket: Mutex<OwnedFd>,
}

/// What a helper is asked for; the numbers are only between the two.
const OPEN: u8 = 1;
const FS_OPEN: u8 = 2;
const FS_CREATE: u8 = 3;
const FS_MOUNT: u8 = 4;
const CLONE_TREE: u8 = 5;
const MOVE_MOUNT: u8 = 6;
const SET_ATTRIBUTES: u8 = 7;
const MOUNT: u8 = 8;
const DETACH: u8 = 9;

/// A page of mount options, and three names.
const MOST_BYTES: usize = 16 << 10;
const HEADER_BYTES: usize = 9;

impl Helper {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// `EPERM`, `ENOSPC`, `EUSERS` and others when there can be no namespace, or none for this process; see `clone(2)` and
    /// `setns(2)`.
    pub fn start(inside: Inside<'_>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let namespaces = match inside {
            Inside::New => libc::CLONE_NEWUSER | libc::CLONE_NEWNS,
            Inside::Of { .. } => 0,
        };
        let (pid, process) = {
            // No handler of this process may run in the other one.
            let _blocked = Blocked::all();
            match clone(namespaces)? {
                Some(started) => started,
                None => serve(&theirs, inside),
            }
        };
        drop(theirs);
        let helper = Self { pid, process, socket: Mutex::new(ours) };
        // It says whether it could go where it was sent.
        let socket = helper.socket.lock().unwrap_or_else(PoisonError::into_inner);
        receive_reply(socket.as_fd())?;
        drop(socket);
        Ok(helper)
    }

    /// Its number in this process's namespace. It is not used again as long as this value is there.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// `open("/proc/PID/ns/KIND", O_RDONLY | O_CLOEXEC)`
    ///
    /// # Errors
    ///
    /// `ENOENT` without `/proc`.
    pub fn namespace(&self, kind: &str) -> io::Result<OwnedFd> {
        let path = format!("/proc/{}/ns/{kind}", self.pid);
        Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// `open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)`
    ///
    /// # Errors
    ///
    /// As the kernel says; so for all below.
    pub fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        self.ask_for_one(OPEN, 0, &[], &[path.as_os_str().as_bytes()])
    }

    /// `fsopen(fs_type, FSOPEN_CLOEXEC)`: parameters can be set by who has the descriptor.
    ///
    /// # Errors
    ///
    /// As the kernel says.
    pub fn fs_open(&self, fs_type: &str) -> io::Result<OwnedFd> {
        self.ask_for_one(FS_OPEN, 0, &[], &[fs_type.as_bytes()])
    }

    /// `fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0)`
    ///
    /// # Errors
    ///
    /// As the file system says.
    pub fn fs_create(&self, context: BorrowedFd<'_>) -> io::Result<()> {
        self.ask(FS_CREATE, 0, &[context], &[]).map(drop)
    }

    /// `fsmount(context, FSMOUNT_CLOEXEC, attributes)`
    ///
    /// # Errors
    ///
    /// As the kernel says.
    pub fn fs_mount(&self, context: BorrowedFd<'_>, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
        self.ask_for_one(FS_MOUNT, u64::from(attributes.bits()), &[context], &[])
    }

    /// As [`clone_tree`](super::clone_tree).
    ///
    /// # Errors
    ///
    /// As there; `EINVAL` when mounts below would be lost that this namespace got from one with more rights.
    pub fn clone_tree(&self, dir: BorrowedFd<'_>, path: &Path, depth: Depth) -> io::Result<OwnedFd> {
        let mut flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if depth == Depth::Recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        self.ask_for_one(CLONE_TREE, u64::from(flags.bits()), &[dir], &[path.as_os_str().as_bytes()])
    }

    /// As [`move_mount`](super::move_mount).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn move_mount(
        &self,
        tree: BorrowedFd<'_>,
        dir: BorrowedFd<'_>,
        path: &Path,
        place: Place,
    ) -> io::Result<()> {
        let mut flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        if place == Place::Beneath {
            flags |= MoveMountFlags::MOVE_MOUNT_BENEATH;
        }
        let path = path.as_os_str().as_bytes();
        self.ask(MOVE_MOUNT, u64::from(flags.bits()), &[tree, dir], &[path]).map(drop)
    }

    /// As [`set_attributes`] with flags to set; what is mounted becomes private, too.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_attributes(&self, tree: BorrowedFd<'_>, set: MountAttrFlags, depth: Depth) -> io::Result<()> {
        let recursive = if depth == Depth::Recursive { RECURSIVE } else { 0 };
        self.ask(SET_ATTRIBUTES, u64::from(set.bits()) | recursive, &[tree], &[]).map(drop)
    }

    /// `fchdir(dir)` and `mount(source, target, fs_type, flags, options)`
    ///
    /// # Errors
    ///
    /// As [`mount_file_system`](super::mount_file_system).
    pub fn mount(
        &self,
        dir: BorrowedFd<'_>,
        (fs_type, source, target): (&str, &str, &str),
        (flags, options): (MountFlags, &str),
    ) -> io::Result<()> {
        let text = [source, target, fs_type, options].map(str::as_bytes);
        self.ask(MOUNT, u64::from(flags.bits()), &[dir], &text).map(drop)
    }

    /// `fchdir(mount)` and `umount2(".", MNT_DETACH)`: takes away exactly the mount whose root this is, even one that is
    /// covered.
    ///
    /// # Errors
    ///
    /// As [`detach`](super::detach).
    pub fn detach(&self, mount: BorrowedFd<'_>) -> io::Result<()> {
        self.ask(DETACH, 0, &[mount], &[]).map(drop)
    }

    fn ask_for_one(
        &self,
        code: u8,
        flags: u64,
        descriptors: &[BorrowedFd<'_>],
        text: &[&[u8]],
    ) -> io::Result<OwnedFd> {
        self.ask(code, flags, descriptors, text)?.ok_or_else(|| Errno::BADF.into())
    }

    fn ask(
        &self,
        code: u8,
        flags: u64,
        descriptors: &[BorrowedFd<'_>],
        text: &[&[u8]],
    ) -> io::Result<Option<OwnedFd>> {
        let mut packet = vec![code];
        packet.extend(flags.to_le_bytes());
        for text in text {
            if text.contains(&0) {
                return Err(Errno::INVAL.into());
            }
            packet.extend_from_slice(text);
            packet.push(0);
        }
        if packet.len() > MOST_BYTES {
            return Err(Errno::NAMETOOLONG.into());
        }
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        send(socket.as_fd(), &packet, descriptors)?;
        receive_reply(socket.as_fd())
    }
}

/// Among the flags of a request, above those of the kernel.
const RECURSIVE: u64 = 1 << 63;

impl Drop for Helper {
    fn drop(&mut self) {
        // Without signals of its own to its parent, it is seen by nobody else who waits for children.
        let _ = rustix::process::pidfd_send_signal(&self.process, Signal::KILL);
        let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
        let Ok(id) = libc::id_t::try_from(self.process.as_raw_fd()) else { return };
        loop {
            // SAFETY: the descriptor is open, and `info` has room for what the kernel writes and nobody reads.
            let waited =
                unsafe { libc::waitid(libc::P_PIDFD, id, info.as_mut_ptr(), libc::WEXITED | libc::__WALL) };
            if waited == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return;
            }
        }
    }
}

/// No signals for this thread, until it is dropped.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn all() -> Self {
        let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: both calls write a set to where there is room for one, and keep no pointer; with a valid set the second
        // cannot fail.
        #[expect(clippy::multiple_unsafe_ops_per_block, reason = "a set is made in several calls")]
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set is the one from before, and nothing is written.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// `clone(flags | CLONE_PIDFD)`, as `fork` but for the namespaces: `None` in the new process. It sends no signal when it
/// ends.
fn clone(namespaces: libc::c_int) -> io::Result<Option<(u32, OwnedFd)>> {
    let mut pidfd: libc::c_int = -1;
    let flags = libc::c_long::from(namespaces | libc::CLONE_PIDFD);
    let stack: libc::c_long = 0;
    // SAFETY: without CLONE_VM the new process has a copy of all memory, this stack included, and what it does there is
    // limited as the head of this file says. The kernel writes the descriptor to `pidfd`, in this process only.
    #[cfg(not(target_arch = "s390x"))]
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, stack, &raw mut pidfd, 0_i64, 0_i64) };
    // SAFETY: as above; there the first two are the other way round.
    #[cfg(target_arch = "s390x")]
    let pid = unsafe { libc::syscall(libc::SYS_clone, stack, flags, &raw mut pidfd, 0_i64, 0_i64) };
    match u32::try_from(pid) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(0) => Ok(None),
        // SAFETY: the kernel has just opened it for this process, and nobody else knows of it.
        Ok(pid) => Ok(Some((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))),
    }
}

/// The life of the new process.
fn serve(socket: &OwnedFd, inside: Inside<'_>) -> ! {
    let ready = match inside {
        Inside::New => Ok(()),
        Inside::Of { user, mounts } => join(user, mounts),
    };
    close_all_but(socket);
    let mut going_on = reply(socket.as_fd(), ready.map(|()| None)) && ready.is_ok();
    let mut bytes = [0_u8; MOST_BYTES];
    while going_on {
        let mut descriptors = [None, None];
        going_on = match receive(socket.as_fd(), &mut bytes, &mut descriptors) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                let request = bytes.get(..count).and_then(|bytes| Request::parse(bytes, &descriptors));
                reply(socket.as_fd(), request.ok_or(Errno::INVAL).and_then(|request| request.make()))
            }
        };
    }
    // SAFETY: ends the process at once; nothing of the one it was copied from is run or written.
    unsafe { libc::_exit(0) }
}

fn join(user: BorrowedFd<'_>, mounts: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::thread::move_into_link_name_space(user, Some(LinkNameSpaceType::User))?;
    rustix::thread::move_into_link_name_space(mounts, Some(LinkNameSpaceType::Mount))
}

/// Others must not have to wait for this process when they wait for the end of a pipe, or for a lock.
fn close_all_but(kept: &OwnedFd) {
    let Ok(kept) = libc::c_uint::try_from(kept.as_raw_fd()) else { return };
    for (first, last) in [(0, kept.checked_sub(1)), (kept.saturating_add(1), Some(libc::c_uint::MAX))] {
        if let Some(last) = last {
            // SAFETY: nobody uses those descriptors in this process any more. Where there is no such call (before Linux
            // 5.9), they stay open.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}

/// One call, as it came.
struct Request<'a> {
    code: u8,
    flags: u64,
    text: [&'a CStr; 4],
    descriptors: &'a [Option<OwnedFd>; 2],
}

impl<'a> Request<'a> {
    fn parse(bytes: &'a [u8], descriptors: &'a [Option<OwnedFd>; 2]) -> Option<Self> {
        let (header, mut rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let (&code, flags) = header.split_first()?;
        let flags = u64::from_le_bytes(flags.try_into().ok()?);
        let mut text = [c""; 4];
        for text in &mut text {
            if rest.is_empty() {
                break;
            }
            *text = CStr::from_bytes_until_nul(rest).ok()?;
            rest = rest.get(text.to_bytes_with_nul().len()..)?;
        }
        Some(Self { code, flags, text, descriptors })
    }

    fn first(&self) -> rustix::io::Result<BorrowedFd<'_>> {
        self.descriptors[0].as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    fn second(&self) -> rustix::io::Result<BorrowedFd<'_>> {
        self.descriptors[1].as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    fn make(&self) -> rustix::io::Result<Option<OwnedFd>> {
        let [a, b, c, d] = self.text;
        let flags = u32::try_from(self.flags & !RECURSIVE).map_err(|_| Errno::INVAL)?;
        match self.code {
            OPEN => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::open(a, flags, Mode::empty()).map(Some)
            }
            FS_OPEN => rustix::mount::fsopen(a, FsOpenFlags::FSOPEN_CLOEXEC).map(Some),
            FS_CREATE => rustix::mount::fsconfig_create(self.first()?).map(|()| None),
            FS_MOUNT => {
                let attributes = MountAttrFlags::from_bits_retain(flags);
                rustix::mount::fsmount(self.first()?, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map(Some)
            }
            CLONE_TREE => {
                rustix::mount::open_tree(self.first()?, a, OpenTreeFlags::from_bits_retain(flags)).map(Some)
            }
            MOVE_MOUNT => {
                let flags = MoveMountFlags::from_bits_retain(flags);
                rustix::mount::move_mount(self.first()?, c"", self.second()?, a, flags).map(|()| None)
            }
            SET_ATTRIBUTES => {
                let change = AttributeChange {
                    propagation: Some(Propagation::Private),
                    ..AttributeChange::set(MountAttrFlags::from_bits_retain(flags))
                };
                let depth = if self.flags & RECURSIVE == 0 { Depth::Single } else { Depth::Recursive };
                let set = set_attributes(self.first()?, &change, depth);
                set.map(|()| None).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }
            MOUNT => {
                rustix::process::fchdir(self.first()?)?;
                let made = rustix::mount::mount(a, b, c, MountFlags::from_bits_retain(flags), Some(d));
                go_home();
                made.map(|()| None)
            }
            DETACH => {
                rustix::process::fchdir(self.first()?)?;
                let done = rustix::mount::unmount(c".", UnmountFlags::DETACH);
                go_home();
                done.map(|()| None)
            }
            _ => Err(Errno::NOSYS),
        }
    }
}

/// A working directory would keep the mount it is in.
fn go_home() {
    let _ = rustix::process::chdir(c"/");
}

fn reply(socket: BorrowedFd<'_>, result: rustix::io::Result<Option<OwnedFd>>) -> bool {
    match result {
        Ok(None) => send(socket, &0_i32.to_le_bytes(), &[]),
        Ok(Some(fd)) => send(socket, &0_i32.to_le_bytes(), &[fd.as_fd()]),
        Err(errno) => send(socket, &errno.raw_os_error().to_le_bytes(), &[]),
    }
    .is_ok()
}

fn receive_reply(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let (mut bytes, mut descriptors) = ([0_u8; 4], [None, None]);
    let count = receive(socket, &mut bytes, &mut descriptors)?;
    if count != bytes.len() {
        // It is gone: somebody killed it.
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let [first, _] = descriptors;
    match i32::from_le_bytes(bytes) {
        0 => Ok(first),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    })
    .map(drop)
}

fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    descriptors: &mut [Option<OwnedFd>; 2],
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(bytes)];
        rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut places = descriptors.iter_mut();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(found) = message {
            for fd in found {
                if let Some(place) = places.next() {
                    *place = Some(fd);
                }
            }
        }
    }
    Ok(received.bytes)
}

/// `pidfd_open(pid, 0)` of a child that nobody has waited for.
///
/// # Errors
///
/// As the kernel says.
pub fn open_child(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    Ok(rustix::process::pidfd_open(pid.ok_or(Errno::INVAL)?, PidfdFlags::empty())?)
}
