//! [`rollout()`]: a version is published, seen, read and proved by a service; or what was used before runs again
//!
//! ```text
//!  publish ─► begin ─► refresh ─► reload ─► check ─► good ─► prune
//!                └────────┴──────────┴────────┴─► bad ─► refresh ─► reload ─► check
//! ```
//!
//! The names in the store are all that is kept between two steps. A process that ends in between leaves a version that is
//! counted: the same rollout again goes on with it, and any other calls it bad.

mod check;
mod event;
mod lock;
mod run;
mod store;
mod unit;
mod versions;

use std::collections::BTreeSet;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::publish::{self, Progress, Store};

pub use check::Inside;
pub use event::{Event, Failure, Outcome, Runs, State, Step, Way};
pub use store::{store_of, version_of};
pub use unit::{Check, Direct, MainProcess, Refresh, Reload, Signal, Unit};

/// How often a version may be tried when the caller does not say: one is used up by each orchestrator that ends in the middle.
const TRIES: u32 = 3;
/// With one attempt, [`Store::begin`] would leave none, and nobody would use the version.
const LEAST_TRIES: u32 = 2;

/// A version of an image, where it goes, and how long each step may take.
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
/// let mut options = Options::new("2");
/// options.policy = Policy::verity();
/// let mut rollout = Rollout::new(&store, &image, options);
/// rollout.keep = std::num::NonZeroUsize::new(2);
/// // Another directory, for who is not root.
/// rollout.locks = dir.path().join("locks");
/// let outcome = rollout::rollout(&rollout, &mut App { works: true }, &mut |event| {
///     println!("{} {}", event.step.as_str(), event.state.as_str());
/// })?;
/// assert_eq!(outcome.runs, Runs::New);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
pub struct Rollout<'a> {
    /// Where the versions are.
    pub store: &'a Store,
    /// The image.
    pub image: &'a File,
    /// Its version and what it must have.
    pub publish: publish::Options,
    /// How long to wait.
    pub times: Times,
    /// How many of the best versions stay when the new one is good. Default: all.
    pub keep: Option<NonZeroUsize>,
    /// Files that stay in any case, by device and inode number, as of [`publish::in_use`].
    pub in_use: BTreeSet<(u64, u64)>,
    /// The directory of the locks, which is made. Default: `/run/confext-rollout`.
    pub locks: PathBuf,
    /// Whether the caller has had enough. Until the check has passed, that leads back. Default: never.
    pub cancelled: &'a (dyn Fn() -> bool + 'a),
    /// Hears how much of the image is copied and checked. Default: nobody.
    pub progress: &'a (dyn Fn(Progress) + 'a),
    /// What is written into events. Default: the time since this value was made.
    pub clock: Box<dyn Fn() -> Duration + 'a>,
}

/// How long steps may take, each for itself.
///
/// ```
/// use std::time::Duration;
///
/// use confext_core::rollout::Times;
///
/// // A service that takes its time, and has to answer soon then.
/// let times = Times { reload: Duration::from_secs(600), check: Duration::from_secs(5), ..Times::default() };
/// assert_eq!(times.lock, Duration::from_secs(60));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Another rollout.
    pub lock: Duration,
    /// The service's stack.
    pub refresh: Duration,
    /// The service itself.
    pub reload: Duration,
    /// The check.
    pub check: Duration,
}

impl Default for Times {
    /// A minute for others, a minute and a half for the service, as systemd has it, and half a minute for the check.
    fn default() -> Self {
        let [lock, step, check] = [60, 90, 30].map(Duration::from_secs);
        Self { lock, refresh: step, reload: step, check }
    }
}

impl<'a> Rollout<'a> {
    /// A version that is tried three times unless `publish` says how often; at least two times.
    #[must_use]
    pub fn new(store: &'a Store, image: &'a File, mut publish: publish::Options) -> Self {
        publish.tries = Some(publish.tries.unwrap_or(TRIES).max(LEAST_TRIES));
        let started = Instant::now();
        Self {
            store,
            image,
            publish,
            times: Times::default(),
            keep: None,
            in_use: BTreeSet::new(),
            locks: PathBuf::from("/run/confext-rollout"),
            cancelled: &|| false,
            progress: &|_| {},
            clock: Box::new(move || started.elapsed()),
        }
    }
}

impl std::fmt::Debug for Rollout<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { store, publish, times, keep, locks, .. } = self;
        f.debug_struct("Rollout")
            .field("store", store)
            .field("publish", publish)
            .field("times", times)
            .field("keep", keep)
            .field("locks", locks)
            .finish_non_exhaustive()
    }
}

/// How long a step may take, and whether the caller has had enough.
///
/// ```
/// use std::time::Duration;
///
/// use confext_core::rollout::Limit;
///
/// // What a service is given with each step; here by somebody who has had enough.
/// let limit = Limit::new(Duration::from_secs(30), &|| true);
/// assert!(limit.is_cancelled() && limit.left > Duration::from_secs(29));
/// ```
#[derive(Clone, Copy)]
pub struct Limit<'a> {
    /// How long.
    pub left: Duration,
    cancelled: &'a dyn Fn() -> bool,
}

impl<'a> Limit<'a> {
    /// So long, or until `cancelled` says so.
    #[must_use]
    pub fn new(left: Duration, cancelled: &'a dyn Fn() -> bool) -> Self {
        Self { left, cancelled }
    }

    /// Whether to stop. Never on the way back, which has to be gone to its end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        (self.cancelled)()
    }
}

impl std::fmt::Debug for Limit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limit").field("left", &self.left).finish_non_exhaustive()
    }
}

/// Who uses the versions of a store: a unit of systemd, or anything else that can be told.
///
/// Each call ends within its limit, as far as that is possible. What comes later counts as failed.
///
/// ```
/// # use std::{fs, time::Duration};
/// # use confext_core::{Error, Result, publish::Version};
/// use confext_core::rollout::{Limit, Service};
///
/// /// A program that reads its configuration when it is started, and is started for each request.
/// struct Handler;
///
/// impl Service for Handler {
///     fn name(&self) -> &str { "handler" }
///     fn look(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
///     fn refresh(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
///     fn reload(&mut self, _: &Limit<'_>) -> Result<()> { Ok(()) }
///     fn check(&mut self, version: Option<&Version>, _: &Limit<'_>) -> Result<()> {
///         let missing = |why: &str| Error::Missing { what: "the handler's answer", why: why.to_owned() };
///         version.map(drop).ok_or_else(|| missing("there is no version"))
///     }
/// }
/// let limit = Limit::new(Duration::from_secs(1), &|| false);
/// assert_eq!(Handler.check(None, &limit).unwrap_err().code(), "missing-capability");
/// ```
pub trait Service {
    /// Its name: there is one rollout at a time for each.
    fn name(&self) -> &str;

    /// Looks at the service before anything is changed, to know afterwards whether it is still the same.
    ///
    /// # Errors
    ///
    /// When nothing can be rolled out to it: then nothing is changed.
    fn look(&mut self, limit: &Limit<'_>) -> Result<()>;

    /// Has it see the version that the store says is used.
    ///
    /// # Errors
    ///
    /// When it does not: then it sees what it saw before.
    fn refresh(&mut self, limit: &Limit<'_>) -> Result<()>;

    /// Has it read what it sees.
    ///
    /// # Errors
    ///
    /// When it does not.
    fn reload(&mut self, limit: &Limit<'_>) -> Result<()>;

    /// Whether it works, with this version; none when there is none any more.
    ///
    /// # Errors
    ///
    /// When it does not.
    fn check(&mut self, version: Option<&publish::Version>, limit: &Limit<'_>) -> Result<()>;

    /// More files that must not be pruned, by device and inode number.
    ///
    /// # Errors
    ///
    /// When that cannot be told: then nothing is pruned.
    fn in_use(&mut self) -> Result<BTreeSet<(u64, u64)>> {
        Ok(BTreeSet::new())
    }
}

/// Rolls a version out to a service: it runs and is good when this is done, or what was used before runs again.
///
/// `tell` hears of each step when it begins and when it ends.
///
/// # Errors
///
/// Only as long as the service was not touched: `locked` when another rollout took too long, what [`Service::look`] says, what
/// is wrong with the image as [`Store::publish`] says, `rollout-outranked` when another version would be used all the same,
/// `rollout-cancelled`, and `os`. From then on, what failed is in the outcome, and the way back was gone.
pub fn rollout(
    rollout: &Rollout<'_>,
    service: &mut dyn Service,
    tell: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    let versions = versions::InStore { rollout };
    let store = rollout.store.identity()?;
    run::Run::new(rollout, &versions, service, tell).run(store)
}

pub(crate) fn cancelled() -> Error {
    Error::conflict("rollout-cancelled", "the rollout", "a caller who has had enough", "one who waits")
}

#[cfg(test)]
mod tests;
