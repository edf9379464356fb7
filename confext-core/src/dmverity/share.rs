//! A device that somebody else made: used only when it is at least what was asked for.

use std::os::fd::AsFd as _;

use super::activate::first_read;
use super::table::{KIND, Lack, Table};
use super::windows::{Part, Wanted};
use super::{Made, Options, VerityDevice, pair, pause};
use crate::error::{Error, Result};
use crate::loopdev::DeviceNumber;
use crate::mapper::{self, Control};
use crate::sys::{self, AtFlags, DmDevice, DmFlags, DmQuery, DmTarget, DmWhich, LoopFlags, StatxFlags};

/// What looking for one came to.
pub(super) enum Joined {
    Yes(VerityDevice),
    No(Lack),
    Nobody,
}

/// Others need a moment between making a device and using it.
const LOOKS: u32 = 10;

/// Looks at the device of this name.
pub(super) fn join(
    control: &Control,
    wanted: &Wanted<'_>,
    options: &Options<'_>,
    name: &str,
) -> Result<Joined> {
    let mut lack = Lack::new("device", "one that came and went", "one that stays");
    for attempt in 0..LOOKS {
        let found = match sys::dm_status(control.as_fd(), DmWhich::Name(name)) {
            Ok(found) => found,
            // A name that is too long for a device is nobody's.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(Joined::Nobody),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => return Ok(Joined::Nobody),
            Err(source) => return Err(Error::os("read the status of", name, source)),
        };
        // Held open before it is looked at: from then on its number is that of no other device.
        if let Ok((device, path)) = mapper::open_mapped(found.number) {
            let (major, minor) = found.number;
            match look(control, wanted, options, found.number)? {
                Look::Right(table) => {
                    first_read(&device, name)?;
                    return Ok(Joined::Yes(VerityDevice {
                        device,
                        path,
                        name: name.to_owned(),
                        device_number: DeviceNumber { major, minor },
                        uuid: None,
                        table,
                        made: Made::Reused,
                        accepted: None,
                        io: None,
                    }));
                }
                Look::Wrong(lack) => return Ok(Joined::No(lack)),
                Look::NotYet(state) => lack = state,
            }
        }
        pause(attempt);
    }
    Ok(Joined::No(lack))
}

enum Look {
    /// It has this table.
    Right(String),
    Wrong(Lack),
    /// It may be half made.
    NotYet(Lack),
}

fn look(control: &Control, wanted: &Wanted<'_>, options: &Options<'_>, number: (u32, u32)) -> Result<Look> {
    let which = DmWhich::Number { major: number.0, minor: number.1 };
    let ask = |query| {
        sys::dm_table_status(control.as_fd(), which, query)
            .map_err(|source| Error::os("read the table of", format!("dm-{}", number.1), source))
    };
    let (device, tables) = ask(DmQuery::Table)?;
    let (_, states) = ask(DmQuery::Status)?;
    let mut asked = wanted.table(options, [DeviceNumber { major: 0, minor: 0 }; 2]);
    // Any description: that there is one says that the kernel checked a signature.
    asked.extras.signature = (!wanted.signatures.is_empty()).then(|| "any".to_owned());
    if let Err(lack) = in_use(&device, &tables, asked.sectors()) {
        return Ok(Look::NotYet(lack));
    }
    let text = tables.first().map(|target| target.text.as_str()).unwrap_or_default();
    let Some(table) = Table::parse(text) else {
        return Ok(Look::Wrong(Lack::new("table", text, asked.to_string())));
    };
    if options.parity.is_some() {
        return Ok(Look::Wrong(Lack::new("parity", "that of somebody else", "this parity")));
    }
    let state = states.first().map(|target| target.text.as_str()).unwrap_or_default();
    if state.split(' ').next() != Some("V") {
        return Ok(Look::Wrong(Lack::new("state", state, "V: no changed block was read")));
    }
    let lack = table.lacks(&asked).or_else(|| {
        let parts = [("data", table.data, wanted.data), ("hash tree", table.hash, wanted.hash)];
        parts.into_iter().find_map(|(what, device, part)| shows(what, device, part).err())
    });
    Ok(lack.map_or_else(|| Look::Right(text.to_owned()), Look::Wrong))
}

/// Whether a device is in use, read-only, with one target of dm-verity that is all of it, and no other table waiting.
pub(super) fn in_use(device: &DmDevice, targets: &[DmTarget], sectors: u64) -> Result<(), Lack> {
    let unwanted = DmFlags::SUSPEND | DmFlags::INACTIVE_PRESENT;
    let needed = DmFlags::ACTIVE_PRESENT | DmFlags::READ_ONLY;
    if !device.flags.contains(needed) || device.flags.intersects(unwanted) {
        return Err(Lack::new("device", format!("flags {:?}", device.flags), "a table in use, read-only"));
    }
    match targets {
        [target] if target.kind == KIND && target.start_sector == 0 && target.sectors == sectors => Ok(()),
        other => {
            let text = |target: &DmTarget| format!("{} of {} sectors", target.kind, target.sectors);
            let found: Vec<String> = other.iter().take(4).map(text).collect();
            Err(Lack::new("targets", found.join(", "), format!("{KIND} of {sectors} sectors")))
        }
    }
}

/// Whether a device is a loop device that shows just this part of just this file, or a partition of one.
fn shows(what: &'static str, device: DeviceNumber, part: Part<'_>) -> Result<(), Lack> {
    let lack = |found: String| Lack::new(what, found, "a read-only loop device on the image");
    let node = mapper::open_block(pair(device)).map_err(|error| lack(format!("{device}: {error}")))?;
    let status = sys::loop_status(node.as_fd()).map_err(|error| lack(format!("{device}: {error}")))?;
    let stat = sys::statx(part.file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .map_err(|error| lack(format!("{device}: {error}")))?;
    let file = (sys::device_code(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino);
    if status.backing != file {
        return Err(lack(format!("{device} on another file")));
    }
    let inside = partition_start(device).and_then(|start| status.offset.checked_add(start));
    if inside != Some(part.range.start()) || !status.flags.contains(LoopFlags::READ_ONLY) {
        return Err(lack(format!("{device} from byte {inside:?} with flags {:?}", status.flags)));
    }
    let bytes = sys::device_bytes(node.as_fd()).map_err(|error| lack(format!("{device}: {error}")))?;
    if bytes < part.range.len_bytes() {
        return Err(lack(format!("{device} of {bytes} bytes")));
    }
    Ok(())
}

/// Where on its disk a partition starts, in bytes; 0 for what is no partition.
fn partition_start(device: DeviceNumber) -> Option<u64> {
    match std::fs::read_to_string(format!("/sys/dev/block/{device}/start")) {
        Ok(sectors) => sectors.trim().parse::<u64>().ok()?.checked_mul(512),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(0),
        Err(_) => None,
    }
}
