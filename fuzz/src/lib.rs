//! The library behind the fuzz targets.

pub mod targets;
