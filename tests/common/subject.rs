//! A process in namespaces of its own, whose view is to be changed: without a service manager.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, io};

use confext_core::layer::{self, Layer};
use confext_core::service::{Changed, How, Process, Wanted, exchange};
use confext_core::{Error, Host, state};
use confext_ddi::release::Class;

/// The process; it ends with its value.
pub struct Subject {
    child: Child,
    pid: u32,
}

impl Subject {
    /// Starts a shell with `unshare FLAGS`, which runs `script` and then waits.
    #[must_use]
    pub fn start(flags: &[&str], script: &str) -> Self {
        let script = format!("set -e; {script}\necho ready; exec cat");
        Self::run(flags, &["sh", "-c", &script])
    }

    /// Starts a program with `unshare FLAGS`, which says a line when it is ready and then waits for the end of its input.
    #[must_use]
    pub fn run(flags: &[&str], program: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command.args(flags).args(program).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("unshare");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the process did not get there");
        let id = child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let forked = children.split_whitespace().next().map(|pid| pid.parse().unwrap());
        Self { child, pid: forked.unwrap_or(id) }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The process, opened.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::open(self.pid).unwrap()
    }

    /// A path as it sees it.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.pid)).join(path)
    }

    /// What it reads in a file.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        match fs::read_to_string(self.path(path)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Its mounts at and below a path: mount point, attributes, type and source.
    #[must_use]
    pub fn mounts(&self, below: &str) -> Vec<String> {
        let text = fs::read_to_string(format!("/proc/{}/mountinfo", self.pid)).unwrap();
        let fields = |line: &str| {
            let (front, back) = line.split_once(" - ").unwrap();
            let front: Vec<_> = front.split(' ').collect();
            let back: Vec<_> = back.split(' ').collect();
            Path::new(front[4])
                .starts_with(below)
                .then(|| format!("{} {} {} {}", front[4], front[5], back[0], back[1]))
        };
        text.lines().filter_map(fields).collect()
    }

    /// Runs a script in its mount namespace.
    pub fn enter(&self, script: &str) {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid.to_string(), "--mount", "--root", "sh", "-ec", script]);
        assert!(command.status().unwrap().success(), "{script}");
    }

    /// Has it see these directories over `/etc`, bottom first.
    pub fn exchange(&self, layers: &[&Path], how: How) -> Result<Changed, Error> {
        exchange_in(&self.process(), layers, how)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Its input ends, and with it the process and its namespaces.
        if let Some(mut input) = self.child.stdin.take() {
            let _ = input.flush();
        }
        let _ = self.child.wait();
    }
}

/// Has a process see these directories over `/etc`, bottom first.
pub fn exchange_in(process: &Process, layers: &[&Path], how: How) -> Result<Changed, Error> {
    Opened::new(layers).exchange(process, how)
}

/// Directories as layers.
pub struct Opened {
    layers: Vec<(Layer, OwnedFd)>,
    records: Vec<state::Layer>,
}

impl Opened {
    /// Opens them, bottom first.
    #[must_use]
    pub fn new(paths: &[&Path]) -> Self {
        let open = |path: &&Path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let options = layer::Options::new(name, Class::Confext, *path);
            let layer = Layer::from_directory(fs::File::open(path).unwrap().as_fd(), options).unwrap();
            let etc = layer.hierarchy("etc").unwrap().expect("a layer with /etc");
            ((layer, etc), record(name, path))
        };
        let (layers, records) = paths.iter().map(open).unzip();
        Self { layers, records }
    }

    /// Has a process see them over `/etc`.
    pub fn exchange(&self, process: &Process, how: How) -> Result<Changed, Error> {
        let mut wanted = Wanted::nothing(Class::Confext, "etc");
        wanted.directories = self.layers.iter().map(|(_, etc)| etc.as_fd()).collect();
        wanted.mounts = self.layers.iter().map(|(layer, _)| layer.mount_fd()).collect();
        wanted.layers.clone_from(&self.records);
        exchange(&Host::open("/")?, process, &wanted, how)
    }
}

/// What is written down of such a layer: its identity is the content of `etc/version`, where there is one.
fn record(name: &str, path: &Path) -> state::Layer {
    let version = fs::read_to_string(path.join("etc/version")).unwrap_or_default();
    serde_json::from_value(serde_json::json!({
        "name": name, "path": path, "kind": "directory", "version": null,
        "identity": { "test": "directory", "device": [0, 1], "inode": 1, "listing": version },
        "checked": { "kind": "none" }, "partition": null, "hierarchies": ["etc"],
    }))
    .unwrap()
}
