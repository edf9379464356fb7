//! Paths of what is merged: looked up as everybody sees them.

use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use confext_ddi::fs::{FileType, Metadata};

use super::answer::{Answerer, Seen};
use super::layers::Context;
use super::stack::Stack;
use super::{Answer, Links, Origin, View};
use crate::directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::OFlags;

/// Where a path of a host comes from, which has these stacks.
pub(super) fn trace(context: &Context<'_>, stacks: &[Stack], path: &Path) -> Result<Origin> {
    let mut origin = ask(context, stacks, path, OFlags::NOFOLLOW)?;
    if context.options.links == Links::Follow && origin.file_type == Some(FileType::Symlink) {
        origin.target = Some(Box::new(ask(context, stacks, path, OFlags::empty())?));
    }
    Ok(origin)
}

fn ask(context: &Context<'_>, stacks: &[Stack], path: &Path, flags: OFlags) -> Result<Origin> {
    let host = context.host;
    let origin = |path, file_type, answer| Origin { path, view: View::Live, file_type, answer, target: None };
    let Some(subject) = Subject::find(host, path, flags)? else {
        return Ok(match missing(context, stacks, path) {
            Some((path, answer)) => origin(path, None, answer),
            None => origin(path.to_path_buf(), None, Answer::Absent),
        });
    };
    let mut answer = Answer::NotMerged;
    for stack in stacks {
        let (Ok(inside), Some(live)) = (subject.path.strip_prefix(&stack.path), &stack.live) else {
            continue;
        };
        let seen =
            Seen::new(&subject.place, live).map_err(|error| Error::os("stat", host.display(path), error))?;
        let answerer = Answerer::new(stack, context);
        let node = answerer.sight.parts.node(inside.as_os_str().as_bytes());
        answer = answerer.answer(&node, Some(&seen));
    }
    Ok(origin(Path::new("/").join(&subject.path), Some(subject.metadata.file_type), answer))
}

/// Why there is nothing at a path: a stack may hide what is there.
fn missing(context: &Context<'_>, stacks: &[Stack], path: &Path) -> Option<(PathBuf, Answer)> {
    let (directory, name) = (path.parent()?, path.file_name()?);
    let parent = Subject::find(context.host, directory, OFlags::DIRECTORY).ok()??;
    let full = parent.path.join(name);
    let mut found = None;
    for stack in stacks {
        let (Ok(inside), Some(live)) = (full.strip_prefix(&stack.path), &stack.live) else { continue };
        if !Seen::new(&parent.place, live).ok()?.is_directory() {
            continue;
        }
        let answerer = Answerer::new(stack, context);
        let node = answerer.sight.parts.node(inside.as_os_str().as_bytes());
        found = Some((Path::new("/").join(&full), answerer.answer(&node, None)));
    }
    found
}

/// What is asked about.
struct Subject {
    path: PathBuf,
    place: OwnedFd,
    metadata: Metadata,
}

impl Subject {
    fn find(host: &Host, path: &Path, flags: OFlags) -> Result<Option<Self>> {
        let failed = |error| Error::os("look up", host.display(path), error);
        let place = match host.open_path(path, flags) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            place => place.map_err(failed)?,
        };
        let metadata = directory::metadata(place.as_fd()).map_err(failed)?;
        let Some(path) = host.path_of(place.as_fd()) else {
            return Err(failed(rustix::io::Errno::XDEV.into()));
        };
        Ok(Some(Self { path, place, metadata }))
    }
}
