//! Building: EROFS, verity, signature and GPT to a deterministic DDI.
