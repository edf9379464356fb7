//! Exchanges a merged stack in process and prints how many microseconds that took: what `compare.sh` runs beside systemd.
//!
//! ```text
//! bench-refresh ROOT POLICY          the confexts of ROOT, every one of them looked at, judged and mounted again
//! bench-refresh ROOT POLICY TIMES    goes on running, and does that so often in a row for each line of standard input;
//!                                    the median counts
//! ```
//!
//! Each time, the stack is exchanged once before that: it may be that of another program.

use confext_core::admission::{Options, Replace};
use confext_core::stack::Outcome;
use confext_core::{Host, refresh};
use confext_ddi::release::Class;
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (root, policy, times) = match arguments.as_slice() {
        [root, policy] => (root, policy, None),
        [root, policy, times] => (root, policy, Some(times.parse()?)),
        _ => return Err("usage: bench-refresh ROOT POLICY [TIMES]".into()),
    };
    let host = Host::open(root)?;
    let mut options = Options::default();
    options.policy = policy.parse()?;
    options.replace = Replace::Always;
    let Some(times) = times else {
        refresh(&host, Class::Confext, &options)?;
        println!("{}", exchange(&host, &options)?);
        return Ok(());
    };
    for line in std::io::stdin().lines() {
        line?;
        refresh(&host, Class::Confext, &options)?;
        let took = (0..times).map(|_| exchange(&host, &options)).collect::<Result<Vec<_>, _>>()?;
        println!("{}", median(took).ok_or("TIMES: found 0, expected a number from 1")?);
    }
    Ok(())
}

fn median(mut took: Vec<u128>) -> Option<u128> {
    took.sort_unstable();
    took.get(took.len() / 2).copied()
}

/// Microseconds.
fn exchange(host: &Host, options: &Options) -> Result<u128, Box<dyn Error>> {
    let start = Instant::now();
    let report = refresh(host, Class::Confext, options)?;
    let took = start.elapsed();
    if !matches!(report.outcome, Outcome::Refreshed { .. }) {
        return Err(format!("nothing was exchanged: {:?}", report.outcome).into());
    }
    Ok(took.as_micros())
}
