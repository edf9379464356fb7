//! Texts: policies, rules, settings, units, release files, versions.

use confext_ddi::signature::Sign as _;
use confext_tests::images;

/// Adds the seeds of the targets that read a text.
pub(crate) fn add(add: &mut impl FnMut(&'static str, &str, Vec<u8>)) {
    for (name, text) in [
        ("all", "*"),
        ("none", "~"),
        ("ignore", "-"),
        ("signed", "root=signed:usr=signed:=absent"),
        ("alternatives", "root=verity+signed+encrypted+unprotected+absent:usr=unused"),
        ("attributes", "root=signed+read-only-on+growfs-off:swap=absent"),
        ("file-systems", "root=signed+erofs+squashfs:=ignore"),
        ("nothing", "home=verity+absent:swap=signed"),
        ("verity-for-all", "=verity"),
        ("verity-parts", "root=signed:root-verity=unprotected:root-verity-sig=unprotected+unused"),
    ] {
        add("policy", name, text.into());
    }
    let signer = images::vendor().certificate_fingerprint();
    for (name, text) in [
        ("one", format!("signer={signer} name=app\n")),
        ("all", format!("# why\n\nsigner={signer}\tname=a*,?b class=sysext version=>=1.2~rc1,<2\n")),
    ] {
        add("key_rules", name, text.into());
    }
    for (name, text) in [
        ("mutable", "[ConfExt]\nMutable=auto\n"),
        ("both", "# why\n\n[ConfExt]\nMutable = On\r\nImagePolicy=root=signed+absent:usr=signed+absent\n"),
        (
            "joined",
            "\u{feff}[ConfExt]\nX-Note\\\n=1\nMutable=\\\n; why\nephemeral-import\nImagePolicy=\n[X-Other]\na=b\n",
        ),
    ] {
        add("settings", name, text.into());
    }
    for (name, text) in [
        (
            "images",
            "[Service]\nExecStart=/bin/x\nExtensionImages=/var/lib/a.v -/b.raw:root:ro,x-systemd.relax-extension-release-check\n",
        ),
        (
            "everything",
            "# why\n\n[Unit]\nDescription=x\n\n[Service]\nType = notify-reload\r\nExtensionImages=\"/a b.raw\" \\\n; why\n  /%p\\x20\\:c:usr:ro:home:nodev\n\
             ExtensionDirectories=-+/d\\ e /f.v/g___\nExtensionImagePolicy=root=signed+absent:usr=signed+absent\n\
             RefreshOnReload=~credentials\nRootImage=/r.raw\nBindPaths=/a:/etc -/usr\nExecReload=/bin/kill -HUP $MAINPID\n",
        ),
        (
            "taken-back",
            "[Service]\nExtensionDirectories=/a\nExtensionDirectories=\nExtensionDirectories=/b/%%/%i/%I%f\nRefreshOnReload=on\n[X-Mine]\na=b\n",
        ),
    ] {
        add("unit", name, text.into());
    }
    for (name, text) in [
        ("labels", "root=app_*:usr=app_?"),
        ("sets", "root=[a-c_]*[!0-9]:home=[]x]"),
        ("classes", "root=\"x8[[:digit:]]\""),
        ("quotes", "usr='a:b':root-verity=\"c=d\""),
    ] {
        add("image_filter", name, text.into());
    }
    for (name, text) in [
        ("any", "ID=_any\n"),
        ("host", "NAME=\"Debian\"\nID=debian\nID_LIKE=\"a b\"\nVERSION_ID='13'\n"),
        (
            "extension",
            "# for one host\nID=debian\nCONFEXT_LEVEL=2\nCONFEXT_SCOPE=\"system portable\"\nARCHITECTURE=x86-64\n",
        ),
        ("quotes", "A=\"a\\\"b\\$c\\`d\\\\e\"\nB='x'\"y\"z\nC=a\\ b\nD=\"two\nlines\"\n"),
        ("continued", "A=a\\\nb\n; comment\n\nID=x"),
    ] {
        add("release", name, text.into());
    }
    for (name, text) in [
        ("root-hash", "90b10db56173e2e7c847f6ff3ed85a3aebb140bc0064ec9a156ae5b2e71db988"),
        ("type", "44479540-f297-41b2-9af7-d131d5f0458a"),
        ("architecture", "x86-64"),
        ("algorithm", "sha256"),
        ("rules", "validity=ignored,usage=required,chain=issued"),
        ("rule", "signed+absent+read-only-on"),
        ("designator", "xbootldr"),
        ("unit", "app@one.service"),
        ("path", "/var/lib/app.raw.v/app___.raw"),
        ("preset", "@container"),
    ] {
        add("text", name, text.into());
    }
    for (name, text) in [
        ("none", "\n\n\n"),
        ("owners", "1000=0 1001-65534=100000\n\n\n"),
        ("left-out", "0-4294967294=0\n*.conf /etc/f* app.d/\nuser.*\n"),
        (
            "labels",
            "\n\nuser.note\n# why\n/etc(/.*)? u:r:etc:s0\n/etc/shadow -- u:r:shadow:s0:c0.c3\n/etc/f.* <<none>>\n",
        ),
    ] {
        add("build_rules", name, text.into());
    }
    for (name, text) in [
        ("digits", "1.10\n1.9"),
        ("tilde", "122.1~rc1\n122.1"),
        ("caret", "1^post\n1.0"),
        ("dash", "123-3\n123.1-1"),
        ("zeros", "0001\n1"),
        ("letters", "1a\n1B"),
    ] {
        add("version", name, text.into());
    }
    for (name, text) in [
        ("versions", "app.raw.v\napp_1.raw\napp_1.10.raw\napp_1.9.raw\nother_3.raw"),
        (
            "architectures",
            "app.confext.raw.v\napp_1_x86-64.confext.raw\napp_2_arm64.confext.raw\napp_1.confext.raw",
        ),
        ("tries", "app.raw.v\napp_2+0-3.raw\napp_1+3-1.raw\napp_1+2.raw\napp_0.raw"),
        ("pattern", "app___.raw.v\napp_1.raw\napp_2_x86-64+1-1.raw"),
        ("directory", "app.v\napp_1\napp_2.raw\n.hidden\napp_"),
    ] {
        add("vpick", name, text.into());
    }
}
