//! The library behind the fuzz targets.

pub mod reseal;
pub mod targets;
