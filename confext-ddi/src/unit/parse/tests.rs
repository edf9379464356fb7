use super::*;
use crate::unit::Name;
use proptest::prelude::*;

fn specifiers() -> Specifiers {
    Specifiers::new(&Name::parse("app@1.service").unwrap())
}

/// What these settings say, one `KEY=VALUE` a line.
fn read(text: &str) -> Result<Extensions> {
    let mut extensions = Extensions::default();
    for line in text.lines() {
        let (key, value) = line.split_once('=').unwrap();
        let from = Assignment::new("Service", key, value);
        assert!(extensions.assign(&from, &specifiers(), &Limits::default())?, "{line}");
    }
    Ok(extensions)
}

fn images(value: &str) -> Result<Vec<Entry>> {
    read(&format!("{IMAGES}={value}")).map(|extensions| extensions.images)
}

fn directories(value: &str) -> Result<Vec<Entry>> {
    read(&format!("{DIRECTORIES}={value}")).map(|extensions| extensions.directories)
}

#[test]
fn images_are_read_as_systemd_262_reads_them() {
    let image = Entry::image;
    for (value, expected) in [
        ("/a.raw", vec![image("/a.raw")]),
        ("-/a.raw\t/b.raw", vec![image("/a.raw").or_skipped(), image("/b.raw")]),
        ("\"/a b.raw\" '/c d'", vec![image("/a b.raw"), image("/c d")]),
        (r"/a\x20b /a\sb /a\:b /a\\b", vec![image("/a b"), image("/a b"), image("/a:b"), image("/a\\b")]),
        ("/a//b/./c/", vec![image("/a/b/c")]),
        ("/%n/%i/100%%", vec![image("/app@1.service/1/100%")]),
        ("/devx /run/x /", vec![image("/devx"), image("/run/x"), image("/")]),
        ("/a /b /a", vec![image("/a"), image("/b"), image("/a")]),
        ("", vec![]),
    ] {
        assert_eq!(images(value).unwrap(), expected, "{value}");
    }
    let options = |value| images(value).unwrap().remove(0).options;
    assert_eq!(options("/a:noexec,ro"), [(Designator::Root, "noexec,ro".to_owned())]);
    assert_eq!(options("/a:usr:noexec"), [(Designator::Usr, "noexec".to_owned())]);
    assert_eq!(options(r"/a:root:x\:y:home:%i").last().unwrap(), &(Designator::Home, "1".to_owned()));
}

#[test]
fn the_option_about_release_files_is_taken_out() {
    for (value, options) in [
        ("/a:x-systemd.relax-extension-release-check", vec![]),
        (
            "/a:usr:ro,x-systemd.relax-extension-release-check,nodev",
            vec![(Designator::Usr, "ro,nodev".to_owned())],
        ),
    ] {
        let entry = images(value).unwrap().remove(0);
        assert_eq!((entry.strictness, entry.options), (Strictness::Relaxed, options), "{value}");
    }
    let entry = images("/a:home:x-systemd.relax-extension-release-check").unwrap().remove(0);
    assert_eq!((entry.strictness, entry.options.len()), (Strictness::Strict, 1));
}

#[test]
fn directories_are_read_as_systemd_262_reads_them() {
    let directory = Entry::directory;
    for (value, expected) in [
        (
            "/a -/b +/c -+/d",
            vec![
                directory("/a"),
                directory("/b").or_skipped(),
                directory("/c"),
                directory("/d").or_skipped(),
            ],
        ),
        (
            r#""/a b" /c\ d /a\\b /a\:b"#,
            vec![directory("/a b"), directory("/c d"), directory("/a\\b"), directory("/a:b")],
        ),
        ("/a:b /proc/x", vec![directory("/a:b"), directory("/proc/x")]),
        (r"/a\x20b", vec![directory("/ax20b")]),
    ] {
        assert_eq!(directories(value).unwrap(), expected, "{value}");
    }
}

#[test]
fn what_systemd_skips_with_a_warning_is_refused() {
    for (value, code) in [
        ("a.raw", "unit-setting"),
        ("/a/../b", "unit-setting"),
        ("/proc/x", "unit-setting"),
        ("/dev", "unit-setting"),
        ("/sys/a", "unit-setting"),
        ("-", "unit-setting"),
        ("--/a", "unit-setting"),
        ("+/a", "unit-setting"),
        ("\"\"", "unit-setting"),
        ("\"/a", "unit-setting"),
        (r"/a\qb", "unit-setting"),
        (r"/a\ b", "unit-setting"),
        (r"/a\x00", "unit-setting"),
        (r"/a\xff", "unit-setting"),
        ("/a #b", "unit-setting"),
        ("/a:", "unit-setting"),
        (":/a", "unit-setting"),
        ("/a::ro", "unit-setting"),
        ("/a:root:", "unit-setting"),
        ("/a:root:ro:home", "unit-setting"),
        ("/a:bogus:ro", "unit-setting"),
        ("/a:user-home:ro", "unit-setting"),
        ("/a:root:ro:root:rw", "unit-setting"),
        (r"/a:x\,y", "unit-setting"),
        ("/a /b:%Z", "unit-specifier"),
        ("/%H", "unit-specifier-unknown"),
    ] {
        assert_eq!(images(value).unwrap_err().code(), code, "{value}");
    }
    for value in ["a", "+-/a", "/a/../b", "\"/a", "-", "+", "/a\\"] {
        assert_eq!(directories(value).unwrap_err().code(), "unit-setting", "{value}");
    }
    assert_eq!(images(&format!("/{}", "n".repeat(256))).unwrap_err().code(), "unit-setting");
    let error = images("/good /a:bogus:ro").unwrap_err().to_string();
    assert!(error.contains("-:0") && error.contains("/a:bogus:ro"), "{error}");
}

#[test]
fn later_settings_append_and_empty_ones_take_back() {
    let count = |text: &str| read(text).unwrap().images.len();
    assert_eq!(count("ExtensionImages=/a\nExtensionImages=/b /c"), 3);
    assert_eq!(count("ExtensionImages=/a\nExtensionImages=\nExtensionImages=/b"), 1);
    let policy = |text: &str| read(text).unwrap().policy.map(|policy| policy.to_string());
    assert_eq!(
        policy("ExtensionImagePolicy=root=verity\nExtensionImagePolicy=root=signed").unwrap(),
        "root=signed"
    );
    assert_eq!(policy("ExtensionImagePolicy=root=signed\nExtensionImagePolicy="), None);
    for (value, code) in [
        ("root=signd", "policy-flag"),
        ("rot=signed", "policy-designator"),
        ("%n", "policy-rule"),
        ("\"root=signed\"", "policy-flag"),
    ] {
        assert_eq!(read(&format!("{POLICY}={value}")).unwrap_err().code(), code, "{value}");
    }
}

#[test]
fn what_a_reload_reads_again_is_read_as_systemd_262_reads_it() {
    for (text, expected) in [
        ("yes", "yes"),
        ("On", "yes"),
        ("0", "no"),
        ("extensions", "extensions"),
        ("credentials extensions", "yes"),
        ("~extensions", "no"),
        ("~credentials", "extensions"),
        ("~ extensions", "no"),
        ("~", "extensions"),
        ("", ""),
        ("yes\nRefreshOnReload=", ""),
        ("extensions\nRefreshOnReload=credentials", "yes"),
        ("yes\nRefreshOnReload=~credentials", "extensions"),
        ("no\nRefreshOnReload=extensions", "extensions"),
        ("yes\nRefreshOnReload=\nRefreshOnReload=~extensions", "no"),
    ] {
        let read = read(&format!("{REFRESH}={text}")).unwrap();
        assert_eq!(read.refresh_on_reload.to_string(), expected, "{text}");
    }
    for value in [
        "bogus",
        "extensions bogus",
        "~yes",
        "\"extensions\"",
        "extensions,credentials",
        "Extensions",
        "~~extensions",
    ] {
        assert_eq!(read(&format!("{REFRESH}={value}")).unwrap_err().code(), "unit-setting", "{value}");
    }
}

#[test]
fn there_are_only_so_many_extensions() {
    let limits = Limits { unit_extensions: 2, ..Limits::default() };
    let mut extensions = Extensions::default();
    let from = |value| Assignment::new("Service", IMAGES, value);
    extensions.assign(&from("/a /b"), &specifiers(), &limits).unwrap();
    assert_eq!(extensions.assign(&from("/c"), &specifiers(), &limits).unwrap_err().code(), "limit-count");
    assert!(!extensions.assign(&Assignment::new("Service", "User", "x"), &specifiers(), &limits).unwrap());
}

#[test]
fn what_no_unit_can_name_is_not_printed() {
    let mut twice = Entry::image("/a");
    twice.options = vec![(Designator::Root, "a".to_owned()), (Designator::Root, "b".to_owned())];
    let mut empty = Entry::image("/a");
    empty.options = vec![(Designator::Root, String::new())];
    let mut relaxed = Entry::directory("/a");
    relaxed.strictness = Strictness::Relaxed;
    for entry in [
        Entry::image("a"),
        Entry::image("/a/"),
        Entry::image("/a/../b"),
        Entry::image("/dev/x"),
        Entry::directory("/a\nb"),
        Entry::image("/a\0"),
        twice,
        empty,
        relaxed,
    ] {
        assert_eq!(entry.item().unwrap_err().code(), "unit-entry", "{entry:?}");
    }
}

prop_compose! {
    fn entry()(
        path in "(/[a-z.% :\"'\\\\\t\n#;=-]{1,8}é?){1,3}",
        is_image in any::<bool>(),
        may_miss in any::<bool>(),
        relaxed in any::<bool>(),
        options in proptest::collection::btree_map(0..13_usize, "[a-z%: ,\"\\\\=]{1,9}", 0..3),
    ) -> Entry {
        let entry = if is_image { Entry::image(path) } else { Entry::directory(path) };
        let mut entry = if may_miss { entry.or_skipped() } else { entry };
        if is_image {
            entry.options =
                options.into_iter().map(|(at, text)| (Policy::DESIGNATORS[at], text)).collect();
            entry.strictness = if relaxed { Strictness::Relaxed } else { Strictness::Strict };
        }
        entry
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_again(entries in proptest::collection::vec(entry(), 0..6)) {
        let mut extensions = Extensions::default();
        for entry in entries {
            match entry.kind {
                EntryKind::Image => extensions.images.push(entry),
                EntryKind::Directory => extensions.directories.push(entry),
            }
        }
        extensions.policy = Some(Policy::signed());
        match extensions.lines() {
            Ok(lines) => {
                let mut again = read(&lines.join("\n")).unwrap();
                // The option about release files is printed for root, and what is empty without it is gone.
                prop_assert_eq!(&again, &extensions);
                again.policy = None;
                prop_assert!(again.lines().unwrap().len() < lines.len());
                let file = format!("[Service]\n{}\n", lines.join("\n"));
                let settings = crate::unit::parse(file.as_bytes(), "f", &Limits::default()).unwrap();
                prop_assert_eq!(settings.len(), lines.len());
            }
            Err(error) => prop_assert_eq!(error.code(), "unit-entry"),
        }
    }
}
