//! Examples of each verb: shown by its help and its manual page, and parsed by a test

/// What it is for, and the line.
type Example = (&'static str, &'static str);

/// The words of a verb, and its examples.
const EXAMPLES: &[(&[&str], &[Example])] = &[
    (
        &[],
        &[
            ("What this machine can do", "confext doctor"),
            (
                "Who signed an image, and is it intact",
                "confext verify app.confext.raw --certificate vendor.crt",
            ),
            ("Where a file comes from", "confext trace /etc/app.conf"),
        ],
    ),
    (
        &["build"],
        &[
            (
                "A signed image of a directory, for Debian 13",
                "confext build --class confext --name app --source ./app --output app.confext.raw --key vendor.key \
                 --certificate vendor.crt --release ID=debian --release VERSION_ID=13",
            ),
            (
                "Of a compressed archive, for every host, to be signed later",
                "confext build --class sysext --name tools --tar - --output tools.raw --sign-later --release ID=_any",
            ),
        ],
    ),
    (
        &["lint"],
        &[(
            "What speaks against a directory on a certain host",
            "confext lint --class confext --name app ./app --base /",
        )],
    ),
    (
        &["sign"],
        &[
            ("Sign an image that is there", "confext sign app.raw --key vendor.key --certificate vendor.crt"),
            (
                "What a signing service is to sign",
                "confext sign app.raw --to-sign app.digest --digest sha256",
            ),
        ],
    ),
    (&["inspect"], &[("Partitions and signatures", "confext inspect app.raw")]),
    (
        &["verify"],
        &[
            ("By the certificates of this host", "confext verify app.raw"),
            ("By one certificate", "confext verify app.raw --certificate vendor.crt"),
            ("An image that only has to be intact", "confext verify app.raw --policy verity"),
        ],
    ),
    (&["ls"], &[("All files with their attributes", "confext ls -l -R app.raw")]),
    (&["cat"], &[("One file, checked while it is read", "confext cat app.raw etc/app/app.conf")]),
    (
        &["manifest"],
        &[
            ("Every file with its digest", "confext manifest app.raw --json"),
            ("Compare with a list from before", "confext manifest app.raw --check app.manifest"),
        ],
    ),
    (&["fec"], &[("Parity beside the image", "confext fec app.raw --output app.fec")]),
    (
        &["repair"],
        &[("Bring damaged blocks back", "confext repair app.raw --fec app.fec --output repaired.raw")],
    ),
    (&["diff"], &[("What a new version changes", "confext diff app_1.raw app_2.raw --ignore mtime")]),
    (&["extract"], &[("The files, as mine", "confext extract app.raw ./app --owner caller")]),
    (
        &["list"],
        &[
            ("Extensions of this host", "confext list"),
            ("Those for /usr and /opt of another root", "confext list --class sysext --root /srv/root"),
        ],
    ),
    (&["pick"], &[("Which version is used", "confext pick /var/lib/confexts/app.raw.v")]),
    (&["store"], &[("Versions, best first", "confext store list /var/lib/confexts/app.raw.v")]),
    (&["store", "list"], &[("Versions, best first", "confext store list /var/lib/confexts/app.raw.v")]),
    (
        &["store", "publish"],
        &[(
            "A new version that may be tried three times",
            "confext store publish app.raw /var/lib/confexts/app.raw.v --version 2 --tries 3",
        )],
    ),
    (&["store", "begin"], &[("Count an attempt", "confext store begin /var/lib/confexts/app.raw.v")]),
    (&["store", "good"], &[("It works", "confext store good /var/lib/confexts/app.raw.v")]),
    (
        &["store", "bad"],
        &[("It does not: use another one", "confext store bad /var/lib/confexts/app.raw.v --version 2")],
    ),
    (&["store", "prune"], &[("Keep two", "confext store prune /var/lib/confexts/app.raw.v --keep 2")]),
    (&["explain"], &[("Why an extension is not used", "confext explain app")]),
    (&["plan"], &[("What a merge would change", "confext plan")]),
    (&["policy"], &[("What a policy lets pass", "confext policy show root=signed+absent:usr=signed+absent")]),
    (&["policy", "show"], &[("Each partition", "confext policy show @sysext")]),
    (&["policy", "lint"], &[("Traps", "confext policy lint root=verity+signed+absent")]),
    (&["policy", "intersect"], &[("What both allow", "confext policy intersect @sysext root=signed")]),
    (&["policy", "union"], &[("What either allows", "confext policy union root=signed root=verity")]),
    (
        &["merge"],
        &[
            ("Over /etc", "confext merge"),
            ("Both classes in one go, and tell the service manager", "confext merge --class both --reload"),
        ],
    ),
    (
        &["refresh"],
        &[
            ("Exchange what has changed, all or nothing", "confext refresh"),
            ("Without an image that is bad", "confext refresh --on-bad skip --require base"),
        ],
    ),
    (&["unmerge"], &[("Take everything away", "confext unmerge --class both")]),
    (&["status"], &[("What is merged", "confext status --json")]),
    (
        &["trace"],
        &[
            ("Where a file comes from, and who signed it", "confext trace /etc/app.conf"),
            ("What nothing vouches for", "confext trace --unverified"),
            ("What would come from where after a merge", "confext trace --all --planned"),
        ],
    ),
    (
        &["report"],
        &[
            ("A page about this host", "confext report -o host.html"),
            ("What a merge below another root would give", "confext report -o - --root /srv/root --planned"),
        ],
    ),
    (
        &["trust"],
        &[
            ("Whose signatures count here", "confext trust"),
            ("Who would accept an image", "confext trust app.raw"),
        ],
    ),
    (&["service"], &[("What a service sees of extensions", "confext service status nginx.service")]),
    (
        &["service", "refresh"],
        &[
            (
                "A service sees the newest versions of what its unit lists",
                "confext service refresh nginx.service",
            ),
            (
                "Any process sees an image",
                "confext service refresh --pid 4711 --image /etc/site.raw.v/site___.raw",
            ),
        ],
    ),
    (
        &["service", "plan"],
        &[("What a service would see at its next start", "confext service plan nginx.service")],
    ),
    (
        &["service", "explain"],
        &[("Why an extension is not used", "confext service explain nginx.service site")],
    ),
    (
        &["service", "trace"],
        &[
            ("Where a file would come from", "confext service trace nginx.service /etc/nginx/nginx.conf"),
            (
                "Where one comes from that a process sees",
                "confext service trace nginx.service /etc/nginx/nginx.conf --pid 4711",
            ),
        ],
    ),
    (
        &["service", "show"],
        &[("What a unit says of extensions, and where", "confext service show nginx.service")],
    ),
    (
        &["service", "drop-in"],
        &[(
            "A unit gets an extension, at its next start",
            "confext service drop-in nginx.service --image /etc/site.raw.v/site___.raw",
        )],
    ),
    (
        &["service", "attach"],
        &[
            (
                "A service from an image, with configuration of its own",
                "confext service attach /var/lib/portables/app_1.raw --extension /etc/site.raw",
            ),
            (
                "What would be written, for two of its units",
                "confext service attach /var/lib/portables/app_1.raw app app-worker --dry-run",
            ),
        ],
    ),
    (
        &["service", "detach"],
        &[("Whichever version is attached", "confext service detach /var/lib/portables/app_1.raw")],
    ),
    (&["service", "attached"], &[("Also what portablectl attached", "confext service attached")]),
    (
        &["service", "install-generator"],
        &[("systemd learns of directories NAME.confext.d", "confext service install-generator")],
    ),
    (&["service", "uninstall-generator"], &[("And forgets them", "confext service uninstall-generator")]),
    (&["generator"], &[("As systemd calls it, to see what it writes", "confext generator /tmp/drop-ins")]),
    (&["service", "status"], &[("Of a process by its number", "confext service status --pid 4711")]),
    (
        &["rollout"],
        &[
            (
                "A new version, checked by a request",
                "confext rollout nginx.service site_2.raw --store /etc/site.raw.v --check /usr/local/bin/ask-nginx",
            ),
            (
                "Told by a signal, and three versions stay",
                "confext rollout nginx.service site_2.raw --store /etc/site.raw.v --reload signal --keep 3",
            ),
        ],
    ),
    (
        &["run"],
        &[
            ("A program that sees a stack nobody else sees", "confext run -- nginx -t"),
            ("What a service would see if it started now", "confext run --service nginx.service -- nginx -t"),
        ],
    ),
    (
        &["doctor"],
        &[
            ("What this machine can do", "confext doctor"),
            ("In a script", "confext doctor --require mount-privilege,overlay"),
        ],
    ),
    (&["schema"], &[("What verify prints", "confext schema verify")]),
    (&["completions"], &[("For bash, until it ends", "confext completions bash")]),
    (&["man"], &[("Beside others", "confext man /usr/local/share/man/man1")]),
];

/// Those of a verb, given by its words.
pub(super) fn of(words: &[&str]) -> &'static [Example] {
    EXAMPLES.iter().find(|(verb, _)| *verb == words).map_or(&[], |(_, examples)| examples)
}

/// As the help shows them.
fn text(examples: &[Example]) -> String {
    let lines = examples.iter().map(|(what, line)| format!("  # {what}\n  {line}\n"));
    std::iter::once("Examples:\n".to_owned()).chain(lines).collect()
}

/// Adds its examples to the help of each verb.
pub(super) fn add(mut command: clap::Command) -> clap::Command {
    // What is made only when it is needed is needed now.
    command.build();
    let own = command.get_after_help().map(ToString::to_string);
    below(command, &[], own.as_deref())
}

fn below(command: clap::Command, words: &[&str], own: Option<&str>) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let with_verbs = names.iter().fold(command, |command, name| {
        let words: Vec<&str> = words.iter().copied().chain([name.as_str()]).collect();
        command.mut_subcommand(name, |verb| below(verb, &words, None))
    });
    let mut help = match of(words) {
        [] => String::new(),
        examples => text(examples),
    };
    if let Some(own) = own {
        help.push('\n');
        help.push_str(own);
    }
    if help.is_empty() { with_verbs } else { with_verbs.after_help(help) }
}
