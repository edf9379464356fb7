//! Read-only view of the files of an image.
