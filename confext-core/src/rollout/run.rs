//! The steps of a rollout, what follows each failure, and what is known at the end

use std::time::Duration;

use super::event::{Event, Failure, Outcome, Runs, State, Step, Way};
use super::lock::{self, Locks};
use super::versions::Versions;
use super::{Limit, Rollout, Service, cancelled};
use crate::error::{Error, Result};
use crate::publish::Version;

pub(super) struct Run<'a> {
    rollout: &'a Rollout<'a>,
    versions: &'a dyn Versions,
    service: &'a mut dyn Service,
    tell: &'a mut dyn FnMut(Event),
    way: Way,
    /// The version that steps are about.
    version: Option<Version>,
    not_done: Vec<Failure>,
    settled: Vec<String>,
}

/// What could not be done was written down.
struct NotDone;

type Done<T = ()> = std::result::Result<T, NotDone>;

/// What is known of the new version.
#[derive(Clone, Copy)]
struct New {
    /// Whether it was in the store before.
    was_there: bool,
    /// Whether it counts attempts.
    counted: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        rollout: &'a Rollout<'a>,
        versions: &'a dyn Versions,
        service: &'a mut dyn Service,
        tell: &'a mut dyn FnMut(Event),
    ) -> Self {
        let (not_done, settled) = (Vec::new(), Vec::new());
        Self { rollout, versions, service, tell, way: Way::There, version: None, not_done, settled }
    }

    /// All of it. `store` says which store it is.
    pub(super) fn run(mut self, store: (u64, u64)) -> Result<Outcome> {
        let names = [format!("store-{}-{}", store.0, store.1), lock::of_service(self.service.name())];
        let times = self.rollout.times;
        let _locks =
            self.step(Step::Lock, times.lock, |it, limit| Locks::take(&it.rollout.locks, &names, limit))?;
        self.step(Step::Look, times.reload, |it, limit| it.service.look(limit))?;
        let previous = self.versions.list()?.into_iter().next();
        let new = self.publish()?;
        // From here on, the store says that it is to be used.
        let (failure, touched) = match self.attempt(new) {
            Ok(()) => return Ok(self.finish(new, previous)),
            Err(stopped) => stopped,
        };
        Ok(self.go_back(new, previous, failure, touched || new.was_there))
    }

    /// Puts the version there, and sees to it that it is the one that is used.
    fn publish(&mut self) -> Result<New> {
        let was_there = self.step(Step::Publish, Duration::MAX, |it, _| it.versions.publish())?;
        let name = self.versions.new_version().to_owned();
        let listed = self.versions.list();
        let of_new = listed.as_ref().ok().and_then(|all| all.iter().find(|it| it.version == name));
        self.version = of_new.cloned();
        let refused = match (listed, &self.version) {
            (Err(error), _) => error,
            (Ok(all), Some(new)) => match all.into_iter().next() {
                // A version that is worn out goes back, as it may be what the service sees.
                Some(best) if best.version == name || is_worn_out(new) => {
                    return Ok(New { was_there, counted: new.tries.is_some() });
                }
                best => outranked(&name, best.as_ref()),
            },
            (Ok(_), None) => outranked(&name, None),
        };
        if !was_there && let Err(error) = self.versions.withdraw(&name) {
            // What was wrong first says more; this is told as well.
            self.event(Step::Withdraw, State::Failed, Some(Failure::of(self.way, Step::Withdraw, &error)));
        }
        Err(refused)
    }

    /// The way there. What failed, and whether the service was touched by then.
    fn attempt(&mut self, new: New) -> std::result::Result<(), (Failure, bool)> {
        let times = self.rollout.times;
        let name = self.versions.new_version().to_owned();
        self.settle(&name);
        let before = |it: &Self, step, error: &Error| (Failure::of(it.way, step, error), false);
        if new.counted {
            let begun = self.step(Step::Begin, Duration::MAX, |it, _| match &it.version {
                Some(version) if is_worn_out(version) || is_last(version) => Err(worn_out(version)),
                _ => it.versions.begin(&name),
            });
            begun.map_err(|error| before(self, Step::Begin, &error))?;
        }
        let after = |it: &Self, step, error: &Error| (Failure::of(it.way, step, error), true);
        // A name that changed has to be known to whoever checks.
        let version = self.named(&name);
        let refreshed = self.step(Step::Refresh, times.refresh, |it, limit| it.service.refresh(limit));
        refreshed.map_err(|error| after(self, Step::Refresh, &error))?;
        let reloaded = self.step(Step::Reload, times.reload, |it, limit| it.service.reload(limit));
        reloaded.map_err(|error| after(self, Step::Reload, &error))?;
        let checked =
            self.step(Step::Check, times.check, |it, limit| it.service.check(version.as_ref(), limit));
        checked.map_err(|error| after(self, Step::Check, &error))
    }

    /// The version as it is named now.
    fn named(&mut self, name: &str) -> Option<Version> {
        if let Ok(all) = self.versions.list()
            && let Some(found) = all.into_iter().find(|it| it.version == name)
        {
            self.version = Some(found);
        }
        self.version.clone()
    }

    /// Versions that are still counted were not called good by anybody: where there is a good one, nobody goes back to them.
    fn settle(&mut self, new: &str) {
        let all = match self.versions.list() {
            Ok(all) => all,
            Err(error) => {
                self.not_done.push(Failure::of(self.way, Step::Settle, &error));
                return;
            }
        };
        if !all.iter().any(|it| it.version != new && it.tries.is_none()) {
            return;
        }
        let left: Vec<Version> = all
            .into_iter()
            .filter(|it| it.version != new && it.tries.is_some_and(|it| it.left > 0))
            .collect();
        for version in left {
            let current = self.version.replace(version.clone());
            let name = version.version;
            match self.step(Step::Settle, Duration::MAX, |it, _| it.versions.bad(&name)) {
                Ok(()) => self.settled.push(name),
                Err(error) => self.not_done.push(Failure::of(self.way, Step::Settle, &error)),
            }
            self.version = current;
        }
    }

    /// The new version runs.
    fn finish(mut self, new: New, previous: Option<Version>) -> Outcome {
        let name = self.versions.new_version().to_owned();
        let (way, mut pruned) = (self.way, None);
        if new.counted
            && let Err(error) = self.step(Step::Good, Duration::MAX, |it, _| it.versions.good(&name))
        {
            self.not_done.push(Failure::of(way, Step::Good, &error));
        } else if let Some(keep) = self.rollout.keep {
            let done = self.step(Step::Prune, Duration::MAX, |it, _| {
                let mut used = it.service.in_use()?;
                used.extend(&it.rollout.in_use);
                it.versions.prune(keep, &used)
            });
            match done {
                Ok(done) => pruned = Some(done),
                Err(error) => self.not_done.push(Failure::of(way, Step::Prune, &error)),
            }
        }
        let version = self.named(&name);
        Outcome {
            runs: Runs::New,
            version,
            previous,
            failure: None,
            not_done: self.not_done,
            settled: self.settled,
            pruned,
        }
    }

    /// What was used before runs again, as far as that can be done.
    fn go_back(mut self, new: New, previous: Option<Version>, failure: Failure, touched: bool) -> Outcome {
        self.way = Way::Back;
        let restored = self.take_away(new, &failure).and_then(|used| match touched {
            true => self.restore(used),
            false => {
                self.version = used;
                Ok(())
            }
        });
        let runs = if restored.is_ok() { Runs::Previous } else { Runs::Unknown };
        let version = match runs {
            Runs::Previous => self.version.clone(),
            _ => None,
        };
        Outcome {
            runs,
            version,
            previous,
            failure: Some(failure),
            not_done: self.not_done,
            settled: self.settled,
            pruned: None,
        }
    }

    /// Has nobody use the new version any more. Returns what is used instead.
    fn take_away(&mut self, new: New, failure: &Failure) -> Done<Option<Version>> {
        let name = self.versions.new_version().to_owned();
        let blameless = failure.code == CANCELLED;
        match (blameless, new.was_there) {
            // It was good before, and still is.
            (true, true) if !new.counted => return self.best(),
            // Who does not want to wait finds no fault with it: as if it had not been there.
            (true, false) => self.withdraw(&name)?,
            (_, true) => self.call_bad(&name)?,
            (false, false) => self.call_bad(&name).or_else(|NotDone| self.withdraw(&name))?,
        }
        match self.best()? {
            // Nothing else is there: even a bad version would be used.
            Some(best) if best.version == name => {
                self.withdraw(&name)?;
                self.best()
            }
            best => Ok(best),
        }
    }

    fn call_bad(&mut self, name: &str) -> Done {
        if self.version.as_ref().is_some_and(is_worn_out) {
            return Ok(());
        }
        self.back(Step::Bad, Duration::MAX, |it, _| it.versions.bad(name))
    }

    fn withdraw(&mut self, name: &str) -> Done {
        self.back(Step::Withdraw, Duration::MAX, |it, _| it.versions.withdraw(name))
    }

    fn best(&mut self) -> Done<Option<Version>> {
        self.versions
            .list()
            .map(|all| all.into_iter().next())
            .map_err(|error| self.is_not_done(Step::Bad, &error))
    }

    /// The service sees and reads what is used now.
    fn restore(&mut self, used: Option<Version>) -> Done {
        let times = self.rollout.times;
        self.version = used;
        self.back(Step::Refresh, times.refresh, |it, limit| it.service.refresh(limit))?;
        self.back(Step::Reload, times.reload, |it, limit| it.service.reload(limit))?;
        let version = self.version.clone();
        // It has read it, whether it works or not.
        let _ = self.back(Step::Check, times.check, |it, limit| it.service.check(version.as_ref(), limit));
        Ok(())
    }

    /// A step on the way back: nothing undoes it.
    fn back(
        &mut self,
        step: Step,
        left: Duration,
        work: impl FnOnce(&mut Self, &Limit<'_>) -> Result<()>,
    ) -> Done {
        self.step(step, left, work).map_err(|error| self.is_not_done(step, &error))
    }

    fn is_not_done(&mut self, step: Step, error: &Error) -> NotDone {
        self.not_done.push(Failure::of(self.way, step, error));
        NotDone
    }

    /// One step, told when it begins and when it ends.
    fn step<T>(
        &mut self,
        step: Step,
        left: Duration,
        work: impl FnOnce(&mut Self, &Limit<'_>) -> Result<T>,
    ) -> Result<T> {
        self.event(step, State::Started, None);
        let rollout = self.rollout;
        // The way back is gone to its end, and what was proved is called good.
        let stops = self.way == Way::There && !matches!(step, Step::Good | Step::Prune);
        let stopped = || stops && (rollout.cancelled)();
        let began = (rollout.clock)();
        let done = match stopped() {
            true => Err(cancelled()),
            false => work(self, &Limit::new(left, &stopped)),
        };
        let done = done.and_then(|value| {
            let took = (rollout.clock)().saturating_sub(began);
            if took > left { Err(late(step, took, left)) } else { Ok(value) }
        });
        match &done {
            Ok(_) => self.event(step, State::Done, None),
            Err(error) => self.event(step, State::Failed, Some(Failure::of(self.way, step, error))),
        }
        done
    }

    fn event(&mut self, step: Step, state: State, failure: Option<Failure>) {
        let named = matches!(step, Step::Publish).then(|| self.versions.new_version().to_owned());
        let version = self.version.as_ref().map(|version| version.version.clone()).or(named);
        (self.tell)(Event { at: (self.rollout.clock)(), way: self.way, step, version, state, failure });
    }
}

const CANCELLED: &str = "rollout-cancelled";

fn is_worn_out(version: &Version) -> bool {
    version.tries.is_some_and(|tries| tries.left == 0)
}

/// Whether counting one attempt would have others preferred.
fn is_last(version: &Version) -> bool {
    version.tries.is_some_and(|tries| tries.left == 1)
}

fn worn_out(version: &Version) -> Error {
    let done = version.tries.map_or(0, |tries| tries.done);
    let target = version.path.display().to_string();
    Error::conflict("version-tries", target, format!("none left after {done}"), "an attempt that is left")
}

fn outranked(new: &str, best: Option<&Version>) -> Error {
    let found = best.map_or_else(|| "no version".to_owned(), |best| format!("version {}", best.version));
    Error::conflict(
        "rollout-outranked",
        format!("version {new}"),
        format!("{found}, which is used"),
        "itself",
    )
}

fn late(step: Step, took: Duration, left: Duration) -> Error {
    let [took, left] = [took, left].map(|time| format!("{:.1} s", time.as_secs_f64()));
    Error::conflict("rollout-time", step.as_str(), took, format!("at most {left}"))
}
