//! [`Watch`]: who waits for images to be copied hears how far that is, and may end it.

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::Arc;

use confext_ddi::policy::{Admitted, Protection};
use confext_ddi::read::ReadAt;
use confext_ddi::verity::Progress;

use super::{Body, Extension, Options};
use crate::attach::{self, Attached, Mode, attach};
use crate::error::Result;

/// Is told how far it is while the images of a stack are checked and copied into memory, and may end that: then nothing has
/// changed, and the error is `cancelled`.
///
/// It is told of all images of a stack together, and of each stack by itself. Of what dm-verity, a loop device or the kernel
/// reads from the file nothing is copied and nothing told. Without root it is files that are copied, and it is told of these.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use confext_core::admission::{Options, Watch};
///
/// let mut options = Options::default();
/// options.watch = Watch::new(|at| {
///     println!("{} of {} bytes", at.done_bytes, at.total_bytes);
///     ControlFlow::Continue(())
/// });
/// ```
#[derive(Clone, Default)]
pub struct Watch(Option<Arc<Tell>>);

type Tell = dyn Fn(Progress) -> ControlFlow<()> + Send + Sync;

impl Watch {
    /// Calls `tell` now and then, on the thread that copies.
    #[must_use]
    pub fn new(tell: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    pub(crate) fn tell(&self, at: Progress) -> ControlFlow<()> {
        self.0.as_ref().map_or(ControlFlow::Continue(()), |tell| tell(at))
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Watch(…)" } else { "Watch" })
    }
}

/// Whether an image is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Foreseen {
    Copied,
    /// Where the kernel has no dm-verity, which shows with the first.
    WithoutVerity,
    Used,
}

impl Foreseen {
    fn of<R: ReadAt>(mode: Mode, admitted: &Admitted<R>) -> Self {
        match (mode, admitted.evidence().protection() == Protection::None) {
            (Mode::SealedMemory, _) | (Mode::Auto, true) | (Mode::InPlace, false) => Self::Copied,
            (Mode::Auto, false) => Self::WithoutVerity,
            (Mode::DmVerity | Mode::Plain, _) | (Mode::InPlace, true) => Self::Used,
        }
    }
}

/// Attaches the images of a stack, one after the other, and tells how far all of them are.
#[derive(Debug)]
pub(crate) struct Copying<'a> {
    options: &'a Options,
    done_bytes: u64,
    /// Of images that come later and are copied.
    later_bytes: u64,
    /// Of those that are copied only without dm-verity.
    doubtful_bytes: u64,
    without_verity: bool,
    cancelled: bool,
}

impl<'a> Copying<'a> {
    /// Of these extensions.
    pub(crate) fn of<'b>(extensions: impl Iterator<Item = &'b Extension>, options: &'a Options) -> Self {
        let mut this = Self {
            options,
            done_bytes: 0,
            later_bytes: 0,
            doubtful_bytes: 0,
            without_verity: false,
            cancelled: false,
        };
        for extension in extensions {
            let Body::Image(admitted) = &extension.body else { continue };
            let bytes = match Foreseen::of(options.attach, admitted) {
                Foreseen::Copied => &mut this.later_bytes,
                Foreseen::WithoutVerity => &mut this.doubtful_bytes,
                Foreseen::Used => continue,
            };
            *bytes = bytes.saturating_add(size_bytes(admitted));
        }
        this
    }

    /// Attaches the next image.
    pub(crate) fn attach<R: ReadAt + AsFd>(&mut self, admitted: Admitted<R>) -> Result<Attached> {
        let own = size_bytes(&admitted);
        let doubtful = match Foreseen::of(self.options.attach, &admitted) {
            Foreseen::WithoutVerity if !self.without_verity => {
                self.doubtful_bytes = self.doubtful_bytes.saturating_sub(own);
                true
            }
            Foreseen::Copied | Foreseen::WithoutVerity => {
                self.later_bytes = self.later_bytes.saturating_sub(own);
                false
            }
            Foreseen::Used => false,
        };
        let mut here = 0;
        let mut report = |at: Progress| {
            here = at.done_bytes;
            if doubtful {
                // The others under a hash tree will be copied as well.
                self.without_verity = true;
                self.later_bytes = self.later_bytes.saturating_add(std::mem::take(&mut self.doubtful_bytes));
            }
            let before = self.done_bytes;
            let total_bytes = before.saturating_add(at.total_bytes).saturating_add(self.later_bytes);
            let done_bytes = before.saturating_add(at.done_bytes);
            let flow = self.options.watch.tell(Progress { done_bytes, total_bytes });
            self.cancelled |= flow.is_break();
            flow
        };
        let how = attach::Options::new(self.options.attach).checks(self.options.checks);
        let attached = attach(admitted, how.progress(&mut report));
        // Also of one that does not check and is left out: nobody hears of less than before.
        self.done_bytes = self.done_bytes.saturating_add(here);
        attached
    }

    /// Whether somebody has ended it, which no option makes a matter of one image.
    pub(crate) const fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}

/// What cannot be told fails when it is attached.
fn size_bytes<R: ReadAt>(admitted: &Admitted<R>) -> u64 {
    admitted.data().size_bytes().unwrap_or(0)
}
