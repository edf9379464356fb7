//! Faults of the bytes: they break their specification.

use crate::id::Uuid;
use crate::units::PartitionNumber;

family! {
    /// Their bytes break the specification.
    Corrupt {
        /// A read or a range went past the end of its source.
        OutOfBounds { end: u64, size: u64 } = "out-of-bounds",
            "data ends too early: found {size} bytes, expected at least {end}",
            "the image is truncated or a size in it is wrong; copy or build it again";
        /// A text that should be a UUID is not.
        UuidSyntax { found: String } = "uuid-syntax",
            "not a UUID: found {found:?}, expected 32 hex digits with or without dashes",
            "write it as xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
        /// A text that should be a root hash is not.
        RootHashSyntax { found: String } = "root-hash-syntax",
            "not a root hash: found {found:?}, expected 40, 56, 64, 96 or 128 hex digits",
            "pass the root hash as the build printed it";
        /// A verity salt is too long.
        SaltSize { found: usize, most: usize } = "salt-size",
            "verity salt too long: found {found} bytes, expected at most {most}",
            "use a salt of 0 to 256 bytes; 32 is usual";
        // dps
        /// A name that should be an architecture is not.
        ArchitectureName { found: String } = "architecture-name",
            "unknown architecture: found {found:?}, expected a name like \"x86-64\" or \"arm64\"",
            "use the name release files use for it";
        // verity
        /// A verity superblock does not start with its magic.
        VerityMagic { found: String } = "verity-magic",
            "not a verity superblock: found magic {found}, expected 7665726974790000",
            "check that this is the hash partition or hash file of the image";
        /// The algorithm's name in a verity superblock is not a NUL-padded text.
        VerityAlgorithmName { found: String } = "verity-algorithm-name",
            "algorithm name malformed: found bytes {found}, expected ASCII padded with NUL",
            "the superblock is damaged; copy or build the image again";
        /// A block size in a verity superblock is not a power of two from 512 to 65536.
        VerityBlockSize { which: &'static str, found: u32 } = "verity-block-size",
            "{which} block size out of range: found {found}, expected a power of two from 512 to 65536",
            "the superblock is damaged; copy or build the image again";
        /// A verity superblock protects no data at all.
        VerityDataBlocks { found: u64 } = "verity-data-blocks",
            "number of data blocks out of range: found {found}, expected at least 1",
            "the superblock is damaged; copy or build the image again";
        /// A byte of a verity superblock that has to be zero is not.
        VerityPadding { found: u8 } = "verity-padding",
            "padding not zero: found byte {found:#04x}, expected 0x00",
            "the superblock is damaged or of an unknown version; build the image again";
        /// A hash area does not begin at the start of a sector, or a tree not at the start of a block.
        VerityHashOffset { found: u64, multiple: u32 } = "verity-hash-offset",
            "hash area misplaced: found offset {found}, expected a multiple of {multiple}",
            "pass the offset that the hash tree was made with";
        /// Data or hash tree would end beyond 2^63.
        VerityOverflow { data_blocks: u64, block_size: u32 } = "verity-overflow",
            "hash tree impossible: found {data_blocks} data blocks of {block_size} bytes, expected data and tree to end before 2^63",
            "the superblock is damaged; copy or build the image again";
        /// Covered blocks or their parity would end beyond 2^63.
        FecOverflow { data_blocks: u64, hash_blocks: u64 } = "fec-overflow",
            "parity impossible: found {data_blocks} data and {hash_blocks} hash blocks, expected them and their parity to end before 2^63",
            "pass the sizes of the image that the parity is for";
        /// The parity is shorter than what it is for needs.
        FecArea { found: u64, expected: u64 } = "fec-area",
            "parity too short: found {found} bytes, expected at least {expected}",
            "pass the parity of this image, with the roots and the offset it was made with";
        /// The hash area is smaller than the tree its superblock describes.
        VerityHashArea { found: u64, expected: u64 } = "verity-hash-area",
            "hash area too small: found {found} bytes, expected at least {expected}",
            "the image is truncated or the superblock damaged; copy or build the image again";
        /// The data area is smaller than its verity superblock says.
        VerityDataArea { found: u64, expected: u64 } = "verity-data-area",
            "data area too small for its hash tree: found {found} bytes, expected at least {expected}",
            "the image is truncated, or data and hash tree are of different builds";

        // signature
        /// A signature partition holds no text.
        SignatureEmpty { size: u64 } = "signature-empty",
            "no signature: found {size} bytes without text, expected a JSON object",
            "sign the image, or remove the empty signature partition";
        /// A byte after the text of a signature partition is not NUL.
        SignaturePadding { found: u8 } = "signature-padding",
            "data after the signature's text: found byte {found:#04x}, expected only NUL",
            "write the signature partition again, zeroed behind the JSON";
        /// A signature partition's text starts with a byte order mark or is not UTF-8.
        SignatureText { found: String } = "signature-text",
            "signature is no plain UTF-8 text: found bytes {found}, expected JSON",
            "write the signature partition again as UTF-8 without byte order mark";
        /// A signature partition's text is not one JSON object.
        SignatureJson { reason: String } = "signature-json",
            "signature is not one JSON object: {reason}",
            "write the signature partition again, as systemd-repart does";
        /// A key is there twice, so its value depends on the reader.
        SignatureKeyTwice { key: String } = "signature-key-twice",
            "key found twice: {key:?}, expected each key once",
            "write the signature partition again with one value per key";
        /// A key that has to be there is not.
        SignatureKeyMissing { key: &'static str } = "signature-key-missing",
            "key missing: found no {key:?}, expected it once",
            "write the signature partition again with rootHash and signature";
        /// A value is not the lower-case hex it has to be.
        SignatureHex { key: &'static str, found: String, expected: &'static str } = "signature-hex",
            "{key} malformed: found {found:?}, expected {expected} lower-case hex digits",
            "write the value as systemd-repart does";
        /// The signature is not strict base64.
        SignatureBase64 { reason: String } = "signature-base64",
            "signature is not base64: {reason}, expected the standard alphabet with padding and no white space",
            "write the value as one line of padded standard base64";
        // gpt
        /// The size in a table header is wrong.
        GptHeaderSize { found: u32, most: u32 } = "gpt-header-size",
            "partition table header has a wrong size: found {found} bytes, expected 92 to {most}",
            "the table is damaged; copy or build the image again";
        /// A table header's checksum does not fit its bytes.
        GptHeaderCrc { found: u32, expected: u32 } = "gpt-header-crc",
            "partition table header damaged: found checksum {found:#010x}, expected {expected:#010x}",
            "copy or build the image again";
        /// A table header names another place than its own.
        GptHeaderPlace { found: u64, expected: u64 } = "gpt-header-place",
            "partition table header out of place: found it to be for sector {found}, expected {expected}",
            "the image was cut, shifted or put together wrongly; copy or build it again";
        /// The usable range is empty, covers the table, or does not fit the image.
        GptUsableRange { first: u64, last: u64, sectors: u64 } = "gpt-usable-range",
            "usable range of the partition table wrong: found sectors {first} to {last}, expected sectors from 2 on, \
             before the table's backup, in an image of {sectors} sectors",
            "the image is truncated or its table is wrong; copy or build it again";
        /// The size of partition entries is not one the specification allows.
        GptEntrySize { found: u32 } = "gpt-entry-size",
            "wrong size of partition entries: found {found} bytes, expected 128, 256, 512, 1024 and so on",
            "the table is damaged or hostile; build the image again";
        /// The partition entries lie where they must not.
        GptEntriesPlace { first: u64, last: u64 } = "gpt-entries-place",
            "partition entries out of place: found them in sectors {first} to {last}, expected them inside the image, \
             from sector 2 on, outside header and usable range",
            "the table is damaged or hostile; build the image again";
        /// The checksum of the partition entries does not fit their bytes.
        GptEntriesCrc { found: u32, expected: u32 } = "gpt-entries-crc",
            "partition entries damaged: found checksum {found:#010x}, expected {expected:#010x}",
            "copy or build the image again";
        /// A partition ends before it starts.
        GptPartitionRange { number: PartitionNumber, first: u64, last: u64 } = "gpt-partition-range",
            "partition {number} ends before it starts: found sectors {first} to {last}, expected first <= last",
            "the table is damaged or hostile; build the image again";
        /// A partition is not inside the usable range.
        GptPartitionOutside {
            number: PartitionNumber,
            first: u64,
            last: u64,
            usable_first: u64,
            usable_last: u64
        } = "gpt-partition-outside",
            "partition {number} lies outside the usable range: found sectors {first} to {last}, expected within \
             {usable_first} to {usable_last}",
            "the image is truncated or its table is wrong; copy or build it again";
        /// Two partitions share sectors.
        GptOverlap { first: PartitionNumber, second: PartitionNumber } = "gpt-overlap",
            "partitions {first} and {second} overlap, expected every sector to belong to one at most",
            "the table is damaged or hostile; build the image again";
        /// Two partitions have the same identifier.
        GptDuplicate { first: PartitionNumber, second: PartitionNumber, found: Uuid } = "gpt-duplicate",
            "partitions {first} and {second} have the same identifier: found {found} twice, expected one of each",
            "give one of them an identifier of its own";
        /// The two copies of a partition table have to say the same and do not.
        GptCopies { found: &'static str } = "gpt-copies",
            "the copies of the partition table are not two that say the same: found {found}, expected a primary and a \
             backup copy that are equal",
            "write the table again, or open the image without that demand";
        /// A partition's label is not UTF-16.
        GptLabel { number: PartitionNumber, found: u16 } = "gpt-label",
            "label of partition {number} is not UTF-16: found the unpaired surrogate {found:#06x}",
            "give the partition a proper label";
        /// There are valid tables for two sector sizes.
        GptAmbiguous { first: u32, second: u32 } = "gpt-ambiguous",
            "two valid partition tables: found one for sectors of {first} and one for {second} bytes, expected one",
            "wipe the table that does not belong to the image";
        // sidecar
        /// A file beside an image, or an attribute of it, has nothing in it.
        SidecarEmpty = "sidecar-empty",
            "nothing in it: found 0 bytes, expected a root hash or a signature",
            "write it again, or remove it";
        /// Two of the things that accompany an image speak against each other.
        SidecarAmbiguous { first: String, second: String } = "sidecar-ambiguous",
            "two of what should be one, or should say the same: found {first} and {second}, expected one of them",
            "remove the one that does not belong to the image";
        /// Something that accompanies an image needs something else that is not there.
        SidecarIncomplete { found: String, expected: String } = "sidecar-incomplete",
            "only a part of what protects the image: found {found}, expected {expected} besides it",
            "copy all files of the image together; they lie beside it and are named like it without .raw";
        /// A hash tree lies beside an image that has a partition table, and so a place for one inside.
        SidecarTable { found: String } = "sidecar-table",
            "hash tree beside an image with a partition table: found {found}, expected the tree in the image",
            "remove the file; the tree of an image with partitions is one of them";
        // build
        /// A path of an entry cannot be one.
        EntryPath { path: String, found: &'static str } = "entry-path",
            "entry path \"{path}\" not usable: found {found}, expected names separated by single slashes",
            "pass a path relative to the image's root, such as etc/app.conf";
        /// A name of an entry is too long.
        EntryNameLength { path: String, found: usize, most: usize } = "entry-name-length",
            "entry \"{path}\" has a name too long: found {found} bytes, expected at most {most}",
            "shorten the name; no Linux file system holds longer ones";
        /// Two entries have one path.
        EntryExists { path: String, found: &'static str } = "entry-exists",
            "entry \"{path}\" added twice: found {found} there, expected nothing",
            "add each path once";
        /// An entry lies below something that is not a directory.
        EntryParent { path: String, found: &'static str } = "entry-parent",
            "entry \"{path}\" has no place: found {found} above it, expected a directory",
            "add entries below directories only; symbolic links are not followed";
        /// An entry that is referred to does not exist.
        EntryMissing { path: String } = "entry-missing",
            "entry \"{path}\" not found, expected it to be added before it is referred to",
            "add the entry first";
        /// An entry is of another kind than the operation needs.
        EntryKind { path: String, found: &'static str, expected: &'static str } = "entry-kind",
            "entry \"{path}\" is of the wrong kind: found {found}, expected {expected}",
            "directories have one name only";
        /// Mode bits outside permission, set-id and sticky.
        EntryMode { path: String, found: u16 } = "entry-mode",
            "entry \"{path}\" has mode bits outside 07777: found {found:#o}",
            "pass permission, set-id and sticky bits only; the kind comes from how it is added";
        /// A symbolic link's target cannot be one.
        LinkTarget { path: String, found: usize, most: usize } = "link-target",
            "symbolic link \"{path}\" has a target of {found} bytes, expected 1 to {most} without a NUL",
            "shorten the target";
        /// A file was changed while it was being read.
        SourceChanged { path: String, what: &'static str } = "source-changed",
            "source file \"{path}\" changed while it was read: its {what} is not what it was",
            "build from a directory that nobody writes to";
        /// An image's name cannot be one.
        ImageName { found: String, most: usize } = "build-name",
            "image name not usable: found {found:?}, expected 1 to {most} bytes, no slash, no control character, no leading .#",
            "pass the image's file name without .confext.raw or .sysext.raw";
        /// A partition's label does not fit a table.
        PartitionLabel { found: String } = "partition-label",
            "partition label not storable: found {found:?}, expected at most 36 UTF-16 units without NUL",
            "shorten the label";
        /// An image is to be written over something.
        OutputNotEmpty { found: u64 } = "output-not-empty",
            "output not empty: found {found} bytes, expected 0",
            "build onto a new file; Builder::build_file replaces an old one";
        /// A file system that was made is not what was asked for.
        FormatDiffers { path: String, what: &'static str, found: String, expected: String } = "format-differs",
            "file system not as asked for: {what} of \"{path}\": found {found}, expected {expected}",
            "use another version of the program that made it, or the EROFS made here";
        /// A range of owners that cannot be mapped.
        OwnerRange { found: String } = "owner-range",
            "owners not usable: found {found:?}, expected a range like 1000-1999=100000, all of it below 4294967295",
            "write FIRST=NEW or FIRST-LAST=NEW, in decimal numbers";
        /// A pattern over paths that cannot be read.
        ExcludePattern { found: String, expected: String } = "exclude-pattern",
            "pattern not usable: found {found:?}, expected {expected}",
            "write it as for .gitignore, relative to the root of the image";
        /// A line of a list of labels that cannot be read.
        LabelLine { line: usize, found: String, expected: String } = "label-line",
            "line {line} of the labels not usable: found {found:?}, expected {expected}",
            "write each line as file_contexts(5) has it";
        // tar
        /// A field of a tar header breaks its format.
        TarHeader { what: &'static str, found: String, expected: &'static str } = "tar-header",
            "tar archive not usable: {what}: found \"{found}\", expected {expected}",
            "write the archive again with GNU tar or bsdtar";
        /// The checksum of a tar header does not match.
        TarChecksum { found: u64, expected: u64 } = "tar-checksum",
            "tar header damaged: found sum {found}, expected {expected}",
            "pass an uncompressed tar archive; copy it again";
        /// A tar archive ends in the middle.
        TarTruncated { end: u64, size: u64 } = "tar-truncated",
            "tar archive ends too early: found {size} bytes, expected at least {end}",
            "copy the archive again; a complete one ends with blocks of zeros";
        /// There is something behind the end of a tar archive.
        TarTrailing = "tar-trailing",
            "bytes behind the end of the tar archive: found some, expected zeros only",
            "write one archive; others appended to it are read by some programs only";
        /// A record of a PAX header breaks its format.
        TarRecord { found: String, expected: &'static str } = "tar-record",
            "record in tar archive not usable: found \"{found}\", expected {expected}",
            "write the archive again with GNU tar or bsdtar";
        /// A key of a release file cannot be one.
        ReleaseKey { found: String } = "release-key",
            "release field not usable: found key {found:?}, expected capital letters, digits and underscores, and no key that has its own setter",
            "spell the key as os-release(5) has it";
        /// A value of a release file cannot be one.
        ReleaseValue { key: String, found: String } = "release-value",
            "value of {key} not usable: found {found:?}, expected a text that is not empty and has no control character",
            "leave the field out instead of making it empty";
        // fstype
        /// There are the magics of two file systems.
        FileSystemAmbiguous { first: &'static str, second: &'static str } = "fs-ambiguous",
            "two file systems in one place: found the magic of {first} and of {second}, expected one",
            "wipe the place before a file system is made in it";

        /// A text is not a PEM certificate.
        CertificatePem = "certificate-pem",
            "not a certificate: found no readable PEM block, expected BEGIN CERTIFICATE",
            "pass an X.509 certificate in PEM form";
        /// Bytes are not one DER certificate.
        CertificateDer = "certificate-der",
            "not a certificate: the bytes are not one X.509 certificate in DER form",
            "pass an X.509 certificate in DER form, with nothing behind it";
        /// A part of a certificate breaks X.509.
        CertificateFields { reason: &'static str } = "certificate-fields",
            "certificate malformed: {reason}",
            "make the certificate again, in DER as RFC 5280 has it";
        /// A text does not say what certificates must be like.
        CertificateRules { found: String } = "certificate-rules",
            "certificate rules malformed: found {found:?}, expected validity=, usage= or chain=, each once, with a known word",
            "write rules like usage=required,chain=issued; unknown words are never ignored";
        /// A configuration file is no text.
        SettingsText { place: String, found: &'static str } = "settings-text",
            "{place}: found {found}, expected UTF-8 text",
            "write the file again as text";
        /// A line of a configuration file is none of what can be there.
        SettingsLine { place: String, found: String } = "settings-line",
            "{place}: found {found:?}, expected a section, a key with its value below one, or a comment",
            "write the section, SysExt or ConfExt in square brackets, then KEY=VALUE lines; comments have lines of their own";
        /// A section of a configuration file is not known.
        SettingsSection { place: String, found: String, expected: &'static str } = "settings-section",
            "{place}: found section {found:?}, expected {expected:?}",
            "put the settings of each class into its own file; sections of others start with X-";
        /// A key of a configuration file is not known.
        SettingsKey { place: String, found: String } = "settings-key",
            "{place}: found key {found:?}, expected Mutable or ImagePolicy",
            "correct the key: one that is not known could have been meant to forbid something";
        /// A mode is not known.
        SettingsMutable { place: String, found: String } = "settings-mutable",
            "{place}: found {found:?}, expected no, yes, auto, import, ephemeral or ephemeral-import",
            "use one of these words: one that is not known is never taken for another";
        /// A file of a unit is no text.
        UnitText { place: String, found: &'static str } = "unit-text",
            "{place}: found {found}, expected UTF-8 text",
            "write the file again as text";
        /// A line of a unit is none of what can be there.
        UnitLine { place: String, found: String } = "unit-line",
            "{place}: found {found:?}, expected a section, a setting with its value below one, or a comment",
            "correct the line; systemd skips it, and what it was meant to say with it";
        /// A setting about extensions is where it means nothing.
        UnitSection { place: String, key: String, found: String, expected: String } = "unit-section",
            "{place}: found {key}= in section {found:?}, expected it in {expected}",
            "move the setting; systemd skips it where it is";
        /// An item of a setting about extensions is not what can be there.
        UnitSetting { place: String, key: String, found: String, expected: &'static str } = "unit-setting",
            "{place}: {key}= malformed: found {found:?}, expected {expected}",
            "correct the item; systemd skips it, and starts the service without it";
        /// A specifier that there is not.
        UnitSpecifier { place: String, found: String } = "unit-specifier",
            "{place}: unknown specifier: found {found:?}, expected one like %n or %i",
            "write %% for a percent sign";
        /// A line does not say who may sign what.
        KeyRule { place: String, found: String, expected: &'static str } = "key-rule",
            "key rule malformed ({place}): found {found:?}, expected {expected}",
            "write signer=FINGERPRINT name=PATTERN, and class= and version= where they are meant; nothing unknown is ignored";
        /// There is more than one certificate where there has to be one.
        CertificateCount { found: usize } = "certificate-count",
            "wrong number of certificates: found {found}, expected exactly 1",
            "pass each certificate alone, or say that all of the bundle count";
        /// A certificate's validity cannot be told.
        CertificateTime = "certificate-time",
            "validity malformed: the certificate's or the asked-for times are out of range",
            "make the certificate again";
        /// A certificate's subject is too short or too long.
        CertificateSubject { found: usize } = "certificate-subject",
            "subject of the wrong length: found {found} characters, expected 1 to 64",
            "use a short name for the signer";
        /// A text is not a private key.
        KeyPem = "key-pem",
            "not a private key: found no readable PEM block, expected BEGIN PRIVATE KEY",
            "pass an RSA or EC private key in PEM form";
        /// A certificate is for another key.
        KeyMismatch { subject: String } = "key-mismatch",
            "key and certificate do not belong together: the certificate {subject} is for another key",
            "pass the certificate that was made for this key";
        /// A signature partition is about another root hash than that of the image it is in.
        SignatureRootHash { found: String, expected: String } = "signature-root-hash",
            "signatures of another root hash: found {found}, expected {expected}",
            "replace the signatures: those that are there are of another build";
        // image
        /// There is not one byte.
        ImageEmpty = "image-empty",
            "image is empty: found 0 bytes, expected a partition table or a file system",
            "copy or build the image again";
        /// There is a partition table and, at the start, a file system.
        ImageAmbiguous { file_system: &'static str } = "image-ambiguous",
            "image is two things: found a partition table and the magic of {file_system}, expected one of them",
            "wipe the one that does not belong to the image";
        /// Two partitions have the same role.
        PartitionsAmbiguous { designator: &'static str, first: PartitionNumber, second: PartitionNumber }
            = "partitions-ambiguous",
            "two {designator} partitions: found numbers {first} and {second}, expected one",
            "delete one of them, set its attribute bit 63 (no-auto), or say by version or root hash which one is meant";
        /// A hash tree or signature protects a partition that is not there.
        VerityWithoutData { number: PartitionNumber, found: &'static str, expected: &'static str }
            = "verity-without-data",
            "partition {number} is {found}, but found no {expected} partition, which it should protect",
            "build the image again";
        /// A signature partition without the hash tree it signs.
        SignatureWithoutVerity { number: PartitionNumber, found: &'static str, expected: &'static str }
            = "signature-without-verity",
            "partition {number} is {found}, but found no {expected} partition, which it should sign",
            "build the image again";
        /// The identifiers of data and hash partition are not the halves of the signed root hash.
        RootHashUuid { number: PartitionNumber, found: Uuid, expected: Uuid } = "root-hash-uuid",
            "partition {number} does not belong to the signed root hash: found UUID {found}, expected {expected}",
            "the signature is of another build; put all partitions of one build together";
        /// The identifier of a partition under a hash tree is zero.
        VerityUuidZero { number: PartitionNumber } = "verity-uuid-zero",
            "partition {number} has a zero UUID, expected one half of the root hash",
            "build the image again";
        /// A file system is larger than the place it is in.
        FileSystemSize { file_system: &'static str, found: u64, most: u64 } = "fs-size",
            "{file_system} file system cut off: found a superblock for {found} bytes, expected at most {most}",
            "the image is truncated; copy or build it again";
        // release
        /// An `os-release` style file is not text.
        ReleaseText { line: u64 } = "release-text",
            "line {line} is not UTF-8 text without NUL bytes",
            "write the file as UTF-8 text";
        /// A line of an `os-release` style file is not an assignment.
        ReleaseLine { line: u64, found: String } = "release-line",
            "line {line} is not an assignment: found {found:?}, expected KEY=value, a comment or nothing",
            "write KEY=value, with quotes around a value that has spaces";
        /// A quote of an `os-release` style file is never closed.
        ReleaseQuote { line: u64, quote: char } = "release-quote",
            "the quote {quote} opened in line {line} is not closed before the end of the file",
            "close the quote";
        /// The image has no release file of its name.
        ReleaseMissing { expected: String, found: String } = "release-missing",
            "no release file for this image: found {found}, expected {expected}",
            "write the release file: without one no host knows whether the image is for it";
        /// The image has release files, but none of its name.
        ReleaseName { expected: String, found: String } = "release-name",
            "release file of another image: found {found}, expected {expected}",
            "rename the image to what its release file is named after, or build it under this name";
        /// The image has several release files that could be meant.
        ReleaseNotUnique { expected: String, first: String, second: String } = "release-not-unique",
            "more than one release file could be meant: found {first} and {second}, expected {expected} or one only",
            "keep one release file, named after the image";
        /// The release file does not say which operating system it is for.
        ReleaseId = "release-id",
            "the release file has no ID: found nothing, expected an operating system or _any",
            "write ID=_any, or the ID of the host's os-release";
        /// The host's `os-release` does not say which operating system it is.
        HostId = "host-id-missing",
            "the host's os-release has no ID: found nothing, expected the name of the operating system",
            "write ID= to the host's os-release";
        // fs
        /// A directory contains itself.
        DirectoryLoop { path: String } = "directory-loop",
            "directory {path:?} is its own ancestor",
            "the file system is damaged; build the image again";
        /// The target of a symbolic link cannot be one.
        SymlinkTarget { path: String, found: u64 } = "symlink-target",
            "the target of {path:?} is not a path: found {found} bytes, expected 1 to 4095 without NUL",
            "the file system is damaged; build the image again";
        /// A field of a file system has a value it cannot have.
        FileSystem { what: &'static str, found: u64, expected: &'static str } = "file-system",
            "the file system's {what} is wrong: found {found}, expected {expected}",
            "the file system is damaged; build the image again";
        /// The checksum of a file system's superblock is wrong.
        FileSystemChecksum { found: u32, expected: u32 } = "file-system-checksum",
            "the superblock's checksum is wrong: found {found:#010x}, expected {expected:#010x}",
            "the file system is damaged; build the image again";
        /// The checksum of one of a file system's structures is wrong.
        MetadataChecksum { what: &'static str, number: u64, found: u32, expected: u32 } = "metadata-checksum",
            "the checksum of {what} {number} is wrong: found {found:#010x}, expected {expected:#010x}",
            "the file system is damaged; build the image again";
        /// Compressed data cannot be unpacked.
        CompressedData { format: &'static str, found: String } = "compressed-data",
            "cannot unpack {format} data: found {found}, expected data that unpacks to its recorded size",
            "the file system is damaged; build the image again";
        // policy
        /// A rule of a policy is not of the form `designator=flags`.
        PolicyRule { found: String } = "policy-rule",
            "not a rule of a policy: found {found:?}, expected DESIGNATOR=FLAG+FLAG…",
            "separate rules with one colon; the whole policy may also be *, - or ~";
        /// A rule of a policy names an unknown partition.
        PolicyDesignator { found: String } = "policy-designator",
            "unknown partition in a policy: found {found:?}, expected a designator like root, usr or home",
            "correct the name; unknown names are never ignored";
        /// A rule of a policy names an unknown flag.
        PolicyFlag { found: String } = "policy-flag",
            "unknown flag in a policy: found {found:?}, expected one like signed, verity, unprotected or absent",
            "correct the flag; unknown flags are never ignored";
        /// A policy has two rules for the same partition.
        PolicyRuleTwice { found: String } = "policy-rule-twice",
            "two rules in a policy for one partition: found a second one for {found:?}, expected one",
            "join the flags of both rules with +";
        // filter
        /// A rule of an image filter is not of the form `designator=pattern`.
        FilterRule { found: String } = "filter-rule",
            "not a rule of an image filter: found {found:?}, expected DESIGNATOR=PATTERN",
            "separate rules with one colon; put a pattern that has a colon or equals sign in quotes";
        /// A rule of an image filter names an unknown partition.
        FilterDesignator { found: String } = "filter-designator",
            "unknown partition in an image filter: found {found:?}, expected a designator like root, usr or home",
            "correct the name, without spaces around it; unknown names are never ignored";
        /// A pattern of an image filter is not one.
        FilterPattern { found: String, because: &'static str } = "filter-pattern",
            "not a pattern for labels: found {found:?} with {because}",
            "close brackets and quotes; to match a special character itself, write it in brackets";
        /// An image filter has two rules for the same partition.
        FilterRuleTwice { found: String } = "filter-rule-twice",
            "two rules in an image filter for one partition: found a second one for {found:?}, expected one",
            "write one pattern that matches both";
        // manifest
        /// A manifest is not the JSON it should be.
        ManifestJson { reason: String } = "manifest-json",
            "not a manifest in JSON: {reason}",
            "pass a manifest as `confext manifest --json` writes it";
        /// A JSON document says to be something else.
        ManifestFormat { found: String } = "manifest-format",
            "not a manifest: found format {found:?}, expected \"confext-manifest\"",
            "pass a manifest as `confext manifest --json` writes it";
        /// An entry of a manifest has a value that is impossible, or not as it would be written.
        ManifestEntry { path: String, what: &'static str, found: String, expected: &'static str } = "manifest-entry",
            "entry {path:?} of the manifest: {what}: found {found}, expected {expected}",
            "make the manifest again; one that was edited by hand is easily wrong";
        /// The entries of a manifest do not make a tree, or not in the order they have to be in.
        ManifestOrder { path: String, found: &'static str, expected: &'static str } = "manifest-order",
            "entry {path:?} of the manifest: found {found}, expected {expected}",
            "make the manifest again; one that was edited by hand is easily wrong";
    }
}
