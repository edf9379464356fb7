//! Contents of compressed files, unpacked by the `erofs-rs` crate.
//!
//! The crate reads through an asynchronous trait. Ours answers at once, so its futures are ready when they are polled
//! first and nothing ever waits. A failed read travels through the crate inside an I/O error and comes out as it was:
//! a block that fails its hash is still reported as that. What the crate allocates is bounded by the format: 1 MiB
//! packed and 12 MiB unpacked at a time.

use crate::ReadAt;
use crate::error::{Corrupt, Error, Result, Unsupported};
use crate::fs::fence;
use erofs_rs::r#async::EroFS;
use erofs_rs::backend::AsyncImage;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Reads from the file with this inode number; `buf` ends before the file does.
pub(super) fn read<R: ReadAt>(reader: &R, id: u64, offset: u64, buf: &mut [u8]) -> Result<()> {
    fence("erofs", || finish(unpack(reader, id, offset, buf))?.map_err(translate))
}

async fn unpack<R: ReadAt>(
    reader: &R,
    id: u64,
    offset: u64,
    mut buf: &mut [u8],
) -> std::result::Result<(), erofs_rs::Error> {
    let erofs = EroFS::new(Adapter(reader)).await?;
    let file = erofs.open_inode_file(erofs.get_inode(id).await?)?;
    let mut at = offset;
    while !buf.is_empty() {
        let count = file.read_at(buf, at).await?;
        let (_, rest) = buf
            .split_at_mut_checked(count)
            .filter(|_| count > 0)
            .ok_or(erofs_rs::Error::CorruptedData("the file ends before its size".to_owned()))?;
        at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        buf = rest;
    }
    Ok(())
}

struct Adapter<'a, R>(&'a R);

impl<R: ReadAt> AsyncImage for Adapter<'_, R> {
    async fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::result::Result<(), erofs_rs::Error> {
        let result = self.0.read_exact_at(offset, buf);
        result.map_err(|error| erofs_rs::Error::Io(std::io::Error::other(error)))
    }
}

/// Runs a future that has nothing to wait for.
fn finish<T>(future: impl Future<Output = T>) -> Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Ok(value),
        Poll::Pending => Err(Unsupported::ReaderFailed { what: "erofs" }.into()),
    }
}

fn translate(error: erofs_rs::Error) -> Error {
    match error {
        erofs_rs::Error::Io(error) => error.downcast::<Error>().unwrap_or_else(Error::from),
        erofs_rs::Error::NotSupported(_) => {
            Unsupported::FileSystemFeature { what: "compression of this kind", found: 0 }.into()
        }
        other => Corrupt::CompressedData { format: "erofs", found: other.to_string() }.into(),
    }
}
