//! The signature partition: one JSON object, zero-padded.

use super::Fingerprint;
use crate::digest::RootHash;
use crate::error::{Corrupt, Error, LimitExceeded, Result, ResultExt as _};
use crate::limits::Limits;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

const ROOT_HASH: &str = "rootHash";
const FINGERPRINT: &str = "certificateFingerprint";
const SIGNATURE: &str = "signature";
const ADDITIONAL: &str = "additionalSignatures";

/// What a signature partition says: a root hash and its signatures, nothing of it checked.
///
/// *Layout*: one JSON object in UTF-8; the first NUL ends it, the rest of the partition is NUL. Keys: `rootHash`
/// (lower-case hex digits), `signature` (base64 of a PKCS#7 signature in DER), `certificateFingerprint` (64 lower-case
/// hex digits, may be absent), `additionalSignatures` (may be absent; an array of objects with `signature` and
/// `certificateFingerprint` as before). The last key is an extension of this project: others ignore it, as they do every
/// unknown key, and see the first signature alone.
///
/// Keys may come in any order, with JSON's white space around them and with unknown keys between them. All else that
/// two readers could understand differently is refused: a key that is there twice, text behind the object, a byte
/// order mark, upper-case digits, base64 with white space, without padding or with another alphabet.
///
/// *Spec*: UAPI.2, "Verity signature partition".
///
/// ```
/// use confext_ddi::{Limits, signature::Json};
///
/// let root_hash = "a5".repeat(32);
/// let text = format!(r#"{{"rootHash":"{root_hash}","signature":"c2lnbmVk"}}"#);
/// // The rest of a partition is NUL.
/// let partition = [text.as_bytes(), &[0; 512]].concat();
/// let json = Json::parse(&partition, &Limits::default())?;
/// assert_eq!((json.root_hash.to_hex(), json.signature_der), (root_hash, b"signed".to_vec()));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Json {
    /// The root hash that was signed.
    pub root_hash: RootHash,
    /// Which certificate the signature is said to be from.
    pub certificate_fingerprint: Option<Fingerprint>,
    /// The PKCS#7 signature, DER.
    pub signature_der: Vec<u8>,
    /// Signatures of the same root hash by other keys.
    pub additional: Vec<AdditionalSignature>,
}

/// A signature besides the first one.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// # let key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// # let operator = confext_ddi::signature::KeyPair::generate("operator", now, 30)?;
/// use confext_ddi::signature::{AdditionalSignature, Json, Sign as _};
/// use confext_ddi::{Limits, RootHash};
///
/// let root_hash = RootHash::from_bytes([0xa5; 32]);
/// let second = AdditionalSignature {
///     certificate_fingerprint: Some(operator.certificate_fingerprint()),
///     signature_der: operator.sign(&root_hash)?,
/// };
/// let json = Json {
///     root_hash,
///     certificate_fingerprint: Some(key.certificate_fingerprint()),
///     signature_der: key.sign(&root_hash)?,
///     additional: vec![second.clone()],
/// };
/// assert_eq!(Json::parse(&json.to_bytes(), &Limits::default())?.additional, [second]);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct AdditionalSignature {
    /// Which certificate the signature is said to be from.
    #[serde(rename = "fingerprint")]
    pub certificate_fingerprint: Option<Fingerprint>,
    /// The PKCS#7 signature, DER.
    #[serde(skip)]
    pub signature_der: Vec<u8>,
}

impl Json {
    /// Parses a signature partition, padding and all.
    ///
    /// # Errors
    ///
    /// `limit-bytes`, `signature-empty`, `signature-padding`, `signature-text`, `signature-json`, `limit-depth`,
    /// `signature-key-twice`, `signature-key-missing`, `signature-hex`, `signature-base64`, `limit-count`.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self> {
        Self::parse_padded(bytes, limits).within("signature")
    }

    fn parse_padded(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > limits.signature_bytes {
            let most = limits.signature_bytes;
            return Err(LimitExceeded::Bytes { what: "signature partition", found: size, most }.into());
        }
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let (text, padding) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        if let Some((found, offset)) = padding.iter().zip(end..).find(|(byte, _)| **byte != 0) {
            let offset = u64::try_from(offset).unwrap_or(u64::MAX);
            return Err(Error::from(Corrupt::SignaturePadding { found: *found }).at_offset(offset));
        }
        if text.is_empty() {
            return Err(Corrupt::SignatureEmpty { size }.into());
        }
        parse_text(check_text(text)?, limits)
    }

    /// The text as systemd-repart writes it: compact, without padding. Additional signatures come last.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!(r#"{{"{ROOT_HASH}":"{}","#, self.root_hash);
        push_signature(&mut text, self.certificate_fingerprint, &self.signature_der);
        for (at, other) in self.additional.iter().enumerate() {
            text.push_str(&if at == 0 { format!(r#","{ADDITIONAL}":[{{"#) } else { r#"},{"#.to_owned() });
            push_signature(&mut text, other.certificate_fingerprint, &other.signature_der);
        }
        text.push_str(if self.additional.is_empty() { "}" } else { "}]}" });
        text.into_bytes()
    }
}

/// The keys of one signature.
fn push_signature(text: &mut String, fingerprint: Option<Fingerprint>, der: &[u8]) {
    if let Some(fingerprint) = fingerprint {
        text.push_str(&format!(r#""{FINGERPRINT}":"{fingerprint}","#));
    }
    text.push_str(&format!(r#""{SIGNATURE}":"{}""#, STANDARD.encode(der)));
}

fn check_text(text: &[u8]) -> Result<&str> {
    let wrong = |at: usize| {
        let found = const_hex::encode(text.iter().skip(at).take(4).copied().collect::<Vec<u8>>());
        Error::from(Corrupt::SignatureText { found }).at_offset(u64::try_from(at).unwrap_or(u64::MAX))
    };
    match std::str::from_utf8(text) {
        Ok(text) if text.starts_with('\u{feff}') => Err(wrong(0)),
        Ok(text) => Ok(text),
        Err(error) => Err(wrong(error.valid_up_to())),
    }
}

fn parse_text(text: &str, limits: &Limits) -> Result<Json> {
    let fault = RefCell::new(None);
    let mut json = serde_json::Deserializer::from_str(text);
    let object =
        Object { fault: &fault, levels: limits.json_depth, part: Part::Top { most: limits.signatures } };
    let values = object.deserialize(&mut json).and_then(|values| json.end().map(|()| values));
    let values = values.map_err(|error| match fault.take() {
        Some(fault) => fault,
        None => Corrupt::SignatureJson { reason: error.to_string() }.into(),
    })?;
    let root_hash = values.root_hash.as_ref().ok_or(Corrupt::SignatureKeyMissing { key: ROOT_HASH })?;
    let root_hash = parse_root_hash(root_hash)?;
    let first = parse_signature(&values)?;
    Ok(Json {
        root_hash,
        certificate_fingerprint: first.certificate_fingerprint,
        signature_der: first.signature_der,
        additional: values.additional.iter().map(parse_signature).collect::<Result<_>>()?,
    })
}

fn parse_signature(values: &Values) -> Result<AdditionalSignature> {
    let signature = values.signature.as_ref().ok_or(Corrupt::SignatureKeyMissing { key: SIGNATURE })?;
    let fingerprint = values.fingerprint.as_ref().map(|text| parse_hex(FINGERPRINT, text)).transpose()?;
    Ok(AdditionalSignature {
        certificate_fingerprint: fingerprint.map(Fingerprint::from_bytes),
        signature_der: parse_base64(signature)?,
    })
}

fn parse_root_hash(text: &str) -> Result<RootHash> {
    let wrong = || Corrupt::SignatureHex {
        key: ROOT_HASH,
        found: text.chars().take(160).collect(),
        expected: "40, 56, 64, 96 or 128",
    };
    let root_hash = RootHash::parse(text).ok().filter(|_| text.bytes().all(is_lower_hex));
    Ok(root_hash.ok_or_else(wrong)?)
}

fn parse_hex(key: &'static str, text: &str) -> Result<[u8; 32]> {
    let wrong = || Corrupt::SignatureHex { key, found: text.chars().take(80).collect(), expected: "64" };
    if text.len() != 64 || !text.bytes().all(is_lower_hex) {
        return Err(wrong().into());
    }
    let mut bytes = [0; 32];
    const_hex::decode_to_slice(text, &mut bytes).map_err(|_| wrong())?;
    Ok(bytes)
}

const fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn parse_base64(text: &str) -> Result<Vec<u8>> {
    let wrong = |reason: String| Corrupt::SignatureBase64 { reason };
    let der = STANDARD.decode(text).map_err(|error| wrong(error.to_string().to_lowercase()))?;
    if der.is_empty() {
        return Err(wrong("found no characters".into()).into());
    }
    Ok(der)
}

/// The values of the known keys, as they stand.
#[derive(Default)]
struct Values {
    root_hash: Option<String>,
    fingerprint: Option<String>,
    signature: Option<String>,
    additional: Vec<Values>,
}

/// Which object is read.
#[derive(Clone, Copy)]
enum Part {
    /// The outermost one, with at most so many signatures.
    Top { most: usize },
    /// One additional signature.
    Entry,
}

/// Reads an object. A fault that is no matter of JSON syntax is left in `fault`.
#[derive(Clone, Copy)]
struct Object<'a> {
    fault: &'a RefCell<Option<Error>>,
    levels: usize,
    part: Part,
}

impl Object<'_> {
    fn fail<E: serde::de::Error>(&self, fault: impl Into<Error>) -> E {
        self.fault.replace(Some(fault.into()));
        E::custom("")
    }
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Values;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Values, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Values;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Values, A::Error> {
        let mut values = Values::default();
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(self.fail(Corrupt::SignatureKeyTwice { key: key.chars().take(40).collect() }));
            }
            match (key.as_str(), self.part) {
                (ROOT_HASH, Part::Top { .. }) => values.root_hash = Some(map.next_value()?),
                (FINGERPRINT, _) => values.fingerprint = Some(map.next_value()?),
                (SIGNATURE, _) => values.signature = Some(map.next_value()?),
                (ADDITIONAL, Part::Top { most }) => {
                    values.additional = map.next_value_seed(List { object: &self, most })?;
                }
                _ => map.next_value_seed(Skip { object: &self, levels: self.levels.saturating_sub(1) })?,
            }
            seen.insert(key);
        }
        Ok(values)
    }
}

/// Reads the additional signatures.
struct List<'a> {
    object: &'a Object<'a>,
    /// How many signatures there may be, the first one included.
    most: usize,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = Vec<Values>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<Vec<Values>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = Vec<Values>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of signatures")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Vec<Values>, A::Error> {
        // The array and the object in it.
        let entry =
            Object { levels: self.object.levels.saturating_sub(2), part: Part::Entry, ..*self.object };
        let mut found = Vec::new();
        while let Some(values) = seq.next_element_seed(entry)? {
            found.push(values);
            let signatures = found.len().saturating_add(1);
            if signatures > self.most {
                let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
                let (found, most) = (count(signatures), count(self.most));
                return Err(self.object.fail(LimitExceeded::Count { what: "signatures", found, most }));
            }
        }
        Ok(found)
    }
}

/// Passes over the value of an unknown key, down to a depth.
#[derive(Clone, Copy)]
struct Skip<'a> {
    object: &'a Object<'a>,
    levels: usize,
}

impl Skip<'_> {
    fn inner<E: serde::de::Error>(self) -> std::result::Result<Self, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Self { levels, ..self }),
            None => {
                let most = u64::try_from(self.object.levels).unwrap_or(u64::MAX);
                Err(self.object.fail(LimitExceeded::Depth { what: "signature JSON", most }))
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Skip<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        let inner = self.inner()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let inner = self.inner()?;
        while map.next_key_seed(inner)?.is_some() {
            map.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "2d0a7d4bd8b5ab1c9a9c5b1e3f6f9d0c1b2a39485766554433221100ffeeddcc";

    fn sample() -> Json {
        Json {
            root_hash: HASH.parse().unwrap(),
            certificate_fingerprint: Some(Fingerprint::from_bytes([0x5a; 32])),
            signature_der: vec![0xfb, 0xff, 0xbf, 1],
            additional: Vec::new(),
        }
    }

    fn other(byte: u8) -> AdditionalSignature {
        AdditionalSignature {
            certificate_fingerprint: Some(Fingerprint::from_bytes([byte; 32])),
            signature_der: vec![byte; 3],
        }
    }

    fn parse(text: &str) -> Result<Json> {
        Json::parse(text.as_bytes(), &Limits::default())
    }

    #[test]
    fn written_as_systemd_repart_does() {
        let expected = format!(
            r#"{{"rootHash":"{HASH}","certificateFingerprint":"{}","signature":"+/+/AQ=="}}"#,
            "5a".repeat(32)
        );
        assert_eq!(String::from_utf8(sample().to_bytes()).unwrap(), expected);
        let unnamed = Json { certificate_fingerprint: None, ..sample() };
        let expected = format!(r#"{{"rootHash":"{HASH}","signature":"+/+/AQ=="}}"#);
        assert_eq!(String::from_utf8(unnamed.to_bytes()).unwrap(), expected);
    }

    #[test]
    fn additional_signatures_come_last() {
        let unnamed = AdditionalSignature { certificate_fingerprint: None, ..other(0) };
        let json = Json { additional: vec![other(0x11), unnamed], ..sample() };
        let text = String::from_utf8(json.to_bytes()).unwrap();
        let expected = format!(
            r#"{{"rootHash":"{HASH}","certificateFingerprint":"{}","signature":"+/+/AQ==","additionalSignatures":[{{"certificateFingerprint":"{}","signature":"ERER"}},{{"signature":"AAAA"}}]}}"#,
            "5a".repeat(32),
            "11".repeat(32),
        );
        assert_eq!(text, expected);
        assert_eq!(parse(&text).unwrap(), json);
        let with = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            parse(&text.replacen(from, to, 1)).map_err(|error| error.code())
        };
        // Unknown keys are ignored here, too; the root hash is said once.
        assert_eq!(
            with(r#"{"signature":"AAAA"}"#, r#"{"signature":"AAAA","x":[1],"rootHash":""}"#),
            Ok(json)
        );
        assert_eq!(with(r#""ERER""#, r#""ERER","signature":"AAAA""#), Err("signature-key-twice"));
        assert_eq!(with(r#"{"signature":"AAAA"}"#, "{}"), Err("signature-key-missing"));
        assert_eq!(with(r#"{"signature":"AAAA"}"#, "[]"), Err("signature-json"));
        assert_eq!(with(r#""AAAA""#, r#""AAA""#), Err("signature-base64"));
        assert_eq!(with(r#""AAAA""#, r#""""#), Err("signature-base64"));
        assert_eq!(with("1111", "zzzz"), Err("signature-hex"));
        assert_eq!(
            with(r#""additionalSignatures":["#, r#""additionalSignatures":null,"x":["#),
            Err("signature-json")
        );
        let twice = r#","additionalSignatures":[],"additionalSignatures":["#;
        assert_eq!(with(r#","additionalSignatures":["#, twice), Err("signature-key-twice"));

        let many = Json { additional: vec![other(1); 15], ..sample() };
        assert_eq!(Json::parse(&many.to_bytes(), &Limits::default()).unwrap(), many);
        let more = Json { additional: vec![other(1); 16], ..sample() };
        assert_eq!(Json::parse(&more.to_bytes(), &Limits::default()).unwrap_err().code(), "limit-count");
    }

    #[test]
    fn harmless_variations_are_read() {
        let plain = String::from_utf8(sample().to_bytes()).unwrap();
        let fingerprint = "5a".repeat(32);
        for text in [
            plain.clone(),
            format!("{plain}{}", "\0".repeat(16384)),
            format!(" \n{plain}\n  "),
            plain.replace(':', " :\n\t").replace(',', " , "),
            plain.replace('{', r#"{"x":null,"y":[{"signature":1,"signature":"\u0000"}],"z":-1.5e3,"":true,"#),
            plain.replace("rootHash", r"root\u0048ash"),
            format!(
                r#"{{"signature":"+/+/AQ==","certificateFingerprint":"{fingerprint}","rootHash":"{HASH}"}}"#
            ),
        ] {
            assert_eq!(parse(&text).unwrap(), sample(), "{text}");
        }
    }

    #[test]
    fn each_fault_has_its_code() {
        let plain = String::from_utf8(sample().to_bytes()).unwrap();
        let with = |from: &str, to: &str| {
            assert!(plain.contains(from));
            plain.replace(from, to)
        };
        let deep =
            |levels: usize| with("{", &format!(r#"{{"x":{}1{},"#, "[".repeat(levels), "]".repeat(levels)));
        let table = [
            (String::new(), "signature-empty"),
            ("\0".repeat(512), "signature-empty"),
            (format!("{plain}\0x"), "signature-padding"),
            (format!("\0{plain}"), "signature-padding"),
            (format!("{plain}\0\0\n"), "signature-padding"),
            (format!("\u{feff}{plain}"), "signature-text"),
            ("  \n".into(), "signature-json"),
            (format!("{plain}x"), "signature-json"),
            (format!("{plain}{plain}"), "signature-json"),
            (format!("[{plain}]"), "signature-json"),
            (format!("// c\n{plain}"), "signature-json"),
            ("null".into(), "signature-json"),
            (with("}", ""), "signature-json"),
            (with("}", ",}"), "signature-json"),
            (with("{", r#"{"x":01,"#), "signature-json"),
            (with("{", r#"{"x":NaN,"#), "signature-json"),
            (with("{", r#"{"x":"\ud800","#), "signature-json"),
            (with(r#""+/+/AQ==""#, "null"), "signature-json"),
            (with(r#""+/+/AQ==""#, "[43]"), "signature-json"),
            (with(&format!("\"{HASH}\""), "2"), "signature-json"),
            (with("{", r#"{"signature":"AAAA","#), "signature-key-twice"),
            (with("{", r#"{"rootHash":"","#), "signature-key-twice"),
            (with("{", r#"{"x":1,"\u0078":2,"#), "signature-key-twice"),
            (with("rootHash", "roothash"), "signature-key-missing"),
            (with("signature", "Signature"), "signature-key-missing"),
            ("{}".into(), "signature-key-missing"),
            (with(HASH, &HASH.to_uppercase()), "signature-hex"),
            (with(HASH, &HASH[2..]), "signature-hex"),
            (with(HASH, &format!("{HASH}{HASH}{HASH}")), "signature-hex"),
            (with(HASH, &format!("0x{}", &HASH[2..])), "signature-hex"),
            (with(HASH, &format!(" {}", &HASH[1..])), "signature-hex"),
            (with(HASH, &"é".repeat(32)), "signature-hex"),
            (with(HASH, ""), "signature-hex"),
            (with("5a5a", "5A5A"), "signature-hex"),
            (with("5a5a", ""), "signature-hex"),
            (with("+/+/AQ==", ""), "signature-base64"),
            (with("+/+/AQ==", "-_-_AQ=="), "signature-base64"),
            (with("+/+/AQ==", "+/+/AQ"), "signature-base64"),
            (with("+/+/AQ==", "+/+/AR=="), "signature-base64"),
            (with("+/+/AQ==", r"+/+/\nAQ=="), "signature-base64"),
            (with("+/+/AQ==", "+/+/AQ== "), "signature-base64"),
            (with("+/+/AQ==", "+/+/AQ==AAAA"), "signature-base64"),
            (with("{", r#"{"x":1e999,"#), "signature-json"),
            (with("{", r#"{"x":00,"#), "signature-json"),
            (with("{", r#"{"x":NaN,"#), "signature-json"),
            (with("{", "{\"x\":\"\u{1}\","), "signature-json"),
            (with("{", r#"{"x":"\ud800","#), "signature-json"),
            (deep(16), "limit-depth"),
            (deep(100_000), "limit-depth"),
        ];
        for (text, code) in table {
            let error = parse(&text).unwrap_err();
            assert_eq!(error.code(), code, "{error}: {}", text.chars().take(300).collect::<String>());
            assert_eq!(error.path(), "signature");
        }
        assert!(parse(&deep(15)).is_ok());
        let error = Json::parse(b"{\xff}", &Limits::default()).unwrap_err();
        assert_eq!((error.code(), error.offset()), ("signature-text", Some(1)));
    }

    #[test]
    fn the_size_is_capped() {
        let mut partition = sample().to_bytes();
        partition.resize(16384, 0);
        let limits = Limits { signature_bytes: 16383, ..Limits::default() };
        assert_eq!(Json::parse(&partition, &limits).unwrap_err().code(), "limit-bytes");
        let limits = Limits { signature_bytes: 16384, ..Limits::default() };
        assert_eq!(Json::parse(&partition, &limits).unwrap(), sample());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(hash: [u8; 32], fingerprint: Option<[u8; 32]>,
                                        der in proptest::collection::vec(any::<u8>(), 1..300), pad in 0_usize..600,
                                        more in proptest::collection::vec(any::<(Option<[u8; 32]>, [u8; 5])>(), 0..4)) {
            let json = Json {
                root_hash: RootHash::from_bytes(hash),
                certificate_fingerprint: fingerprint.map(Fingerprint::from_bytes),
                signature_der: der,
                additional: more.into_iter().map(|(fingerprint, der)| AdditionalSignature {
                    certificate_fingerprint: fingerprint.map(Fingerprint::from_bytes),
                    signature_der: der.to_vec(),
                }).collect(),
            };
            let mut bytes = json.to_bytes();
            bytes.resize(bytes.len() + pad, 0);
            prop_assert_eq!(Json::parse(&bytes, &Limits::default()).unwrap(), json);
        }

        #[test]
        fn changed_bytes_never_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
            let mut bytes = sample().to_bytes();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(json) = Json::parse(&bytes, &Limits::default()) {
                prop_assert_eq!(Json::parse(&json.to_bytes(), &Limits::default()).unwrap(), json);
            }
        }
    }
}
