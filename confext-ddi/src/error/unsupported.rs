//! Faults of this library: the bytes may be fine, it cannot deal with them.

use crate::units::PartitionNumber;

family! {
    /// The bytes may be fine, this library cannot deal with them.
    Unsupported {
        /// The hash algorithm is not on the allow-list.
        HashAlgorithm { found: String, expected: String } = "hash-algorithm",
            "hash algorithm not allowed: found {found:?}, expected {expected}",
            "build the image with sha256 or sha512, or allow its algorithm by explicit choice";
        // verity
        /// A verity superblock of another version.
        VerityVersion { found: u32 } = "verity-version",
            "verity superblock version not known: found {found}, expected 1",
            "build the hash tree with veritysetup, systemd-repart or confext";
        /// A verity hash type that nobody knows.
        VerityHashType { found: u32 } = "verity-hash-type",
            "verity hash type not known: found {found}, expected 0 or 1",
            "build the hash tree with hash type 1, the default of every tool";
        /// Parity covers blocks of one size only.
        FecBlockSizes { data: u32, hash: u32 } = "fec-block-sizes",
            "no parity over blocks of two sizes: found data blocks of {data} bytes and hash blocks of {hash}, expected the same",
            "build the hash tree with data and hash blocks of the same size";
        // gpt
        /// The revision of the partition table is not 1.0.
        GptRevision { found: u32 } = "gpt-revision",
            "revision of the partition table unknown: found {found:#010x}, expected 0x00010000",
            "build the image with a revision 1.0 table, the only one there is";
        // unit
        /// What a specifier stands for depends on what runs.
        UnitSpecifier { place: String, found: String } = "unit-specifier-unknown",
            "{place}: specifier not known from files: found {found:?}, expected one like %n or %i",
            "write out what it stands for, or ask the running manager";
        // build
        /// A device number is larger than Linux's.
        DeviceNumber { path: String, major: u32, minor: u32 } = "device-number",
            "device \"{path}\" has a number too large: found {major}:{minor}, expected at most 4095:1048575",
            "use the major and minor number as the kernel prints them";
        /// An extended attribute is in a namespace EROFS has no index for.
        XattrName { path: String, name: String } = "xattr-name",
            "entry \"{path}\" has an extended attribute that cannot be stored: found \"{name}\", expected user.*, trusted.*, security.* or a POSIX ACL",
            "leave the attribute out, or build without extended attributes";
        /// Extended attributes are larger than EROFS can hold.
        XattrSize { path: String, found: usize, most: usize } = "xattr-size",
            "extended attributes of entry \"{path}\" too large: found {found} bytes, expected at most {most}",
            "store the data in a file";
        /// An image is larger than EROFS can address.
        ErofsSize { found: u64, most: u64 } = "erofs-size",
            "file system too large: found {found} blocks of 4096 bytes, expected at most {most}",
            "split the content over more images";
        /// A file system would lose a part of an entry.
        FormatLoses { format: &'static str, path: String, what: &'static str } = "format-loses",
            "{format} would lose a part of \"{path}\": found {what}, expected none",
            "leave it out by a rule, or build with erofs";
        /// vfat cannot hold an entry.
        VfatEntry { path: String, what: &'static str } = "vfat-entry",
            "vfat cannot hold \"{path}\": found {what}, expected files and directories whose names differ in more than case",
            "leave it out, or give it another name";
        /// A file system could not be made.
        FormatFailed { format: &'static str, found: String } = "format-failed",
            "{format} could not be made: {found}",
            "build with erofs, and report it with the entries";
        /// A tar archive has something whose meaning would be lost.
        Tar { found: String } = "tar-unsupported",
            "tar archive with what is not read here: found {found}, expected files, links, nodes and records about one entry",
            "write the archive without it, with GNU tar --format=posix or bsdtar";
        /// There are no partition types for the architecture.
        ArchitectureUnknown = "architecture-unknown",
            "no partition types for this architecture: found none, expected one of UAPI.2",
            "say which architecture the image is for";

        /// A partition table cannot be written again in the usual form.
        GptNoRoom { reason: &'static str } = "gpt-no-room",
            "signature does not fit, and the partition table cannot be changed: {reason}, expected 512-byte sectors, 128 \
             entries and room for them",
            "build the image with a larger signature partition, or with systemd-repart or confext";
        // signature
        /// A key of another kind, or a weak one.
        KeyType { found: String } = "key-type",
            "key not allowed: found {found}, expected RSA of 2048 to 4096 bits, or EC on P-256 or P-384",
            "use an RSA or EC key of that size";
        /// A private key is encrypted.
        KeyEncrypted = "key-encrypted",
            "private key is encrypted, and there is nobody to ask for its pass phrase",
            "decrypt the key first (openssl pkey -in KEY -out PLAIN), or sign with a hardware token";
        // image
        /// Neither a partition table nor a known file system.
        NotAnImage { size: u64 } = "image-unknown",
            "not an image: found {size} bytes without a known magic, expected a partition table or a file system",
            "pass a disk image; unpack it first if it is compressed";
        /// No partition says it is for root or usr.
        NoDataPartition { partitions: usize, skipped: usize } = "no-data-partition",
            "no root or usr partition: found {partitions} partitions, {skipped} of them not to be used, expected one",
            "build the image with the partition types of UAPI.2";
        /// The image is for another architecture.
        ForeignArchitecture { found: &'static str, expected: &'static str } = "foreign-architecture",
            "image is for another architecture: found {found}, expected {expected}",
            "fetch the image for this architecture, or accept foreign ones by explicit choice";
        /// There is both a root and a usr partition.
        RootAndUsr { root: PartitionNumber, usr: PartitionNumber } = "root-and-usr",
            "image of two file systems: found root in partition {root} and usr in partition {usr}, expected one of them",
            "put all files of an extension into one file system";
        // fs
        /// Files of this file system cannot be read here.
        FileSystem { found: &'static str } = "file-system-unsupported",
            "cannot read files of this file system: found {found}, expected erofs, squashfs, ext4 or vfat",
            "mount the image, or build it with erofs";
        /// The file system uses something that cannot be read here.
        FileSystemFeature { what: &'static str, found: u64 } = "file-system-feature",
            "the file system needs something this reader does not have: {what} ({found:#x})",
            "mount the image, or build it without that feature";
        /// The file system is spread over several devices, and they were not all passed.
        FileSystemDevices { found: usize, expected: usize } = "file-system-devices",
            "the file system has other devices besides the image: found {found}, expected {expected}",
            "pass all of its devices, in the order of its device table";
        /// A decoder from another library gave up in a way it should not.
        ReaderFailed { what: &'static str } = "reader-failed",
            "the {what} decoder failed on this data",
            "the file system is damaged or uses a rare feature; report it with the image if the kernel can read it";
        // policy
        /// The file system is encrypted.
        Encrypted { designator: &'static str } = "encrypted",
            "the {designator} partition is encrypted: found a LUKS header, expected a file system",
            "build the image without encryption; a signature protects it from changes";
        // manifest
        /// A manifest is of a version that is not known here.
        ManifestVersion { found: u32 } = "manifest-version",
            "manifest of another version: found {found}, expected 1",
            "make the manifest with this version, or use a newer one to read it";
    }
}
