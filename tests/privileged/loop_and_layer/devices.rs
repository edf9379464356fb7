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
