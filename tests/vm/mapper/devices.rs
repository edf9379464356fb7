//! Devices: what they read, what happens when the image changes, which are reused, and that nothing is left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use confext_core::dmverity::{Checks, Corruption, Made, Options, Parity, Sharing, VerityDevice, ZeroBlocks};
use confext_core::host::{Ability, Host};
use confext_ddi::build::Built;
use confext_ddi::image::{self, Image};
use confext_ddi::parity;
use confext_ddi::verity::fec::Roots;
use confext_tests::images;
use confext_tests::sweep::isolated;
use rustix::fs::{FileType, Mode, makedev};
use rustix::mount::MountFlags;
use std::os::fd::AsFd as _;

use crate::scene::{self, activate, admit, data, flip, read, run, swept, unsigned};
use crate::{Case, many};

/// The cases that differ from kernel to kernel.
pub fn cases() -> Vec<Case<'static>> {
    vec![
        ("capabilities", Box::new(capabilities)),
        ("activated", Box::new(activated)),
        ("changed afterwards", Box::new(changed_afterwards)),
        ("changed before", Box::new(changed_before)),
        ("what cannot be activated", Box::new(cannot)),
        ("options", Box::new(options)),
        ("parity", Box::new(repaired)),
        ("shared", Box::new(shared)),
        ("without nodes in /dev", Box::new(without_nodes)),
    ]
}

/// Those that take long, and are the same on every kernel.
pub fn long_cases() -> Vec<Case<'static>> {
    vec![
        ("weaker devices", Box::new(d38_a_weaker_device_is_not_reused)),
        ("name taken", Box::new(name_taken)),
        ("many", Box::new(many::many)),
        ("faults", Box::new(many::faults)),
    ]
}

fn capabilities() {
    let host = Host::open("/").unwrap();
    let found = host.capabilities();
    let all = [found.device_mapper, found.dm_verity, found.dm_verity_signatures];
    assert_eq!(all, [Ability::Present; 3], "{found:?}");
}

fn activated() {
    let (path, built) = scene::build("plain.raw", None);
    let device = activate(&path, &unsigned()).unwrap();
    let (status, name) = (device.status().unwrap(), device.name());
    assert!(status.intact && !status.kernel_checked_signature && status.goes_with_last_user, "{status:?}");
    assert_eq!(
        run(&["dmsetup", "table", name]),
        format!("0 {} verity {}", built.partitions[0].range.len_bytes() / 512, status.table)
    );
    assert!(status.table.contains(&built.root_hash.to_hex()) && !status.table.contains("  "), "{status:?}");
    assert!(name.starts_with("loop") && name.ends_with("-verity"), "{name}");
    let uuid = run(&["dmsetup", "info", "--columns", "--noheadings", "-o", "uuid", name]);
    assert!(uuid.starts_with("CRYPT-VERITY-") && uuid.ends_with(name), "{uuid}");
    assert!(run(&["veritysetup", "status", name]).contains("status:      verified"));
    assert_eq!((device.made(), device.accepted_signature()), (&Made::New, None));
    assert_eq!(device.path(), Path::new(&format!("/dev/dm-{}", device.device_number().minor)));
    device.check_use().unwrap();
    assert!(read(&device).unwrap() == data(&path, &built));
    // Its user keeps it, and takes it along.
    fs::create_dir_all("mnt").unwrap();
    rustix::mount::mount(device.path(), "mnt", "erofs", MountFlags::RDONLY, None).unwrap();
    let name = name.to_owned();
    drop(device);
    assert_eq!(fs::read_to_string("mnt/etc/app.conf").unwrap(), "answer = 42\n");
    run(&["dmsetup", "table", &name]);
    rustix::mount::unmount("mnt", rustix::mount::UnmountFlags::empty()).unwrap();
}

/// The place of a block of `etc/large` in the image.
fn a_block(path: &Path, built: &Built) -> usize {
    let content = confext_tests::source::noise(3, 600 << 10);
    let bytes = fs::read(path).unwrap();
    let at = bytes.windows(512).position(|part| part == &content[100 << 10..][..512]).unwrap();
    let start = scene::data_range(built).start;
    start + (at - start) / 4096 * 4096
}

fn changed_afterwards() {
    let (path, built) = scene::build("plain.raw", None);
    let device = activate(&path, &unsigned()).unwrap();
    let (right, at) = (data(&path, &built), a_block(&path, &built));
    flip(&path, at + 17);
    let error = read(&device).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
    let file = fs::File::open(device.path()).unwrap();
    let (mut bad, mut good) = (Vec::new(), 0);
    for (number, block) in right.chunks(4096).enumerate() {
        use std::os::unix::fs::FileExt;
        let mut found = vec![0; block.len()];
        match FileExt::read_exact_at(&file, &mut found, u64::try_from(number * 4096).unwrap()) {
            Ok(()) => {
                assert!(found == block, "block {number}");
                good += 1;
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO));
                bad.push(number);
            }
        }
    }
    // Some kernels read several blocks together, and none of them then; never other bytes.
    assert!(bad.contains(&((at - scene::data_range(&built).start) / 4096)), "{bad:?}");
    assert!(bad.len() <= 16 && good > 100, "{bad:?} {good}");
    drop(file);
    assert!(!device.status().unwrap().intact);
    device.detach().unwrap();
}

/// Between what was checked and what the kernel reads: as a wrong root hash is.
fn changed_before() {
    let (path, built) = scene::build("plain.raw", None);
    let admitted = admit(&path);
    flip(&path, scene::data_range(&built).start + 1030);
    let error = VerityDevice::activate(&admitted, &unsigned()).unwrap_err();
    assert_eq!(error.code(), "dm-verity-first-read", "{}", error.explain());
    swept();
}

fn cannot() {
    let (path, _) = scene::build("plain.raw", None);
    assert_eq!(activate(&path, &Options::default()).unwrap_err().code(), "kernel-signature-missing");
    fs::write("bare.raw", images::bare()).unwrap();
    let error = activate(Path::new("bare.raw"), &unsigned()).unwrap_err();
    assert_eq!(error.code(), "dm-verity-unprotected");
}

fn options() {
    let (path, built) = scene::build("plain.raw", None);
    for (options, words) in [
        (unsigned().corruption(Corruption::Restart), "1 restart_on_corruption"),
        (unsigned().corruption(Corruption::Panic), "1 panic_on_corruption"),
        (
            unsigned().zero_blocks(ZeroBlocks::Skip).checks(Checks::Once),
            "2 ignore_zero_blocks check_at_most_once",
        ),
    ] {
        let device = activate(&path, &options).unwrap();
        let table = run(&["dmsetup", "table", device.name()]);
        assert!(table.ends_with(words), "{table}");
        assert!(read(&device).unwrap() == data(&path, &built));
        device.detach().unwrap();
    }
}

fn repaired() {
    let (path, built) = scene::build("plain.raw", None);
    let _ = fs::remove_file("parity");
    let image = Image::open(fs::File::open(&path).unwrap(), &image::Options::default()).unwrap();
    let roots = Roots::new(4).unwrap();
    parity::encode_file(&image, roots, "parity").unwrap();
    let (right, at) = (data(&path, &built), a_block(&path, &built));
    let file = fs::File::open("parity").unwrap();
    let with = unsigned().parity(Parity::new(file.as_fd(), roots));
    let device = activate(&path, &with).unwrap();
    flip(&path, at + 17);
    // A block of the lowest level of the tree, which comes last.
    let tree = built.partitions[1].range;
    flip(&path, usize::try_from(tree.start()).unwrap() + 2 * 4096 + 100);
    assert!(read(&device).unwrap() == right, "repaired");
    assert!(run(&["dmsetup", "table", device.name()]).contains(" fec_roots 4"));
    device.detach().unwrap();
    flip(&path, at + 17);
    flip(&path, usize::try_from(tree.start()).unwrap() + 2 * 4096 + 100);
    let short = unsigned().parity(Parity::new(file.as_fd(), roots).offset(4096));
    assert_eq!(activate(&path, &short).unwrap_err().code(), "dm-verity-parity");
}

fn share<'a>() -> Options<'a> {
    unsigned().sharing(Sharing::Shared)
}

fn shared() {
    let (path, built) = scene::build("plain.raw", None);
    let first = activate(&path, &share()).unwrap();
    assert_eq!(first.name(), format!("{}-verity", built.root_hash));
    let second = activate(&path, &share()).unwrap();
    assert_eq!((first.made(), second.made()), (&Made::New, &Made::Reused));
    assert_eq!(first.device_number(), second.device_number());
    let once = activate(&path, &share().checks(Checks::Once)).unwrap();
    assert_eq!(once.made(), &Made::Reused, "more checks than asked for");
    once.detach().unwrap();
    first.detach().unwrap();
    assert!(read(&second).unwrap() == data(&path, &built));
    second.detach().unwrap();
    swept();
    // One that somebody made with veritysetup will do, too, and stays.
    let name = foreign(&path, &built, "");
    let device = activate(&path, &share()).unwrap();
    assert_eq!((device.made(), device.name()), (&Made::Reused, name.as_str()));
    device.detach().unwrap();
    run(&["dmsetup", "remove", &name]);
}

/// Makes the device that has the name of the image, over loop devices of its own, with options behind the table.
fn foreign(path: &Path, built: &Built, options: &str) -> String {
    let own = activate(path, &unsigned()).unwrap();
    let table = own.status().unwrap().table;
    own.detach().unwrap();
    let words: Vec<&str> = table.split(' ').collect();
    let devices = [0, 1].map(|index| {
        let range = built.partitions[index].range;
        let (offset, size) = (range.start().to_string(), range.len_bytes().to_string());
        let path = path.to_str().unwrap();
        run(&["losetup", "--find", "--show", "--read-only", "--offset", &offset, "--sizelimit", &size, path])
    });
    let table = format!("{} {} {} {}{options}", words[0], devices[0], devices[1], words[3..].join(" "));
    let name = format!("{}-verity", built.root_hash);
    create(&name, built, "verity", &table);
    for device in &devices {
        run(&["losetup", "--detach", device]);
    }
    name
}

fn create(name: &str, built: &Built, kind: &str, table: &str) {
    let sectors = built.partitions[0].range.len_bytes() / 512;
    let line = format!("0 {sectors} {kind} {table}");
    run(&["dmsetup", "create", name, "--readonly", "--noudevsync", "--table", line.trim_end()]);
}

/// A device of the image's name that is less than was asked for is not used, and nothing of it is read.
fn d38_a_weaker_device_is_not_reused() {
    let (path, built) = scene::build("plain.raw", None);
    let name = format!("{}-verity", built.root_hash);
    let not_reused = |what: &str| {
        let device = activate(&path, &share()).unwrap();
        match device.made() {
            Made::Beside { what: found, .. } => assert_eq!(found, what),
            other => panic!("{what}: {other:?}"),
        }
        assert_ne!(device.name(), name);
        assert!(read(&device).unwrap() == data(&path, &built));
        device.detach().unwrap();
    };
    for (options, what) in [
        (" 1 ignore_corruption", "table"),
        (" 1 restart_on_corruption", "corruption mode"),
        (" 1 ignore_zero_blocks", "corruption mode"),
        (" 1 check_at_most_once", "checks"),
    ] {
        foreign(&path, &built, options);
        not_reused(what);
        run(&["dmsetup", "remove", &name]);
    }
    create(&name, &built, "error", "");
    not_reused("targets");
    run(&["dmsetup", "remove", &name]);
    run(&["dmsetup", "create", &name, "--notable"]);
    not_reused("device");
    run(&["dmsetup", "remove", &name]);
    foreign(&path, &built, "");
    run(&["dmsetup", "suspend", &name]);
    not_reused("device");
    run(&["dmsetup", "resume", &name]);
    run(&["dmsetup", "remove", &name]);
    // Another file, though it has the same bytes.
    let copy = PathBuf::from("copy.raw");
    fs::copy(&path, &copy).unwrap();
    foreign(&copy, &built, "");
    not_reused("data");
    run(&["dmsetup", "remove", &name]);
    // A changed block was read through it.
    foreign(&path, &built, "");
    let at = a_block(&path, &built);
    flip(&path, at);
    let node = run(&["dmsetup", "info", "--columns", "--noheadings", "-o", "blkdevname", &name]);
    assert_eq!(fs::read(format!("/dev/{node}")).unwrap_err().raw_os_error(), Some(libc::EIO));
    flip(&path, at);
    not_reused("state");
    run(&["dmsetup", "remove", &name]);
    // Another image's device by this image's name.
    let (other, other_built) = scene::build_of("other.raw", scene::tree_of(4), None);
    let own = activate(&other, &unsigned()).unwrap();
    let table = own.status().unwrap().table;
    create(&name, &other_built, "verity", &table);
    not_reused("hash tree");
    run(&["dmsetup", "remove", &name]);
    own.detach().unwrap();
}

/// A private name that is taken is not waited for.
fn name_taken() {
    let (path, built) = scene::build("plain.raw", None);
    let device = activate(&path, &unsigned()).unwrap();
    let name = device.name().to_owned();
    device.detach().unwrap();
    let (start, rest) = name.split_once('-').unwrap();
    let sequence: u64 = rest.strip_suffix("-verity").unwrap().parse().unwrap();
    // Each use of a loop device has the next number, and on some kernels each mapped device, too.
    let taken: Vec<String> =
        (1..9).chain(16..25).map(|more| format!("{start}-{}-verity", sequence + more)).collect();
    for name in &taken {
        run(&["dmsetup", "create", name, "--notable"]);
    }
    let device = activate(&path, &unsigned()).unwrap();
    assert!(device.name().ends_with("-verity-1"), "{}", device.name());
    assert!(read(&device).unwrap() == data(&path, &built));
    device.detach().unwrap();
    for name in &taken {
        run(&["dmsetup", "remove", name]);
    }
}

/// Where `/dev` has only loop devices, as in a container.
fn without_nodes() {
    let (path, built) = scene::build("plain.raw", None);
    isolated(|| {
        rustix::mount::mount("tmpfs", "/dev", "tmpfs", MountFlags::empty(), None).unwrap();
        let node = |name: &str, kind, major, minor| {
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, format!("/dev/{name}"), kind, mode, makedev(major, minor))
                .unwrap();
        };
        node("loop-control", FileType::CharacterDevice, 10, 237);
        for number in 0..8 {
            node(&format!("loop{number}"), FileType::BlockDevice, 7, number);
        }
        let device = activate(&path, &unsigned()).unwrap();
        assert!(device.path().starts_with("/proc/self/fd"), "{:?}", device.path());
        assert!(read(&device).unwrap() == data(&path, &built));
        rustix::mount::mount(device.path(), "mnt", "erofs", MountFlags::RDONLY, None).unwrap();
        assert_eq!(fs::read_to_string("mnt/etc/app.conf").unwrap(), "answer = 42\n");
        rustix::mount::unmount("mnt", rustix::mount::UnmountFlags::empty()).unwrap();
        device.detach().unwrap();
        let names: Vec<_> = fs::read_dir("/dev").unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 9, "{names:?}");
        rustix::mount::unmount("/dev", rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}

/// Ends with the machine when the kernel does what it was asked to.
pub fn restart() -> ExitCode {
    let (path, built) = scene::build("plain.raw", None);
    let device = activate(&path, &unsigned().corruption(Corruption::Restart)).unwrap();
    assert!(read(&device).is_ok());
    flip(&path, a_block(&path, &built));
    println!("vm-mapper: reading a changed block");
    let result = read(&device);
    println!("vm-mapper: still there: {}", result.is_ok());
    ExitCode::FAILURE
}
