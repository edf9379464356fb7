//! What extensions contain, and must not bring.

use super::*;

#[test]
#[ignore = "needs root"]
fn d5_a_dangling_os_release_hides_nothing() {
    let prepare = |place: &Place| {
        let tree = extension(place, Sysext, "a");
        symlink("/nowhere", tree.join("usr/lib/os-release")).unwrap();
    };
    case(Sysext, prepare, |case| {
        case.while_theirs(|case| assert!(fs::read(case.path("usr/lib/os-release")).is_err()));
        case.ours_refuses("replaces-os-release");
    });
}

#[test]
#[ignore = "needs root"]
fn d6_a_confext_does_not_say_what_the_host_is() {
    let prepare = |place: &Place| write(&extension(place, Confext, "a").join("etc/os-release"), "ID=other\n");
    case(Confext, prepare, |case| {
        case.while_theirs(|case| {
            assert_eq!(fs::read_to_string(case.path("etc/os-release")).unwrap(), "ID=other\n");
        });
        case.ours_refuses("replaces-os-release");
    });
}

#[test]
#[ignore = "needs root"]
fn d20_a_whiteout_hides_nothing() {
    let prepare = |place: &Place| {
        let hidden = extension(place, Sysext, "a").join("usr/share/own");
        fs::create_dir_all(hidden.parent().unwrap()).unwrap();
        tools::run("mknod", &[hidden.to_str().unwrap(), "c", "0", "0"], place.dir());
    };
    case(Sysext, prepare, |case| {
        case.while_theirs(|case| assert!(!case.exists("usr/share/own")));
        case.ours_refuses("whiteout");
    });
}

#[test]
#[ignore = "needs root"]
fn d29_a_link_of_the_host_stays_one() {
    let prepare = |place: &Place| {
        write(&extension(place, Sysext, "a").join("usr/sbin/tool"), "");
        fs::create_dir(place.path("root/usr/bin")).unwrap();
        symlink("bin", place.path("root/usr/sbin")).unwrap();
    };
    case(Sysext, prepare, |case| {
        case.while_theirs(|case| assert!(!case.path("usr/sbin").is_symlink()));
        case.ours_refuses("type-change");
    });
}

#[test]
#[ignore = "needs root"]
fn d30_a_hierarchy_of_an_extension_is_no_link() {
    let prepare = |place: &Place| {
        symlink("usr", extension(place, Sysext, "a").join("opt")).unwrap();
    };
    case(Sysext, prepare, |case| {
        case.while_theirs(|case| assert!(case.exists("opt/a")));
        case.ours_refuses("layer-type");
    });
}

#[test]
#[ignore = "needs root"]
fn d32_a_release_file_has_nothing_but_assignments() {
    let prepare = |place: &Place| {
        let release = extension(place, Confext, "a").join("etc/extension-release.d/extension-release.a");
        write(&release, "ID=_any\nnonsense\n");
    };
    case(Confext, prepare, |case| {
        case.while_theirs(|case| assert!(case.exists("etc/a")));
        assert!(case.ours().unwrap_err().code().starts_with("release-"));
    });
}

#[test]
#[ignore = "needs root"]
fn d7_what_extensions_ask_for_is_read_before_the_merge() {
    let prepare = |place: &Place| {
        for name in ["one", "two"] {
            // Under another name, so that in the merged tree it is one of two.
            let directory = extension(place, Confext, name).join(Confext.release_directory());
            fs::remove_file(directory.join(format!("extension-release.{name}"))).unwrap();
            let release = directory.join(format!("extension-release.other-{name}"));
            write(&release, &format!("ID=_any\nEXTENSION_RESTART_UNITS={name}.service\n"));
            let key = "user.extension-release.strict";
            rustix::fs::setxattr(&release, key, b"0", rustix::fs::XattrFlags::empty()).unwrap();
        }
    };
    case(Confext, prepare, |case| {
        case.while_ours(|_, report| {
            assert_eq!(report.after.manager.restart, ["one.service", "two.service"]);
        });
    });
}
