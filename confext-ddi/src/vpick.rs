//! `.v/` directories: name grammar, filter, choice.
