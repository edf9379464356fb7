//! Configuration of single services: what their settings say, the stack that comes of it, and the view of a process
//!
//! ```text
//!  settings ─► prepare ─► refresh, run / plan, explain, trace
//!  Extensions  Prepared
//! ```

pub mod stack;

mod process;

mod limited;

mod live;

mod swap;

mod refresh;

pub mod explain;

pub mod trace;

mod root;

pub use process::Process;
pub use refresh::{Hierarchies, Options, Report, Status, main_process, refresh, status};
pub use root::root_of;
pub use swap::{Changed, Found, How, Wanted, When, exchange};

#[cfg(test)]
mod tests;
