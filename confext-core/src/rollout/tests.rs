use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use confext_ddi::release::Class;
use confext_ddi::vpick::Tries;

use super::run::Run;
use super::versions::Versions;
use super::*;
use crate::publish::{Pruned, Version};

/// Versions with their attempts, left and made.
type Listed<'a> = &'a [(&'a str, Option<(u32, u32)>)];

/// A store and a service that uses it, both in memory; chosen steps fail.
#[derive(Default)]
struct World {
    versions: RefCell<BTreeMap<String, Option<Tries>>>,
    sees: RefCell<Option<String>>,
    runs: RefCell<Option<String>>,
    failing: HashSet<(Way, Step)>,
    way: Cell<Option<Way>>,
    new: String,
    /// Versions that do not work.
    broken: HashSet<String>,
    time: Cell<Duration>,
    slow: Option<Step>,
}

impl World {
    fn new(versions: Listed<'_>, new: &str) -> Self {
        let tries = |tries: Option<(u32, u32)>| tries.map(|(left, done)| Tries { left, done });
        let versions = versions.iter().map(|(name, it)| ((*name).to_owned(), tries(*it))).collect();
        let world = Self { versions: RefCell::new(versions), new: new.to_owned(), ..Self::default() };
        let best = world.best();
        *world.sees.borrow_mut() = best.clone();
        *world.runs.borrow_mut() = best;
        world
    }

    fn best(&self) -> Option<String> {
        self.list().unwrap().into_iter().next().map(|version| version.version)
    }

    fn fails(&self, step: Step) -> Result<()> {
        let way = self.way.get().unwrap();
        if self.slow == Some(step) {
            self.time.set(self.time.get() + Duration::from_secs(1000));
        }
        match self.failing.contains(&(way, step)) {
            true => Err(Error::conflict("rollout-check", "x", format!("{way:?} {step:?}"), "y")),
            false => Ok(()),
        }
    }

    fn change(&self, version: &str, tries: Option<Tries>) {
        *self.versions.borrow_mut().get_mut(version).unwrap() = tries;
    }
}

impl Versions for World {
    fn new_version(&self) -> &str {
        &self.new
    }

    fn list(&self) -> Result<Vec<Version>> {
        let all = self.versions.borrow();
        let mut all: Vec<Version> = all
            .iter()
            .map(|(name, tries)| Version {
                path: name.into(),
                version: name.clone(),
                architecture: None,
                tries: *tries,
            })
            .collect();
        let rank = |it: &Version| (it.tries.is_none_or(|tries| tries.left > 0), it.version.clone());
        all.sort_by_key(|it| std::cmp::Reverse(rank(it)));
        Ok(all)
    }

    fn publish(&self) -> Result<bool> {
        self.fails(Step::Publish)?;
        let mut all = self.versions.borrow_mut();
        let was_there = all.contains_key(&self.new);
        all.entry(self.new.clone()).or_insert(Some(Tries { left: 3, done: 0 }));
        Ok(was_there)
    }

    fn begin(&self, version: &str) -> Result<()> {
        self.fails(Step::Begin)?;
        let Tries { left, done } = self.versions.borrow()[version].unwrap();
        self.change(version, Some(Tries { left: left - 1, done: done + 1 }));
        Ok(())
    }

    fn good(&self, version: &str) -> Result<()> {
        self.fails(Step::Good)?;
        self.change(version, None);
        Ok(())
    }

    fn bad(&self, version: &str) -> Result<()> {
        self.fails(Step::Bad)?;
        self.change(version, Some(Tries { left: 0, done: 1 }));
        Ok(())
    }

    fn withdraw(&self, version: &str) -> Result<()> {
        self.fails(Step::Withdraw)?;
        self.versions.borrow_mut().remove(version);
        Ok(())
    }

    fn prune(&self, _: NonZeroUsize, _: &BTreeSet<(u64, u64)>) -> Result<Pruned> {
        self.fails(Step::Prune)?;
        Ok(Pruned { removed: Vec::new(), in_use: Vec::new() })
    }
}

impl Service for Rc<World> {
    fn name(&self) -> &str {
        "a service/of tests"
    }

    fn look(&mut self, _: &Limit<'_>) -> Result<()> {
        self.fails(Step::Look)
    }

    fn refresh(&mut self, _: &Limit<'_>) -> Result<()> {
        self.fails(Step::Refresh)?;
        *self.sees.borrow_mut() = self.best();
        Ok(())
    }

    fn reload(&mut self, _: &Limit<'_>) -> Result<()> {
        self.fails(Step::Reload)?;
        *self.runs.borrow_mut() = self.sees.borrow().clone();
        Ok(())
    }

    fn check(&mut self, version: Option<&Version>, _: &Limit<'_>) -> Result<()> {
        self.fails(Step::Check)?;
        assert_eq!(version.map(|it| &it.version), self.runs.borrow().as_ref(), "it checks what runs");
        match self.runs.borrow().as_ref().is_some_and(|runs| self.broken.contains(runs)) {
            true => Err(Error::conflict("rollout-check", "x", "broken", "y")),
            false => Ok(()),
        }
    }
}

/// What a rollout asks for beside its world: a directory that is not looked into, and one for the locks.
struct Place {
    dir: tempfile::TempDir,
    store: Store,
    image: File,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.raw.v");
        std::fs::create_dir(&path).unwrap();
        let store = Store::open(&path, Class::Confext).unwrap();
        Self { dir, store, image: File::open("/dev/null").unwrap() }
    }
}

thread_local! {
    static PLACE: Place = Place::new();
}

/// Rolls out; before the event of each number is told, `meanwhile` is called with it.
fn roll(
    world: &Rc<World>,
    cancelled: &Cell<bool>,
    meanwhile: &dyn Fn(usize),
) -> (Result<Outcome>, Vec<Event>) {
    PLACE.with(|place| roll_in(place, world, cancelled, meanwhile))
}

fn roll_in(
    place: &Place,
    world: &Rc<World>,
    cancelled: &Cell<bool>,
    meanwhile: &dyn Fn(usize),
) -> (Result<Outcome>, Vec<Event>) {
    let stop = || cancelled.get();
    let mut rollout = Rollout::new(&place.store, &place.image, publish::Options::new(world.new.as_str()));
    rollout.locks = place.dir.path().join("locks");
    rollout.keep = NonZeroUsize::new(2);
    rollout.cancelled = &stop;
    rollout.clock = Box::new(|| world.time.get());
    let mut events = Vec::new();
    let mut service = world.clone();
    let mut tell = |event: Event| {
        world.way.set(Some(event.way));
        meanwhile(events.len());
        events.push(event);
    };
    world.way.set(Some(Way::There));
    let done = Run::new(&rollout, &**world, &mut service, &mut tell).run((1, 2));
    (done, events)
}

fn plainly(world: &Rc<World>) -> Outcome {
    roll(world, &Cell::new(false), &|_| {}).0.unwrap()
}

const THERE: [Step; 4] = [Step::Begin, Step::Refresh, Step::Reload, Step::Check];
const AFTER: [Step; 2] = [Step::Good, Step::Prune];
const BACK: [Step; 5] = [Step::Bad, Step::Withdraw, Step::Refresh, Step::Reload, Step::Check];

/// Every set of failures, from a store with a good version before, one without any, and one in which all are bad.
#[test]
fn whatever_fails_it_is_known_what_runs() {
    let points: Vec<(Way, Step)> = THERE
        .iter()
        .chain(&AFTER)
        .map(|step| (Way::There, *step))
        .chain(BACK.map(|step| (Way::Back, step)))
        .collect();
    let stores: [Listed<'_>; 4] = [
        &[("1", None)],
        &[],
        &[("1", Some((0, 1)))],
        // The version was begun by a rollout that ended in the middle.
        &[("1", None), ("2", Some((2, 1)))],
    ];
    for store in stores {
        for set in 0_u32..1 << points.len() {
            let failing: HashSet<_> =
                points.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1).map(|(_, it)| *it).collect();
            let mut world = World::new(store, "2");
            world.failing.clone_from(&failing);
            let world = Rc::new(world);
            let (done, events) = roll(&world, &Cell::new(false), &|_| {});
            let outcome = done.unwrap();
            let context = format!("{store:?} {failing:?}: {outcome:?}");
            judge(&world, &outcome, &context);
            told(&events, &outcome, &context);
        }
    }
}

fn judge(world: &World, outcome: &Outcome, context: &str) {
    let fails = |way, step| world.failing.contains(&(way, step));
    let first = THERE.into_iter().find(|step| fails(Way::There, *step));
    assert_eq!(outcome.failure.as_ref().map(|it| it.step), first, "{context}");
    let runs = world.runs.borrow().clone();
    match outcome.runs {
        Runs::New => {
            assert_eq!((first, runs.as_deref()), (None, Some("2")), "{context}");
            let good = !fails(Way::There, Step::Good);
            assert_eq!(world.versions.borrow()["2"].is_none(), good, "{context}");
            assert_eq!(outcome.is_complete(), good && !fails(Way::There, Step::Prune), "{context}");
        }
        Runs::Previous => {
            assert!(first.is_some(), "{context}");
            assert_ne!(runs.as_deref(), Some("2"), "{context}");
            assert_eq!(runs, world.best(), "{context}");
            assert_eq!(outcome.version.as_ref().map(|it| &it.version), runs.as_ref(), "{context}");
        }
        Runs::Unknown => assert!(first.is_some() && !outcome.not_done.is_empty(), "{context}"),
    }
    if first.is_some() && !fails(Way::Back, Step::Bad) && !fails(Way::Back, Step::Withdraw) {
        assert_ne!(world.best().as_deref(), Some("2"), "a bad version is used: {context}");
    }
}

/// Each step begins once and ends once, and what failed is in the outcome, the first one first.
fn told(events: &[Event], outcome: &Outcome, context: &str) {
    for pair in events.chunks(2) {
        let [began, ended] = pair else { panic!("a step without an end: {context}") };
        assert_eq!(
            (began.state, began.step, began.way),
            (State::Started, ended.step, ended.way),
            "{context}"
        );
        assert_eq!(ended.state == State::Failed, ended.failure.is_some(), "{context}");
    }
    let failed: Vec<&Failure> = events.iter().filter_map(|event| event.failure.as_ref()).collect();
    let known: Vec<&Failure> = outcome.failure.iter().chain(&outcome.not_done).collect();
    assert_eq!(failed, known, "{context}");
}

#[test]
fn nothing_is_touched_before_the_version_is_there() {
    for step in [Step::Look, Step::Publish] {
        let mut world = World::new(&[("1", None)], "2");
        world.failing.insert((Way::There, step));
        let world = Rc::new(world);
        let (done, events) = roll(&world, &Cell::new(false), &|_| {});
        assert_eq!(done.unwrap_err().code(), "rollout-check");
        assert_eq!(events.last().unwrap().step, step);
        assert_eq!(world.versions.borrow().keys().collect::<Vec<_>>(), ["1"]);
    }
    // Another version would be used all the same.
    let world = Rc::new(World::new(&[("3", None)], "2"));
    let (done, _) = roll(&world, &Cell::new(false), &|_| {});
    assert_eq!(done.unwrap_err().code(), "rollout-outranked");
    assert_eq!(world.versions.borrow().keys().collect::<Vec<_>>(), ["3"]);
}

/// The orchestrator ends at each event in turn; the same again, another version, and a broken one come to the right end.
#[test]
fn a_rollout_that_ended_in_the_middle_is_finished_by_the_next() {
    let ends_at = |world: &Rc<World>, at| {
        // Not a panic that is told.
        let quiet = |here| {
            if here == at {
                std::panic::resume_unwind(Box::new("the end"))
            }
        };
        catch_unwind(AssertUnwindSafe(|| roll(world, &Cell::new(false), &quiet).0.unwrap())).is_err()
    };
    for broken in [false, true] {
        for at in 0.. {
            let begin = || {
                let mut world = World::new(&[("1", None)], "2");
                if broken {
                    world.broken.insert("2".into());
                }
                let world = Rc::new(world);
                let ended = ends_at(&world, at);
                (ended, Rc::try_unwrap(world).ok().unwrap())
            };
            let (ended, world) = begin();
            // The same again.
            let world = Rc::new(world);
            let outcome = plainly(&world);
            let expected = if broken { (Runs::Previous, "1") } else { (Runs::New, "2") };
            assert_eq!(
                (outcome.runs, world.runs.borrow().as_deref().unwrap()),
                expected,
                "{at}: {outcome:?}"
            );
            assert_eq!(world.best().as_deref(), Some(expected.1), "{at}");
            for next_is_broken in [false, true] {
                let (_, mut world) = begin();
                let was_good = world.versions.borrow().get("2") == Some(&None);
                world.new = "3".into();
                if next_is_broken {
                    world.broken.insert("3".into());
                }
                let world = Rc::new(world);
                let outcome = plainly(&world);
                let runs = world.runs.borrow().clone().unwrap();
                let expected = match (next_is_broken, was_good) {
                    (false, _) => "3",
                    (true, true) => "2",
                    (true, false) => "1",
                };
                assert_eq!(runs, expected, "{at}: {outcome:?}");
                assert_eq!(world.best().as_deref(), Some(expected), "{at}");
            }
            if !ended {
                break;
            }
        }
    }
}

#[test]
fn attempts_come_to_an_end() {
    let world = Rc::new(World::new(&[("1", None), ("2", Some((1, 2)))], "2"));
    let outcome = plainly(&world);
    assert_eq!(outcome.failure.unwrap().code, "version-tries");
    assert_eq!((outcome.runs, world.runs.borrow().as_deref()), (Runs::Previous, Some("1")));
    assert_eq!(world.versions.borrow()["2"].map(|tries| tries.left), Some(0));
}

/// Who has had enough at any event gets what was there before, without a trace; or the new version once it was proved.
#[test]
fn a_caller_may_have_had_enough_at_any_time() {
    for at in 0.. {
        let world = Rc::new(World::new(&[("1", None)], "2"));
        let (cancelled, reached) = (Cell::new(false), Cell::new(false));
        let stop = |here| {
            if here == at {
                cancelled.set(true);
                reached.set(true);
            }
        };
        let (done, events) = roll(&world, &cancelled, &stop);
        let checked = events
            .iter()
            .position(|event| (event.step, event.state) == (Step::Check, State::Started))
            .is_some_and(|check| at > check);
        let left: Vec<String> = world.versions.borrow().keys().cloned().collect();
        if !reached.get() || checked {
            assert_eq!((done.unwrap().runs, left.len()), (Runs::New, 2), "{at}");
        } else {
            let code = match done {
                Ok(outcome) => {
                    assert_eq!(outcome.runs, Runs::Previous, "{at}");
                    outcome.failure.unwrap().code
                }
                Err(error) => error.code(),
            };
            assert_eq!((code, left), ("rollout-cancelled", vec!["1".to_owned()]), "{at}");
            assert_eq!(world.runs.borrow().as_deref(), Some("1"), "{at}");
        }
        if !reached.get() {
            break;
        }
    }
}

/// A version that was good stays so.
#[test]
fn an_interrupt_speaks_against_no_version() {
    let world = Rc::new(World::new(&[("1", None), ("2", None)], "2"));
    let cancelled = Cell::new(false);
    let (done, events) = roll(&world, &cancelled, &|here| cancelled.set(here > 7));
    let outcome = done.unwrap();
    assert_eq!(outcome.failure.unwrap().code, "rollout-cancelled", "{events:?}");
    assert_eq!((outcome.runs, world.best().as_deref()), (Runs::Previous, Some("2")));
    assert_eq!(world.versions.borrow()["2"], None);
}

#[test]
fn what_comes_late_has_failed() {
    for step in [Step::Refresh, Step::Reload, Step::Check] {
        let mut world = World::new(&[("1", None)], "2");
        world.slow = Some(step);
        let world = Rc::new(world);
        let (done, events) = roll(&world, &Cell::new(false), &|_| {});
        let outcome = done.unwrap();
        let failure = outcome.failure.unwrap();
        assert_eq!((failure.step, failure.code), (step, "rollout-time"));
        // On the way back it is late again.
        assert_eq!(outcome.not_done.len(), 1, "{:?}", outcome.not_done);
        assert!(events.is_sorted_by_key(|event| event.at));
    }
}

#[test]
fn one_rollout_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let name = lock::of_service("a/b@c.service");
    assert_eq!(name, "service-a%2fb@c.service");
    let never = || false;
    let names = ["store-1-2".to_owned(), name];
    let held = lock::Locks::take(dir.path(), &names, &Limit::new(Duration::ZERO, &never)).unwrap();
    let refused = lock::Locks::take(dir.path(), &names[1..], &Limit::new(Duration::ZERO, &never));
    assert_eq!(refused.unwrap_err().code(), "locked");
    let stopped = lock::Locks::take(dir.path(), &names[1..], &Limit::new(Duration::MAX, &|| true));
    assert_eq!(stopped.unwrap_err().code(), "rollout-cancelled");
    drop(held);
    lock::Locks::take(dir.path(), &names, &Limit::new(Duration::ZERO, &never)).unwrap();
}

#[test]
fn a_command_says_whether_it_works() {
    let run = |script: &str, limit: &Limit<'_>| {
        check::run(std::process::Command::new("sh").args(["-c", script]), None, limit)
    };
    let (long, never) = (Duration::from_secs(600), || false);
    run("exit 0", &Limit::new(long, &never)).unwrap();
    for (script, limit, code, says) in [
        (
            "echo no; echo why >&2; exit 3",
            Limit::new(long, &never),
            "rollout-check",
            "exit status 3, saying \"no\\nwhy\"",
        ),
        ("kill -9 $$", Limit::new(long, &never), "rollout-check", "signal 9"),
        ("sleep 600 & wait", Limit::new(Duration::ZERO, &never), "rollout-check", "no end within"),
        ("sleep 600 & wait", Limit::new(long, &|| true), "rollout-cancelled", ""),
    ] {
        let error = run(script, &limit).unwrap_err();
        assert_eq!(error.code(), code, "{script}");
        assert!(error.to_string().contains(says), "{script}: {error}");
    }
    let missing =
        check::run(&mut std::process::Command::new("/nonexistent"), None, &Limit::new(long, &never));
    assert_eq!(missing.unwrap_err().code(), "os");
}

#[test]
fn documents_have_the_names_of_things() {
    let failure = Failure::of(Way::There, Step::Check, &cancelled());
    let event = Event {
        at: Duration::from_millis(1500),
        way: Way::Back,
        step: Step::Withdraw,
        version: None,
        state: State::Failed,
        failure: Some(failure),
    };
    let document = serde_json::to_value(&event).unwrap();
    assert_eq!(document["seconds"], 1.5);
    assert_eq!(document["way"], event.way.as_str());
    assert_eq!(document["step"], event.step.as_str());
    assert_eq!(document["state"], event.state.as_str());
    assert_eq!(document["failure"]["code"], "rollout-cancelled");
    assert_eq!(serde_json::to_value(Runs::Unknown).unwrap(), Runs::Unknown.as_str());
}
