//! A shell of a release of systemd and a thread of ours in one mount namespace: what one merges, the other sees.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::mount::MountFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::peer::{Place, Systemd};

const END: &str = "== end of the command: ";

/// The shell; dropped, it has ended.
pub struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What a command of the shell printed, on both of its outputs.
#[derive(Debug)]
pub struct Said {
    /// The text.
    pub text: String,
    /// The exit status.
    pub status: i32,
}

impl Shell {
    /// Starts it in the directory of `place`.
    pub fn start(place: &Place) -> Self {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peer.sh"));
        if place.systemd() == Systemd::Stable {
            command.arg("--stable");
        }
        command.arg(place.dir());
        // What has a hash tree would need a device mapper, which this kernel may not have.
        let verity = ["EMBEDDED", "GUESS", "SIDECAR"].map(|name| format!("SYSTEMD_DISSECT_VERITY_{name}=0"));
        command.arg("env").args(verity);
        let script =
            format!("while read -r line; do eval \"$line\" 2>&1; status=$?; echo; echo '{END}'$status; done");
        command.args(["sh", "-c", &script]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut shell = Self { child, input, output };
        // Once it answers, its namespace is made.
        assert_eq!(shell.attempt("true").status, 0);
        shell
    }

    /// Runs a command line, which has to succeed.
    pub fn run(&mut self, line: &str) -> String {
        let said = self.attempt(line);
        assert_eq!(said.status, 0, "{line}: {}", said.text);
        said.text
    }

    /// The same for one that may fail.
    pub fn attempt(&mut self, line: &str) -> Said {
        writeln!(self.input, "{line}").unwrap();
        let mut text = String::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the shell has ended: {text}");
            if let Some(status) = line.strip_prefix(END) {
                return Said { text: text.trim_end().to_owned(), status: status.trim().parse().unwrap() };
            }
            text += &line;
        }
    }

    /// Runs `test` in the shell's mount namespace.
    pub fn with(place: &Place, test: impl FnOnce(&mut Self)) {
        let mut shell = Self::start(place);
        let theirs = File::open(format!("/proc/{}/ns/mnt", shell.child.id())).unwrap();
        let ours = File::open("/proc/thread-self/ns/mnt").unwrap();
        let enter = |namespace: &File| {
            // Threads that were started from here, a pool for example, share root and working directory with this one.
            // SAFETY: no descriptor table is unshared.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }.unwrap();
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
                .unwrap();
        };
        enter(&theirs);
        // Theirs shows the processes of the peer only.
        rustix::mount::mount("proc", "/proc", "proc", MountFlags::empty(), None).unwrap();
        test(&mut shell);
        enter(&ours);
        let Self { mut child, input, .. } = shell;
        drop(input);
        assert!(child.wait().unwrap().success());
    }
}
