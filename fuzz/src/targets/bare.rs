//! A bare file system for the target `sidecar` and its seeds

/// Two blocks that pass for EROFS by their superblock: what sidecars protect.
pub fn bare() -> Vec<u8> {
    let mut bytes: Vec<u8> = [[1; 4096], [2; 4096]].concat();
    bytes[1024..1152].fill(0);
    bytes[1024..1028].copy_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
    bytes[1024 + 12] = 12;
    bytes[1024 + 36] = 2;
    bytes
}
