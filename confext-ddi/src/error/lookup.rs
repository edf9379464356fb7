//! Faults of the question: what was asked for is not there, or cannot be asked for.

use crate::id::Uuid;

family! {
    /// The question is at fault: what was asked for is not there, or cannot be asked for.
    Lookup {
        // vpick
        /// A path to pick from is empty.
        PatternEmpty = "pattern-empty",
            "the path is empty, expected a file or a `.v` directory",
            "pass the path of an image, or of a directory whose name ends in .v";
        /// A path to pick from ends in a slash where no directory is looked for.
        PatternDirectory { found: String } = "pattern-directory",
            "the pattern asks for a directory: found {found:?}, expected a pattern for an image file",
            "drop the slash at the end, or look for directories";
        /// No entry of a `.v` directory fits.
        NothingToPick { path: String, expected: String } = "nothing-to-pick",
            "no entry of {path:?} fits: expected {expected:?}, of this version, architecture and type",
            "list the directory; names in it have the form NAME_VERSION_ARCHITECTURE+LEFT-DONE.SUFFIX";
        // unit
        /// A text is not the name of a unit.
        UnitName { found: String } = "unit-name",
            "not the name of a unit: found {found:?}, expected one like nginx.service",
            "pass the name as systemctl prints it";
        // parity
        /// There is no hash tree that says which blocks are damaged.
        NoHashTree = "no-hash-tree",
            "the image has no hash tree, expected one: nothing else says which blocks are damaged",
            "build the image with a hash tree; parity alone repairs nothing";
        // build
        /// A new file is to be written where something is.
        OutputExists { path: String } = "output-exists",
            "there is something at \"{path}\": expected nothing, for a new file",
            "take another name, or remove what is there first";
        /// An image without a hash tree is to be signed.
        NotProtected = "not-protected",
            "nothing to sign: found an image without hash tree, expected one with a root or usr partition and its hash tree",
            "build the image again, with systemd-repart or confext";
        // policy
        /// The image has no such partition.
        NoSuchPartition { expected: &'static str, found: String } = "no-such-partition",
            "no such partition besides root, usr and what protects them: found {found}, expected {expected}",
            "inspect the image to see what it has; the files of root and usr are there without asking";
        // fs
        /// A path has a NUL byte, or a `..` where none is allowed.
        PathSyntax { found: String } = "path-syntax",
            "not a path inside an image: found {found:?}, expected no NUL byte and no `..`",
            "pass the path as it is in the image; `resolve` deals with `..`";
        /// There is no such file.
        NoSuchFile { path: String } = "no-such-file",
            "no such file in the image: {path:?}",
            "list the image to see what it has";
        /// A component of the path, or what should be listed, is not a directory.
        NotADirectory { path: String, found: &'static str } = "not-a-directory",
            "{path:?} is not a directory: found a {found}",
            "list the parent directory to see what it has";
        /// What should be read is not a regular file.
        NotAFile { path: String, found: &'static str } = "not-a-file",
            "{path:?} is not a regular file: found a {found}",
            "only regular files can be read; resolve symbolic links first";
        /// What should be read as a link is none.
        NotASymlink { path: String, found: &'static str } = "not-a-symlink",
            "{path:?} is not a symbolic link: found a {found}",
            "read it as what it is";
        // image
        /// The image has no partition that a root hash names.
        RootHashPartition { designator: &'static str, expected: Uuid } = "root-hash-partition",
            "no {designator} partition for the root hash: found none with the identifier it names, expected {expected}",
            "pass the root hash of this image, as the build printed it";
    }
}
