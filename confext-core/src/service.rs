//! Configuration of single services: what their settings say, the stack that comes of it, and the view of a process
//!
//! ```text
//!  settings ─► prepare ─► refresh, run / plan, explain, trace
//!  Extensions  Prepared
//! ```

mod place;

mod ground;

mod dropin;

pub mod confext_d;

mod find;

mod settings;

mod loaded;

pub mod generator;

pub mod stack;

mod process;

mod limited;

mod lower;

mod live;

mod lookups;

mod users;

mod job;

mod swap;

mod refresh;

pub mod explain;

pub mod trace;

mod covered;

mod root;

mod assemble;

pub mod portable;

pub use assemble::{assemble, directory_of};
pub use dropin::{DropIn, Lifetime, drop_in_text};
pub use ground::{Ground, RootImage};
pub use job::Wanted;
pub use place::Wrote;
pub use process::Process;
pub use refresh::{Hierarchies, Options, Report, Status, main_process, refresh, status};
pub use root::{ground_of, root_of};
pub use settings::{Running, Unit};
pub use swap::{Changed, Found, How, When, exchange};
pub use users::Owners;

#[cfg(test)]
mod tests;
