//! A mount namespace for one test, with scratch space that goes away with it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs `test` in a mount namespace of its own, with an empty tmpfs that goes away with it.
pub fn in_mount_namespace(test: impl FnOnce(&Path) + Send + 'static) {
    let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().unwrap();
    let path = dir.path().to_owned();
    let thread = std::thread::spawn(move || {
        // SAFETY: only the mount namespace and the working directory are unshared, no descriptor table.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
        let private =
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        run("mount", &["-t", "tmpfs", "tmpfs", path.to_str().unwrap()]);
        test(&path);
        unmount(&path);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Unmounts what is at and below a path, which nothing may hold any more.
///
/// What holds it for a moment is waited for: a program that another test of this process starts has a copy of every open
/// descriptor from its fork to its exec.
pub fn unmount(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let output = Command::new("umount").arg("--recursive").arg(path).output().unwrap();
        if output.status.success() {
            return;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("busy") && Instant::now() < deadline, "umount of {}: {said}", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program that must succeed, and returns what it printed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: run tests/setup.sh tools"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
