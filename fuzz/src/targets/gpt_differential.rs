//! A partition table read here and by the `gpt` crate: where both take it, they see the same partitions.

use super::limits;
use confext_ddi::gpt::{Source, Table};
use gpt::disk::LogicalBlockSize;
use std::cell::Cell;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether this thread is in a crate whose panics are not ours.
    static ELSEWHERE: Cell<bool> = const { Cell::new(false) };
}

/// Runs a reader of others, which may panic: that ends nothing and is not shown.
///
/// libFuzzer ends the process in its panic hook, before anything can be caught. So a hook is put before it, once.
fn elsewhere<T>(run: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !ELSEWHERE.get() {
                before(panic);
            }
        }));
    });
    ELSEWHERE.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(run)).ok();
    ELSEWHERE.set(false);
    outcome
}

/// Whether the two agree; `None` when one of them refuses the table or gives up.
pub fn agree(bytes: &[u8]) -> Option<bool> {
    let ours = Table::read(bytes, &limits()).ok()??;
    let sector = match ours.sector_size.bytes() {
        512 => LogicalBlockSize::Lb512,
        4096 => LogicalBlockSize::Lb4096,
        _ => return None,
    };
    let config = gpt::GptConfig::new().writable(false).logical_block_size(sector);
    let device = Cursor::new(bytes.to_vec());
    let theirs = elsewhere(|| config.open_from_device(device))?.ok()?;
    // They fall back to the other copy for reasons of their own.
    if theirs.primary_header().is_ok() != matches!(ours.source, Source::Primary { .. }) {
        return None;
    }
    let used: Vec<_> = theirs.partitions().iter().filter(|(_, part)| part.is_used()).collect();
    let same_disk = ours.disk_guid.to_string() == theirs.guid().to_string();
    let same = ours.partitions.iter().zip(&used).all(|(ours, (number, theirs))| {
        ours.number.value() == **number
            && ours.type_guid.to_string() == theirs.part_type_guid.guid.to_string()
            && ours.unique_guid.to_string() == theirs.part_guid.to_string()
            && ours.range.start() == theirs.first_lba * sector.as_u64()
            && ours.range.end() == (theirs.last_lba + 1) * sector.as_u64()
            && ours.attributes.bits() == theirs.flags
    });
    Some(same_disk && same && ours.partitions.len() == used.len())
}

/// The target.
pub fn gpt_differential(bytes: &[u8]) {
    assert_ne!(agree(bytes), Some(false), "the gpt crate sees other partitions");
}
