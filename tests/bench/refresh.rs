//! Exchanges a merged stack in process and prints how many microseconds that took: what `compare.sh` runs beside systemd.
//!
//! ```text
//! bench-refresh ROOT POLICY     the confexts of ROOT, every one of them looked at, judged and mounted again
//! ```
//!
//! The stack is exchanged twice and the second time counts: the first one may replace that of another program.

use confext_core::admission::{Options, Replace};
use confext_core::stack::Outcome;
use confext_core::{Host, refresh};
use confext_ddi::release::Class;
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, policy] = arguments.as_slice() else { return Err("usage: bench-refresh ROOT POLICY".into()) };
    let host = Host::open(root)?;
    let mut options = Options::default();
    options.policy = policy.parse()?;
    options.replace = Replace::Always;
    refresh(&host, Class::Confext, &options)?;
    let start = Instant::now();
    let report = refresh(&host, Class::Confext, &options)?;
    let took = start.elapsed();
    if !matches!(report.outcome, Outcome::Refreshed { .. }) {
        return Err(format!("nothing was exchanged: {:?}", report.outcome).into());
    }
    println!("{}", took.as_micros());
    Ok(())
}
