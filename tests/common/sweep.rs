//! A privileged test in a mount namespace of its own, and the sweep for what it left behind.
//!
//! Nothing may be left: no mount, no descriptor of this process, no loop device of this machine, no key.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use confext_core::sys::{self, Depth, Propagation};

/// The kernel tears down the last user of a device after the call that let go of it. This long is a leak.
const PATIENCE: Duration = Duration::from_secs(30);

/// Descriptors belong to the process, so swept tests of one program run one after the other.
static ALONE: Mutex<()> = Mutex::new(());

/// What is there at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// How many descriptors of this process point to each target.
    pub descriptors: BTreeMap<String, usize>,
    /// The mounts of the calling thread's namespace, by number.
    pub mounts: BTreeSet<String>,
    /// The bound loop devices of the machine: name and disk sequence, with the file.
    pub loops: BTreeMap<(String, String), String>,
    /// The keys that look like ours, of those that can be seen.
    pub keys: BTreeSet<String>,
}

impl Census {
    /// Counts.
    #[must_use]
    pub fn take() -> Self {
        Self { descriptors: descriptors(), mounts: mounts(), loops: loops(), keys: keys() }
    }
}

/// Runs `test` on a thread in its own mount namespace with private propagation, then asserts that nothing is left.
pub fn isolated(test: impl FnOnce() + Send) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let result = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                sys::unshare_mounts().expect("privileged tests need root");
                sys::set_propagation(Path::new("/"), Propagation::Private, Depth::Recursive).unwrap();
                let before = Census::take();
                test();
                assert_swept(&before);
            })
            .join()
    });
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Asserts that everything that is there now was there before.
pub fn assert_swept(before: &Census) {
    let now = Census::take();
    assert_eq!(now.descriptors, before.descriptors, "descriptors left behind");
    let mounts: Vec<&String> = now.mounts.difference(&before.mounts).collect();
    assert!(mounts.is_empty(), "mounts left behind: {mounts:?}");
    // Other programs on the machine attach devices too: only those that look like ours and that stay are leaks. A device
    // is known by its disk sequence, so one that is reused meanwhile counts as gone.
    let mut suspects: Vec<_> =
        now.loops.into_iter().filter(|(key, file)| !before.loops.contains_key(key) && ours(file)).collect();
    let deadline = Instant::now() + PATIENCE;
    while !suspects.is_empty() && Instant::now() < deadline {
        std::thread::yield_now();
        let there = loops();
        suspects.retain(|(key, _)| there.contains_key(key));
    }
    assert!(suspects.is_empty(), "loop devices left behind: {suspects:?}");
    // The kernel collects keys that nobody holds when it has time.
    let left = || keys().difference(&before.keys).cloned().collect::<Vec<_>>();
    while !left().is_empty() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(left(), [""; 0], "keys left behind");
}

fn ours(file: &str) -> bool {
    file.contains("/memfd:confext-") || file.contains("confext-test-")
}

fn descriptors() -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        // The descriptor of this very listing is gone when the list is through.
        let Ok(target) = fs::read_link(entry.unwrap().path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        if !target.starts_with("/proc/") {
            *found.entry(target).or_insert(0) += 1;
        }
    }
    found
}

fn mounts() -> BTreeSet<String> {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap().lines().map(str::to_owned).collect()
}

/// Number and description of each: how long it has been there and how many use it changes by itself.
fn keys() -> BTreeSet<String> {
    let text = fs::read("/proc/keys").unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let ours = text.lines().filter(|line| line.contains(" confext-"));
    ours.filter_map(|line| Some(format!("{} {}", line.get(..8)?, line.split(" confext-").nth(1)?))).collect()
}

fn loops() -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/sys/block").unwrap() {
        let path = entry.unwrap().path();
        // A device that goes while it is looked at is gone.
        let Ok(file) = fs::read_to_string(path.join("loop/backing_file")) else { continue };
        let Ok(sequence) = fs::read_to_string(path.join("diskseq")) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.insert((name, sequence.trim().to_owned()), file.trim().to_owned());
    }
    found
}
