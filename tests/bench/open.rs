//! Opens and dissects an image in one process, over and over: what `python.sh` compares a call of Python with.
//!
//! ```text
//! bench-open IMAGE RUNS      the median of the runs, in nanoseconds
//! ```

use confext_ddi::image::Options;
use std::error::Error;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(image), Some(runs)) = (arguments.next(), arguments.next()) else {
        return Err("usage: bench-open IMAGE RUNS".into());
    };
    let (image, runs) = (PathBuf::from(image), runs.parse::<usize>()?);
    let mut times = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        let opened = confext_core::sidecars::open(&image, &Options::default())?;
        black_box((opened.table(), opened.partitions(), opened.skipped(), opened.claim()));
        drop(opened);
        times.push(start.elapsed().as_nanos());
    }
    times.sort_unstable();
    println!("{}", times.get(times.len() / 2).ok_or("found no run, expected at least one")?);
    Ok(())
}
