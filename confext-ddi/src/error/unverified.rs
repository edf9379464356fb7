//! Faults of trust: a hash or a signature does not check. Never retried, never downgraded.

family! {
    /// A hash or signature does not check.
    Unverified {
        /// A data block's hash is not the one the hash tree holds.
        DataBlock { block: u64, found: String, expected: String } = "data-block",
            "data block {block} does not match the hash tree: found digest {found}, expected {expected}",
            "the image was changed after it was built; fetch it again from its source";
        /// A block of the hash tree does not match the level above it.
        HashBlock { level: u32, block: u64, found: String, expected: String } = "hash-block",
            "hash block {block} of level {level} does not match the level above: found digest {found}, expected {expected}",
            "the hash tree was changed after it was built; fetch the image again from its source";
        /// The top of the hash tree is not the root hash.
        RootHash { found: String, expected: String } = "root-hash",
            "the hash tree's top is {found}, expected root hash {expected}",
            "the image was changed after it was built, or the root hash is of another build; fetch both again from their source";
        // verity
        /// The root hash is of another algorithm than the hash tree.
        RootHashSize { found: usize, expected: usize, algorithm: &'static str } = "root-hash-size",
            "root hash of another algorithm: found {found} bytes, expected {expected} for {algorithm}",
            "pass the root hash that was printed when this hash tree was made; partition identifiers hold one of 32 bytes only";
        /// The hash tree was made for another number of data blocks than its superblock says.
        HashTail { data_blocks: u64 } = "hash-tail",
            "the hash tree was not made for {data_blocks} data blocks, which its superblock says",
            "the superblock was changed after the image was built; fetch the image again from its source";

        // signature
        /// A signature is larger than any sensible one.
        SignatureSize { found: usize, most: usize } = "signature-size",
            "signature too large: found {found} bytes, expected at most {most}",
            "sign the image again; a signature with its certificate has a few kilobytes";
        /// A signature is not strict DER of the PKCS#7 form.
        SignatureDer { reason: &'static str } = "signature-der",
            "signature is no PKCS#7 message in strict DER: {reason}",
            "the signature was damaged or is of another kind; sign the image again";
        /// Bytes follow the signature.
        SignatureTrailing { found: usize } = "signature-trailing",
            "data after the signature: found {found} more bytes, expected none",
            "the signature was tampered with or badly joined; sign the image again";
        /// A PKCS#7 message of another kind.
        SignatureType { found: String, expected: &'static str } = "signature-type",
            "PKCS#7 message of another kind: found type {found}, expected {expected}",
            "make a detached signature of plain data";
        /// The signature carries content of its own.
        SignatureAttached = "signature-attached",
            "signature carries content of its own, expected a detached one",
            "make a detached signature over the lower-case hex root hash";
        /// There is not exactly one signer.
        SignatureSigners { found: usize } = "signature-signers",
            "wrong number of signers: found {found}, expected exactly 1",
            "sign the image with one key";
        /// The signature covers attributes instead of the root hash itself.
        SignatureAttributes = "signature-attributes",
            "signature has signed attributes, expected one directly over the root hash",
            "sign without attributes (openssl smime: -noattr)";
        /// The signature carries something that no tool for images writes and that nobody would check.
        SignatureExtra { what: &'static str } = "signature-extra",
            "signature carries {what}, which is not allowed",
            "sign the image again without it";
        /// The signer is named by key identifier instead of issuer and serial number.
        SignatureSignerId = "signature-signer-id",
            "signer is named by key identifier, expected issuer and serial number",
            "sign without the key identifier form (openssl cms: without -keyid)";
        /// The signature's digest algorithm is not on the allow-list.
        SignatureDigest { found: String } = "signature-digest",
            "digest algorithm not allowed: found {found}, expected sha256, sha384 or sha512",
            "sign the image with sha256";
        /// The signature algorithm is not on the allow-list, or is for another digest.
        SignatureAlgorithm { found: String } = "signature-algorithm",
            "signature algorithm not allowed: found {found}, expected RSA (PKCS#1 1.5) or ECDSA with the signature's digest",
            "sign the image with an RSA or EC key";
        /// There is no certificate to check the signature with.
        NoCertificates = "no-certificates",
            "signature cannot be checked: found no trusted certificate, expected at least 1",
            "name the certificates whose signatures count";
        /// No trusted certificate is the one the signature names.
        UnknownSigner { claims: String, trusted: String } = "unknown-signer",
            "signer not trusted: the signature claims {claims}, which is none of {trusted}",
            "if you trust that signer, add its certificate; else fetch the image from its source";
        /// The signature does not check with the trusted certificate it names.
        SignatureMismatch { subject: String } = "signature-mismatch",
            "signature does not check: it names trusted certificate {subject}, whose key did not sign this root hash",
            "image or signature was changed, or belongs to another build; fetch the image again from its source";
        /// A signature that was made elsewhere does not check with the certificate of its key.
        SignatureNotOfKey { found: usize, subject: String, expected: String } = "signature-not-of-key",
            "signature does not check: found {found} bytes that are no signature of this root hash by the key of \
             {subject}, expected {expected} with sha256, sha384 or sha512, or PKCS#7",
            "sign the lower-case hex text of the root hash, without line break, with the key of this certificate";
        /// The signature checks, but its certificate's validity has ended.
        CertificateExpired { subject: String, found: String, expected: String } = "certificate-expired",
            "certificate {subject} has expired: found end of validity {found}, expected {expected} or later",
            "sign the image with a valid certificate, or check this machine's clock";
        /// The signature checks, but its certificate's validity has not begun.
        CertificateNotYetValid { subject: String, found: String, expected: String } = "certificate-not-yet-valid",
            "certificate {subject} is not valid yet: found start of validity {found}, expected {expected} or earlier",
            "check this machine's clock, or wait";
        /// The signature checks, but its certificate is for something else.
        CertificateUsage { subject: String, found: String, expected: &'static str } = "certificate-usage",
            "certificate {subject} is not for signatures of images: found {found}, expected {expected}",
            "sign with a certificate for digital signatures (and code signing), or change the certificate rules by explicit choice";
        /// The signature checks, but its certificate says something that is not understood.
        CertificateExtension { subject: String, found: String } = "certificate-extension",
            "certificate {subject} cannot be judged: found critical extension {found}, expected known ones",
            "sign with a certificate without that extension";
        /// The signature carries its certificate, but no trusted authority issued it.
        CertificateChain { subject: String, reason: String } = "certificate-chain",
            "certificate {subject} is not trusted: {reason}, expected one that a trusted authority issued directly",
            "if you trust that signer, add its certificate or that of the authority that issued it; else fetch the image from its source";
        // keyring
        /// The signature claims a key that is in a keyring, but was revoked.
        KeyRevoked { claims: String, keyring: String } = "key-revoked",
            "signer not trusted any more: found the key of {claims} revoked in keyring {keyring}, expected one in force",
            "fetch a newer image from its source; whoever revoked the key does not trust what it signed";
        /// The signature claims a key that is in a keyring, but only until a moment that has passed.
        KeyExpired { claims: String, keyring: String } = "key-expired",
            "signer not trusted any more: found the key of {claims} expired in keyring {keyring}, expected one in force",
            "load the certificate into the keyring again if it is still to be trusted, or fetch a newer image";
        /// The signature claims a key that the kernel was told never to trust.
        KeyBlacklisted { claims: String, keyring: String } = "key-blacklisted",
            "signer must not be trusted: found the key of {claims} in keyring {keyring}, expected it in none such",
            "fetch an image that is signed with another key";
        /// The key is in a keyring, but cannot be used to check this signature.
        KeyNotUsable { claims: String, keyring: String, reason: String } = "key-not-usable",
            "signature cannot be checked: found the key of {claims} in keyring {keyring}, but {reason}",
            "sign so that the signature carries its certificate, use a kernel that knows the algorithm, or trust the certificate itself";
        /// The kernel's key checks the signature, but nobody has its certificate.
        CertificateUnknown { claims: String, keyring: String } = "certificate-unknown",
            "validity and usage unknown: found only the key of {claims} in keyring {keyring}, expected its certificate, too",
            "sign so that the signature carries its certificate, pass the certificate, or do without by the rules validity=ignored,usage=ignored";
        /// The certificate that goes with a signature is not that of the kernel's key.
        CertificateNotOfKey { subject: String, keyring: String } = "certificate-not-of-key",
            "certificate {subject} is not that of the key it names: keyring {keyring} has another key under the same issuer and serial number",
            "the signature was made to mislead, or the certificate was issued twice; fetch the image from its source";
        // policy
        /// The image is signed and must be, but there is nothing to check the signature with.
        SignatureUnchecked { designator: &'static str } = "signature-unchecked",
            "signature of the {designator} partition not checked: found no certificates, expected those of its signer",
            "pass the certificates that are to be trusted, or a policy that allows less by explicit choice";
    }
}
