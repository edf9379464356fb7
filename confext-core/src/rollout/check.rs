//! A command that says whether a service works: with a limit, and with the end of what it said in the message

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::{Limit, cancelled};
use crate::error::{Error, Result};
use crate::sys;

/// How often it is looked whether it ended.
const PAUSE: Duration = Duration::from_millis(10);
/// So much of the end of what it said is told.
const SAID: u64 = 600;

/// In which mount namespace a command runs.
///
/// ```no_run
/// # use std::{fs::File, process::Command, time::Duration};
/// # use confext_core::publish::{Options, Store};
/// # use confext_ddi::release::Class;
/// # let store = Store::open("/var/lib/confexts/nginx.raw.v", Class::Confext)?;
/// # let image = File::open("nginx_2.raw")?;
/// # let mut options = Options::new("2");
/// # options.policy = confext_ddi::policy::Policy::verity();
/// use confext_core::rollout::{Check, Inside, Rollout, Runs, Unit, rollout};
///
/// let mut test = Command::new("nginx");
/// test.args(["-t", "-q"]);
/// let mut nginx = Unit::new("nginx");
/// // It has to read the new version, which only the service sees.
/// nginx.checks.push(Check::Command(test, Inside::Service));
/// let outcome = rollout(&Rollout::new(&store, &image, options), &mut nginx, &mut |_| {})?;
/// assert_eq!(outcome.runs, Runs::New);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Inside {
    /// In that of the caller.
    #[default]
    Host,
    /// In that of the service's main process: it sees the files that the service sees.
    Service,
}

/// Runs `command` to its end, in the mount namespace of the process `inside` where there is one.
pub(super) fn run(command: &mut Command, inside: Option<u32>, limit: &Limit<'_>) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |operation| {
        let name = name.clone();
        move |source: std::io::Error| Error::os(operation, name, source)
    };
    let output = rustix::fs::memfd_create("confext-check", MemfdFlags::CLOEXEC).map_err(std::io::Error::from);
    let output = File::from(output.map_err(failed("keep the output of"))?);
    let streams = [output.try_clone(), output.try_clone()];
    let [standard, errors] = streams.map(|stream| stream.map_err(failed("keep the output of")));
    command.stdin(Stdio::null()).stdout(standard?).stderr(errors?);
    // A group of its own: what it starts ends with it.
    command.process_group(0);
    let mut child = match inside {
        None => command.spawn().map_err(failed("start"))?,
        Some(process) => {
            spawn_inside(command, process).map_err(failed("start in the service's namespace"))?
        }
    };
    let status = wait(&mut child, limit)?;
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(says_no(&name, &ended(status), &output)),
        None => Err(says_no(&name, &format!("no end within {:.1} s", limit.left.as_secs_f64()), &output)),
    }
}

/// `None` when it took too long.
fn wait(child: &mut Child, limit: &Limit<'_>) -> Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        let ended = child.try_wait().map_err(|error| Error::os("wait for", "the check", error));
        let stopped = match ended {
            Ok(Some(status)) => return Ok(Some(status)),
            Ok(None) if limit.is_cancelled() => Err(cancelled()),
            Ok(None) if started.elapsed() >= limit.left => Ok(None),
            Ok(None) => {
                std::thread::sleep(PAUSE);
                continue;
            }
            Err(error) => Err(error),
        };
        end(child);
        return stopped;
    }
}

/// Ends it, and what it started.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may be gone by now: then there is nothing to end.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// A child starts in the namespaces of the thread that starts it.
fn spawn_inside(command: &mut Command, process: u32) -> std::io::Result<Child> {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    let process = process.ok_or(std::io::ErrorKind::InvalidInput)?;
    let process = rustix::process::pidfd_open(process, PidfdFlags::empty())?;
    let enter = move || {
        use std::os::fd::AsFd as _;
        sys::unshare_directories()?;
        sys::enter_namespaces_of(process.as_fd())?;
        command.spawn()
    };
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("confext-check".to_owned()).spawn_scoped(scope, enter)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn says_no(name: &str, found: &str, output: &File) -> Error {
    let said = tail(output).unwrap_or_default();
    let found = match said.trim() {
        "" => found.to_owned(),
        said => format!("{found}, saying {said:?}"),
    };
    Error::conflict("rollout-check", name, found, "exit status 0")
}

fn tail(mut output: &File) -> std::io::Result<String> {
    let length = output.metadata()?.len();
    output.seek(SeekFrom::Start(length.saturating_sub(SAID)))?;
    let mut said = Vec::new();
    output.take(SAID).read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}
