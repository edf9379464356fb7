//! Signatures of root hashes: signature partition, PKCS#7 check and making.
