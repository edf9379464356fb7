use super::*;

const SERVICE: &str = "[Service]\nExecStart=/bin/x\n";

fn read(files: &[(&str, &str)], name: &str) -> Result<Unit> {
    let (_root, host) = Host::of_files(files);
    Unit::read(&host, name)
}

fn directories(unit: &Unit) -> Vec<&str> {
    unit.service.extensions.directories.iter().map(|entry| entry.path.as_str()).collect()
}

fn says(path: &str) -> String {
    format!("[Service]\nExtensionDirectories={path}\n")
}

#[test]
fn drop_ins_are_read_by_name_and_the_first_of_a_name_counts() {
    let texts = ["/etc/50", "/usr/50", "/usr/10", "/prefix/20", "/type/50", "/type/30"].map(says);
    let [etc, usr, first, prefix, shadowed, kind] = &texts;
    let unit = read(
        &[
            ("usr/lib/systemd/system/a-b.service", SERVICE),
            ("etc/systemd/system/a-b.service.d/50.conf", etc),
            ("usr/lib/systemd/system/a-b.service.d/50.conf", usr),
            ("usr/lib/systemd/system/a-b.service.d/10.conf", first),
            ("usr/lib/systemd/system/a-.service.d/20.conf", prefix),
            ("etc/systemd/system/service.d/50.conf", shadowed),
            ("etc/systemd/system/service.d/30.conf", kind),
            ("etc/systemd/system/a-b.service.d/60.txt", "nonsense"),
        ],
        "a-b",
    )
    .unwrap();
    assert_eq!(directories(&unit), ["/usr/10", "/prefix/20", "/type/30", "/etc/50"]);
    assert_eq!(unit.files.len(), 5);
    let places: Vec<_> = unit.settings.iter().map(|setting| setting.place.to_string()).collect();
    assert_eq!(places.last().unwrap(), "/etc/systemd/system/a-b.service.d/50.conf:2");
}

#[test]
fn what_is_masked_is_not_read() {
    let text = says("/a");
    let files = [
        ("usr/lib/systemd/system/a.service", SERVICE),
        ("usr/lib/systemd/system/a.service.d/x.conf", text.as_str()),
        ("etc/systemd/system/a.service.d/x.conf", "-> /dev/null"),
        ("etc/systemd/system/b.service", "-> /dev/null"),
        ("usr/lib/systemd/system/b.service", SERVICE),
        ("etc/systemd/system/c.service", ""),
    ];
    assert!(read(&files, "a").unwrap().service.extensions.is_empty());
    for (name, code) in
        [("b", "unit-masked"), ("c", "unit-masked"), ("d", "unit-missing"), ("a/b", "unit-name")]
    {
        assert_eq!(read(&files, name).unwrap_err().code(), code, "{name}");
    }
}

#[test]
fn aliases_and_instances_lead_to_the_unit() {
    let text = "[Service]\nExecStart=/bin/x\nExtensionDirectories=/%n/%i\n";
    let own = says("/alias");
    let files = [
        ("usr/lib/systemd/system/a.service", text),
        ("usr/lib/systemd/system/t@.service", text),
        ("etc/systemd/system/b.service", "-> /usr/lib/systemd/system/a.service"),
        ("etc/systemd/system/c.service", "-> b.service"),
        ("etc/systemd/system/c.service.d/x.conf", own.as_str()),
        ("etc/systemd/system/u@.service", "-> ../../../usr/lib/systemd/system/t@.service"),
        ("etc/systemd/system/linked.service", "-> /opt/other.service"),
        ("opt/other.service", text),
        ("etc/systemd/system/round.service", "-> trip.service"),
        ("etc/systemd/system/trip.service", "-> round.service"),
    ];
    for name in ["a", "b", "c.service"] {
        let unit = read(&files, name).unwrap();
        assert_eq!((unit.name.as_str(), directories(&unit)), ("a.service", vec!["/a.service", "/alias"]));
        let aliases: Vec<_> = unit.aliases.iter().map(Name::as_str).collect();
        assert_eq!(aliases, ["b.service", "c.service"]);
    }
    let unit = read(&files, "u@x").unwrap();
    assert_eq!((unit.name.as_str(), directories(&unit)), ("t@x.service", vec!["/t@x.service/x"]));
    assert_eq!(unit.aliases.iter().map(Name::as_str).collect::<Vec<_>>(), ["u@x.service"]);
    assert_eq!(directories(&read(&files, "linked").unwrap()), ["/linked.service"]);
    assert_eq!(read(&files, "round").unwrap_err().code(), "unit-missing");
}

#[test]
fn whatever_is_wrong_refuses_all_of_it() {
    for (text, code) in [
        ("[Service]\nExtensionDirectories=/a b\n", "unit-setting"),
        ("[Service]\nExtensionDirectories=/%H\n", "unit-specifier-unknown"),
        ("[Unit]\nExtensionDirectories=/a\n", "unit-section"),
        ("nonsense\n", "unit-line"),
        ("[Service]\nExtensionImagePolicy=root=signd\n", "policy-flag"),
    ] {
        let files =
            [("usr/lib/systemd/system/a.service", SERVICE), ("etc/systemd/system/a.service.d/x.conf", text)];
        let error = read(&files, "a").unwrap_err();
        assert_eq!(error.code(), code, "{text}");
        assert!(error.explain().contains("/etc/systemd/system/a.service.d/x.conf:"), "{}", error.explain());
    }
}

#[test]
fn what_the_host_says_of_itself_is_known() {
    let text = says("/%o/%w/%m");
    let files = [
        ("usr/lib/systemd/system/a.service", text.as_str()),
        ("etc/os-release", "ID=debian\nVERSION_ID=13\n"),
        ("etc/machine-id", "0123456789abcdef0123456789ABCDEF\n"),
    ];
    assert_eq!(directories(&read(&files, "a").unwrap()), ["/debian/13/0123456789abcdef0123456789abcdef"]);
}

#[test]
fn directories_beside_units_count_once_and_where_a_drop_in_would() {
    let (early, late, generated) = (says("/10"), says("/99-z"), says("/yesterday"));
    let mut files = vec![
        ("usr/lib/systemd/system/a.service", SERVICE),
        ("etc/systemd/system/a.service.d/10.conf", early.as_str()),
        ("etc/systemd/system/a.service.d/99-z.conf", late.as_str()),
        ("run/systemd/generator/a.service.d/99-confext.d.conf", generated.as_str()),
        ("etc/systemd/system/a.service.confext.d/x/etc/y", ""),
    ];
    let unit = read(&files, "a").unwrap();
    assert_eq!(directories(&unit), ["/10", "/etc/systemd/system/a.service.confext.d/x", "/99-z"]);
    files.push(("etc/systemd/system/a.service.d/99-confext.d.conf", "-> /dev/null"));
    assert_eq!(directories(&read(&files, "a").unwrap()), ["/10", "/99-z"]);
}
