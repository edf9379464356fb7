//! Discoverable Partitions: type GUID to designator and architecture, attribute flags.
