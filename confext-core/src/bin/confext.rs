//! The `confext` command.
fn main() {}
