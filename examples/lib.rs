//! The examples are the programs beside this file; the library itself is empty.
