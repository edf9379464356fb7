//! Policies as text, put together from typed parts, and what two of them have in common.

use super::*;

#[test]
fn policies_are_parsed_and_printed() {
    for (text, printed) in [
        ("*", "*"),
        ("", "-"),
        (" - ", "-"),
        ("~", "~"),
        ("=open", "*"),
        ("=ignore", "-"),
        ("=absent", "~"),
        ("=", "*"),
        ("=-", "*"),
        ("root=", "root=open"),
        ("root=-", "root=open"),
        ("root=signed", "root=signed"),
        (" root = signed + verity : usr = absent ", "root=verity+signed:usr=absent"),
        ("usr=signed:root=unused+absent", "root=ignore:usr=signed"),
        ("root=ignore+signed", "root=signed+unused+absent"),
        ("root=signed:=absent", "root=signed:=absent"),
        ("root=signed:=ignore", "root=signed"),
        ("root=verity+read-only-on+growfs-off", "root=verity+read-only-on+growfs-off"),
        ("root=verity+read-only-on+read-only-off", "root=verity"),
        ("root=read-only-on", "root=open+read-only-on"),
        ("root=ignore+erofs+xfs", "root=ignore+erofs+xfs"),
        ("root=signed+xfs+vfat+squashfs+f2fs+ext4+erofs+btrfs", "root=signed"),
        (
            "root-verity-sig=unprotected:var=encryptedwithintegrity",
            "root-verity-sig=unprotected:var=encryptedwithintegrity",
        ),
        ("root=verity+verity", "root=verity"),
    ] {
        let policy = Policy::parse(text).unwrap();
        assert_eq!(policy.to_string(), printed, "{text:?}");
        assert_eq!(printed.parse::<Policy>().unwrap(), policy, "{text:?}");
    }
    assert_eq!(Policy::default(), Policy::signed());
    assert_eq!(Policy::signed().to_string(), "root=signed+absent:usr=signed+absent");
    assert_eq!(Policy::verity().to_string(), "root=verity+signed+absent:usr=verity+signed+absent");
    let open = "root=verity+signed+unprotected+absent:usr=verity+signed+unprotected+absent";
    assert_eq!(Policy::unprotected().to_string(), open);
}

#[test]
fn d18_nothing_unknown_is_accepted() {
    for (text, code) in [
        ("root", "policy-rule"),
        ("root=signed:", "policy-rule"),
        (":root=signed", "policy-rule"),
        ("root=signed::usr=signed", "policy-rule"),
        ("root=signed usr=signed", "policy-flag"),
        ("**", "policy-rule"),
        ("roott=signed", "policy-designator"),
        ("Root=signed", "policy-designator"),
        ("linux-generic=open", "policy-designator"),
        ("user-home=open", "policy-designator"),
        ("root=sigend", "policy-flag"),
        ("root=SIGNED", "policy-flag"),
        ("root=signed+", "policy-flag"),
        ("root=+signed", "policy-flag"),
        ("root=signed++verity", "policy-flag"),
        ("root=-+signed", "policy-flag"),
        ("root=signed=verity", "policy-flag"),
        ("root=ntfs", "policy-flag"),
        ("root=signed\0", "policy-flag"),
        ("root=signed:root=absent", "policy-rule-twice"),
        ("=absent:=open", "policy-rule-twice"),
    ] {
        assert_eq!(Policy::parse(text).unwrap_err().code(), code, "{text:?}");
    }
}

#[test]
fn rules_are_put_together_from_typed_parts() {
    let rule =
        Rule::least(Protection::Verity).or(Use::Absent).read_only(Attribute::On).growfs(Attribute::Off);
    let rule = rule.only([FsType::Squashfs, FsType::Erofs]).unwrap();
    let policy = Policy::otherwise(Rule::absent()).with(Designator::Usr, rule).unwrap();
    let text = "usr=verity+signed+absent+read-only-on+growfs-off+erofs+squashfs:=absent";
    assert_eq!(policy, Policy::parse(text).unwrap());
    assert_eq!(policy.to_string(), text);
    assert_eq!(rule.uses().collect::<Vec<_>>(), [Use::Verity, Use::Signed, Use::Absent]);
    assert!(rule.allows(Use::Signed) && !rule.allows(Use::Unprotected));
    assert_eq!((rule.asks_read_only(), rule.asks_growfs()), (Attribute::On, Attribute::Off));
    assert_eq!(rule.file_systems(), Some(vec![FsType::Erofs, FsType::Squashfs]));
    let rule = rule.read_only(Attribute::Any).growfs(Attribute::On).only([]).unwrap();
    assert_eq!((rule.asks_read_only(), rule.asks_growfs()), (Attribute::Any, Attribute::On));
    assert_eq!(rule.file_systems(), None);
    assert_eq!(
        policy.rules().collect::<Vec<_>>(),
        [(Designator::Usr, policy.rule(Designator::Usr).unwrap())]
    );
    assert_eq!(policy.default_rule(), Rule::absent());
    assert_eq!(Rule::open().to_string(), "open");
    for word in Use::ALL {
        assert_eq!(Use::from_name(word.as_str()), Some(word));
        assert_eq!(Policy::otherwise(Rule::only_use(word)), Policy::parse(&format!("={word}")).unwrap());
    }
    for none in [FsType::Luks, FsType::Swap] {
        assert_eq!(Rule::open().only([none]).unwrap_err().code(), "policy-flag");
    }
    for none in [Designator::UserHome, Designator::LinuxGeneric] {
        assert_eq!(Policy::signed().with(none, Rule::open()).unwrap_err().code(), "policy-designator");
    }
}

#[test]
fn intersections() {
    for (first, second, common) in [
        ("*", "root=signed", "root=signed"),
        ("root=signed+verity", "root=verity+unprotected", "root=verity+signed"),
        ("root=verity", "root=unprotected", "root=verity"),
        ("root=verity", "root=verity", "root=verity"),
        ("*", "*", "*"),
        ("~", "*", "~"),
        ("~", "-", "~"),
        ("root=signed+absent", "-", "root=absent"),
        ("root=open+read-only-on", "root=open+read-only-off", "root-verity=ignore:root-verity-sig=absent"),
        ("root=signed+absent+erofs", "root=signed+absent+ext4", "root=absent"),
        ("root=signed+erofs+ext4", "root=signed+ext4+xfs", "root=signed+ext4"),
        ("home=unused+unprotected+growfs-on", "home=unused+unprotected+growfs-off", "home=unused"),
        ("root-verity-sig=open+growfs-on", "root-verity-sig=open+growfs-off", "root-verity-sig=absent"),
    ] {
        let [first, second] = [first, second].map(|text| Policy::parse(text).unwrap());
        let both = first.intersect(&second).unwrap();
        assert_eq!(both.to_string(), common);
        assert_eq!(both, second.intersect(&first).unwrap());
    }
    for (first, second) in [
        ("root=signed", "root=absent"),
        ("root=signed", "-"),
        ("root=signed+erofs", "root=signed+ext4"),
        ("root=signed+growfs-on", "root=signed+growfs-off"),
        ("=unprotected", "=absent"),
        ("root-verity-sig=unprotected+unused+growfs-on", "root-verity-sig=unprotected+growfs-off"),
        // A signature of certain attributes has to be there, and its hash tree is to be left alone: no words say that.
        ("root=signed+unused+growfs-on", "root-verity=unused"),
        // What admits nothing has nothing in common with itself.
        ("home=verity", "home=verity"),
    ] {
        let [first, second] = [first, second].map(|text| Policy::parse(text).unwrap());
        assert_eq!(first.intersect(&second).unwrap_err().code(), "policy-disjoint");
    }
}
