//! Release files, and the hosts they are for.

use super::*;

pub(super) fn releases() -> Vec<Case> {
    let trusted = images::trusted_at(NOW);
    let any_image = || anything(Policy::unprotected());
    let on = |host: &'static str, release| Check { host, ..check(&trusted) }.run(&signed_for(release));
    let renamed = Check { name: "other", ..check(&trusted) };
    const DEBIAN: &str = "ID=debian\nVERSION_ID=13\nCONFEXT_LEVEL=2\n";
    vec![
        case(
            "no release file",
            "release-missing",
            &["found none", "expected etc/extension-release.d/extension-release.app"],
            any_image().run(&file_system(&[("etc/app.conf", "x")])),
        ),
        case(
            "release file of another name",
            "release-name",
            &["found extension-release.app", "expected etc/extension-release.d/extension-release.other"],
            renamed.run(&images::signed().0),
        ),
        case(
            "release file without ID",
            "release-id",
            &["found nothing", "expected an operating system or _any"],
            any_image().run(&with_release("VERSION_ID=13\n")),
        ),
        case(
            "release file of junk",
            "release-line",
            &["line 1", "found \"junk\""],
            any_image().run(&with_release("junk\n")),
        ),
        case(
            "quote that is not closed",
            "release-quote",
            &["line 1"],
            any_image().run(&with_release("ID=\"x\n")),
        ),
        case(
            "release file that is no text",
            "release-text",
            &["line 1"],
            any_image().run(&with_release("ID=a\0b\n")),
        ),
        case(
            "wrong host",
            "host-os",
            &["found ID=\"fedora\"", "expected \"debian\""],
            on(DEBIAN, ReleaseFields::new("fedora")),
        ),
        case(
            "wrong version of the host",
            "host-version",
            &["found VERSION_ID=\"12\"", "expected \"13\""],
            on(DEBIAN, ReleaseFields::new("debian").version_id("12")),
        ),
        case(
            "wrong level of the host",
            "host-level",
            &["found CONFEXT_LEVEL=\"1\"", "expected \"2\""],
            on(DEBIAN, ReleaseFields::new("debian").level("1")),
        ),
        case(
            "wrong kind of host",
            "host-scope",
            &["found CONFEXT_SCOPE=\"initrd\"", "expected a list with system"],
            on(DEBIAN, ReleaseFields::any().scope("initrd")),
        ),
        case(
            "wrong architecture of the host",
            "host-architecture",
            &["found ARCHITECTURE=\"arm64\"", "expected \"x86-64\""],
            on(DEBIAN, ReleaseFields::any().architecture(Architecture::Arm64)),
        ),
        case("host without ID", "host-id-missing", &["found nothing"], on("NAME=x\n", ReleaseFields::any())),
        case(
            "image that brings an os-release",
            "forbidden-content",
            &["found etc/os-release", "expected no such file"],
            any_image().run(&file_system(&[("etc/os-release", "ID=evil\n")])),
        ),
    ]
}
