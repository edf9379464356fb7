//! How far work on an image is that has several parts, for somebody who hears of it and can end it

use crate::error::{Error, Refused, Result};
use crate::verity::Progress;
use std::ops::ControlFlow;

/// The bytes of all parts together.
pub(super) struct Course<'t> {
    done_bytes: u64,
    total_bytes: u64,
    is_stopped: bool,
    tell: &'t mut dyn FnMut(Progress) -> ControlFlow<()>,
}

impl<'t> Course<'t> {
    /// Says that nothing is done yet.
    pub(super) fn start(
        total_bytes: u64,
        tell: &'t mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Self> {
        let mut this = Self { done_bytes: 0, total_bytes, is_stopped: false, tell };
        this.add(0)?;
        Ok(this)
    }

    pub(super) const fn done(&self) -> u64 {
        self.done_bytes
    }

    /// Says that so much is done.
    pub(super) fn reach(&mut self, done_bytes: u64) -> ControlFlow<()> {
        // A superblock may claim more data than there is.
        self.done_bytes = done_bytes.min(self.total_bytes).max(self.done_bytes);
        let at = Progress { done_bytes: self.done_bytes, total_bytes: self.total_bytes };
        let flow = (self.tell)(at);
        self.is_stopped |= flow.is_break();
        flow
    }

    /// Says that so much more is done.
    pub(super) fn add(&mut self, bytes: u64) -> Result<()> {
        _ = self.reach(self.done_bytes.saturating_add(bytes));
        self.go_on()
    }

    /// Says that all is done: parts of which there was nothing to do, too.
    pub(super) fn finish(&mut self) -> Result<()> {
        match self.done_bytes < self.total_bytes {
            true => self.add(self.total_bytes),
            false => Ok(()),
        }
    }

    /// `cancelled` when it was stopped.
    pub(super) fn go_on(&self) -> Result<()> {
        let (done, total) = (self.done_bytes, self.total_bytes);
        if self.is_stopped { Err(Error::from(Refused::Cancelled { done, total })) } else { Ok(()) }
    }
}
