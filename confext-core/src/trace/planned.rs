//! Paths of what a merge would give: nobody sees them yet, so links are followed here, inside the root.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use confext_ddi::fs::{FileSystem as _, FileType};

use super::answer::Answerer;
use super::layers::Context;
use super::parts::Node;
use super::stack::Stack;
use super::{Answer, Links, Origin, View};
use crate::directory::{self, Directory};
use crate::error::{Error, Result};
use crate::sys::OFlags;
use std::os::fd::AsFd as _;

/// Where a path would come from.
pub(super) fn trace(context: &Context<'_>, stacks: &[Stack], path: &Path) -> Result<Origin> {
    let planned =
        Planned { context, stacks: stacks.iter().map(|stack| Answerer::new(stack, context)).collect() };
    let Some(place) = planned.resolve(path)? else {
        return Ok(origin(path.to_path_buf(), None, Answer::Absent));
    };
    let mut found = planned.ask(&place)?;
    if context.options.links == Links::Follow && found.file_type == Some(FileType::Symlink) {
        let target =
            planned.target(&place)?.map(|target| place.parent().unwrap_or(Path::new("")).join(target));
        if let Some(target) = target {
            let resolved = planned.resolve_all(&target)?;
            found.target = Some(Box::new(match resolved {
                Some(place) => planned.ask(&place)?,
                None => origin(target, None, Answer::Absent),
            }));
        }
    }
    Ok(found)
}

fn origin(path: PathBuf, file_type: Option<FileType>, answer: Answer) -> Origin {
    Origin { path: Path::new("/").join(path), view: View::Planned, file_type, answer, target: None }
}

struct Planned<'a> {
    context: &'a Context<'a>,
    stacks: Vec<Answerer<'a>>,
}

impl<'a> Planned<'a> {
    /// The stack that a path would be in, and what is there.
    fn node(&self, place: &Path) -> Option<(&Answerer<'a>, Node)> {
        let within = |answerer: &&Answerer<'_>| place.starts_with(&answerer.stack.path);
        let answerer = self.stacks.iter().rfind(within)?;
        let inside = place.strip_prefix(&answerer.stack.path).ok()?;
        Some((answerer, answerer.sight.parts.node(inside.as_os_str().as_bytes())))
    }

    fn ask(&self, place: &Path) -> Result<Origin> {
        if let Some((answerer, node)) = self.node(place) {
            let answer = answerer.expected(&node);
            let gone = matches!(answer, Answer::Absent | Answer::Hidden { .. } | Answer::Deleted { .. });
            let file_type = node.top().filter(|_| !gone).map(|top| top.metadata.file_type);
            return Ok(origin(place.to_path_buf(), file_type, answer));
        }
        Ok(match self.host_type(place)? {
            Some(found) => origin(place.to_path_buf(), Some(found), Answer::NotMerged),
            None => origin(place.to_path_buf(), None, Answer::Absent),
        })
    }

    fn host_type(&self, place: &Path) -> Result<Option<FileType>> {
        let failed = |error| Error::os("look up", self.context.host.display(place), error);
        match self.context.host.open_path(place, OFlags::NOFOLLOW) {
            Ok(found) => Ok(Some(directory::metadata(found.as_fd()).map_err(failed)?.file_type)),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Where a symbolic link leads to; `None` for anything else.
    fn target(&self, place: &Path) -> Result<Option<PathBuf>> {
        if let Some((answerer, node)) = self.node(place) {
            let Some(top) = node.top().filter(|top| top.metadata.file_type == FileType::Symlink) else {
                return Ok(None);
            };
            let Some(Ok(files)) = answerer.sight.parts.0.get(top.part).map(|part| part.files) else {
                return Ok(None);
            };
            let target = files.read_link(&answerer.sight.parts.inside(top.part, &node.path))?;
            return Ok(Some(OsString::from_vec(target).into()));
        }
        if self.host_type(place)? != Some(FileType::Symlink) {
            return Ok(None);
        }
        let failed = |error: std::io::Error| Error::os("read", self.context.host.display(place), error);
        let root = self.context.host.root().try_clone_to_owned().map_err(failed)?;
        let host = Directory::new(root, &self.context.options.limits);
        Ok(Some(OsString::from_vec(host.read_link(place.as_os_str().as_bytes())?).into()))
    }

    /// The path without links on the way; one at the end stays. `None` when too many links lead nowhere.
    fn resolve(&self, path: &Path) -> Result<Option<PathBuf>> {
        let Some(name) = path.file_name() else { return self.resolve_all(path) };
        let parent = self.resolve_all(path.parent().unwrap_or(Path::new("")))?;
        Ok(parent.map(|parent| parent.join(name)))
    }

    fn resolve_all(&self, path: &Path) -> Result<Option<PathBuf>> {
        let mut rest: Vec<OsString> = components(path);
        let (mut place, mut links) = (PathBuf::new(), 0_u32);
        while let Some(name) = rest.pop() {
            if name.as_bytes() == b".." {
                place.pop();
                continue;
            }
            let next = place.join(&name);
            let Some(target) = self.target(&next)? else {
                place = next;
                continue;
            };
            links = links.saturating_add(1);
            if links > self.context.options.limits.symlinks {
                return Ok(None);
            }
            if target.is_absolute() {
                place = PathBuf::new();
            }
            rest.extend(components(&target));
        }
        Ok(Some(place))
    }
}

/// The names of a path, the last one first; `..` stays.
fn components(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}
