//! What speaks against an image before anybody merges it: [`lint`] looks at every file and says what is wrong where.
//!
//! The rules of [`rules`] are those a merge applies too; those of an image alone (release file, set-id files, what
//! an operating system needs) are only looked at here.

mod operating_system;
mod release;
pub mod rules;

use crate::Limits;
use crate::error::{Error, Refused, Result};
use crate::fs::{self, FileSystem, FileType, Metadata};
use crate::release::ImageKind;
use serde::{Serialize, Serializer};

/// How bad a finding is.
///
/// ```
/// use confext_ddi::lint::{Code, Severity};
///
/// // A build stops at errors; warnings may be meant.
/// assert_eq!(Code::OutsideHierarchy.severity(), Severity::Error);
/// assert!(Code::LayoutDependent.severity() < Severity::Error);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It may be meant.
    Warning,
    /// A build refuses it, unless it is allowed by its code.
    Error,
}

/// Declares the codes with their severity and advice in one place.
macro_rules! codes {
    ($( $(#[doc = $doc:literal])* $name:ident = $code:literal, $severity:ident, $hint:literal; )*) => {
        /// What a finding is about. The codes are stable; the same thing found by a merge has the same code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $( $(#[doc = $doc])* #[doc = ""] #[doc = concat!("Code `", $code, "`. ", $hint)] $name, )*
        }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[ $( Self::$name ),* ];

            /// The stable code, in kebab-case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$name => $code ),* }
            }

            /// How bad it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $( Self::$name => Severity::$severity ),* }
            }

            /// What to do about it, one sentence.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self { $( Self::$name => $hint ),* }
            }
        }
    };
}

codes! {
    /// An entry of an extension lies where its class merges nothing.
    OutsideHierarchy = "outside-hierarchy", Error, "move the entry, or build an image of another kind";
    /// A hierarchy of an extension is not a directory.
    HierarchyKind = "hierarchy-kind", Error, "make it a directory";
    /// A directory or symbolic link of the host would become something else.
    TypeChange = "type-change", Error, "build the extension with the host's layout";
    /// A path that is a link on some hosts and a directory on others.
    LayoutDependent = "layout-dependent", Warning, "lint against the files of the host it is for";
    /// The file extensions are matched with would be replaced.
    OsRelease = "replaces-os-release", Error, "take the file out of the extension";
    /// The extension brings extensions.
    NestedExtensions = "nested-extensions", Error, "ship the inner extensions by themselves";
    /// The extension brings certificates whose signatures would count from then on.
    TrustStore = "brings-certificates", Error, "install certificates by other means";
    /// The extension has a directory of the name of the stack's own metadata.
    Metadata = "metadata-directory", Error, "take the directory out of the extension";
    /// A device 0:0: it takes a file of the host away.
    Whiteout = "whiteout", Error, "take the device 0:0 out";
    /// A name that marks a deleted file in an OCI layer; to a host it is a file like any other.
    OciWhiteout = "oci-whiteout", Warning, "map the markers when the layer is taken in, or take them out";
    /// An attribute that tells an overlay to hide or redirect.
    OverlayAttribute = "overlay-attribute", Error, "build from a tree that is no overlay's upper directory";
    /// A file of a confext runs with the rights of its owner or with capabilities.
    SetId = "set-id", Error, "clear the set-id bits and file capabilities: configuration is not run";
    /// A device node in a confext.
    DeviceNode = "device-node", Error, "take the device node out: configuration needs none";
    /// A device node in a sysext, which is merged without devices.
    InertDevice = "inert-device", Warning, "take the device node out: it does not work there";
    /// There is no release file of the image's name.
    ReleaseMissing = "release-missing", Error, "write the release file: without one no host takes the image";
    /// The release file cannot be read.
    ReleaseSyntax = "release-syntax", Error, "write the file as os-release(5) has it";
    /// A field of the release file is missing or wrong: no host matches.
    ReleaseField = "release-field", Error, "correct the field";
    /// The release file ties the image to no version of the operating system.
    ReleaseVersion = "release-version", Warning, "add VERSION_ID or the level, or use ID=_any";
    /// An operating system or service tree lacks a directory or file that is mounted over.
    MountPoint = "mount-point", Warning, "add the empty directory or file: a read-only tree cannot get it later";
    /// A portable service brings no unit of its name.
    NoUnits = "no-units", Warning, "name the units after the image, or set PORTABLE_PREFIXES in os-release";
    /// Files that cannot be read.
    Unreadable = "layer-unreadable", Error, "build the image again";
}

impl Code {
    /// Looks a code up by its text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that speaks against an image.
///
/// ```
/// use confext_ddi::build::{Meta, ReleaseFields, Tree, Builder};
/// use confext_ddi::{lint, release::Class};
///
/// let mut tree = Tree::new();
/// tree.add_file("usr/bin/app", "", Meta::new(0o755))?;
/// let mut builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// let findings = builder.lint(&lint::Options::default())?;
/// // A confext is merged over `/etc`, and nothing else.
/// assert_eq!(findings[0].code.as_str(), "outside-hierarchy");
/// assert_eq!(findings[0].path, b"usr");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// Where, relative to the root of the image.
    #[serde(serialize_with = "lossy")]
    pub path: Vec<u8>,
    /// What is there.
    pub found: String,
    /// What would be no objection.
    pub expected: String,
}

impl Finding {
    fn new(code: Code, path: &[u8], found: impl Into<String>, expected: impl Into<String>) -> Self {
        let (found, expected) = (found.into(), expected.into());
        Self { code, severity: code.severity(), path: path.to_vec(), found, expected }
    }

    /// As an error, where it stops a build.
    #[must_use]
    pub fn to_error(&self) -> Error {
        let (path, found) = (self.path.escape_ascii().to_string(), self.found.clone());
        Refused::Lint { finding: self.code.as_str(), path, found, expected: self.expected.clone() }.into()
    }

    fn unreadable(path: &[u8], error: &Error) -> Self {
        Self::new(Code::Unreadable, path, error.to_string(), "files that can be read")
    }
}

fn lossy<S: Serializer>(path: &[u8], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&String::from_utf8_lossy(path))
}

/// What an image is looked at with.
///
/// ```
/// use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
/// use confext_ddi::{Limits, lint, release::Class};
///
/// // The host has a link where the extension has a directory.
/// let (mut host, mut tree) = (Tree::new(), Tree::new());
/// host.add_symlink("etc/app", "/run/app", Meta::new(0o777))?;
/// tree.add_file("etc/app/app.conf", "answer = 42\n", Meta::new(0o644))?;
///
/// let host = host.files(&Limits::default());
/// let mut options = lint::Options::default();
/// options.base = Some(&host);
/// let mut builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// let findings = builder.lint(&options)?;
/// assert!(findings.iter().any(|finding| finding.code == lint::Code::TypeChange));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Options<'a> {
    /// The files of the host an extension is for, from its root directory: changes of type are looked for against them.
    pub base: Option<&'a dyn FileSystem>,
    /// Caps on what is read.
    pub limits: Limits,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let base = self.base.map(FileSystem::fs_type);
        f.debug_struct("Options").field("base", &base).field("limits", &self.limits).finish()
    }
}

/// Looks at every file of an image of `kind` called `name` and returns what speaks against it, in the order of paths;
/// what concerns the whole image comes last.
///
/// # Errors
///
/// When the files of the host cannot be looked at. Files of the image that cannot be read are a finding.
///
/// *Spec*: UAPI.4; systemd.io/PORTABLE_SERVICES for portable services.
pub fn lint(
    files: &dyn FileSystem,
    kind: ImageKind,
    name: &str,
    options: &Options<'_>,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let walk = match fs::walk(files, b"", &options.limits) {
        Ok(walk) => walk,
        Err(error) => return Ok(vec![Finding::unreadable(b"", &error)]),
    };
    for entry in std::iter::once(files.stat(b"").map(|root| (Vec::new(), root))).chain(walk) {
        match entry {
            Ok((path, metadata)) => {
                let entry = Entry { files, kind, path: &path, metadata: &metadata };
                entry.look(options, &mut findings)?;
            }
            Err(error) => findings.push(Finding::unreadable(b"", &error)),
        }
    }
    release::look(files, kind, name, &options.limits, &mut findings);
    if kind.class().is_none() {
        operating_system::look(files, kind, name, &options.limits, &mut findings);
    }
    Ok(findings)
}

/// One file and the image it is in.
struct Entry<'e> {
    files: &'e dyn FileSystem,
    kind: ImageKind,
    path: &'e [u8],
    metadata: &'e Metadata,
}

impl Entry<'_> {
    fn look(&self, options: &Options<'_>, findings: &mut Vec<Finding>) -> Result<()> {
        let mut object = |code, found: &str, expected: &str| {
            findings.push(Finding::new(code, self.path, found, expected));
        };
        let found = self.metadata.file_type.as_str();
        let whiteout = rules::is_whiteout(self.metadata);
        if whiteout {
            object(Code::Whiteout, "a whiteout", "files, directories and links");
        }
        if self.path.rsplit(|byte| *byte == b'/').next().is_some_and(|name| name.starts_with(b".wh.")) {
            object(Code::OciWhiteout, "a name starting with .wh.", "no markers of deleted files");
        }
        if let Some(class) = self.kind.class() {
            if let Some((code, expected)) = rules::placement(class, self.path, self.metadata.file_type) {
                object(code, found, &expected);
            }
            if let Some(code) = rules::forbidden(self.path, self.metadata.file_type) {
                object(code, found, "nothing there");
            }
            if !whiteout && let Some((code, found, expected)) = rules::privilege(class, self.metadata) {
                object(code, found, expected);
            }
            if !whiteout && let Some((code, expected)) = self.type_change(options)? {
                object(code, found, expected);
            }
        }
        self.attributes(findings);
        Ok(())
    }

    /// Whether the host has something of another type here; without the files of a host, by what every host has.
    fn type_change(&self, options: &Options<'_>) -> Result<Option<(Code, &'static str)>> {
        let found = self.metadata.file_type;
        let Some(base) = options.base else { return Ok(rules::usual_layout(self.path, found)) };
        let base = match base.stat(self.path) {
            Ok(base) => base,
            Err(error) if matches!(error.code(), "no-such-file" | "not-a-directory") => return Ok(None),
            Err(error) => return Err(error),
        };
        let changes = rules::changes_type(base.file_type, found);
        Ok(changes.then_some((Code::TypeChange, base.file_type.as_str())))
    }

    fn attributes(&self, findings: &mut Vec<Finding>) {
        if !matches!(self.metadata.file_type, FileType::Directory | FileType::Regular) {
            return;
        }
        let xattrs = match self.files.xattrs(self.path) {
            Ok(xattrs) => xattrs,
            // Not every reader can tell.
            Err(error) if error.code() == "xattrs-unreadable" => return,
            Err(error) => return findings.push(Finding::unreadable(self.path, &error)),
        };
        if let Some(name) = rules::overlay_attribute(&xattrs) {
            let name = String::from_utf8_lossy(name).into_owned();
            findings.push(Finding::new(Code::OverlayAttribute, self.path, name, "no such attribute"));
        }
        let capable = xattrs.iter().any(|(name, _)| name == b"security.capability");
        if self.kind == ImageKind::Confext && capable {
            findings.push(Finding::new(Code::SetId, self.path, "file capabilities", "files nobody runs"));
        }
    }
}

#[cfg(test)]
mod tests;
