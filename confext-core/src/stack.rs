//! [`Stack`]: extensions over the directories of a host. Assembled off-tree, put in place by one move; on failure the
//! running stack stays as it was.

mod apply;
mod bare;
pub(crate) mod changes;
pub(crate) mod exchange;
mod lock;
mod make;
mod mutable;
mod origin;
pub(crate) mod overlay;
mod place;
mod preview;
mod retire;
mod rootless;
mod select;
pub(crate) mod staging;
pub(crate) mod submounts;
mod upper;
mod workdir;
mod writers;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use confext_ddi::release::Class;
use confext_ddi::settings::Mutability;
use serde::Serialize;

use crate::admission::Options;
use crate::attach::{BlockChecks, Mode};
use crate::closing::Closing;
use crate::consumers::After;
use crate::discover::Rejection;
use crate::error::{Error, Result};
use crate::exec::{self, Namespace, Placement};
use crate::host::Host;
use crate::manager::Told;
use crate::plan::Plan;
use crate::state::{self, Execution};

pub use apply::{Verb, apply, merge, refresh, unmerge};
pub(crate) use bare::{Hidden, copy as copy_bare, look_under};
use lock::Lock;
pub(crate) use make::Mounted;
pub(crate) use mutable::found_written;
pub use preview::{Listed, Listing, Merged, list, plan};
pub(crate) use preview::{MergedStacks, Preview, preview};
pub use rootless::Manner;
pub use select::{Selection, select};

/// The overlay of one hierarchy, not in place yet.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) hierarchy: &'static str,
    pub(crate) mount: OwnedFd,
    /// The stack that is there now.
    pub(crate) replaces: Option<OwnedFd>,
    /// Whether the host lacks the directory.
    pub(crate) mount_point: MountPoint,
    /// The layer that writes go to.
    upper: Option<upper::Upper>,
    /// What is to be done about a stack that could be written to.
    retired: Option<retire::Retired>,
}

impl Tree {
    /// It is in place: what was made for it stays, and what the one before it needed goes.
    ///
    /// # Errors
    ///
    /// `os`: a work directory stays behind, until a later merge.
    fn settle(self) -> Result<()> {
        let kept = self.upper.map_or(Ok(()), |upper| upper.keep(self.hierarchy));
        kept.and(self.retired.map_or(Ok(()), retire::Retired::replaced))
    }
}

/// Who sees a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Everybody: it takes the place of the one that is there.
    Everybody,
    /// One command; the one that is there stays.
    One,
}

/// The directory a tree goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MountPoint {
    /// The host has it.
    Present,
    /// It is made when the tree is put in place.
    Missing,
}

/// Extensions merged over the directories of a host, as detached mounts.
///
/// ```no_run
/// use confext_core::{Host, Options, Stack};
/// use confext_core::exec::{self, Root};
/// use confext_ddi::release::Class;
///
/// // A command that sees the extensions of this host, while nobody else does.
/// # fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let host = Host::open("/")?;
/// let stack = Stack::assemble(&host, Class::Confext, &Options::default())?;
/// exec::run(&Root::of(host.path()), stack.into_placements(), std::process::Command::new("nginx"))?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Stack {
    trees: Vec<Tree>,
    layers: Vec<state::Layer>,
    plan: Plan,
    manner: Manner,
    /// Where its mounts were made, when this process may not mount.
    namespace: Option<Arc<Namespace>>,
    /// What was needed to make it.
    closing: Closing,
}

/// What a change of a stack came to.
///
/// ```no_run
/// # let root = tempfile::tempdir()?;
/// # for (path, text) in [
/// #     ("etc/os-release", "ID=demo\n"),
/// #     ("run/confexts/app/etc/extension-release.d/extension-release.app", "ID=demo\n"),
/// #     ("run/confexts/app/etc/app.conf", "answer = 42\n"),
/// # ] {
/// #     std::fs::create_dir_all(root.path().join(path).parent().ok_or("no parent")?)?;
/// #     std::fs::write(root.path().join(path), text)?;
/// # }
/// # use confext_core::{Host, Options};
/// # use confext_ddi::{policy::Policy, release::Class};
/// # let host = Host::open(root.path())?;
/// # let mut options = Options::default();
/// # options.policy = Policy::unprotected();
/// use confext_core::stack::{Outcome, merge, refresh, unmerge};
///
/// assert_eq!(merge(&host, Class::Confext, &options)?.outcome, Outcome::Merged);
/// assert!(matches!(refresh(&host, Class::Confext, &options)?.outcome, Outcome::Unchanged { .. }));
/// std::fs::write(host.path().join("run/confexts/app/etc/app.conf"), "answer = 43\n")?;
/// assert!(matches!(refresh(&host, Class::Confext, &options)?.outcome, Outcome::Refreshed { .. }));
/// assert_eq!(unmerge(&host, Class::Confext, &options)?.outcome, Outcome::Unmerged);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// A stack is in place that was not there before.
    Merged,
    /// A stack took the place of another one.
    Refreshed {
        /// Why the other one was no longer right.
        because: Vec<Change>,
    },
    /// The stack that is there is right.
    Unchanged {
        /// For each extension, the test that says it is still the same.
        decided_by: Vec<Test>,
    },
    /// The stack is gone.
    Unmerged,
    /// There was nothing to do: no extension is for this host, or nothing was merged.
    Nothing,
}

/// How it was decided that an extension is the same as before.
///
/// ```no_run
/// # let root = tempfile::tempdir()?;
/// # for (path, text) in [
/// #     ("etc/os-release", "ID=demo\n"),
/// #     ("run/confexts/app/etc/extension-release.d/extension-release.app", "ID=demo\n"),
/// #     ("run/confexts/app/etc/app.conf", "answer = 42\n"),
/// # ] {
/// #     std::fs::create_dir_all(root.path().join(path).parent().ok_or("no parent")?)?;
/// #     std::fs::write(root.path().join(path), text)?;
/// # }
/// # use confext_core::{Host, Options};
/// # use confext_ddi::{policy::Policy, release::Class};
/// # let host = Host::open(root.path())?;
/// # let mut options = Options::default();
/// # options.policy = Policy::unprotected();
/// use confext_core::stack::{Outcome, merge, refresh, unmerge};
///
/// merge(&host, Class::Confext, &options)?;
/// let Outcome::Unchanged { decided_by } = refresh(&host, Class::Confext, &options)?.outcome else {
///     return Err("nothing has changed".into());
/// };
/// // Of a directory its files are compared; of an image the root hash.
/// assert_eq!((decided_by[0].name.as_str(), decided_by[0].test), ("app", "directory"));
/// # unmerge(&host, Class::Confext, &options)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Test {
    /// The extension.
    pub name: String,
    /// `root-hash`, `file`, `directory` or `content`.
    pub test: &'static str,
}

/// A difference between a merged stack and what a refresh would merge.
///
/// ```no_run
/// # let root = tempfile::tempdir()?;
/// # for (path, text) in [
/// #     ("etc/os-release", "ID=demo\n"),
/// #     ("run/confexts/app/etc/extension-release.d/extension-release.app", "ID=demo\n"),
/// #     ("run/confexts/app/etc/app.conf", "answer = 42\n"),
/// # ] {
/// #     std::fs::create_dir_all(root.path().join(path).parent().ok_or("no parent")?)?;
/// #     std::fs::write(root.path().join(path), text)?;
/// # }
/// # use confext_core::{Host, Options};
/// # use confext_ddi::{policy::Policy, release::Class};
/// # let host = Host::open(root.path())?;
/// # let mut options = Options::default();
/// # options.policy = Policy::unprotected();
/// use confext_core::stack::{Change, Outcome, merge, refresh, unmerge};
///
/// merge(&host, Class::Confext, &options)?;
/// std::fs::remove_dir_all(host.path().join("run/confexts/app"))?;
/// if let Outcome::Refreshed { because } = refresh(&host, Class::Confext, &options)?.outcome {
///     assert_eq!(because, [Change::Removed { name: "app".to_owned() }]);
/// }
/// # unmerge(&host, Class::Confext, &options)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[non_exhaustive]
pub enum Change {
    /// An extension that was not there.
    Added {
        /// Its name.
        name: String,
    },
    /// An extension that is no longer there.
    Removed {
        /// Its name.
        name: String,
    },
    /// Another extension of the same name, by this test.
    Replaced {
        /// Its name.
        name: String,
        /// `root-hash`, `file`, `directory` or `content`.
        test: &'static str,
    },
    /// The same extension, but something else was checked of it or it is elsewhere.
    Rechecked {
        /// Its name.
        name: String,
    },
    /// The same extension, but its image is to be attached in another way.
    Attached {
        /// Its name.
        name: String,
        /// The mode before.
        found: Mode,
        /// The mode now.
        expected: Mode,
    },
    /// The same extension, but dm-verity is to check it in another way.
    Checks {
        /// Its name.
        name: String,
        /// How it was checked before.
        found: BlockChecks,
        /// How it is to be checked now.
        expected: BlockChecks,
    },
    /// Another policy.
    Policy {
        /// The policy before.
        found: String,
        /// The policy now.
        expected: String,
    },
    /// Whether programs can be run from it.
    Execution {
        /// What was asked for before.
        found: Execution,
        /// What is asked for now.
        expected: Execution,
    },
    /// Whether it can be written to.
    Mutability {
        /// The mode before.
        found: Mutability,
        /// The mode now.
        expected: Mutability,
    },
    /// A hierarchy is not merged as it should be.
    Hierarchy {
        /// Which one.
        hierarchy: String,
    },
    /// What the extensions are over is not what it was.
    Below,
    /// A change did not come to its end: two stacks were left, or a hierarchy without the one it should have.
    Interrupted,
    /// Another program merged it, or there is no telling.
    Unknown,
    /// The caller asked for it.
    Asked,
}

/// What was done, and with what.
///
/// ```no_run
/// # let root = tempfile::tempdir()?;
/// # for (path, text) in [
/// #     ("etc/os-release", "ID=demo\n"),
/// #     ("run/confexts/app/etc/extension-release.d/extension-release.app", "ID=demo\n"),
/// #     ("run/confexts/app/etc/app.conf", "answer = 42\n"),
/// # ] {
/// #     std::fs::create_dir_all(root.path().join(path).parent().ok_or("no parent")?)?;
/// #     std::fs::write(root.path().join(path), text)?;
/// # }
/// # use confext_core::{Host, Options};
/// # use confext_ddi::{policy::Policy, release::Class};
/// # let host = Host::open(root.path())?;
/// # let mut options = Options::default();
/// # options.policy = Policy::unprotected();
/// use confext_core::stack::{merge, unmerge};
///
/// let report = merge(&host, Class::Confext, &options)?;
/// assert_eq!((report.hierarchies, report.layers[0].name.as_str()), (vec!["etc".to_owned()], "app"));
/// for consumer in &report.after.consumers {
///     println!("{consumer:?} has to hear of it");
/// }
/// # unmerge(&host, Class::Confext, &options)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The class.
    pub class: Class,
    /// What it came to.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The hierarchies that are merged now.
    pub hierarchies: Vec<String>,
    /// Of these, the ones that other mount namespaces receive, too: what they are mounted on is shared. The others are
    /// seen in this mount namespace only.
    pub propagated: Vec<String>,
    /// Of these, the ones in which files were missing for a moment: see
    /// [`Exchange::GapAllowed`](crate::admission::Exchange::GapAllowed).
    pub gaps: Vec<String>,
    /// The extensions of the stack that is there now, bottom first.
    pub layers: Vec<state::Layer>,
    /// What was found and is not used.
    pub refused: Vec<Rejection>,
    /// Who has to hear of the change, and of which files.
    pub after: After,
    /// What could not be removed after the change, with the reason: work directories of stacks that are gone. The next
    /// stack that can be written to removes them.
    pub left_behind: Vec<String>,
    /// What came of telling the service manager; `None` when it was not told: nobody asked for it, nothing has changed, no
    /// extension asks for anything, or the root directory is another one than that of the machine.
    pub told: Option<Told>,
}

impl Stack {
    /// Assembles the stack of a class without putting it in place, for [`exec::Running`] or a
    /// namespace of the caller's. A stack that is merged on the host is not part of it.
    ///
    /// Who may not mount images gets the same stack in namespaces of his own: every file is read through the hash tree of
    /// its image and written to memory. What is merged on the host is below it then, as nobody but root can look under it.
    /// [`Stack::manner`] says how it was made.
    ///
    /// # Errors
    ///
    /// As [`merge`]; `mutable-private` for a mode in which writes go to a directory of the host; `no-extensions` when there are none for this host; `hierarchy-missing` when the host lacks a
    /// directory an extension has files for; `missing-capability` where there are no user namespaces for who may not mount;
    /// `memory-short`.
    pub fn assemble(host: &Host, class: Class, options: &Options) -> Result<Self> {
        if matches!(options.mutability, Mutability::Yes | Mutability::Auto) {
            let (found, expected) =
                (format!("mode {}", options.mutability), "no, import, ephemeral or ephemeral-import");
            return Err(Error::conflict("mutable-private", "a stack of its own", found, expected));
        }
        host.reachable("a stack over a root directory")?;
        let selection = select(host, class, options)?;
        if selection.extensions.is_empty() && !mutable::acts_alone(host, class, options.mutability)? {
            let found = match selection.refused.len() {
                0 => "none".to_owned(),
                count => format!("{count} that cannot be used"),
            };
            return Err(Error::conflict(
                "no-extensions",
                host.path().display().to_string(),
                found,
                format!("a {class}"),
            ));
        }
        Self::assemble_selected(host, class, options, selection)
    }

    /// The same of extensions that were chosen.
    pub(crate) fn assemble_selected(
        host: &Host,
        class: Class,
        options: &Options,
        selection: Selection,
    ) -> Result<Self> {
        if !exec::may_mount() {
            return rootless::assemble(host, class, options, selection);
        }
        let stack = Self::make(host, class, options, (selection, &[]), Audience::One)?;
        for tree in &stack.trees {
            if tree.mount_point == MountPoint::Missing {
                let target = host.display(tree.hierarchy.as_ref());
                return Err(Error::conflict(
                    "hierarchy-missing",
                    target,
                    "nothing",
                    "a directory to merge over",
                ));
            }
        }
        Ok(stack)
    }

    /// The extensions of the stack, bottom first.
    #[must_use]
    pub fn layers(&self) -> &[state::Layer] {
        &self.layers
    }

    /// What it changes, path by path, and what was found and is not used.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How it is made.
    #[must_use]
    pub fn manner(&self) -> &Manner {
        &self.manner
    }

    /// The assembled mounts and where they go.
    #[must_use]
    pub fn into_placements(self) -> Vec<Placement> {
        let Self { trees, namespace, .. } = self;
        let placement = |tree: Tree| Placement {
            namespace: namespace.clone(),
            ..Placement::new(tree.hierarchy, tree.mount)
        };
        trees.into_iter().map(placement).collect()
    }
}

impl Report {
    fn new(class: Class, outcome: Outcome, refused: Vec<Rejection>) -> Self {
        Self {
            class,
            outcome,
            hierarchies: Vec::new(),
            propagated: Vec::new(),
            gaps: Vec::new(),
            layers: Vec::new(),
            refused,
            after: After::nothing(),
            left_behind: Vec::new(),
            told: None,
        }
    }
}
