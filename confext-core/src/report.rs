//! [`Report`]: the stacks of a host as one page: layers, where each file is from, what shadows what, what is left out and why
//!
//! The page is one HTML file that loads nothing: style, script and data are in it, and its content security policy names
//! the first two by their digests and forbids all else. Names from an image are text everywhere. The same input and
//! [`Options::made_at`] give the same bytes.

mod data;
mod escape;
mod files;
mod layers;
mod page;
mod planned;
mod seal;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::ControlFlow;

use confext_ddi::error::Refused;
use confext_ddi::release::Class;
use confext_ddi::signature::Time;

use crate::admission;
use crate::discover::Rejection;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::{Fate, LayerChange, Plan, Refusal, Veto};
use crate::stack;
use crate::trace::{self, Progress, Traced, Tracer, View};

use files::Files;
use layers::Layers;

/// What a page shows: filled step by step, or by [`report`] in one go.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::report::{Options, report};
/// use confext_ddi::release::Class;
///
/// let report = report(&host, &[(Class::Confext, &options)], &Options::default())?;
/// let mut page = Vec::new();
/// report.write_html(&mut page)?;
/// assert!(page.starts_with(b"<!DOCTYPE html>"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Report {
    subject: Subject,
    view: View,
    options: Options,
    layers: Layers,
    stacks: Vec<Shown>,
    files: Files,
    refused: Capped<Rejection>,
    vetoes: Capped<Veto>,
    refusals: Vec<(Class, Refusal)>,
    changes: Capped<LayerChange>,
    notes: Capped<String>,
}

/// What a report is about.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::report::Subject;
///
/// assert_eq!(Subject::of(&host).what, "root directory");
/// let fleet = Subject { what: "fleet".to_owned(), name: "web servers".to_owned() };
/// assert_ne!(fleet, Subject::of(&host));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// What it is: `host`, `root directory`, `service`.
    pub what: String,
    /// Which one: its root directory, or its name.
    pub name: String,
}

/// What a report says, and how much of it.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::report::{Options, report};
/// use confext_ddi::{release::Class, signature::Time};
///
/// let mut shown = Options::default();
/// shown.made_at = Some(Time::from(std::time::SystemTime::now()));
/// (shown.files, shown.host_files) = (3, 0);
/// let counts = report(&host, &[(Class::Confext, &options)], &shown)?.counts();
/// assert_eq!(counts.files, 3);
/// assert!(counts.files_left_out > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// How files are traced.
    pub trace: trace::Options,
    /// Whether it is about what is merged, or about what a merge would give. Default: [`Choice::Auto`].
    pub view: Choice,
    /// When the report was made; it says so. Default: it does not say so.
    pub made_at: Option<Time>,
    /// How many paths are listed that are of an extension, or were written or deleted. The others are counted.
    /// Default: 200,000, which is about 6 MB and 100 MB of memory.
    pub files: usize,
    /// How many paths are listed that only the host has. The others are counted. Default: 20,000.
    pub host_files: usize,
    /// How many refusals, objections and notes are listed, of each. The others are counted. Default: 1,000.
    pub listed: usize,
}

/// What a report is about.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{report::{Choice, Options, report}, trace::View};
/// use confext_ddi::release::Class;
///
/// // What is merged, also where that is nothing; by default it would be what a merge would give.
/// let mut shown = Options::default();
/// shown.view = Choice::Live;
/// let report = report(&host, &[(Class::Confext, &options)], &shown)?;
/// assert_eq!((report.view(), report.counts().layers), (View::Live, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Choice {
    /// What is merged; where nothing is, what a merge would give.
    #[default]
    Auto,
    /// What is merged.
    Live,
    /// What a merge would give.
    Planned,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            trace: trace::Options::default(),
            view: Choice::default(),
            made_at: None,
            files: 200_000,
            host_files: 20_000,
            listed: 1_000,
        }
    }
}

/// What a report came to, in numbers.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::report::{Counts, Options, report};
/// use confext_ddi::release::Class;
///
/// let counts: Counts = report(&host, &[(Class::Confext, &options)], &Options::default())?.counts();
/// // `site` hides the other one's app.conf and the host's motd.
/// assert_eq!((counts.layers, counts.shadowing, counts.refused), (2, 2, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Extensions.
    pub layers: usize,
    /// Paths that are listed.
    pub files: usize,
    /// Paths that are counted, and not listed.
    pub files_left_out: u64,
    /// Paths that hide another one.
    pub shadowing: u64,
    /// Entries that are not used.
    pub refused: usize,
    /// What speaks against extensions, and is not allowed.
    pub objections: usize,
}

/// A hierarchy with a stack.
#[derive(Debug, Clone)]
struct Shown {
    class: Class,
    path: String,
    because: Option<&'static str>,
    doubts: Vec<String>,
}

/// Some things of a class each, up to a number of them.
#[derive(Debug, Clone)]
struct Capped<T> {
    items: Vec<(Class, T)>,
    left_out: u64,
    most: usize,
}

impl<T> Capped<T> {
    const fn new(most: usize) -> Self {
        Self { items: Vec::new(), left_out: 0, most }
    }

    fn push(&mut self, class: Class, item: T) {
        if self.items.len() < self.most {
            self.items.push((class, item));
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// How many there are, listed or not.
    fn len(&self) -> usize {
        self.items.len().saturating_add(usize::try_from(self.left_out).unwrap_or(usize::MAX))
    }
}

/// Reports on the stacks of a host: what is merged of these classes, or what merging them would give, each under its
/// conditions. Changes nothing and, unless a stack is merged, needs no privilege.
///
/// # Errors
///
/// What keeps all extensions from being found, or the host from being looked at.
pub fn report(host: &Host, classes: &[(Class, &admission::Options)], options: &Options) -> Result<Report> {
    report_watched(host, classes, options, |_| ControlFlow::Continue(()))
}

/// The same, and `progress` is called from time to time and may stop it: with nothing first, at last with all. What a merge would
/// do, and where the files are from, are of the same weight.
///
/// # Errors
///
/// As [`report`]; `cancelled` when `progress` said so.
pub fn report_watched(
    host: &Host,
    classes: &[(Class, &admission::Options)],
    options: &Options,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Report> {
    go_on(Progress::NONE, &mut progress)?;
    let wanted: Vec<Class> = classes.iter().map(|(class, _)| *class).collect();
    let live = (options.view != Choice::Planned).then(|| Tracer::live(host, &options.trace)).transpose()?;
    let merged = live
        .filter(|live| options.view == Choice::Live || live.classes().any(|class| wanted.contains(&class)));
    let view = if merged.is_some() { View::Live } else { View::Planned };
    let parts = classes.len().saturating_add(if merged.is_some() { 1 } else { classes.len() });
    let mut part = 0_usize;
    let mut report = Report::new(Subject::of(host), view, options);
    for (class, admission) in classes {
        report.add_plan(&stack::plan(host, *class, admission)?);
        part = part.saturating_add(1);
        go_on(Progress::NONE.after(part, parts), &mut progress)?;
        if merged.is_none() {
            let tracer = Tracer::planned(host, &[*class], admission, &options.trace)?;
            report.add_files_watched(&tracer, &wanted, |at| progress(at.after(part, parts)))?;
            part = part.saturating_add(1);
        }
    }
    if let Some(tracer) = merged {
        report.add_files_watched(&tracer, &wanted, |at| progress(at.after(part, parts)))?;
    }
    Ok(report)
}

fn go_on(at: Progress, progress: &mut impl FnMut(Progress) -> ControlFlow<()>) -> Result<()> {
    match progress(at) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => {
            Err(Error::Ddi(Refused::Cancelled { done: at.done, total: at.total }.into()))
        }
    }
}

impl Subject {
    /// A host or another root directory.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        let name = host.path().display().to_string();
        let what = if name == "/" { "host" } else { "root directory" };
        Self { what: what.to_owned(), name }
    }
}

impl Report {
    /// An empty one.
    #[must_use]
    pub fn new(subject: Subject, view: View, options: &Options) -> Self {
        Self {
            subject,
            view,
            options: options.clone(),
            layers: Layers::default(),
            stacks: Vec::new(),
            files: Files::new(options),
            refused: Capped::new(options.listed),
            vetoes: Capped::new(options.listed),
            refusals: Vec::new(),
            changes: Capped::new(options.listed),
            notes: Capped::new(options.listed),
        }
    }

    /// What a plan leaves out, and what speaks against the rest. Before the files, which then show it, too.
    pub fn add_plan(&mut self, plan: &Plan) {
        for rejection in &plan.refused {
            self.refused.push(plan.class, rejection.clone());
        }
        for veto in &plan.vetoes {
            let index = self.vetoes.items.len();
            self.vetoes.push(plan.class, veto.clone());
            if index < self.vetoes.items.len() {
                self.files.expect(veto.hierarchy, &veto.path, index);
            }
        }
        self.refusals.extend(plan.refusal.iter().map(|refusal| (plan.class, refusal.clone())));
        let changed = plan.layer_changes.iter().filter(|change| !matches!(change.fate, Fate::Kept { .. }));
        changed.for_each(|change| self.changes.push(plan.class, change.clone()));
    }

    /// The stacks of these classes that a tracer knows, and where every path in them is from. What cannot be looked up is
    /// noted.
    pub fn add_files(&mut self, tracer: &Tracer<'_>, classes: &[Class]) {
        // Nobody ends it.
        _ = self.add_files_watched(tracer, classes, |_| ControlFlow::Continue(()));
    }

    /// The same, and `progress` is called for each path and may stop it: at last with all. What was added until then stays.
    ///
    /// # Errors
    ///
    /// `cancelled` when `progress` said so.
    pub fn add_files_watched(
        &mut self,
        tracer: &Tracer<'_>,
        classes: &[Class],
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<()> {
        let stacks = tracer.stacks();
        let stacks: Vec<&Traced> = stacks.iter().filter(|stack| classes.contains(&stack.class)).collect();
        for stack in &stacks {
            self.add_stack(stack);
        }
        let places: BTreeMap<&str, &Traced> = stacks.iter().map(|stack| (stack.hierarchy, *stack)).collect();
        let class = classes.first().copied().unwrap_or(Class::Confext);
        let mut tree = tracer.tree();
        while let Some(origin) = tree.next() {
            match origin {
                Ok(origin) => {
                    if let Some(stack) = origin.answer.hierarchy().and_then(|name| places.get(name)) {
                        self.files.add(stack, &origin, &mut self.layers);
                    }
                }
                Err(error) => self.notes.push(class, format!("[{}] {}", error.code(), error.explain())),
            }
            go_on(tree.progress(), &mut progress)?;
        }
        // Where there is no path, and where what came last is none.
        go_on(tree.progress(), &mut progress)
    }

    /// The same from a plan alone, with [`add_plan`](Self::add_plan) in it: the layers that would be stacked, and every path
    /// that would be different. For what has no host to be traced, like the stack of a service.
    pub fn add_planned(&mut self, plan: &Plan) {
        self.add_plan(plan);
        let sources = planned::sources(plan);
        for hierarchy in &plan.hierarchies {
            let stack = planned::stack(plan, hierarchy, &sources);
            self.add_stack(&stack);
            for origin in planned::origins(hierarchy, &sources) {
                self.files.add(&stack, &origin, &mut self.layers);
            }
        }
    }

    fn add_stack(&mut self, stack: &Traced) {
        self.layers.add(stack);
        let doubt = |doubt: &crate::state::Doubt| {
            format!("{}: found {}, expected {}", doubt.what, doubt.found, doubt.expected)
        };
        self.stacks.push(Shown {
            class: stack.class,
            path: stack.path.display().to_string(),
            because: stack.because,
            doubts: stack.doubts.iter().map(doubt).collect(),
        });
    }

    /// Whether it is about what is merged.
    #[must_use]
    pub const fn view(&self) -> View {
        self.view
    }

    /// What it came to.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            layers: self.layers.all().len(),
            files: self.files.len(),
            files_left_out: self.files.left_out().saturating_add(self.files.host_left_out()),
            shadowing: self.files.shadowing(),
            refused: self.refused.len(),
            objections: self.vetoes.items.iter().filter(|(_, veto)| !veto.allowed).count(),
        }
    }

    /// Writes the page.
    ///
    /// # Errors
    ///
    /// What writing says.
    pub fn write_html(&self, out: &mut dyn Write) -> io::Result<()> {
        page::write(self, out)
    }
}

#[cfg(test)]
mod tests;
