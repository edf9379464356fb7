//! What goes through `/dev/mapper/control`: requests written and answers read, no field outside the bytes that are there.

use std::io;
use std::mem::{offset_of, size_of};

/// `struct dm_ioctl`
#[repr(C)]
struct Header {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; NAME_BYTES],
    uuid: [u8; UUID_BYTES],
    data: [u8; 7],
}

/// `struct dm_target_spec`
#[repr(C)]
struct Spec {
    sector_start: u64,
    length: u64,
    status: i32,
    next: u32,
    target_type: [u8; TYPE_BYTES],
}

const NAME_BYTES: usize = 128;
const UUID_BYTES: usize = 129;
const TYPE_BYTES: usize = 16;
const HEADER_BYTES: usize = size_of::<Header>();
const SPEC_BYTES: usize = size_of::<Spec>();

const _: () = assert!(HEADER_BYTES == 312);
const _: () = assert!(offset_of!(Header, flags) == 28);
const _: () = assert!(offset_of!(Header, dev) == 40);
const _: () = assert!(offset_of!(Header, name) == 48);
const _: () = assert!(offset_of!(Header, uuid) == 176);
const _: () = assert!(offset_of!(Header, data) == 305);
const _: () = assert!(SPEC_BYTES == 40);
const _: () = assert!(offset_of!(Spec, next) == 20);
const _: () = assert!(offset_of!(Spec, target_type) == 24);

/// Deferred removal is in the interface since 4.27 (Linux 3.13); a kernel takes every version up to its own.
const VERSION: [u32; 3] = [4, 27, 0];

bitflags::bitflags! {
    /// `DM_*_FLAG`
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct DmFlags: u32 {
        /// The table, or the device, cannot be written to.
        const READ_ONLY = 1 << 0;
        /// The device is to be suspended, or is.
        const SUSPEND = 1 << 1;
        /// A table and not the status is asked for.
        const STATUS_TABLE = 1 << 4;
        /// There is a table in use.
        const ACTIVE_PRESENT = 1 << 5;
        /// There is a table that a resume would bring into use.
        const INACTIVE_PRESENT = 1 << 6;
        /// The answer did not fit.
        const BUFFER_FULL = 1 << 8;
        /// A removal that waits for the last user, or a device that goes with its last user.
        const DEFERRED_REMOVE = 1 << 17;
        const _ = !0;
    }
}

/// Which device a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmWhich<'a> {
    /// The one that has this name.
    Name(&'a str),
    /// The one that its maker gave this: never changed while it is there.
    Uuid(&'a str),
    /// The one with this device number: stable while it is open.
    Number {
        /// The driver.
        major: u32,
        /// The device.
        minor: u32,
    },
}

/// What the kernel says of a mapped device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DmDevice {
    /// Its device number: major and minor.
    pub number: (u32, u32),
    /// Its state.
    pub flags: DmFlags,
    /// How often it is open, by file systems and other devices, too.
    pub open_count: u32,
    /// Its name, shown by `dmsetup`.
    pub name: Vec<u8>,
    /// What its maker called it.
    pub uuid: Vec<u8>,
}

/// One line of a table: which sectors, by which driver, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmTarget {
    /// The first sector, of 512 bytes.
    pub start_sector: u64,
    /// How many sectors.
    pub sectors: u64,
    /// The driver: `verity`, `linear`, …
    pub kind: String,
    /// What it is told, or, in an answer, what it says.
    pub text: String,
}

/// A driver that the kernel has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DmTargetVersion {
    /// Its name.
    pub kind: String,
    /// Its version.
    pub version: [u32; 3],
}

/// The bytes of one call, there and back.
#[derive(Debug)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request about a device, with room for `room` bytes of an answer behind what is passed.
    pub(super) fn new(which: DmWhich<'_>, flags: DmFlags) -> io::Result<Self> {
        let mut message = Self { bytes: vec![0; HEADER_BYTES] };
        for (index, number) in VERSION.into_iter().enumerate() {
            message.put(index.saturating_mul(4), &number.to_ne_bytes())?;
        }
        message.put_u32(offset_of!(Header, data_start), HEADER_BYTES)?;
        message.put(offset_of!(Header, flags), &flags.bits().to_ne_bytes())?;
        match which {
            DmWhich::Name(name) => message.put_text(offset_of!(Header, name), name, NAME_BYTES)?,
            DmWhich::Uuid(uuid) => message.put_text(offset_of!(Header, uuid), uuid, UUID_BYTES)?,
            DmWhich::Number { major, minor } => {
                message.put(offset_of!(Header, dev), &encode_number(major, minor)?.to_ne_bytes())?;
            }
        }
        message.sized()
    }

    /// The same, with what makes a new device known to others.
    pub(super) fn uuid(mut self, uuid: &str) -> io::Result<Self> {
        self.put_text(offset_of!(Header, uuid), uuid, UUID_BYTES)?;
        Ok(self)
    }

    /// The same, with a table of one target.
    pub(super) fn table(mut self, target: &DmTarget) -> io::Result<Self> {
        let mut spec = Self { bytes: vec![0; SPEC_BYTES] };
        spec.put(offset_of!(Spec, sector_start), &target.start_sector.to_ne_bytes())?;
        spec.put(offset_of!(Spec, length), &target.sectors.to_ne_bytes())?;
        spec.put_text(offset_of!(Spec, target_type), &target.kind, TYPE_BYTES)?;
        self.bytes.append(&mut spec.bytes);
        self.put(offset_of!(Header, target_count), &1_u32.to_ne_bytes())?;
        self.text(&target.text)
    }

    /// The same, followed by text and a NUL, to a whole number of 8 bytes.
    pub(super) fn text(mut self, text: &str) -> io::Result<Self> {
        if text.contains('\0') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.bytes.extend_from_slice(text.as_bytes());
        let whole = self.bytes.len().saturating_add(1).next_multiple_of(8);
        self.bytes.resize(whole, 0);
        self.sized()
    }

    /// The same, with room for an answer.
    pub(super) fn room(mut self, bytes: usize) -> io::Result<Self> {
        self.bytes.resize(HEADER_BYTES.saturating_add(bytes), 0);
        self.sized()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    /// Says how many bytes there are, which is how many the kernel reads and writes.
    fn sized(mut self) -> io::Result<Self> {
        self.put_u32(offset_of!(Header, data_size), self.bytes.len())?;
        Ok(self)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let end = at.saturating_add(bytes.len());
        let place = self.bytes.get_mut(at..end).ok_or(io::ErrorKind::InvalidInput)?;
        place.copy_from_slice(bytes);
        Ok(())
    }

    fn put_u32(&mut self, at: usize, number: usize) -> io::Result<()> {
        let number = u32::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.put(at, &number.to_ne_bytes())
    }

    /// Text with the NUL that has to follow it inside the field.
    fn put_text(&mut self, at: usize, text: &str, field_bytes: usize) -> io::Result<()> {
        if text.is_empty() || text.len() >= field_bytes || text.contains('\0') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.put(at, text.as_bytes())
    }

    /// The interface's version, in an answer.
    pub(super) fn version(&self) -> io::Result<[u32; 3]> {
        Ok([u32_at(&self.bytes, 0)?, u32_at(&self.bytes, 4)?, u32_at(&self.bytes, 8)?])
    }

    pub(super) fn flags(&self) -> io::Result<DmFlags> {
        Ok(DmFlags::from_bits_retain(u32_at(&self.bytes, offset_of!(Header, flags))?))
    }

    /// What an answer says of the device.
    pub(super) fn device(&self) -> io::Result<DmDevice> {
        let open_count = u32_at(&self.bytes, offset_of!(Header, open_count))?;
        Ok(DmDevice {
            number: decode_number(u64_at(&self.bytes, offset_of!(Header, dev))?)?,
            flags: self.flags()?,
            // The kernel's number is signed, and never negative.
            open_count: u32::try_from(open_count.cast_signed()).map_err(|_| bad_answer())?,
            name: text_at(&self.bytes, offset_of!(Header, name), NAME_BYTES)?.to_vec(),
            uuid: text_at(&self.bytes, offset_of!(Header, uuid), UUID_BYTES)?.to_vec(),
        })
    }

    /// What follows the header of an answer, as far as the kernel says that it filled it.
    fn data(&self) -> io::Result<&[u8]> {
        let start = usize_at(&self.bytes, offset_of!(Header, data_start))?;
        let end = usize_at(&self.bytes, offset_of!(Header, data_size))?;
        if start < offset_of!(Header, data) {
            return Err(bad_answer());
        }
        self.bytes.get(start..end).ok_or_else(bad_answer)
    }

    /// The targets of an answer; `next` counts from where the data begins.
    pub(super) fn targets(&self) -> io::Result<Vec<DmTarget>> {
        let (data, count) = (self.data()?, usize_at(&self.bytes, offset_of!(Header, target_count))?);
        let (mut targets, mut at) = (Vec::new(), 0_usize);
        for _ in 0..count {
            let spec = data.get(at..).ok_or_else(bad_answer)?;
            let kind = text_at(spec, offset_of!(Spec, target_type), TYPE_BYTES)?;
            let text = spec.get(SPEC_BYTES..).ok_or_else(bad_answer)?;
            targets.push(DmTarget {
                start_sector: u64_at(spec, offset_of!(Spec, sector_start))?,
                sectors: u64_at(spec, offset_of!(Spec, length))?,
                kind: utf8(kind)?,
                text: utf8(text_at(text, 0, text.len())?)?,
            });
            let next = usize_at(spec, offset_of!(Spec, next))?;
            // Each is behind the one before, so there are at most as many as the data has bytes.
            if next <= at {
                return if targets.len() == count { Ok(targets) } else { Err(bad_answer()) };
            }
            at = next;
        }
        Ok(targets)
    }

    /// The drivers of an answer; `next` counts from each itself, and is 0 in the last one.
    pub(super) fn versions(&self) -> io::Result<Vec<DmTargetVersion>> {
        /// `struct dm_target_versions`: next, version, name.
        const NAME_AT: usize = 16;
        let (data, mut found) = (self.data()?, Vec::new());
        let mut rest = data;
        while rest.len() > NAME_AT {
            let name = rest.get(NAME_AT..).ok_or_else(bad_answer)?;
            let version = [u32_at(rest, 4)?, u32_at(rest, 8)?, u32_at(rest, 12)?];
            found.push(DmTargetVersion { kind: utf8(text_at(name, 0, name.len())?)?, version });
            match usize_at(rest, 0)? {
                0 => break,
                next => rest = rest.get(next..).ok_or_else(bad_answer)?,
            }
        }
        Ok(found)
    }

    /// The devices of an answer that a table is over.
    pub(super) fn dependencies(&self) -> io::Result<Vec<(u32, u32)>> {
        /// `struct dm_target_deps`: count, padding, numbers.
        const NUMBERS_AT: usize = 8;
        let data = self.data()?;
        let (numbers, _) = data.get(NUMBERS_AT..).unwrap_or_default().as_chunks::<8>();
        let numbers = numbers.get(..usize_at(data, 0)?).ok_or_else(bad_answer)?;
        numbers.iter().map(|number| decode_number(u64::from_ne_bytes(*number))).collect()
    }
}

/// The kernel said something that it never says.
fn bad_answer() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "device-mapper's answer has a field outside of it")
}

fn field<const BYTES: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; BYTES]> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or_else(bad_answer)
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    field(bytes, at).map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> io::Result<u64> {
    field(bytes, at).map(u64::from_ne_bytes)
}

fn usize_at(bytes: &[u8], at: usize) -> io::Result<usize> {
    usize::try_from(u32_at(bytes, at)?).map_err(|_| bad_answer())
}

/// Text up to its NUL, which has to be there.
fn text_at(bytes: &[u8], at: usize, field_bytes: usize) -> io::Result<&[u8]> {
    let field = bytes.get(at..at.saturating_add(field_bytes)).ok_or_else(bad_answer)?;
    let end = field.iter().position(|byte| *byte == 0).ok_or_else(bad_answer)?;
    field.get(..end).ok_or_else(bad_answer)
}

fn utf8(bytes: &[u8]) -> io::Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| bad_answer())
}

/// A device number as the kernel writes it into 64 bits (`huge_encode_dev`); bits that no such number has are lost.
#[must_use]
pub fn device_code(major: u32, minor: u32) -> u64 {
    u64::from((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12))
}

fn encode_number(major: u32, minor: u32) -> io::Result<u64> {
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(device_code(major, minor))
}

/// `huge_decode_dev`
fn decode_number(number: u64) -> io::Result<(u32, u32)> {
    let number = u32::try_from(number).map_err(|_| bad_answer())?;
    Ok(((number & 0x000f_ff00) >> 8, (number & 0xff) | ((number >> 12) & 0x000f_ff00)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_NAME: DmWhich<'_> = DmWhich::Name("a");

    /// An answer whose data is `data`.
    fn answer(count: u32, data: &[u8]) -> Message {
        let mut message = Message::new(BY_NAME, DmFlags::empty()).unwrap();
        message.put(offset_of!(Header, target_count), &count.to_ne_bytes()).unwrap();
        message.bytes.extend_from_slice(data);
        message.sized().unwrap()
    }

    fn spec(next: u32, text: &[u8]) -> Vec<u8> {
        let target = DmTarget { start_sector: 1, sectors: 8, kind: "verity".into(), text: String::new() };
        let message = Message::new(BY_NAME, DmFlags::empty()).unwrap().table(&target).unwrap();
        let mut bytes = message.bytes[HEADER_BYTES..HEADER_BYTES + SPEC_BYTES].to_vec();
        bytes[offset_of!(Spec, next)..][..4].copy_from_slice(&next.to_ne_bytes());
        bytes.extend_from_slice(text);
        bytes
    }

    #[test]
    fn device_numbers_are_those_of_the_kernel() {
        for (number, encoded) in [
            ((253, 0), 0xfd00),
            ((253, 255), 0xfdff),
            ((253, 256), 0x0010_fd00),
            ((4095, (1 << 20) - 1), 0xffff_ffff),
        ] {
            assert_eq!(encode_number(number.0, number.1).unwrap(), encoded);
            assert_eq!(decode_number(encoded).unwrap(), number);
        }
        assert!(encode_number(1 << 12, 0).is_err() && encode_number(0, 1 << 20).is_err());
        assert!(decode_number(1 << 32).is_err());
    }

    #[test]
    fn names_must_fit_their_field() {
        for (name, fits) in [
            ("x".repeat(127), true),
            ("x".repeat(128), false),
            (String::new(), false),
            ("a\0b".into(), false),
        ] {
            assert_eq!(Message::new(DmWhich::Name(&name), DmFlags::empty()).is_ok(), fits, "{name}");
        }
        for (uuid, fits) in [(128, true), (129, false)] {
            let message = Message::new(BY_NAME, DmFlags::empty()).unwrap();
            assert_eq!(message.uuid(&"x".repeat(uuid)).is_ok(), fits);
        }
    }

    #[test]
    fn a_request_says_what_it_has() {
        let target = DmTarget { start_sector: 0, sectors: 16, kind: "verity".into(), text: "1 7:0".into() };
        let message = Message::new(BY_NAME, DmFlags::READ_ONLY).unwrap().table(&target).unwrap();
        assert_eq!(message.bytes.len(), HEADER_BYTES + SPEC_BYTES + 8);
        assert_eq!(usize_at(&message.bytes, offset_of!(Header, data_size)).unwrap(), message.bytes.len());
        assert_eq!(message.flags().unwrap(), DmFlags::READ_ONLY);
        assert_eq!(message.targets().unwrap(), [target]);
        assert!(message.text("a\0b").is_err());
    }

    #[test]
    fn targets_stay_inside_the_answer() {
        let one = spec(0, b"1 7:0\0");
        assert_eq!(answer(1, &one).targets().unwrap()[0].text, "1 7:0");
        assert_eq!(answer(0, &[]).targets().unwrap(), []);
        let two = [spec(48, b"first\0\0\0"), spec(0, b"second\0")].concat();
        let found: Vec<_> = answer(2, &two).targets().unwrap().into_iter().map(|found| found.text).collect();
        assert_eq!(found, ["first", "second"]);
        let bad: [(u32, Vec<u8>); 6] = [
            (1, Vec::new()),
            (1, one[..20].to_vec()),
            (1, spec(0, b"no end")),
            (1, spec(0, b"\xff\0")),
            (2, spec(0, b"one\0")),
            (2, spec(4000, b"one\0")),
        ];
        for (count, data) in bad {
            assert_eq!(answer(count, &data).targets().unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn lengths_of_an_answer_are_not_believed() {
        for (at, value) in [
            (offset_of!(Header, data_size), u32::MAX),
            (offset_of!(Header, data_start), u32::MAX),
            (offset_of!(Header, data_start), 0),
            (offset_of!(Header, target_count), u32::MAX),
        ] {
            let mut message = answer(1, &spec(0, b"x\0"));
            message.put(at, &value.to_ne_bytes()).unwrap();
            assert_eq!(message.targets().unwrap_err().kind(), io::ErrorKind::InvalidData, "{at} {value}");
        }
        let mut message = answer(0, &[]);
        message.put(offset_of!(Header, name), &[b'x'; NAME_BYTES]).unwrap();
        assert_eq!(message.device().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn versions_and_dependencies_stay_inside_the_answer() {
        let version = |next: u32, name: &[u8]| {
            [&next.to_ne_bytes()[..], &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0], name].concat()
        };
        let two = [version(24, b"linear\0\0"), version(0, b"verity\0")].concat();
        let found = answer(0, &two).versions().unwrap();
        assert_eq!(found[1], DmTargetVersion { kind: "verity".into(), version: [1, 2, 3] });
        assert_eq!(answer(0, &[]).versions().unwrap(), []);
        for bad in [version(0, b"no end"), version(4000, b"x\0")] {
            assert_eq!(answer(0, &bad).versions().unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        let numbers = |count: u32| {
            [&count.to_ne_bytes()[..], &[0; 4], &0x0700_u64.to_ne_bytes(), &0x0701_u64.to_ne_bytes()].concat()
        };
        assert_eq!(answer(0, &numbers(2)).dependencies().unwrap(), [(7, 0), (7, 1)]);
        for bad in [numbers(3), numbers(u32::MAX), Vec::new()] {
            assert_eq!(answer(0, &bad).dependencies().unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
