//! Hash trees, signatures and policies.

use super::*;

pub(super) fn protection() -> Vec<Case> {
    let trusted = images::trusted_at(NOW);
    let at = |days: i64| images::trusted_at(Time::from_unix(NOW.as_unix() + days * DAY));
    let stranger = KeyPair::generate("confext-test stranger", NOW, 2).unwrap();
    let (signed, _) = images::signed();
    let (unsigned, built) = images::unsigned();
    let verity = || anything(Policy::verity());
    let mut other = images::one_file();
    other.add_file("etc/other.conf", "", Meta::new(0o644)).unwrap();
    let other = || images::build(images::builder(other.clone()), Some(&images::vendor()));
    let json = signature_of(images::signed());
    let borrowed = Json { signature_der: signature_of(other()).signature_der, ..json.clone() };
    let by_stranger = images::build(images::builder(images::one_file()), Some(&stranger)).0;
    let mut tampered = images::build(images::builder(images::one_of_each()), Some(&images::vendor())).0;
    let data = usize::try_from(built.partitions[0].range.start()).unwrap();
    tampered[data + 4096 + 17] ^= 1;
    let mut not_a_tree = unsigned.clone();
    not_a_tree[usize::try_from(built.partitions[1].range.start()).unwrap()] = b'V';
    let mut locked = images::unprotected();
    locked[data..data + 8].copy_from_slice(b"LUKS\xba\xbe\0\x02");
    let both = locked.clone();
    locked[data + 8..data + 4096].fill(0);
    let writable = edited(unsigned.clone(), |entries| entries[0][48..56].fill(0));
    vec![
        case(
            "signed by an unknown key",
            "unknown-signer",
            &["claims", "confext-test stranger", "none of 1 trusted"],
            check(&trusted).run(&by_stranger),
        ),
        case(
            "expired certificate",
            "certificate-expired",
            &["confext-test vendor", "found end of validity 2023-11-16", "expected 2023-11-17"],
            check(&at(3)).run(&signed),
        ),
        case(
            "certificate of tomorrow",
            "certificate-not-yet-valid",
            &["confext-test vendor", "found start of validity 2023-11-14", "expected 2023-11-12"],
            check(&at(-2)).run(&signed),
        ),
        case(
            "no trusted certificate",
            "no-certificates",
            &["found no trusted certificate", "expected at least 1"],
            check(&Certificates::new(NOW)).run(&signed),
        ),
        case(
            "nothing to check a signature with",
            "signature-unchecked",
            &["found no certificates", "expected those of its signer"],
            anything(Policy::signed()).run(&signed),
        ),
        case(
            "signature of another image",
            "signature-mismatch",
            &["confext-test vendor", "did not sign this root hash"],
            check(&trusted).run(&with_signature(&borrowed.to_bytes())),
        ),
        case(
            "signature partition of another image",
            "root-hash-uuid",
            &["found UUID", "expected"],
            check(&trusted).run(&with_signature(&signature_of(other()).to_bytes())),
        ),
        case(
            "signature partition of zeros",
            "signature-empty",
            &["found", "expected"],
            check(&trusted).run(&with_signature(b"")),
        ),
        case(
            "signature partition with one key twice",
            "signature-key-twice",
            &["rootHash"],
            check(&trusted).run(&with_signature(br#"{"rootHash":"00","rootHash":"00"}"#)),
        ),
        case(
            "root hash of another image",
            "root-hash",
            &["top is", "expected root hash"],
            verity().run(&edited(unsigned.clone(), |entries| entries[0][16..32].fill(7))),
        ),
        case(
            "root hash of zeros",
            "verity-uuid-zero",
            &["partition 1 has a zero UUID", "expected one half of the root hash"],
            verity().run(&edited(unsigned.clone(), |entries| entries[0][16..32].fill(0))),
        ),
        case(
            "changed data",
            "data-block",
            &["data block 1", "does not match"],
            check(&trusted).run(&tampered),
        ),
        case(
            "hash partition without a superblock",
            "verity-magic",
            &["found", "expected"],
            verity().run(&not_a_tree),
        ),
        case(
            "unsigned under a policy of signed",
            "policy",
            &["root partition", "found protection verity", "expected signed"],
            check(&trusted).run(&unsigned),
        ),
        case(
            "file system the policy does not name",
            "policy-file-system",
            &["found file system erofs", "expected squashfs"],
            anything(Policy::parse("root=verity+squashfs:=absent").unwrap()).run(&unsigned),
        ),
        case(
            "attribute the policy does not name",
            "policy-attribute",
            &["found attribute read-only-off", "expected read-only-on"],
            anything(Policy::parse("root=verity+read-only-on:=absent").unwrap()).run(&writable),
        ),
        case(
            "two file systems in one place",
            "fs-ambiguous",
            &["found the magic of erofs and of crypto_LUKS", "expected one"],
            anything(Policy::unprotected()).run(&both),
        ),
        case(
            "encrypted root partition",
            "encrypted",
            &["root", "found"],
            anything(Policy::unprotected()).run(&locked),
        ),
        case("word no policy has", "policy-flag", &["found \"sigend\"", "expected"], policy("root=sigend")),
        case(
            "partition no policy has",
            "policy-designator",
            &["found \"boot\"", "expected"],
            policy("boot=signed"),
        ),
        case("policy without flags", "policy-rule", &["found \"root\"", "expected"], policy("root")),
        case(
            "two rules for one partition",
            "policy-rule-twice",
            &["root"],
            policy("root=signed:root=absent"),
        ),
        case(
            "policies that exclude each other",
            "policy-disjoint",
            &["found signed and absent", "expected a common flag"],
            Policy::parse("root=signed")
                .and_then(|one| one.intersect(&Policy::parse("root=absent")?))
                .map(drop),
        ),
    ]
}

fn policy(text: &str) -> Result<()> {
    Policy::parse(text).map(drop)
}
