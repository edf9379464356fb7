//! What the virtual machine runs for dm-verity: each case once, on kernels that check signatures and on others.
//!
//! Prints a line for each case; the exit status is 0 when all were right. Not a test of its own: `mapped.rs` has it run.
//!
//!   vm-mapper                                the cases that differ from kernel to kernel
//!   vm-mapper keyring IMAGE CERTIFICATE…     all cases, on a kernel whose keyring can be filled: the image is signed with
//!                                            the key of one of the certificates
//!   vm-mapper restart                        ends with the machine
//!   vm-mapper worker | many …                what the cases run as processes of their own

mod devices;
mod many;
mod scene;
mod signatures;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// What is shown, and how.
type Case<'a> = (&'static str, Box<dyn Fn() + 'a>);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => run(devices::cases()),
        ["keyring", image, certificates @ ..] => {
            let mut cases = signatures::before(image, certificates);
            cases.extend(devices::cases());
            cases.extend(devices::long_cases());
            cases.extend(signatures::last());
            run(cases)
        }
        ["restart"] => devices::restart(),
        ["worker", image] => many::worker(image),
        ["many", image, sharing] => many::process(image, sharing),
        other => panic!("{other:?}"),
    }
}

fn run(cases: Vec<Case<'_>>) -> ExitCode {
    let (count, mut right) = (cases.len(), 0);
    for (name, case) in cases {
        let start = std::time::Instant::now();
        let verdict = catch_unwind(AssertUnwindSafe(|| {
            case();
            scene::swept();
        }));
        right += usize::from(verdict.is_ok());
        if verdict.is_err() {
            // The others are judged by themselves.
            scene::clear();
        }
        let verdict = if verdict.is_ok() { "ok" } else { "FAILED" };
        println!("{name}: {verdict} ({:.1} s)", start.elapsed().as_secs_f64());
    }
    println!("vm-mapper: {right} of {count} cases right");
    if right == count { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
