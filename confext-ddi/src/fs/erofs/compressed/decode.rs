//! The decoders, each of a library of its own, behind one function.

use super::lz4;
use crate::error::{Corrupt, Error, Result};
use crate::fs::fence;
use flate2::{Decompress, FlushDecompress};
use liblzma::stream::{Action, Stream};
use zstd::stream::raw::{Decoder, Operation as _};
use zstd::zstd_safe::DParameter;

/// In the order of their numbers on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Lz4,
    Lzma,
    Deflate,
    Zstd,
}

/// How much of a stream is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// All: the stream has to end where the output does.
    All,
    /// The start: what follows is not looked at.
    Part,
}

impl Algorithm {
    pub(super) const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            0 => Some(Self::Lz4),
            1 => Some(Self::Lzma),
            2 => Some(Self::Deflate),
            3 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The bit of the algorithm in a list of them.
    pub(super) const fn bit(self) -> u16 {
        match self {
            Self::Lz4 => 1,
            Self::Lzma => 2,
            Self::Deflate => 4,
            Self::Zstd => 8,
        }
    }

    pub(super) const fn is_in(self, algorithms: u16) -> bool {
        algorithms & self.bit() != 0
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Lzma => "lzma",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }
}

/// Fills `out`, which is at most 12 MiB; what a decoder takes besides is at most as much again.
pub(super) fn decode(algorithm: Algorithm, packed: &[u8], out: &mut [u8], take: Take) -> Result<()> {
    let format = algorithm.name();
    let damaged = |found: String| Error::from(Corrupt::CompressedData { format, found });
    let outcome = fence(format, || {
        match algorithm {
            Algorithm::Lz4 => unpack_lz4(packed, out, take),
            Algorithm::Lzma => unpack_lzma(packed, out, take),
            Algorithm::Deflate => unpack_deflate(packed, out),
            Algorithm::Zstd => unpack_zstd(packed, out),
        }
        .map_err(damaged)
    })?;
    match (take, outcome) {
        (_, Outcome { len, .. }) if len != out.len() => {
            Err(damaged(format!("{len} bytes instead of {}", out.len())))
        }
        (Take::All, Outcome { ended: false, .. }) => Err(damaged(format!("more than {} bytes", out.len()))),
        _ => Ok(()),
    }
}

/// What came out, and whether the stream ended there.
struct Outcome {
    len: usize,
    ended: bool,
}

fn unpack_lz4(packed: &[u8], out: &mut [u8], take: Take) -> std::result::Result<Outcome, String> {
    match take {
        Take::All => {
            let len = lz4_flex::block::decompress_into(packed, out).map_err(|error| error.to_string())?;
            Ok(Outcome { len, ended: true })
        }
        Take::Part => Ok(Outcome { len: lz4::unpack_start(packed, out)?, ended: false }),
    }
}

/// A stream of MicroLZMA: the properties, inverted, stand where LZMA has a byte that is always 0.
fn unpack_lzma(packed: &[u8], out: &mut [u8], take: Take) -> std::result::Result<Outcome, String> {
    let (properties, stream) = packed.split_first().ok_or("nothing")?;
    let window = u32::try_from(out.len()).unwrap_or(u32::MAX).max(4096);
    let len = match take {
        Take::All => u64::try_from(out.len()).unwrap_or(u64::MAX),
        Take::Part => u64::MAX,
    };
    let mut header = [0; 14];
    for (field, byte) in
        header.iter_mut().zip([!properties].into_iter().chain(window.to_le_bytes()).chain(len.to_le_bytes()))
    {
        *field = byte;
    }
    let text = |error: liblzma::stream::Error| error.to_string();
    let mut decoder = Stream::new_lzma_decoder(MOST_DECODER_BYTES).map_err(text)?;
    // Nothing comes out yet, but without room for output the decoder does not read the header either.
    decoder.process(&header, out, Action::Run).map_err(text)?;
    let status = decoder.process(stream, out, Action::Finish).map_err(text)?;
    let len = usize::try_from(decoder.total_out()).unwrap_or(usize::MAX);
    Ok(Outcome { len, ended: status == liblzma::stream::Status::StreamEnd })
}

/// The window, which is as large as the output, and the tables.
const MOST_DECODER_BYTES: u64 = 16 << 20;

fn unpack_deflate(packed: &[u8], out: &mut [u8]) -> std::result::Result<Outcome, String> {
    let mut decoder = Decompress::new(false);
    let status =
        decoder.decompress(packed, out, FlushDecompress::Finish).map_err(|error| error.to_string())?;
    let len = usize::try_from(decoder.total_out()).unwrap_or(usize::MAX);
    Ok(Outcome { len, ended: status == flate2::Status::StreamEnd })
}

/// Power of two of the window: 1 MiB, the most that the format allows.
const ZSTD_WINDOW_LOG: u32 = 20;

fn unpack_zstd(packed: &[u8], out: &mut [u8]) -> std::result::Result<Outcome, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut decoder = Decoder::new().map_err(text)?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(text)?;
    let (mut read, mut len) = (0_usize, 0_usize);
    loop {
        let (rest, room) = (packed.get(read..).unwrap_or_default(), out.get_mut(len..).unwrap_or_default());
        let status = decoder.run_on_buffers(rest, room).map_err(text)?;
        read = read.saturating_add(status.bytes_read);
        len = len.saturating_add(status.bytes_written);
        let ended = status.remaining == 0;
        if ended || len == out.len() || (status.bytes_read == 0 && status.bytes_written == 0) {
            return Ok(Outcome { len, ended });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        (0..20_000_u32).flat_map(|index| (index / 7).to_le_bytes()).collect()
    }

    fn pack(algorithm: Algorithm, bytes: &[u8]) -> Vec<u8> {
        match algorithm {
            Algorithm::Lz4 => lz4_flex::block::compress(bytes),
            Algorithm::Deflate => {
                let mut packed = Vec::with_capacity(bytes.len());
                flate2::Compress::new(flate2::Compression::default(), false)
                    .compress_vec(bytes, &mut packed, flate2::FlushCompress::Finish)
                    .unwrap();
                packed
            }
            Algorithm::Zstd => zstd::bulk::compress(bytes, 3).unwrap(),
            Algorithm::Lzma => {
                let options = liblzma::stream::LzmaOptions::new_preset(6).unwrap();
                let mut encoder = Stream::new_lzma_encoder(&options).unwrap();
                let mut packed = Vec::with_capacity(bytes.len());
                encoder.process_vec(bytes, &mut packed, Action::Finish).unwrap();
                // Thirteen bytes of header, then the zero that becomes the properties.
                let mut micro = packed[13..].to_vec();
                micro[0] = !packed[0];
                micro
            }
        }
    }

    const ALL: [Algorithm; 4] = [Algorithm::Lz4, Algorithm::Lzma, Algorithm::Deflate, Algorithm::Zstd];

    #[test]
    fn streams_are_unpacked_whole_and_in_part() {
        let bytes = sample();
        for algorithm in ALL {
            let packed = pack(algorithm, &bytes);
            let mut out = vec![0; bytes.len()];
            decode(algorithm, &packed, &mut out, Take::All).unwrap();
            assert!(out == bytes, "{algorithm:?}");
            for len in [1, 100, 4096, bytes.len() - 1, bytes.len()] {
                let mut out = vec![0; len];
                decode(algorithm, &packed, &mut out, Take::Part).unwrap();
                assert!(out == bytes[..len], "{algorithm:?} {len}");
            }
        }
    }

    #[test]
    fn streams_of_another_length_are_refused() {
        let bytes = sample();
        for algorithm in ALL {
            let packed = pack(algorithm, &bytes);
            let code = |len: usize, packed: &[u8], take| {
                decode(algorithm, packed, &mut vec![0; len], take).map_err(|error| error.code())
            };
            let damaged = Err("compressed-data");
            assert_eq!(code(bytes.len() - 1, &packed, Take::All), damaged, "{algorithm:?}: more");
            assert_eq!(code(bytes.len() + 1, &packed, Take::All), damaged, "{algorithm:?}: less");
            assert_eq!(code(bytes.len() + 1, &packed, Take::Part), damaged, "{algorithm:?}: less in part");
            assert_eq!(
                code(bytes.len(), &packed[..packed.len() / 2], Take::All),
                damaged,
                "{algorithm:?}: cut"
            );
            assert_eq!(
                code(bytes.len(), &packed[..packed.len() / 2], Take::Part),
                damaged,
                "{algorithm:?}: cut"
            );
            assert_eq!(code(10, &[], Take::All), damaged, "{algorithm:?}: nothing");
            assert_eq!(code(10, &[0xff; 64], Take::Part), damaged, "{algorithm:?}: noise");
        }
    }

    /// A frame may ask for a window of gigabytes.
    #[test]
    fn windows_are_bounded() {
        let mut encoder = zstd::stream::raw::Encoder::new(1).unwrap();
        encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(24)).unwrap();
        let mut packed = vec![0; 100_000];
        let status = encoder.run_on_buffers(&sample(), &mut packed).unwrap();
        let mut out = vec![0; 1000];
        let error = decode(Algorithm::Zstd, &packed[..status.bytes_written.max(20)], &mut out, Take::Part)
            .unwrap_err();
        assert_eq!(error.code(), "compressed-data");
    }
}
