//! dm-verity: superblock, geometry, hash tree, checked reader.
