//! System calls: one a function, file descriptors and not numbers; all unsafe code of the workspace is here.
