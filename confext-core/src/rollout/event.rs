//! What a rollout says while it goes on, and what came of it

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::publish::{Pruned, Version};

/// One step of a rollout begins or ends.
///
/// ```
/// # use std::{fs, time::Duration};
/// # use confext_core::{Error, Result, publish::{self, Options, Store}, rollout::{Limit, Service}};
/// # use confext_ddi::{build::*, policy::Policy, release::Class};
/// # struct App { works: bool }
/// # impl Service for App {
/// #     fn name(&self) -> &str { "app" }
/// #     fn look(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn refresh(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn reload(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn check(&mut self, version: Option<&publish::Version>, _: &Limit<'_>) -> Result<()> {
/// #         let works = self.works || version.is_some_and(|version| version.version == "1");
/// #         works.then_some(()).ok_or_else(|| Error::Missing { what: "its answer", why: "there is none".to_owned() })
/// #     }
/// # }
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # fs::create_dir(dir.path().join("app.raw.v"))?;
/// # fs::copy(&path, dir.path().join("app.raw.v/app_1.raw"))?;
/// # let store = Store::open(dir.path().join("app.raw.v"), Class::Confext)?;
/// # let image = fs::File::open(&path)?;
/// use confext_core::rollout::{self, Rollout};
///
/// # let mut options = Options::new("2");
/// # options.policy = Policy::verity();
/// # let mut rollout = Rollout::new(&store, &image, options);
/// # rollout.locks = dir.path().join("locks");
/// // `App` is a `Service`; this brings it from version 1 to version 2.
/// let mut lines = Vec::new();
/// rollout::rollout(&rollout, &mut App { works: true }, &mut |event| {
///     // One line of JSON for each, as the command prints them.
///     lines.push(serde_json::to_string(&event).unwrap_or_default());
/// })?;
/// assert!(lines[0].contains(r#""way":"there","step":"lock","version":null,"state":"started""#), "{}", lines[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// # use std::{fs, time::Duration};
/// # use confext_core::{Error, Result, publish::{self, Options, Store}, rollout::{Limit, Service}};
/// # use confext_ddi::{build::*, policy::Policy, release::Class};
/// # struct App { works: bool }
/// # impl Service for App {
/// #     fn name(&self) -> &str { "app" }
/// #     fn look(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn refresh(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn reload(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn check(&mut self, version: Option<&publish::Version>, _: &Limit<'_>) -> Result<()> {
/// #         let works = self.works || version.is_some_and(|version| version.version == "1");
/// #         works.then_some(()).ok_or_else(|| Error::Missing { what: "its answer", why: "there is none".to_owned() })
/// #     }
/// # }
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # fs::create_dir(dir.path().join("app.raw.v"))?;
/// # fs::copy(&path, dir.path().join("app.raw.v/app_1.raw"))?;
/// # let store = Store::open(dir.path().join("app.raw.v"), Class::Confext)?;
/// # let image = fs::File::open(&path)?;
/// use confext_core::rollout::{self, Rollout, State, Step, Way};
///
/// # let mut options = Options::new("2");
/// # options.policy = Policy::verity();
/// # let mut rollout = Rollout::new(&store, &image, options);
/// # rollout.locks = dir.path().join("locks");
/// // `App` is a `Service`; this brings it from version 1 to version 2.
/// let mut back = Vec::new();
/// rollout::rollout(&rollout, &mut App { works: false }, &mut |event| {
///     if event.way == Way::Back && event.state == State::Done {
///         back.push(event.step);
///     }
/// })?;
/// assert_eq!(back[..2], [Step::Bad, Step::Refresh]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// To the new version.
    There,
    /// To what was used before.
    Back,
}

/// A step of a rollout, in the order they are taken.
///
/// ```
/// # use std::{fs, time::Duration};
/// # use confext_core::{Error, Result, publish::{self, Options, Store}, rollout::{Limit, Service}};
/// # use confext_ddi::{build::*, policy::Policy, release::Class};
/// # struct App { works: bool }
/// # impl Service for App {
/// #     fn name(&self) -> &str { "app" }
/// #     fn look(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn refresh(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn reload(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn check(&mut self, version: Option<&publish::Version>, _: &Limit<'_>) -> Result<()> {
/// #         let works = self.works || version.is_some_and(|version| version.version == "1");
/// #         works.then_some(()).ok_or_else(|| Error::Missing { what: "its answer", why: "there is none".to_owned() })
/// #     }
/// # }
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # fs::create_dir(dir.path().join("app.raw.v"))?;
/// # fs::copy(&path, dir.path().join("app.raw.v/app_1.raw"))?;
/// # let store = Store::open(dir.path().join("app.raw.v"), Class::Confext)?;
/// # let image = fs::File::open(&path)?;
/// use confext_core::rollout::{self, Rollout, State};
///
/// # let mut options = Options::new("2");
/// # options.policy = Policy::verity();
/// # let mut rollout = Rollout::new(&store, &image, options);
/// # rollout.locks = dir.path().join("locks");
/// // `App` is a `Service`; this brings it from version 1 to version 2.
/// let mut done = Vec::new();
/// rollout::rollout(&rollout, &mut App { works: true }, &mut |event| {
///     if event.state == State::Done {
///         done.push(event.step.as_str());
///     }
/// })?;
/// assert_eq!(done, ["lock", "look", "publish", "begin", "refresh", "reload", "check", "good"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// # use std::{fs, time::Duration};
/// # use confext_core::{Error, Result, publish::{self, Options, Store}, rollout::{Limit, Service}};
/// # use confext_ddi::{build::*, policy::Policy, release::Class};
/// # struct App { works: bool }
/// # impl Service for App {
/// #     fn name(&self) -> &str { "app" }
/// #     fn look(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn refresh(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn reload(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn check(&mut self, version: Option<&publish::Version>, _: &Limit<'_>) -> Result<()> {
/// #         let works = self.works || version.is_some_and(|version| version.version == "1");
/// #         works.then_some(()).ok_or_else(|| Error::Missing { what: "its answer", why: "there is none".to_owned() })
/// #     }
/// # }
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # fs::create_dir(dir.path().join("app.raw.v"))?;
/// # fs::copy(&path, dir.path().join("app.raw.v/app_1.raw"))?;
/// # let store = Store::open(dir.path().join("app.raw.v"), Class::Confext)?;
/// # let image = fs::File::open(&path)?;
/// use confext_core::rollout::{self, Rollout, State, Step};
///
/// # let mut options = Options::new("2");
/// # options.policy = Policy::verity();
/// # let mut rollout = Rollout::new(&store, &image, options);
/// # rollout.locks = dir.path().join("locks");
/// // `App` is a `Service`; this brings it from version 1 to version 2.
/// let mut failed = None;
/// rollout::rollout(&rollout, &mut App { works: false }, &mut |event| {
///     if event.state == State::Failed {
///         failed = Some((event.step, event.failure.map(|failure| failure.code)));
///     }
/// })?;
/// assert_eq!(failed, Some((Step::Check, Some("missing-capability"))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// # use std::{fs, time::Duration};
/// # use confext_core::{Error, Result, publish::{self, Options, Store}, rollout::{Limit, Service}};
/// # use confext_ddi::{build::*, policy::Policy, release::Class};
/// # struct App { works: bool }
/// # impl Service for App {
/// #     fn name(&self) -> &str { "app" }
/// #     fn look(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn refresh(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn reload(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn check(&mut self, version: Option<&publish::Version>, _: &Limit<'_>) -> Result<()> {
/// #         let works = self.works || version.is_some_and(|version| version.version == "1");
/// #         works.then_some(()).ok_or_else(|| Error::Missing { what: "its answer", why: "there is none".to_owned() })
/// #     }
/// # }
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # fs::create_dir(dir.path().join("app.raw.v"))?;
/// # fs::copy(&path, dir.path().join("app.raw.v/app_1.raw"))?;
/// # let store = Store::open(dir.path().join("app.raw.v"), Class::Confext)?;
/// # let image = fs::File::open(&path)?;
/// use confext_core::rollout::{self, Rollout, Step, Way};
///
/// # let mut options = Options::new("2");
/// # options.policy = Policy::verity();
/// # let mut rollout = Rollout::new(&store, &image, options);
/// # rollout.locks = dir.path().join("locks");
/// // `App` is a `Service`; this brings it from version 1 to version 2.
/// let outcome = rollout::rollout(&rollout, &mut App { works: false }, &mut |_| {})?;
/// let failure = outcome.failure.ok_or("this version does not work")?;
/// assert_eq!((failure.way, failure.step), (Way::There, Step::Check));
/// println!("[{}] {}; {}", failure.code, failure.message, failure.hint);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// # use std::{fs, time::Duration};
/// # use confext_core::{Error, Result, publish::{self, Options, Store}, rollout::{Limit, Service}};
/// # use confext_ddi::{build::*, policy::Policy, release::Class};
/// # struct App { works: bool }
/// # impl Service for App {
/// #     fn name(&self) -> &str { "app" }
/// #     fn look(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn refresh(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn reload(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn check(&mut self, version: Option<&publish::Version>, _: &Limit<'_>) -> Result<()> {
/// #         let works = self.works || version.is_some_and(|version| version.version == "1");
/// #         works.then_some(()).ok_or_else(|| Error::Missing { what: "its answer", why: "there is none".to_owned() })
/// #     }
/// # }
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # fs::create_dir(dir.path().join("app.raw.v"))?;
/// # fs::copy(&path, dir.path().join("app.raw.v/app_1.raw"))?;
/// # let store = Store::open(dir.path().join("app.raw.v"), Class::Confext)?;
/// # let image = fs::File::open(&path)?;
/// use confext_core::rollout::{self, Rollout, Runs};
///
/// # let mut options = Options::new("2");
/// # options.policy = Policy::verity();
/// # let mut rollout = Rollout::new(&store, &image, options);
/// # rollout.locks = dir.path().join("locks");
/// // `App` is a `Service`; this brings it from version 1 to version 2.
/// let outcome = rollout::rollout(&rollout, &mut App { works: false }, &mut |_| {})?;
/// match outcome.runs {
///     Runs::New => println!("done"),
///     Runs::Previous => println!("as before: {:?}", outcome.failure),
///     Runs::Unknown => println!("somebody has to look: {:?}", outcome.not_done),
/// }
/// assert_eq!(outcome.runs, Runs::Previous);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// # use std::{fs, time::Duration};
/// # use confext_core::{Error, Result, publish::{self, Options, Store}, rollout::{Limit, Service}};
/// # use confext_ddi::{build::*, policy::Policy, release::Class};
/// # struct App { works: bool }
/// # impl Service for App {
/// #     fn name(&self) -> &str { "app" }
/// #     fn look(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn refresh(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn reload(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
/// #     fn check(&mut self, version: Option<&publish::Version>, _: &Limit<'_>) -> Result<()> {
/// #         let works = self.works || version.is_some_and(|version| version.version == "1");
/// #         works.then_some(()).ok_or_else(|| Error::Missing { what: "its answer", why: "there is none".to_owned() })
/// #     }
/// # }
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # fs::create_dir(dir.path().join("app.raw.v"))?;
/// # fs::copy(&path, dir.path().join("app.raw.v/app_1.raw"))?;
/// # let store = Store::open(dir.path().join("app.raw.v"), Class::Confext)?;
/// # let image = fs::File::open(&path)?;
/// use confext_core::rollout::{self, Rollout};
///
/// # let mut options = Options::new("2");
/// # options.policy = Policy::verity();
/// # let mut rollout = Rollout::new(&store, &image, options);
/// # rollout.locks = dir.path().join("locks");
/// // `App` is a `Service`; this brings it from version 1 to version 2.
/// let outcome = rollout::rollout(&rollout, &mut App { works: true }, &mut |_| {})?;
/// assert!(outcome.is_complete());
/// let [version, previous] = [outcome.version, outcome.previous].map(|it| it.map(|it| it.version));
/// assert_eq!((version.as_deref(), previous.as_deref()), (Some("2"), Some("1")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
