//! An image: its designated partitions or its bare file system.
