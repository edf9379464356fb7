//! Attaches a signed image in process, beside what that cannot be done without: what `attach.sh` runs.
//!
//! ```text
//! bench-attach compare IMAGE CERTIFICATE RUNS        sealed memory, by verifying and copying and by a plain program: ratios
//! bench-attach mount MODE IMAGE CERTIFICATE DIR      attaches in one mode and mounts at DIR, once
//! ```
//!
//! All ways run in turn, after a turn that does not count, and medians are compared. A device is let go untimed.

use confext_core::attach::{Mode, attach};
use confext_core::layer::{self, Layer};
use confext_core::sys::{self, Place};
use confext_ddi::image::{self, Image};
use confext_ddi::limits::Limits;
use confext_ddi::policy::{Admitted, Data, Policy};
use confext_ddi::read::{ReadAt as _, Window, read_vec};
use confext_ddi::release::Class;
use confext_ddi::signature::{Certificates, Time};
use confext_ddi::verity::{Geometry, Superblock};
use confext_sha256::Prefixed;
use rayon::prelude::*;
use std::error::Error;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant, SystemTime};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What the plain program reads, hashes and writes at a time: a part of it that is in the cache.
const PART_BYTES: usize = 256 << 10;
const BLOCK_BYTES: usize = 4096;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["compare", image, certificate, runs] => compare(image, certificate, runs.parse()?),
        ["mount", mode, image, certificate, dir] => mount(mode, image, certificate, dir),
        _ => {
            Err("usage: bench-attach compare IMAGE CERTIFICATE RUNS | mount MODE IMAGE CERTIFICATE DIR"
                .into())
        }
    }
}

/// Signature and top of the hash tree are checked, as before every use.
fn admit(path: &str, certificate: &str) -> Outcome<Admitted<File>> {
    let mut trusted = Certificates::new(Time::from(SystemTime::now()));
    trusted.add_pem(&std::fs::read(certificate)?)?;
    let mut limits = Limits::default();
    limits.image_bytes = u64::MAX;
    let image = Image::open(File::open(path)?, &image::Options::default().limits(limits))?;
    Ok(Policy::signed().judge(image, Some(&trusted))?)
}

fn compare(image: &str, certificate: &str, runs: usize) -> Outcome<()> {
    let mut times = [const { Vec::new() }; 5];
    for turn in 0..=runs {
        // Whoever is first has the caches of the one before: change places.
        for at in 0..5 {
            let way = (at + turn) % 5;
            let start = Instant::now();
            let admitted = admit(image, certificate)?;
            let took = match way {
                0 => {
                    let attached = attach(admitted, Mode::SealedMemory)?;
                    let took = start.elapsed();
                    attached.detach()?;
                    took
                }
                1 => {
                    let Data::Checked(checked) = admitted.data() else { return Err("not checked".into()) };
                    checked.verify()?;
                    start.elapsed()
                }
                2 => {
                    drop(admitted);
                    let start = Instant::now();
                    copy(image)?;
                    start.elapsed()
                }
                3 => {
                    plain(&admitted, |parts, work| (0..parts).try_for_each(work))?;
                    start.elapsed()
                }
                _ => {
                    plain(&admitted, |parts, work| (0..parts).into_par_iter().try_for_each(work))?;
                    start.elapsed()
                }
            };
            if turn > 0 {
                times[way].push(took);
            }
        }
    }
    let [sealed, verify, copy, one, all] = times.map(|times: Vec<Duration>| median(times).as_secs_f64());
    let target = if sealed <= 1.3 * (verify + copy) { "met" } else { "MISSED" };
    println!(
        "{:6.2}   {target}: at most 1.3  by verifying in all threads, and copying once",
        sealed / (verify + copy)
    );
    println!(
        "{:6.2}                     by a plain program that reads, checks and writes in one thread",
        sealed / one
    );
    println!("{:6.2}                     by the same in all threads", sealed / all);
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The data of the image into memory, once, and nothing else.
fn copy(path: &str) -> Outcome<()> {
    let image = Image::open(File::open(path)?, &image::Options::default())?;
    let data = Window::new(image.reader(), image.data().range)?;
    let (memory, size) = (File::from(sys::memfd("confext-bench")?), data.size_bytes()?);
    let (mut buffer, mut at) = (vec![0; 1 << 20], 0);
    while at < size {
        let len = usize::try_from((size - at).min(1 << 20))?;
        data.read_exact_at(at, &mut buffer[..len])?;
        memory.write_all_at(&buffer[..len], at)?;
        at += u64::try_from(len)?;
    }
    Ok(())
}

/// What a program does that believes level 0 of the hash tree: it reads each part, hashes its blocks, compares them with the
/// digests, and writes what it has hashed. `each` says in which threads.
fn plain(
    admitted: &Admitted<File>,
    each: impl FnOnce(u64, &(dyn Fn(u64) -> Outcome<()> + Sync)) -> Outcome<()>,
) -> Outcome<()> {
    let image = admitted.image();
    let hash = image.hash().ok_or("no hash partition")?;
    let (data, hash) =
        (Window::new(image.reader(), image.data().range)?, Window::new(image.reader(), hash.range)?);
    let superblock = Superblock::parse(&read_vec(&hash, 0, Superblock::BYTES)?, &Limits::default())?;
    let geometry = Geometry::new(&superblock)?;
    let leaves = geometry.levels().first().ok_or("one block of data")?;
    let hasher = Prefixed::new(superblock.salt.as_bytes())
        .ok_or("this processor does not hash several blocks at once")?;
    let memory = File::from(sys::memfd("confext-bench")?);
    let (size, part_bytes) = (geometry.data_bytes(), u64::try_from(PART_BYTES)?);
    let blocks_of_part = part_bytes / u64::try_from(BLOCK_BYTES)?;
    each(size.div_ceil(part_bytes), &|part| {
        let at = part * part_bytes;
        let len = usize::try_from((size - at).min(part_bytes))?;
        let (mut bytes, mut digests) = (vec![0; len], vec![[0; 32]; len / BLOCK_BYTES]);
        data.read_exact_at(at, &mut bytes)?;
        hasher.digest_each(&bytes, BLOCK_BYTES, &mut digests);
        // 128 digests of 32 bytes fill a block, and a part has fewer, so that they follow each other.
        let first = leaves.first_block * u64::try_from(BLOCK_BYTES)? + part * blocks_of_part * 32;
        let expected = read_vec(&hash, first, digests.len() * 32)?;
        if expected != digests.concat() {
            return Err("a block that does not check".into());
        }
        Ok(memory.write_all_at(&bytes, at)?)
    })
}

fn mount(mode: &str, path: &str, certificate: &str, dir: &str) -> Outcome<()> {
    let mode = Mode::ALL.into_iter().find(|known| known.as_str() == mode).ok_or("no such mode")?;
    let attached = attach(admit(path, certificate)?, mode)?;
    let layer = Layer::mount(attached, layer::Options::new("bench", Class::Confext, path))?;
    let here: BorrowedFd<'_> = rustix::fs::CWD;
    sys::move_mount(layer.mount_fd().as_fd(), here, dir, Place::OnTop)?;
    Ok(())
}
