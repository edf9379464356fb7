//! The command `confext`.

use std::process::ExitCode;

fn main() -> ExitCode {
    confext_core::cli::main(std::env::args_os())
}
