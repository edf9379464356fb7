//! Many at once, and a failure at each system call in turn.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Barrier;
use std::time::Duration;

use confext_core::dmverity::{Made, Options, Sharing, VerityDevice};
use confext_tests::faults::{self, End, Fault};

use crate::scene::{self, left_after, run, swept, unsigned};

const PROCESSES: usize = 8;
const THREADS: usize = 5;

/// 40 activations of one image, from 8 processes.
pub fn many() {
    let (path, _) = scene::build("plain.raw", None);
    for sharing in ["private", "shared"] {
        let children: Vec<_> = (0..PROCESSES)
            .map(|_| {
                command(&["many", path.to_str().unwrap(), sharing]).stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let mut reused = 0;
        for child in children {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{sharing}: {text}");
            reused += text.trim().parse::<usize>().unwrap();
        }
        swept();
        match sharing {
            "private" => assert_eq!(reused, 0),
            _ => assert!(reused > 0, "nobody met anybody"),
        }
    }
}

/// One of the processes: prints how many of its devices were there already.
pub fn process(path: &str, sharing: &str) -> ExitCode {
    let sharing = if sharing == "shared" { Sharing::Shared } else { Sharing::Private };
    let admitted = scene::admit(Path::new(path));
    let all = Barrier::new(THREADS);
    let expected = {
        let mut whole = Vec::new();
        let device = VerityDevice::activate(&admitted, &unsigned()).unwrap();
        whole.extend(fs::read(device.path()).unwrap());
        device.detach().unwrap();
        whole
    };
    let reused: usize = std::thread::scope(|scope| {
        let work = || {
            all.wait();
            let device = VerityDevice::activate(&admitted, &unsigned().sharing(sharing)).unwrap();
            assert!(fs::read(device.path()).unwrap() == expected);
            assert!(!matches!(device.made(), Made::Beside { .. }), "{:?}", device.made());
            let reused = usize::from(device.made() == &Made::Reused);
            all.wait();
            device.detach().unwrap();
            reused
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{reused}");
    ExitCode::SUCCESS
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments);
    command
}

/// The process whose calls are disturbed. The image is signed by a key that the kernel knows.
pub fn worker(image: &str) -> ExitCode {
    let admitted = scene::admit(Path::new(image));
    faults::hand_over_calls();
    match VerityDevice::activate(&admitted, &Options::default()).and_then(VerityDevice::detach) {
        Ok(()) => faults::say("ok"),
        Err(error) => faults::say(&format!("error {}", error.code())),
    }
    ExitCode::SUCCESS
}

/// Whatever fails, nothing is left. When the process is killed, neither: but for the few calls between making the device
/// and having it open, after which there may be one that nobody uses.
pub fn faults() {
    let (path, _) = scene::build("trusted.raw", Some(&crate::signatures::rsa()));
    let path = path.to_str().unwrap();
    let round = |at, fault| faults::run(command(&["worker", path]), at, fault);
    let (end, calls) = round(None, Fault::Once);
    assert_eq!(end, End::Said("ok".into()));
    swept();
    let (mut failed, mut orphans) = (0, 0);
    for (at, call) in calls.iter().copied().enumerate() {
        // Calls that only ask and open are alike.
        if !matches!(call, libc::SYS_ioctl | libc::SYS_add_key | libc::SYS_keyctl | libc::SYS_clone3)
            && at % 5 != 0
        {
            continue;
        }
        let (end, _) = round(Some(at), Fault::Once);
        failed += usize::from(matches!(&end, End::Said(text) if text.starts_with("error ")));
        swept();
        if call != libc::SYS_ioctl {
            continue;
        }
        let (end, _) = round(Some(at), Fault::Kill);
        assert_eq!(end, End::Killed);
        let left = left_after(Duration::from_millis(500));
        if !left.is_empty() {
            orphans += 1;
            let devices = run(&["dmsetup", "ls"]);
            assert!(devices.lines().count() == 1 && devices.contains("-verity"), "{left}: {devices}");
            run(&["dmsetup", "remove", devices.split_whitespace().next().unwrap()]);
            swept();
        }
    }
    println!("{failed} failures, {orphans} orphans, {} calls", calls.len());
    assert!(failed > 10, "{failed} of {}", calls.len());
    assert!((1..=3).contains(&orphans), "{orphans} of {}", calls.len());
}
