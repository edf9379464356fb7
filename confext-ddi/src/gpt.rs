//! GUID Partition Table: on-disk structs, checked header and entries, choice of primary or backup.
