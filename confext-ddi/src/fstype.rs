//! Which file system a partition holds, by magic: its name and size, nothing more.
