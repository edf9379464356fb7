//! For CI: may the images in a directory be shipped? Policy, signers and names are in a file of rules; the answer is JSON.
//!
//! `admit RULES.json DIRECTORY`. The exit status is 0 when every image may be shipped, 1 when one may not, 2 for a wrong call, and 3
//! when nothing could be said: rules that cannot be read, a directory without an image. No root is needed, and nothing is mounted.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for scripts")]

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use confext_core::sidecars;
use confext_ddi::image::{self, Foreign};
use confext_ddi::policy::{Admitted, Data, KeyRules, Policy};
use confext_ddi::release::{Class, Strictness, base_name};
use confext_ddi::signature::{Certificates, Time};
use confext_ddi::{Limits, ReadAt as _};
use serde::{Deserialize, Serialize};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The file of rules. What it does not know it refuses: a word that is spelled wrong must not be a rule less.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    /// An image policy, or `signed`, `verity`, `unprotected`.
    policy: String,
    /// Files of certificates, beside the rules.
    certificates: Vec<PathBuf>,
    /// A file that says which signer may sign which extensions, beside the rules.
    key_rules: Option<PathBuf>,
    /// `confext` or `sysext`.
    class: String,
    /// Names that may be shipped; a `*` at the end stands for any text. None: all.
    #[serde(default)]
    names: Vec<String>,
}

/// The rules, read.
struct Gate {
    policy: Policy,
    certificates: Certificates,
    key_rules: Option<KeyRules>,
    class: Class,
    names: Vec<String>,
}

/// What is said of one image.
#[derive(Serialize)]
struct Answer {
    image: String,
    name: String,
    #[serde(flatten)]
    verdict: Verdict,
}

#[derive(Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
enum Verdict {
    Admitted { root_hash: Option<String>, signer: Option<String>, checked_bytes: u64 },
    Refused { code: String, message: String, hint: String },
}

impl Gate {
    fn read(path: &Path) -> Result<Self> {
        let rules: Rules = serde_json::from_slice(&fs::read(path)?)?;
        let beside = |file: &Path| path.parent().unwrap_or(Path::new(".")).join(file);
        let mut certificates = Certificates::new(Time::from(SystemTime::now()));
        for file in &rules.certificates {
            certificates.add_pem(&fs::read(beside(file))?)?;
        }
        let limits = Limits::default();
        let key_rules = match &rules.key_rules {
            Some(file) => Some(KeyRules::parse(&fs::read(beside(file))?, &limits)?),
            None => None,
        };
        let class = [Class::Confext, Class::Sysext].into_iter().find(|class| class.as_str() == rules.class);
        let class = class.ok_or_else(|| format!("class {:?}, expected confext or sysext", rules.class))?;
        let policy = match rules.policy.as_str() {
            "signed" => Policy::signed(),
            text => Policy::parse(text)?,
        };
        Ok(Self { policy, certificates, key_rules, class, names: rules.names })
    }

    fn allows(&self, name: &str) -> bool {
        self.names.is_empty()
            || self.names.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == pattern,
            })
    }

    /// Everything that a host would check, and each block.
    fn judge(&self, path: &Path, name: &str) -> std::result::Result<Verdict, confext_core::Error> {
        let options = image::Options::default().foreign(Foreign::Accept);
        let image = sidecars::open(path, &options)?;
        let admitted = self.policy.judge(image, Some(&self.certificates))?;
        let admitted = match &self.key_rules {
            Some(rules) => rules.admit(admitted, name, self.class, Strictness::default())?,
            None => admitted,
        };
        let checked_bytes = read(&admitted)?;
        admitted.release(self.class, name, Strictness::default())?;
        let evidence = admitted.evidence();
        Ok(Verdict::Admitted {
            root_hash: evidence.root_hash().map(ToString::to_string),
            signer: evidence.signer().map(|signer| signer.subject.clone()),
            checked_bytes,
        })
    }

    fn answer(&self, path: &Path) -> Answer {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = base_name(&file).to_owned();
        let verdict = if self.allows(&name) {
            self.judge(path, &name).unwrap_or_else(|error| Verdict::Refused {
                code: error.code().to_owned(),
                message: error.to_string(),
                hint: error.hint().to_owned(),
            })
        } else {
            Verdict::Refused {
                code: "name-not-allowed".to_owned(),
                message: format!("found {name:?}, expected one of {:?}", self.names),
                hint: "rename the image, or add its name to the rules".to_owned(),
            }
        };
        Answer { image: file, name, verdict }
    }
}

/// Reads every block, and says how many bytes that were.
fn read(admitted: &Admitted<File>) -> confext_ddi::Result<u64> {
    match admitted.data() {
        Data::Checked(data) => {
            data.verify()?;
            data.size_bytes()
        }
        data @ Data::Unchecked(_) => data.read_whole(|_| ControlFlow::Continue(())),
    }
}

/// The images of a directory, by their names.
fn images(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "raw") {
            images.push(path);
        }
    }
    images.sort();
    // A check of nothing that passes is how a typing error in a path goes unnoticed.
    if images.is_empty() { Err("no image, expected files NAME.raw".into()) } else { Ok(images) }
}

fn run(rules: &Path, directory: &Path) -> Result<bool> {
    let gate = Gate::read(rules).map_err(|error| format!("{}: {error}", rules.display()))?;
    let images = images(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let answers: Vec<Answer> = images.iter().map(|path| gate.answer(path)).collect();
    println!("{}", serde_json::to_string_pretty(&answers)?);
    Ok(answers.iter().all(|answer| matches!(answer.verdict, Verdict::Admitted { .. })))
}

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [rules, directory] = arguments.as_slice() else {
        eprintln!("usage: admit RULES.json DIRECTORY");
        return ExitCode::from(2);
    };
    match run(rules, directory) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("admit: {error}");
            ExitCode::from(3)
        }
    }
}
