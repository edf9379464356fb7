//! What a rollout says while it goes on, and what came of it

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::publish::{Pruned, Version};

/// One step of a rollout begins or ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// When, by the caller's clock.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub at: Duration,
    /// Towards the new version, or back.
    pub way: Way,
    /// Which step.
    pub step: Step,
    /// The version it is about.
    pub version: Option<String>,
    /// Whether it begins, or how it ended.
    pub state: State,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

fn seconds<S: Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(at.as_secs_f64())
}

/// Where a rollout is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// To the new version.
    There,
    /// To what was used before.
    Back,
}

/// A step of a rollout, in the order they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Step {
    /// Other rollouts of the service, and of the store, are waited for.
    Lock,
    /// The service is looked at as it is.
    Look,
    /// The version is put into the store.
    Publish,
    /// A version that an earlier rollout did not finish is called bad: nobody goes back to it.
    Settle,
    /// An attempt is counted.
    Begin,
    /// The version is called bad, and is not used any more.
    Bad,
    /// The version is removed from the store: there is no other, or it was not at fault.
    Withdraw,
    /// The service is to see the version.
    Refresh,
    /// The service is to read it.
    Reload,
    /// Does it work?
    Check,
    /// The version is called good.
    Good,
    /// Old versions are removed.
    Prune,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It begins.
    Started,
    /// It is done.
    Done,
    /// It failed.
    Failed,
}

impl Way {
    /// The name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Back => "back",
        }
    }
}

impl Step {
    /// The name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Look => "look",
            Self::Publish => "publish",
            Self::Settle => "settle",
            Self::Begin => "begin",
            Self::Bad => "bad",
            Self::Withdraw => "withdraw",
            Self::Refresh => "refresh",
            Self::Reload => "reload",
            Self::Check => "check",
            Self::Good => "good",
            Self::Prune => "prune",
        }
    }
}

impl State {
    /// The name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// On which way.
    pub way: Way,
    /// Which step.
    pub step: Step,
    /// The stable code.
    pub code: &'static str,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

impl Failure {
    pub(super) fn of(way: Way, step: Step, error: &Error) -> Self {
        Self { way, step, code: error.code(), message: error.explain(), hint: error.hint() }
    }
}

/// What the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runs {
    /// The new version.
    New,
    /// What was used before.
    Previous,
    /// Not known: a step on the way back failed. What could not be done is in [`Outcome::not_done`].
    Unknown,
}

impl Runs {
    /// The name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Previous => "previous",
            Self::Unknown => "unknown",
        }
    }
}

/// What came of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// What the service runs now.
    pub runs: Runs,
    /// The version that it runs; none when there was none before, or it is not known.
    pub version: Option<Version>,
    /// What was used before.
    pub previous: Option<Version>,
    /// Why the new version does not run: the first step that failed.
    pub failure: Option<Failure>,
    /// What could not be done after that, or after the new version ran, in order.
    pub not_done: Vec<Failure>,
    /// Versions of earlier rollouts that nobody finished. They are bad now.
    pub settled: Vec<String>,
    /// What pruning did, where it was asked for.
    pub pruned: Option<Pruned>,
}

impl Outcome {
    /// Whether everything was done that was asked for.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self.runs, Runs::New) && self.not_done.is_empty()
    }
}
