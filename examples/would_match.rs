//! Before an update: which of the extensions that are installed would still be used with the os-release to come?
//!
//! `would_match OS-RELEASE [ROOT [CERTIFICATE.pem]]`: of the host below ROOT, default `/`. The answer is JSON; the exit status is 0
//! when all go on being used, 1 when some would be dropped, 2 for a wrong call, 3 when it cannot be said. Nothing is changed.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for scripts")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use confext_core::admission::{Extension, HostMatch, OnBad, Trust};
use confext_core::stack::select;
use confext_core::{Host, Options};
use confext_ddi::Limits;
use confext_ddi::release::{self, Class, Release, Strictness};
use confext_ddi::signature::{Certificates, Time};
use serde::Serialize;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Serialize)]
struct Answer {
    /// `ID` and `VERSION_ID` of the host as it is.
    now: String,
    /// As it is to be.
    then: String,
    extensions: Vec<Said>,
    /// What is not used today either, because something is wrong with it.
    not_usable: Vec<Refused>,
}

/// What is said of one extension.
#[derive(Serialize)]
struct Said {
    name: String,
    class: &'static str,
    version: Option<String>,
    path: String,
    verdict: Verdict,
    /// Why it is not used then, or not now.
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
}

#[derive(Serialize)]
struct Refused {
    path: String,
    code: &'static str,
    message: String,
}

#[derive(Serialize, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// Used now and then.
    Stays,
    /// Used now, and not then.
    Dropped,
    /// Not used now, and used then.
    Joins,
    /// Used neither now nor then.
    StaysOut,
}

/// One host, as it is and as it is to be.
struct Update {
    now: release::Host,
    then: release::Host,
}

impl Update {
    fn say(&self, class: Class, extension: &Extension) -> Result<Said> {
        let limits = Limits::default();
        let candidate = extension.candidate();
        let files = extension.files(&limits)?;
        let found = release::find(files.as_ref(), class, &candidate.name, Strictness::default(), &limits);
        let admits = |host: &release::Host| match &found {
            Ok(found) => {
                host.admits(&found.release, class).map_err(|error| format!("[{}] {error}", error.code()))
            }
            Err(error) => Err(format!("[{}] {error}", error.code())),
        };
        let (now, then) = (admits(&self.now), admits(&self.then));
        let verdict = match (now.is_ok(), then.is_ok()) {
            (true, true) => Verdict::Stays,
            (true, false) => Verdict::Dropped,
            (false, true) => Verdict::Joins,
            (false, false) => Verdict::StaysOut,
        };
        Ok(Said {
            name: candidate.name.clone(),
            class: class.as_str(),
            version: candidate.version.clone(),
            path: candidate.path.display().to_string(),
            verdict,
            because: then.and(now).err(),
        })
    }
}

fn describe(host: &release::Host) -> String {
    let of = |key| host.os_release.get(key).unwrap_or("-");
    format!("{} {}", of("ID"), of("VERSION_ID"))
}

/// Every extension that could be used is asked about, whatever host it is for.
fn answer(to_come: &Path, root: &Path, certificate: Option<&Path>) -> Result<Answer> {
    let limits = Limits::default();
    let host = Host::open(root)?;
    let now = host.release(&limits)?;
    let to_come = Release::parse(&fs::read(to_come)?, &limits)?;
    let update = Update { then: release::Host::new(to_come, now.architecture, now.scope)?, now };
    let mut options = Options::default();
    options.host_match = HostMatch::Ignored;
    options.on_bad = OnBad::Skip;
    if let Some(file) = certificate {
        let mut certificates = Certificates::new(Time::from(SystemTime::now()));
        certificates.add_pem(&fs::read(file)?)?;
        options.trust = Trust::Verifier(Arc::new(certificates));
    }
    let (mut extensions, mut not_usable) = (Vec::new(), Vec::new());
    for class in [Class::Confext, Class::Sysext] {
        let selection = select(&host, class, &options)?;
        for extension in &selection.extensions {
            extensions.push(update.say(class, extension)?);
        }
        not_usable.extend(selection.refused.into_iter().map(|refused| Refused {
            path: refused.path.display().to_string(),
            code: refused.code,
            message: refused.message,
        }));
    }
    Ok(Answer { now: describe(&update.now), then: describe(&update.then), extensions, not_usable })
}

fn run(arguments: &[PathBuf]) -> Result<Option<bool>> {
    let (to_come, root, certificate) = match arguments {
        [to_come] => (to_come, Path::new("/"), None),
        [to_come, root] => (to_come, root.as_path(), None),
        [to_come, root, certificate] => (to_come, root.as_path(), Some(certificate.as_path())),
        _ => return Ok(None),
    };
    let answer = answer(to_come, root, certificate)?;
    println!("{}", serde_json::to_string_pretty(&answer)?);
    Ok(Some(answer.extensions.iter().all(|said| said.verdict != Verdict::Dropped)))
}

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match run(&arguments) {
        Ok(Some(true)) => ExitCode::SUCCESS,
        Ok(Some(false)) => ExitCode::FAILURE,
        Ok(None) => {
            eprintln!("usage: would_match OS-RELEASE [ROOT [CERTIFICATE.pem]]");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("would_match: {error}");
            ExitCode::from(3)
        }
    }
}
