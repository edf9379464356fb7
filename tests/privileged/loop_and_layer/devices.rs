//! Loop devices: their window, many at once, and none left behind.

use super::*;

#[test]
#[ignore = "needs root"]
fn a_loop_device_shows_its_window_and_can_not_be_written() {
    isolated(|| {
        let dir = scratch();
        let file = patterned(&dir.path().join("backing"), 16 << 10, 7);
        let device = LoopDevice::attach(file.as_fd(), &options(4096, 12288)).unwrap();
        let mut expected = vec![0; 8192];
        file.read_exact_at(&mut expected, 4096).unwrap();
        let mut shown = Vec::new();
        File::open(device.path()).unwrap().read_to_end(&mut shown).unwrap();
        assert!(shown == expected);

        // The kernel lets a read-only device be opened for writing, but nothing be written.
        let writer = File::options().write(true).open(device.path()).unwrap();
        let error = writer.write_at(b"x", 0).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        drop(writer);
        let name = device.path().file_name().unwrap().to_str().unwrap().to_owned();
        let attribute = |attribute: &str| {
            fs::read_to_string(format!("/sys/block/{name}/{attribute}")).unwrap().trim().to_owned()
        };
        assert_eq!(attribute("ro"), "1");
        assert_eq!(attribute("loop/autoclear"), "1");
        assert_eq!(attribute("loop/partscan"), "0");
        assert_eq!(attribute("diskseq"), device.disk_sequence().unwrap().to_string());
        assert_eq!(attribute("dev"), device.device_number().to_string());
        device.detach().unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn a_dropped_loop_device_clears_itself() {
    isolated(|| {
        let dir = scratch();
        let file = patterned(&dir.path().join("backing"), 4096, 1);
        let device = LoopDevice::attach(file.as_fd(), &options(0, 4096)).unwrap();
        let (path, sequence) = (device.path().to_owned(), device.disk_sequence());
        drop(device);
        // Free, or in the next use already.
        if let Ok(device) = File::open(path) {
            assert_ne!(sys::disk_sequence(device.as_fd()).ok(), sequence);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn fifty_threads_attach_at_once_and_each_gets_its_own_bytes() {
    isolated(|| {
        let dir = scratch();
        let barrier = std::sync::Barrier::new(50);
        std::thread::scope(|scope| {
            for seed in 0..50 {
                let (dir, barrier) = (dir.path(), &barrier);
                scope.spawn(move || {
                    let file = patterned(&dir.join(format!("backing-{seed}")), 8192, seed);
                    barrier.wait();
                    let device = LoopDevice::attach(file.as_fd(), &options(4096, 8192)).unwrap();
                    let mut sector = [0; 16];
                    File::open(device.path()).unwrap().read_exact_at(&mut sector, 0).unwrap();
                    assert_eq!(sector, *[8_u64.to_le_bytes(), seed.to_le_bytes()].concat());
                    barrier.wait();
                    device.detach().unwrap();
                });
            }
        });
    });
}

#[test]
#[ignore = "needs root"]
fn fifty_threads_seal_and_mount_at_once() {
    isolated(|| {
        let dir = scratch();
        let image = make_image("erofs", dir.path());
        let barrier = std::sync::Barrier::new(50);
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    barrier.wait();
                    let layer = mount(&image, Mode::SealedMemory, Class::Confext);
                    let settings = layer.read("etc/app/settings", 1 << 10).unwrap().unwrap();
                    assert_eq!(settings, b"colour = blue\n");
                    barrier.wait();
                });
            }
        });
    });
}

#[test]
#[ignore = "needs root"]
#[should_panic(expected = "descriptors left behind")]
fn the_sweep_notices_a_descriptor() {
    isolated(|| {
        std::mem::forget(tmpfs(&[]));
    });
}

#[test]
#[ignore = "needs root"]
#[should_panic(expected = "mounts left behind")]
fn the_sweep_notices_a_mount() {
    isolated(|| {
        let target = File::open("/tmp").unwrap();
        sys::move_mount(tmpfs(&[]).as_fd(), target.as_fd(), c"", Place::OnTop).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn what_is_no_window_or_no_file_is_refused() {
    isolated(|| {
        let dir = scratch();
        let file = patterned(&dir.path().join("backing"), 4096, 1);
        for (start, end) in [(0, 8192), (0, 0), (1, 513), (0, 4095)] {
            let error = LoopDevice::attach(file.as_fd(), &options(start, end)).unwrap_err();
            assert_eq!(error.code(), "loop-window", "{start}..{end}");
        }
        let directory = File::open(dir.path()).unwrap();
        assert_eq!(LoopDevice::attach(directory.as_fd(), &options(0, 512)).unwrap_err().code(), "os");
    });
}

#[test]
#[ignore = "needs root"]
fn how_a_device_reads_its_file_is_told() {
    isolated(|| {
        let dir = scratch();
        let file = patterned(&dir.path().join("backing"), 16 << 10, 3);
        let memory = sys::memfd("confext-test").unwrap();
        File::from(memory.try_clone().unwrap()).set_len(16 << 10).unwrap();
        for backing in [file.as_fd(), memory.as_fd()] {
            for io in [Io::Buffered, Io::Direct] {
                let device = LoopDevice::attach(backing, &options(0, 16 << 10).io(io)).unwrap();
                let name = device.path().file_name().unwrap().to_str().unwrap();
                let direct = fs::read_to_string(format!("/sys/block/{name}/loop/dio")).unwrap();
                assert_eq!(device.io() == Io::Direct, direct.trim() == "1");
                // The kernel may fall back, but does not start on its own.
                assert!(io == Io::Direct || device.io() == Io::Buffered);
                device.detach().unwrap();
            }
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_device_whose_file_was_exchanged_is_not_mounted() {
    isolated(|| {
        let dir = scratch();
        let image = make_image("erofs", dir.path());
        let other = dir.path().join("other.raw");
        fs::copy(&image, &other).unwrap();
        let attached = attach_image(&image, Mode::Plain);
        let device = File::open(attached.device().unwrap().path()).unwrap();
        let other = File::open(&other).unwrap();
        // LOOP_CHANGE_FD: of a read-only device, to a file of the same size.
        // SAFETY: the ioctl takes a descriptor as its argument and touches no memory of this process.
        let changed = unsafe {
            libc::ioctl(
                std::os::fd::AsRawFd::as_raw_fd(&device),
                0x4c06,
                std::os::fd::AsRawFd::as_raw_fd(&other),
            )
        };
        assert_eq!(changed, 0, "{}", std::io::Error::last_os_error());
        drop(device);
        let options = layer::Options::new("confext-test-layer", Class::Confext, &image);
        let error = Layer::mount(attached, options).unwrap_err();
        assert_eq!(error.code(), "mount-source", "{error}");
    });
}

#[test]
#[ignore = "needs root"]
fn without_devices_there_is_an_error_and_nothing_is_left() {
    isolated(|| {
        let dir = scratch();
        let file = patterned(&dir.path().join("backing"), 4096, 1);
        run("mount", &["-t", "tmpfs", "tmpfs", "/dev"]);
        let code = || LoopDevice::attach(file.as_fd(), &options(0, 4096)).unwrap_err().code();
        assert_eq!(code(), "missing-capability");
        // A driver, but no node for any of its devices.
        let (kind, device) = (rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(10, 237));
        rustix::fs::mknodat(rustix::fs::CWD, "/dev/loop-control", kind, 0o600.into(), device).unwrap();
        assert_eq!(code(), "loop-contended");
        sys::detach_path(Path::new("/dev")).unwrap();
    });
}

/// The file that a process of its own is to attach, again and again; see below.
const HELPER: &str = "CONFEXT_TEST_ATTACH";

/// Runs the test below in a process of its own.
fn helper(path: &Path) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "devices::a_process_of_its_own_attaches", "--nocapture"]);
    command.env(HELPER, path).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_process_of_its_own_attaches() {
    match std::env::var_os(HELPER) {
        Some(path) => attach_again_and_again(Path::new(&path), 40),
        // Beside the tests of this process, of which each counts descriptors.
        None => isolated(|| {
            let own = tempfile::NamedTempFile::new().unwrap();
            attach_again_and_again(own.path(), 1);
        }),
    }
}

fn attach_again_and_again(path: &Path, rounds: u32) {
    let seed = u64::from(std::process::id());
    let path = path.with_extension(seed.to_string());
    let file = patterned(&path, 8192, seed);
    for round in 0..rounds {
        let device = LoopDevice::attach(file.as_fd(), &options(4096, 8192)).unwrap();
        let mut sector = [0; 16];
        File::open(device.path()).unwrap().read_exact_at(&mut sector, 0).unwrap();
        assert_eq!(sector, *[8_u64.to_le_bytes(), seed.to_le_bytes()].concat());
        if round == 0 {
            println!("attached");
        }
    }
    fs::remove_file(path).unwrap();
}

#[test]
#[ignore = "needs root"]
fn eight_processes_at_once_get_their_own_devices() {
    isolated(|| {
        let dir = scratch();
        let all: Vec<_> = (0..8).map(|_| helper(&dir.path().join("backing"))).collect();
        for child in all {
            assert!(child.wait_with_output().unwrap().status.success());
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_process_that_is_killed_leaves_no_device() {
    use std::io::{BufRead as _, BufReader};
    isolated(|| {
        let dir = scratch();
        for _ in 0..5 {
            let mut child = helper(&dir.path().join("backing"));
            let output = BufReader::new(child.stdout.take().unwrap());
            assert!(output.lines().any(|line| line.unwrap().contains("attached")));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    });
}
