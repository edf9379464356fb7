//! What `/proc/keys` and `KEYCTL_DESCRIBE` say of keys: read as what they are, text that anybody may have had a part in

use crate::sys::{KeyPermissions, KeySerial};

/// A line of `/proc/keys`.
///
/// Descriptions may hold line breaks, so that whoever makes a key can make lines. What matters is asked of the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) serial: KeySerial,
    pub(super) flags: Flags,
    /// Until when it counts: `perm`, `expd`, or a time like `2d`.
    pub(super) timeout: String,
    /// What kind of key, of which at most nine characters are shown.
    pub(super) kind: String,
    /// The description and what the kind of key adds to it.
    pub(super) text: String,
}

/// The flags of `/proc/keys` that say whether a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) revoked: bool,
    pub(super) invalidated: bool,
}

/// The lines that are what they should be; others are passed over. A key with two lines has none: one of them is made up.
pub(super) fn parse(text: &str) -> Vec<Line> {
    let lines: Vec<Line> = text.lines().filter_map(parse_line).collect();
    let once = |line: &&Line| lines.iter().filter(|other| other.serial == line.serial).count() == 1;
    lines.iter().filter(once).cloned().collect()
}

/// `%08x %7c %5d %4s %08x %5d %5d %-9.9s %s`
fn parse_line(line: &str) -> Option<Line> {
    let mut rest = line;
    let mut field = || {
        let (field, behind) = rest.trim_start_matches(' ').split_once(' ')?;
        rest = behind;
        Some(field)
    };
    let serial = u32::from_str_radix(field()?, 16).ok().and_then(|number| i32::try_from(number).ok())?;
    let flags = field()?;
    field()?.parse::<u32>().ok()?;
    let timeout = field()?.to_owned();
    u32::from_str_radix(field()?, 16).ok()?;
    field()?.parse::<i64>().ok()?;
    field()?.parse::<i64>().ok()?;
    let kind = field()?.to_owned();
    let (7, true) = (flags.len(), flags.is_ascii()) else { return None };
    let flags = Flags { revoked: flags.contains('R'), invalidated: flags.contains('i') };
    let text = rest.trim_start_matches(' ').to_owned();
    Some(Line { serial: KeySerial::new(serial)?, flags, timeout, kind, text })
}

/// What `KEYCTL_DESCRIBE` says of a key: nobody has a part in this but whoever described the key, and only at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) kind: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) permissions: KeyPermissions,
    pub(super) description: String,
}

/// `KIND;UID;GID;PERMISSIONS;DESCRIPTION`, the permissions in hexadecimal digits. A description that is no UTF-8 is nobody's.
pub(super) fn parse_description(bytes: &[u8]) -> Option<Described> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut fields = text.splitn(5, ';');
    let kind = fields.next()?.to_owned();
    // An owner who is nobody in this user namespace is shown as such, never as a negative number that means another.
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let permissions = KeyPermissions::from_bits_retain(u32::from_str_radix(fields.next()?, 16).ok()?);
    Some(Described { kind, uid, gid, permissions, description: fields.next()?.to_owned() })
}

/// What kind of key a certificate has, like `rsa` or `ecdsa-nist-p256`: behind the description comes `: X509.ALGORITHM …`.
pub(super) fn algorithm(text: &str, description: &str) -> Option<String> {
    let behind = text.strip_prefix(description)?.strip_prefix(": X509.")?;
    behind.split(' ').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// From `SUBJECT: KEYID`, as the kernel describes a certificate that was loaded without a description.
pub(super) fn subject_and_id(description: &str) -> Option<(&str, &str)> {
    let (subject, id) = description.rsplit_once(": ")?;
    let digits = !id.is_empty() && id.len() % 2 == 0 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then_some((subject, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYRING: &str =
        "1208fa0e I------     1 perm 1f0b0000     0     0 keyring   .builtin_trusted_keys: empty";
    const KEY: &str =
        "2fa69870 IR-Q---     1 expd 39010000     0     0 asymmetri other: e510: X509.rsa 4265e8df []";

    #[test]
    fn lines_are_read() {
        let lines = parse(&format!("{KEYRING}\n{KEY}\n"));
        let [keyring, key] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((keyring.serial.value(), keyring.kind.as_str()), (0x1208_fa0e, "keyring"));
        assert_eq!(keyring.text, ".builtin_trusted_keys: empty");
        assert_eq!((keyring.flags.revoked, keyring.timeout.as_str()), (false, "perm"));
        assert_eq!((key.flags.revoked, key.timeout.as_str(), key.kind.as_str()), (true, "expd", "asymmetri"));
        assert_eq!(algorithm(&key.text, "other: e510").as_deref(), Some("rsa"));
        assert_eq!(algorithm(&key.text, "other"), None);
    }

    /// One field changed: the line says nothing.
    #[test]
    fn what_is_no_line_is_passed_over() {
        for (from, to) in [
            ("1208fa0e", "1208fa0x"),
            ("1208fa0e", "9208fa0e"),
            ("1208fa0e", "00000000"),
            ("I------", "I-----"),
            ("I------", "I-----é"),
            ("    1 perm", "    x perm"),
            ("1f0b0000", "1f0b000g"),
            (" 0     0 keyring", " root     0 keyring"),
            (" 0     0 keyring", " 0     x keyring"),
            (KEYRING, ""),
            (KEYRING, "1208fa0e I------     1 perm 1f0b0000     0     0 keyring"),
        ] {
            let line = KEYRING.replacen(from, to, 1);
            assert_ne!(line, KEYRING);
            assert_eq!(parse(&line), [], "{line}");
        }
    }

    /// A key whose description is `x`, a line break, and a line for another key.
    #[test]
    fn a_key_with_a_made_up_line_has_none() {
        let mine = format!("00000005 I--Q---     1 perm 3f010000  1000  1000 user      x\n{KEYRING}x: 1");
        let lines = parse(&format!("{mine}\n{KEYRING}\n{KEY}"));
        assert_eq!(lines.iter().map(|line| line.serial.value()).collect::<Vec<_>>(), [5, 0x2fa6_9870]);
    }

    #[test]
    fn descriptions_are_read_and_their_ends_are_not_taken_apart() {
        let found = parse_description(b"keyring;0;65534;1f3f0000;a;b;0").unwrap();
        let permissions = KeyPermissions::from_bits_retain(0x1f3f_0000);
        let kind = "keyring".to_owned();
        let description = "a;b;0".to_owned();
        assert_eq!(found, Described { kind, uid: 0, gid: 65534, permissions, description });
        for wrong in [
            &b"keyring;0;0;1f3f0000"[..],
            b"keyring;x;0;1f3f0000;a",
            b"keyring;0;x;1f3f0000;a",
            b"keyring;-1;0;1f3f0000;a",
            b"keyring;0;0;1f3f000000;a",
            b"keyring;0;0;;a",
            b"keyring;0;0;1f3f0000;\xff",
            b"",
        ] {
            assert_eq!(parse_description(wrong), None, "{:?}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn subjects_and_key_identifiers_are_told_apart() {
        assert_eq!(subject_and_id("vendor: 3fd5"), Some(("vendor", "3fd5")));
        assert_eq!(subject_and_id("O: CN: 3fd5"), Some(("O: CN", "3fd5")));
        for none in ["vendor", "vendor: ", "vendor: 3fd", "vendor: xy", "mine"] {
            assert_eq!(subject_and_id(none), None, "{none}");
        }
    }
}
