//! From an admitted image to a device, step by step; whatever fails, what was made before is taken away again.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use confext_ddi::policy::Admitted;
use confext_ddi::read::ReadAt;

use super::share::{self, Joined};
use super::table::{KIND, Lack, Table};
use super::verdict::{self, Understood};
use super::windows::{Loops, Wanted};
use super::{Made, Options, Sharing, VerityDevice, number, pair, pause};
use crate::error::{Error, Result};
use crate::loopdev::DeviceNumber;
use crate::mapper::{self, Control};
use crate::sys::{self, DmQuery, DmRemoval, DmTarget, KeySerial};

/// Others may take a name in between; someone wins each round.
const ATTEMPTS: u32 = 16;

pub(super) fn activate<R: ReadAt + AsFd>(
    admitted: &Admitted<R>,
    options: &Options<'_>,
) -> Result<VerityDevice> {
    let wanted = Wanted::new(admitted, options)?;
    let control = Control::open()?;
    match options.sharing {
        Sharing::Private => make(&control, &wanted, options),
        Sharing::Shared => shared(&control, &wanted, options),
    }
}

/// The device that is there by the image's name, or one that gets that name once it is complete: nobody sees half of one.
fn shared(control: &Control, wanted: &Wanted<'_>, options: &Options<'_>) -> Result<VerityDevice> {
    let name = format!("{}-verity", wanted.root_hash);
    let mut own: Option<VerityDevice> = None;
    for attempt in 0..ATTEMPTS {
        match share::join(control, wanted, options, &name)? {
            Joined::Yes(device) => return Ok(device),
            Joined::No(Lack { what, found, expected }) => {
                let mut device = match own {
                    Some(device) => device,
                    None => make(control, wanted, options)?,
                };
                device.made = Made::Beside { what: what.to_owned(), found, expected };
                return Ok(device);
            }
            Joined::Nobody => {}
        }
        let mut device = match own.take() {
            Some(device) => device,
            None => make(control, wanted, options)?,
        };
        match sys::dm_rename(control.as_fd(), &device.name, &name) {
            Ok(_) => {
                device.name = name;
                return Ok(device);
            }
            // Somebody was faster: their device may do.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => own = Some(device),
            // A root hash can be longer than a name.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(device),
            Err(source) => return Err(Error::os("rename", device.name, source)),
        }
        pause(attempt);
    }
    let (found, expected) = (format!("{ATTEMPTS} devices that came and went"), "one that stays, or none");
    Err(Error::conflict("dm-verity-contended", name, found, expected))
}

/// A device of its own.
fn make(control: &Control, wanted: &Wanted<'_>, options: &Options<'_>) -> Result<VerityDevice> {
    let loops = Loops::attach(wanted, options)?;
    let mut table = loops.table(wanted, options);
    let mut half = create(control, wanted, &loops)?;
    let accepted = load(&half, wanted, &mut table)?;
    let (device, path) = mapper::open_mapped(pair(half.number))
        .map_err(|source| Error::os("open", half.name.as_str(), source))?;
    // From here on it goes with its last user, however this process ends.
    half.goes_with_last_user()?;
    half.resume()?;
    let table = check(&half, &table)?;
    loops.check_use()?;
    first_read(&device, &half.name)?;
    Ok(VerityDevice {
        device,
        path,
        name: std::mem::take(&mut half.name),
        device_number: half.number,
        uuid: Some(std::mem::take(&mut half.uuid)),
        table,
        made: Made::New,
        accepted,
        io: Some(loops.io()),
    })
}

/// A mapped device that nobody uses yet: dropped, it is removed.
struct Half<'a> {
    control: &'a Control,
    name: String,
    uuid: String,
    number: DeviceNumber,
    is_ours: bool,
}

impl Drop for Half<'_> {
    fn drop(&mut self) {
        if self.is_ours {
            // There is nobody to tell; who has it open has it to the end.
            let _ = sys::dm_remove(self.control.as_fd(), number(self.number), DmRemoval::WithLastUser);
        }
    }
}

impl Half<'_> {
    fn goes_with_last_user(&mut self) -> Result<()> {
        sys::dm_remove(self.control.as_fd(), number(self.number), DmRemoval::WithLastUser)
            .map_err(|source| Error::os("mark for removal", self.name.as_str(), source))?;
        self.is_ours = false;
        Ok(())
    }

    fn resume(&self) -> Result<()> {
        sys::dm_resume(self.control.as_fd(), number(self.number))
            .map(drop)
            .map_err(|source| Error::os("resume", self.name.as_str(), source))
    }
}

fn create<'a>(control: &'a Control, wanted: &Wanted<'_>, loops: &Loops) -> Result<Half<'a>> {
    let superblock = wanted.geometry.superblock();
    let base = loops.name();
    for attempt in 0..ATTEMPTS {
        let name = if attempt == 0 { base.clone() } else { format!("{base}-{attempt}") };
        // As libcryptsetup makes them: by this, programs know whose device it is.
        let uuid = format!("CRYPT-VERITY-{}-{name}", superblock.uuid.to_string().replace('-', ""));
        match sys::dm_create(control.as_fd(), &name, &uuid) {
            Ok(device) => {
                let (major, minor) = device.number;
                let number = DeviceNumber { major, minor };
                return Ok(Half { control, name, uuid, number, is_ours: true });
            }
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(source) => return Err(Error::os("make mapped device", name, source)),
        }
    }
    Err(Error::conflict("dm-verity-contended", base, format!("{ATTEMPTS} names taken"), "a free one"))
}

/// Loads the table: with each signature in turn, until the kernel takes one, or without.
fn load(half: &Half<'_>, wanted: &Wanted<'_>, table: &mut Table) -> Result<Option<usize>> {
    if wanted.signatures.is_empty() {
        load_here(half, table)
            .map_err(|source| (source, Understood::No))
            .map_err(|failed| verdict::of_load(half.control, &wanted.target, &table.extras, failed))?;
        return Ok(None);
    }
    let mut refused: Option<Error> = None;
    for (index, signature) in wanted.signatures.iter().enumerate() {
        table.extras.signature = Some(format!("confext-{}-{index}", half.name));
        match load_with_key(half, table, signature) {
            Ok(()) => return Ok(Some(index)),
            Err(Failed::Key(source)) => {
                return Err(Error::os("add a key for the signature of", wanted.target.as_str(), source));
            }
            Err(Failed::Load(source)) => {
                let failed = (source, without_signature(half, table));
                let error = verdict::of_load(half.control, &wanted.target, &table.extras, failed);
                if !verdict::is_refusal(&error) {
                    return Err(error);
                }
                // What counts is the one by a signer whom the kernel knows, else the first.
                let unknown = |error: &Error| error.code() == "kernel-signer-unknown";
                if refused.as_ref().is_none_or(|known| unknown(known) && !unknown(&error)) {
                    refused = Some(error);
                }
            }
        }
    }
    Err(refused.unwrap_or_else(|| {
        Error::conflict("kernel-signature-missing", wanted.target.as_str(), "no signature", "a signature")
    }))
}

fn load_here(half: &Half<'_>, table: &Table) -> io::Result<()> {
    let target = DmTarget {
        start_sector: 0,
        sectors: table.sectors(),
        kind: KIND.to_owned(),
        text: table.to_string(),
    };
    sys::dm_load(half.control.as_fd(), number(half.number), &target).map(drop)
}

/// Asks the kernel what it says of the table alone. Such a table never comes into use: the device is removed, or gets
/// another one.
fn without_signature(half: &Half<'_>, table: &Table) -> Understood {
    let mut unsigned = table.clone();
    unsigned.extras.signature = None;
    Understood::of(&load_here(half, &unsigned))
}

enum Failed {
    Key(io::Error),
    Load(io::Error),
}

/// Loads the table on a thread that has the signature as a key in its own keyring: nobody else finds it, and it is gone
/// with the thread at the latest.
fn load_with_key(half: &Half<'_>, table: &Table, signature: &[u8]) -> std::result::Result<(), Failed> {
    let description = table.extras.signature.as_deref().unwrap_or_default();
    let work = || {
        let description = CString::new(description).map_err(|error| Failed::Key(error.into()))?;
        let key = sys::add_key(c"user", &description, signature, KeySerial::THREAD).map_err(Failed::Key)?;
        let loaded = load_here(half, table).map_err(Failed::Load);
        // The kernel has read it. That it cannot be unlinked changes nothing: the thread ends.
        let _ = sys::key_unlink(key, KeySerial::THREAD);
        loaded
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("dm-verity-key".to_owned());
        let thread = thread.spawn_scoped(scope, work).map_err(Failed::Key)?;
        thread.join().unwrap_or_else(|_| Err(Failed::Key(io::ErrorKind::Other.into())))
    })
}

/// The kernel's answer is checked, too: one target, of just this table, read-only and in use.
fn check(half: &Half<'_>, table: &Table) -> Result<String> {
    let (device, targets) = sys::dm_table_status(half.control.as_fd(), number(half.number), DmQuery::Table)
        .map_err(|source| Error::os("read the table of", half.name.as_str(), source))?;
    let found = targets.first().map(|target| target.text.clone()).unwrap_or_default();
    let lack = match share::in_use(&device, &targets, table.sectors()) {
        Err(lack) => lack,
        Ok(()) if Table::parse(&found).as_ref() == Some(table) => return Ok(found),
        Ok(()) => Lack::new("table", found, table.to_string()),
    };
    let found = format!("{} {}", lack.what, lack.found);
    Err(Error::conflict("dm-verity-device", half.name.as_str(), found, lack.expected))
}

/// Reads the first bytes: with a root hash that is not that of the tree nothing can be read.
pub(super) fn first_read(device: &File, target: &str) -> Result<()> {
    let mut bytes = [0; 512];
    FileExt::read_exact_at(device, &mut bytes, 0).map_err(|source| verdict::of_first_read(target, source))
}
