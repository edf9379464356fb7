//! Sealed memory: checked while it is copied, then nobody's to change.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};

use confext_ddi::error::{LimitExceeded, Refused};
use confext_ddi::image::Partition;
use confext_ddi::policy::{Admitted, Checked, Data, Evidence};
use confext_ddi::read::ReadAt;
use confext_ddi::units::ByteRange;
use confext_ddi::verity::Progress;

use super::{Backing, Report, Shown, layer_file_system};
use crate::attach::Reads;
use crate::error::{Error, Result};
use crate::loopdev::{self, LoopDevice};
use crate::sys::{self, SealFlags};

/// Bytes in memory that nobody can change, not even this process.
struct Sealed {
    file: File,
    range: ByteRange,
}

/// What a block device and every file system here need whole numbers of.
const BLOCK_BYTES: u64 = 4096;
/// How much of what nobody checks is read and written at a time.
const COPY_BYTES: u64 = 1 << 20;

/// Copies the data of an admitted image into memory, and makes a device of that.
pub(super) fn attach_sealed<R: ReadAt>(
    admitted: &Admitted<R>,
    partition: &Partition,
    report: &mut Report<'_>,
) -> Result<Shown> {
    let (data, most) = (admitted.data(), admitted.image().limits().image_bytes);
    let name = memory_name(admitted.evidence());
    let sealed = match data {
        Data::Checked(checked) => seal(data, &name, most, |file, _| copy_checked(checked, file, report))?,
        Data::Unchecked(plain) => {
            seal(data, &name, most, |file, total_bytes| copy_plain(plain, file, total_bytes, report))?
        }
    };
    // The magic is read again, from the bytes that are used: what was read when the image was opened was not checked.
    let fs_type = layer_file_system(&sealed.file, partition)?;
    let options = loopdev::Options::new(sealed.range).name(name);
    let backing = Backing::Loop(LoopDevice::attach(sealed.file.as_fd(), &options)?);
    Ok(Shown {
        backing,
        fs_type,
        len_bytes: sealed.range.len_bytes(),
        reads: Reads::SealedMemory,
        mapped: None,
    })
}

/// Has `copy` fill memory, and seals it before anyone else sees it.
fn seal(
    data: &impl ReadAt,
    name: &str,
    most: u64,
    copy: impl FnOnce(&File, u64) -> Result<()>,
) -> Result<Sealed> {
    let total_bytes = data.size_bytes()?;
    let padded = total_bytes.checked_next_multiple_of(BLOCK_BYTES);
    let range = padded.filter(|padded| *padded <= most).and_then(|padded| ByteRange::with_len(0, padded));
    let Some(range) = range else {
        let fault =
            LimitExceeded::Bytes { what: "file system to be held in memory", found: total_bytes, most };
        return Err(confext_ddi::Error::from(fault).into());
    };
    let file = File::from(sys::memfd(name).map_err(memory("make"))?);
    file.set_len(range.end()).map_err(memory("size"))?;
    copy(&file, total_bytes)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    sys::add_seals(file.as_fd(), seals).map_err(memory("seal"))?;
    Ok(Sealed { file, range })
}

fn memory(operation: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::os(operation, "sealed memory", source)
}

/// On all processors: each byte is read once, and what was hashed is what is written.
fn copy_checked<R: ReadAt>(data: &Checked<R>, file: &File, report: &mut Report<'_>) -> Result<()> {
    // A fault of the memory is none of the image.
    let failed = Mutex::new(None);
    let write = |offset, bytes: &[u8]| {
        file.write_all_at(bytes, offset).map_err(|error| {
            let kind = error.kind();
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            kind.into()
        })
    };
    let copied = data.copy(write, report);
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(memory("write to")(error)),
        None => Ok(copied?),
    }
}

fn copy_plain(data: &impl ReadAt, file: &File, total_bytes: u64, report: &mut Report<'_>) -> Result<()> {
    let mut buffer = vec![0; usize::try_from(COPY_BYTES.min(total_bytes)).unwrap_or(0)];
    let mut done_bytes = 0;
    while done_bytes < total_bytes {
        let count = usize::try_from(total_bytes.saturating_sub(done_bytes)).unwrap_or(usize::MAX);
        let end = count.min(buffer.len());
        let chunk = buffer.get_mut(..end).unwrap_or_default();
        data.read_exact_at(done_bytes, chunk)?;
        file.write_all_at(chunk, done_bytes).map_err(memory("write to"))?;
        done_bytes = done_bytes.saturating_add(u64::try_from(end).unwrap_or(u64::MAX));
        if report(Progress { done_bytes, total_bytes }).is_break() {
            let fault = Refused::Cancelled { done: done_bytes, total: total_bytes };
            return Err(confext_ddi::Error::from(fault).into());
        }
    }
    Ok(())
}

/// Shown as the device's file by tools that list loop devices.
fn memory_name(evidence: &Evidence) -> String {
    match evidence.root_hash() {
        Some(root_hash) => format!("confext-{root_hash}"),
        None => "confext-unverified".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::ControlFlow;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Counts how often each byte is asked for, and fails at one.
    struct Source {
        bytes: Vec<u8>,
        read_bytes: AtomicU64,
        bad_from: u64,
    }

    impl ReadAt for Source {
        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> confext_ddi::Result<()> {
            self.read_bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
            if offset + buf.len() as u64 > self.bad_from {
                let block = self.bad_from / 4096;
                return Err(confext_ddi::error::Unverified::DataBlock {
                    block,
                    found: String::new(),
                    expected: String::new(),
                }
                .into());
            }
            self.bytes.read_exact_at(offset, buf)
        }

        fn size_bytes(&self) -> confext_ddi::Result<u64> {
            self.bytes.size_bytes()
        }
    }

    fn source(len: usize) -> Source {
        let bytes = (0..len).map(|at| (at / 7 % 251) as u8).collect();
        Source { bytes, read_bytes: AtomicU64::new(0), bad_from: u64::MAX }
    }

    fn sealed(source: &Source, most: u64, report: &mut Report<'_>) -> Result<Sealed> {
        seal(source, "confext-test", most, |file, total_bytes| copy_plain(source, file, total_bytes, report))
    }

    #[test]
    fn each_byte_is_read_once_and_the_copy_is_sealed_and_padded() {
        let source = source((3 << 20) + 5);
        let mut reports = Vec::new();
        let sealed = sealed(&source, 1 << 30, &mut |step| {
            reports.push(step);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(source.read_bytes.load(Ordering::Relaxed), (3 << 20) + 5);
        assert_eq!(sealed.range.len_bytes(), (3 << 20) + 4096);
        assert_eq!(reports.len(), 4);
        assert!(reports.iter().all(|step| step.total_bytes == (3 << 20) + 5));
        assert_eq!(reports.last().unwrap().done_bytes, (3 << 20) + 5);
        let mut copy = vec![0; source.bytes.len()];
        ReadAt::read_exact_at(&sealed.file, 0, &mut copy).unwrap();
        assert!(copy == source.bytes);
        assert_eq!(sealed.file.write_at(b"x", 0).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let seals = sys::seals(sealed.file.as_fd()).unwrap();
        assert!(seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL));
    }

    #[test]
    fn a_block_that_does_not_check_ends_the_copy() {
        let mut source = source(3 << 20);
        source.bad_from = 2 << 20;
        let error = sealed(&source, 1 << 30, &mut |_| ControlFlow::Continue(())).err().unwrap();
        assert_eq!(error.code(), "data-block");
    }

    #[test]
    fn more_than_the_limit_is_refused_before_anything_is_read() {
        let source = source(4097);
        assert!(sealed(&source, 8192, &mut |_| ControlFlow::Continue(())).is_ok());
        let read_bytes = source.read_bytes.load(Ordering::Relaxed);
        let error = sealed(&source, 8191, &mut |_| ControlFlow::Continue(())).err().unwrap();
        assert_eq!(error.code(), "limit-bytes");
        assert_eq!(source.read_bytes.load(Ordering::Relaxed), read_bytes);
    }
}
