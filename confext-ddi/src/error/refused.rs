//! Refusals: policy or host match says no.

family! {
    /// Policy or host match says no.
    Refused {
        /// The image is less protected than the policy asks for.
        Policy { designator: &'static str, found: &'static str, expected: String } = "policy",
            "policy refuses the {designator} partition: found protection {found}, expected {expected}",
            "sign the image with a trusted key, or pass a policy that allows less by explicit choice";
        /// What protects a partition is not there, and the rule for that partition needs it.
        PolicyProtection { designator: &'static str, protected: &'static str, expected: String } = "policy-protection",
            "policy refuses the {protected} partition: found no {designator}, expected it for the rule {expected}",
            "sign the image or build it with a hash tree, or name \"absent\" in the rule where less will do";
        /// The signature is to be used, or not, against what the rest of the policy says.
        PolicySignature { designator: &'static str, found: &'static str, expected: &'static str } = "policy-signature",
            "policy refuses the {designator} partition: found one {found}, expected {expected}",
            "leave out the rule for the signature: what has to be there follows from the rule for the data";
        /// What lies beside the image protects it in a way that the rule does not name.
        PolicySidecar { designator: &'static str, found: &'static str, expected: String } = "policy-sidecar",
            "policy refuses the {designator} partition: found {found} by a file beside the image, expected {expected}",
            "name what is there in the rule, as in \"verity+signed+unprotected\", or take the files away";
        /// A file beside the image is nearly named like one that would protect it.
        SidecarName { found: String, expected: String } = "sidecar-name",
            "a misnamed file beside the image would protect it: found {found}, expected {expected}",
            "give the file its right name, or remove it";
        // verity
        /// The caller's progress callback asked to stop.
        Cancelled { done: u64, total: u64 } = "cancelled",
            "stopped by the caller when {done} of {total} were done",
            "start again when it suits";
        // release
        /// The extension is not for this scope.
        HostScope { field: &'static str, found: String, expected: &'static str } = "host-scope",
            "not for this environment: found {field}={found:?}, expected a list with {expected}",
            "add the scope to the release file, or attach the extension elsewhere";
        /// The extension is for another architecture.
        HostArchitecture { found: String, expected: &'static str } = "host-architecture",
            "not for this architecture: found ARCHITECTURE={found:?}, expected {expected:?}",
            "use the build of the extension for this architecture";
        /// The extension is for another operating system.
        HostOs { found: String, expected: String } = "host-os",
            "not for this operating system: found ID={found:?}, expected {expected}",
            "use the build of the extension for this operating system";
        /// The extension is for another API level.
        HostLevel { field: &'static str, found: String, expected: String } = "host-level",
            "not for this system's level: found {field}={found:?}, expected {expected:?}",
            "use the build of the extension for this level";
        /// The extension is for another version of the operating system.
        HostVersion { found: String, expected: String } = "host-version",
            "not for this version of the operating system: found VERSION_ID={found:?}, expected {expected:?}",
            "use the build of the extension for this version";
        /// The extension would replace the file that says which host it is on.
        ForbiddenContent { path: &'static str } = "forbidden-content",
            "the extension must not replace the identity of the host: found {path}, expected no such file",
            "remove the file from the extension";
        // build
        /// Only an operating system boots.
        BootPartition { designator: &'static str, found: &'static str } = "boot-partition",
            "no {designator} partition in an image of this kind: found {found}, expected root or usr",
            "leave the partition out, or build an image of an operating system";
        // policy
        /// A partition's attribute is not one the policy allows.
        PolicyAttribute { designator: &'static str, found: &'static str, expected: String } = "policy-attribute",
            "policy refuses the {designator} partition: found attribute {found}, expected {expected}",
            "build the image with the attribute, or pass a policy that does not ask for it";
        /// A partition's file system is not one the policy allows.
        PolicyFileSystem { designator: &'static str, found: &'static str, expected: String } = "policy-file-system",
            "policy refuses the {designator} partition: found file system {found}, expected {expected}",
            "build the image with that file system, or pass a policy that allows this one";
        /// The image filter leaves out the file system that the image is for.
        ImageFilter { designator: &'static str, found: String, expected: String } = "image-filter",
            "the image filter leaves out the {designator} partition: found label {found:?}, expected one that matches \
             {expected:?}",
            "use an image with such a label, or another filter";
        /// Two policies leave nothing that satisfies both.
        PolicyDisjoint { designator: &'static str, first: String, second: String } = "policy-disjoint",
            "policies exclude each other: found {first} and {second} for the {designator} partition, expected a common \
             flag",
            "drop one of the policies, or allow in both what may be used";
        /// The signer is trusted, but not for this image.
        KeyRules { subject: String, found: String, rules: usize } = "key-rules",
            "key rules refuse the image: found {found} signed by {subject}, expected one that one of the {rules} rules for \
             its signers allows",
            "sign the image with a key that may sign it, or add a rule for this one";
        /// There are rules for signers, and no signature was checked.
        KeyRulesUnsigned { found: &'static str } = "key-rules-unsigned",
            "key rules refuse the image: found protection {found}, expected a checked signature",
            "sign the image with a key that may sign it; where rules for keys are in force nothing else is used";
        /// The rules for a signer ask for a version, and the image has none.
        KeyRulesVersion { key: &'static str } = "key-rules-version",
            "key rules refuse the image: found no {key} in its release file, expected one, for the rules ask for versions",
            "build the image with IMAGE_VERSION in its release file";
        // build
        /// An image is to be signed, but there is no key.
        SignerMissing = "signer-missing",
            "no key to sign with: found none, expected one",
            "pass a key, or ask for an unsigned image by explicit choice";
        /// An image is not to be signed, but there is a key.
        SignerUnexpected = "signer-unexpected",
            "a key for an unsigned image: found one, expected none",
            "leave out the key or the wish for an unsigned image";
        /// An entry lies where an image of its class has nothing.
        OutsideHierarchy { path: String, class: &'static str, expected: String } = "outside-hierarchy",
            "entry \"{path}\" does not belong into a {class}: expected everything below {expected}/",
            "move the entry, or build an image of the other class";
        /// A hierarchy of an image is not a directory.
        HierarchyKind { path: String } = "hierarchy-kind",
            "entry \"{path}\" is not a directory, expected one to merge over the host's",
            "make it a directory: a link or file in its place would hide the host's";
        /// An owner no rule is for.
        OwnerUnmapped { which: &'static str, found: u32 } = "owner-unmapped",
            "no new owner: found {which} {found}, expected a rule for it",
            "add a rule for the number, or let other numbers stay as they are";
        /// A source has a mark for a deleted file.
        OciWhiteout { path: String } = "oci-whiteout",
            "mark of a deleted file: found \"{path}\", expected files, or the choice to map such marks",
            "flatten the layers first, or map the marks to those of an overlay";
        /// Something in an image speaks against it.
        Lint { finding: &'static str, path: String, found: String, expected: String } = "lint",
            "{finding} in \"{path}\": found {found}, expected {expected}",
            "take it out, or allow what is found by its code";
        /// An image says two things of the hosts it is for.
        ReleaseConflict { path: String } = "release-conflict",
            "two release files: found \"{path}\" among the entries, and it is not what the fields say",
            "leave out the file or the fields";
        // unit
        /// An extension cannot be named in a unit.
        UnitEntry { found: String, because: &'static str } = "unit-entry",
            "no unit can name {found:?}: {because}",
            "give the extension another place, or its options another form";
    }
}
