//! Between `clone` or `fork` and the end of it, or `exec`, nothing is allocated: a lock of another thread would stay locked for ever

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

use confext_core::sys::{self, Depth, Entry, Helper, Inside, MountAttrFlags, Place, StartIn};

/// Counts what other processes than the first allocate, or free, in memory that all of them share.
struct Counting;

static FIRST: AtomicI32 = AtomicI32::new(0);
static COUNT: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());

fn count() {
    let (first, count) = (FIRST.load(Ordering::Relaxed), COUNT.load(Ordering::Relaxed));
    // SAFETY: a plain call.
    if first != 0 && unsafe { libc::getpid() } != first {
        // SAFETY: set before `FIRST`, to memory that stays mapped.
        unsafe { (*count).fetch_add(1, Ordering::Relaxed) };
    }
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count();
        // SAFETY: as this function.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What other processes have allocated so far.
fn counted() -> u64 {
    // SAFETY: as above.
    unsafe { (*COUNT.load(Ordering::Relaxed)).load(Ordering::Relaxed) }
}

fn begin() {
    // SAFETY: new memory, which is zero.
    let shared = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(shared, libc::MAP_FAILED);
    COUNT.store(shared.cast(), Ordering::Relaxed);
    // SAFETY: a plain call.
    FIRST.store(unsafe { libc::getpid() }, Ordering::Relaxed);
}

fn shell() -> Command {
    let mut command = Command::new("/bin/true");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

#[test]
#[ignore = "needs root"]
fn a_helper_and_a_child_allocate_nothing() {
    begin();
    let mut command = shell();
    // SAFETY: this is what must not be done; nobody else runs in this process.
    unsafe {
        command.pre_exec(|| {
            drop(std::hint::black_box(Box::new(1)));
            Ok(())
        })
    };
    assert!(command.status().unwrap().success());
    let before = counted();
    assert!(before >= 2, "who allocates is not counted");

    let helper = Helper::start(Inside::New).unwrap();
    let root = helper.open(Path::new("/")).unwrap();
    helper.open(Path::new("/none")).unwrap_err();
    let context = helper.fs_open("tmpfs").unwrap();
    helper.fs_create(context.as_fd()).unwrap();
    let mount = helper.fs_mount(context.as_fd(), MountAttrFlags::MOUNT_ATTR_NODEV).unwrap();
    helper.set_attributes(mount.as_fd(), MountAttrFlags::MOUNT_ATTR_NOSUID, Depth::Single).unwrap();
    helper.move_mount(mount.as_fd(), root.as_fd(), Path::new("tmp"), Place::OnTop).unwrap();
    helper.clone_tree(mount.as_fd(), Path::new(""), Depth::Recursive).unwrap();
    let flags = rustix::mount::MountFlags::NODEV;
    helper.mount(mount.as_fd(), ("tmpfs", "tmpfs", "."), (flags, "size=1M")).unwrap();
    helper.mount(mount.as_fd(), ("none", "none", "none"), (flags, "")).unwrap_err();
    helper.detach(mount.as_fd()).unwrap();
    let namespaces: [OwnedFd; 2] = ["user", "mnt"].map(|kind| helper.namespace(kind).unwrap());
    let [user, mounts] = &namespaces;
    let second = Helper::start(Inside::Of { user: user.as_fd(), mounts: mounts.as_fd() }).unwrap();
    second.open(Path::new("/")).unwrap();
    assert_eq!(counted(), before, "a helper allocates, or frees");

    for directory in [StartIn::Named(c"/".into()), StartIn::OrRoot(c"/none".into())] {
        let [user, mounts] = namespaces.each_ref().map(|fd| fd.try_clone().unwrap());
        let root = matches!(directory, StartIn::Named(_)).then(|| second.open(Path::new("/")).unwrap());
        let entry = Entry { user, mounts, root, directory };
        assert!(sys::spawn_inside(shell(), entry).unwrap().wait().unwrap().success());
    }
    assert_eq!(counted(), before, "a child allocates, or frees, before it is another program");
    drop((helper, second));
    assert_eq!(counted(), before);
}
