//! Attach, stack, refresh and trace extension images on Linux.
//!
//! ```text
//!  Admitted ─► attach ─► layer ─► stack ─► refresh / trace
//!             Attached   Layer    Stack    Plan / Origin
//! ```
#![cfg(target_os = "linux")]
#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        reason = "tests compute with their own small numbers; a panic there is a failed test"
    )
)]

pub mod sys;

pub mod error;

mod parallel;

mod text;

mod closing;

mod understood;

pub mod keyring;

mod mapper;

pub mod host;

pub mod directory;

pub mod pick;

pub mod discover;

pub mod loopdev;

pub mod dmverity;

pub mod attach;

pub mod layer;

pub mod exec;

pub mod image_file;

pub mod extract;

pub mod sidecars;

pub mod mkfs;

pub mod units;

pub mod consumers;

pub mod manager;

pub mod state;

pub mod publish;

mod identity;

mod copies;

pub mod plan;

pub mod trust;

pub mod admission;

pub mod settings;

pub mod stack;

pub mod explain;

pub mod trace;

pub mod service;

pub mod rollout;

pub mod doctor;

pub mod report;

#[cfg(feature = "cli")]
pub mod cli;

pub use admission::Options;
pub use error::{Error, Result};
pub use explain::explain;
pub use host::Host;
pub use stack::{Stack, apply, list, merge, plan, refresh, unmerge};
pub use state::status;
pub use trace::{trace, trace_plan};
