//! Sidecars: root hash, signature and hash tree in files beside an image, or in its extended attributes.
//!
//! ```text
//!  app.raw ── protected by ──► app.verity ──────── top of the tree = root hash ──┐
//!                              app.roothash ────── the root hash, as hex ────────┼─► Claim
//!                              app.roothash.p7s ── a signature of it ────────────┘
//! ```
//!
//! Nothing here looks at a disk: the caller says what it looked for, hands over the bytes it found, and which names lie
//! beside the image. What was looked for and found is kept, and so is a name that was nearly right: a misnamed root hash
//! must not pass for none.
//!
//! *Source of the names*: `RootHash=` and `RootVerity=` of `systemd.exec`(5).

use crate::digest::RootHash;
use crate::dps::Designator;
use crate::error::{Corrupt, LimitExceeded, Result, ResultExt as _};
use crate::limits::Limits;
use serde::Serialize;

/// What may accompany an image.
///
/// ```
/// use confext_ddi::sidecar::Kind;
///
/// // The files that may lie beside `app.raw`.
/// let names: Vec<_> = Kind::ALL.iter().filter_map(|kind| kind.file_name(b"app.raw")).collect();
/// assert!(names.contains(&b"app.roothash.p7s".to_vec()));
/// assert_eq!(Kind::RootHashAttribute.attribute(), Some("user.verity.roothash"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// The extended attribute `user.verity.roothash`: the root hash of the root file system, as hex.
    RootHashAttribute,
    /// `NAME.roothash`: the same as a file.
    RootHash,
    /// `NAME.roothash.p7s`: the PKCS#7 signature of that root hash, in DER form.
    RootHashSignature,
    /// The extended attribute `user.verity.usrhash`: the root hash of `/usr`, as hex.
    UsrHashAttribute,
    /// `NAME.usrhash`: the same as a file.
    UsrHash,
    /// `NAME.usrhash.p7s`: the PKCS#7 signature of that root hash, in DER form.
    UsrHashSignature,
    /// `NAME.verity`: the hash tree, superblock first.
    HashTree,
}

impl Kind {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Self; 7] = [
        Self::RootHashAttribute,
        Self::RootHash,
        Self::RootHashSignature,
        Self::UsrHashAttribute,
        Self::UsrHash,
        Self::UsrHashSignature,
        Self::HashTree,
    ];

    /// The extended attribute of the image it is in; `None` for files.
    #[must_use]
    pub const fn attribute(self) -> Option<&'static str> {
        match self {
            Self::RootHashAttribute => Some("user.verity.roothash"),
            Self::UsrHashAttribute => Some("user.verity.usrhash"),
            _ => None,
        }
    }

    /// What takes the place of the image's `.raw` in the file's name; `None` for attributes.
    #[must_use]
    pub const fn suffix(self) -> Option<&'static str> {
        match self {
            Self::RootHash => Some(".roothash"),
            Self::RootHashSignature => Some(".roothash.p7s"),
            Self::UsrHash => Some(".usrhash"),
            Self::UsrHashSignature => Some(".usrhash.p7s"),
            Self::HashTree => Some(".verity"),
            Self::RootHashAttribute | Self::UsrHashAttribute => None,
        }
    }

    /// The name of the file that belongs to `image`, a file name; `None` for attributes.
    #[must_use]
    pub fn file_name(self, image: &[u8]) -> Option<Vec<u8>> {
        let stem = image.strip_suffix(b".raw").unwrap_or(image);
        Some([stem, self.suffix()?.as_bytes()].concat())
    }

    /// How many bytes it may have; the hash tree is not read whole.
    #[must_use]
    pub const fn most_bytes(self, limits: &Limits) -> u64 {
        match self {
            Self::RootHashSignature | Self::UsrHashSignature => limits.signature_bytes,
            // The longest there is: 128 digits and a line feed.
            _ => 129,
        }
    }

    const fn is_root_hash(self) -> bool {
        matches!(self, Self::RootHashAttribute | Self::RootHash | Self::UsrHashAttribute | Self::UsrHash)
    }

    const fn protects(self) -> Option<Designator> {
        match self {
            Self::RootHashAttribute | Self::RootHash | Self::RootHashSignature => Some(Designator::Root),
            Self::UsrHashAttribute | Self::UsrHash | Self::UsrHashSignature => Some(Designator::Usr),
            Self::HashTree => None,
        }
    }
}

/// One thing that was looked for.
///
/// ```
/// use confext_ddi::sidecar::{Kind, Sidecars};
///
/// let mut sidecars = Sidecars::<Vec<u8>>::of(b"app.raw");
/// sidecars.add_missing(Kind::RootHash);
/// let look = &sidecars.report().looked_for[0];
/// assert_eq!((look.name.as_str(), look.found), ("app.roothash", false));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Look {
    /// What it is.
    pub kind: Kind,
    /// The file beside the image, or the attribute of the image.
    pub name: String,
    /// Whether it was there.
    pub found: bool,
}

/// A file beside an image whose name is nearly that of a sidecar.
///
/// ```
/// use confext_ddi::sidecar::near_misses;
///
/// // Somebody appended the ending instead of exchanging it.
/// let found = near_misses(b"app.raw", &["app.raw", "app.raw.roothash"]);
/// assert_eq!(found[0].found, "app.raw.roothash");
/// assert_eq!(found[0].expected, "app.roothash");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct NearMiss {
    /// Its name.
    pub found: String,
    /// The name that would count.
    pub expected: String,
}

/// What was looked for, what was found, and what was nearly found.
///
/// ```
/// # let files = {
/// #     use confext_ddi::build::{Meta, Tree, erofs};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let mut image = Vec::new();
/// #     erofs::write(&tree, &erofs::Options::default(), &mut image)?;
/// #     image
/// # };
/// use confext_ddi::image::{Image, Options};
/// use confext_ddi::sidecar::Sidecars;
///
/// // `files` is a bare file system. What its neighbours are called is told, so that a misnamed hash is noticed.
/// let mut image = Image::open_with(files, Sidecars::of(b"app.raw"), &Options::default())?;
/// image.note_neighbours(&["app.raw", "app.raw.roothash"]);
/// let report = image.sidecars();
/// assert!(report.looked_for.is_empty());
/// assert_eq!(report.near_misses[0].expected, "app.roothash");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// In the order of [`Kind::ALL`]; empty when nothing was looked for.
    pub looked_for: Vec<Look>,
    /// By name; empty when nobody said which names there are.
    pub near_misses: Vec<NearMiss>,
}

impl Report {
    /// Whether a root hash was found beside the image or in its attributes.
    pub(crate) fn has_root_hash(&self) -> bool {
        self.looked_for.iter().any(|look| look.found && look.kind.is_root_hash())
    }
}

/// A root hash, and what it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hash {
    pub(crate) designator: Designator,
    pub(crate) root_hash: RootHash,
    name: String,
}

/// What accompanies an image; `R` reads the hash tree. Nothing of it is checked but its form.
///
/// ```
/// # let files = {
/// #     use confext_ddi::build::{Meta, Tree, erofs};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let mut image = Vec::new();
/// #     erofs::write(&tree, &erofs::Options::default(), &mut image)?;
/// #     image
/// # };
/// use confext_ddi::image::{Image, Options};
/// use confext_ddi::sidecar::{Kind, Sidecars};
/// use confext_ddi::{Limits, digest::Salt, id::Uuid, verity};
///
/// // `files` is a bare file system; its hash tree and root hash are in files of their own.
/// let blocks = files.len() as u64 / 4096;
/// let superblock = verity::Superblock::new(Uuid::from_bytes([1; 16]), blocks, Salt::default());
/// let tree = verity::build(&files, &superblock)?;
/// let mut sidecars = Sidecars::of(b"app.raw");
/// sidecars.add_bytes(Kind::RootHash, tree.root_hash.to_hex().as_bytes(), &Limits::default())?;
/// sidecars.add_tree(tree.bytes);
/// let image = Image::open_with(files, sidecars, &Options::default())?;
/// assert_eq!(image.claim().root_hash(), Some(&tree.root_hash));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug)]
pub struct Sidecars<R> {
    image: Vec<u8>,
    report: Report,
    hash: Option<Hash>,
    signature_der: Option<(Designator, Vec<u8>, String)>,
    tree: Option<(R, String)>,
}

impl<R> Sidecars<R> {
    /// Nothing, and nothing looked for.
    #[must_use]
    pub fn none() -> Self {
        Self { image: Vec::new(), report: Report::default(), hash: None, signature_der: None, tree: None }
    }

    /// What goes with the file `image`, a name without directories. What is there is then added.
    #[must_use]
    pub fn of(image: &[u8]) -> Self {
        Self { image: image.to_vec(), ..Self::none() }
    }

    fn note(&mut self, kind: Kind, found: bool) -> String {
        let name = match (kind.attribute(), kind.file_name(&self.image)) {
            (Some(attribute), _) => attribute.to_owned(),
            (None, name) => String::from_utf8_lossy(&name.unwrap_or_default()).into_owned(),
        };
        self.report.looked_for.push(Look { kind, name: name.clone(), found });
        name
    }

    /// Notes that this was looked for and is not there.
    pub fn add_missing(&mut self, kind: Kind) {
        self.note(kind, false);
    }

    /// Takes the bytes of a root hash or signature. A hash is hex digits and at most one line feed; that of the
    /// attribute and that of the file must be the same.
    ///
    /// # Errors
    ///
    /// `root-hash-syntax`, `sidecar-empty`, `sidecar-ambiguous`, `limit-bytes`.
    pub fn add_bytes(&mut self, kind: Kind, bytes: &[u8], limits: &Limits) -> Result<()> {
        let name = self.note(kind, true);
        self.take_bytes(kind, bytes, &name, limits).within(name)
    }

    fn take_bytes(&mut self, kind: Kind, bytes: &[u8], name: &str, limits: &Limits) -> Result<()> {
        let (found, most) = (u64::try_from(bytes.len()).unwrap_or(u64::MAX), kind.most_bytes(limits));
        if found > most {
            return Err(LimitExceeded::Bytes { what: "sidecar file", found, most }.into());
        }
        if bytes.is_empty() {
            return Err(Corrupt::SidecarEmpty.into());
        }
        let Some(designator) = kind.protects() else { return Ok(()) };
        if matches!(kind, Kind::RootHashSignature | Kind::UsrHashSignature) {
            if let Some((_, _, first)) = &self.signature_der {
                return Err(ambiguous(first, name));
            }
            self.signature_der = Some((designator, bytes.to_vec(), name.to_owned()));
            return Ok(());
        }
        let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let root_hash = RootHash::parse(&String::from_utf8_lossy(digits))?;
        match &self.hash {
            Some(first) if (first.designator, first.root_hash) != (designator, root_hash) => {
                Err(ambiguous(&first.name, name))
            }
            Some(_) => Ok(()),
            None => {
                self.hash = Some(Hash { designator, root_hash, name: name.to_owned() });
                Ok(())
            }
        }
    }

    /// Takes the file with the hash tree.
    pub fn add_tree(&mut self, tree: R) {
        let name = self.note(Kind::HashTree, true);
        self.tree = Some((tree, name));
    }

    /// What was looked for and found so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Takes it all apart; a signature or tree without a root hash, or a signature of another one, is an error.
    pub(crate) fn into_parts(self) -> Result<Parts<R>> {
        let named = |suffix: &str| {
            let stem = self.image.strip_suffix(b".raw").unwrap_or(&self.image);
            format!("{}{suffix}", String::from_utf8_lossy(stem))
        };
        let wanted = match &self.signature_der {
            Some((designator, _, name))
                if self.hash.as_ref().is_none_or(|hash| hash.designator != *designator) =>
            {
                let suffix = if *designator == Designator::Usr { ".usrhash" } else { ".roothash" };
                Some((name, named(suffix)))
            }
            _ => None,
        };
        let tree = self.tree.as_ref().map(|(_, name)| name).filter(|_| self.hash.is_none());
        let wanted = wanted.or_else(|| tree.map(|name| (name, named(".roothash"))));
        if let Some((found, expected)) = wanted {
            return Err(Corrupt::SidecarIncomplete { found: found.clone(), expected }.into());
        }
        let tree_name = named(".verity");
        Ok(Parts {
            image: self.image,
            report: self.report,
            hash: self.hash,
            signature_der: self.signature_der.map(|(_, bytes, _)| bytes),
            tree: self.tree.map(|(tree, _)| tree),
            tree_name,
        })
    }
}

/// [`Sidecars`], taken apart.
#[derive(Debug)]
pub(crate) struct Parts<R> {
    pub(crate) image: Vec<u8>,
    pub(crate) report: Report,
    pub(crate) hash: Option<Hash>,
    pub(crate) signature_der: Option<Vec<u8>>,
    pub(crate) tree: Option<R>,
    /// What the file of the tree is called, or would be.
    pub(crate) tree_name: String,
}

impl<R> Parts<R> {
    /// The error for a root hash whose tree is nowhere.
    pub(crate) fn no_tree(&self, hash: &Hash) -> crate::error::Error {
        Corrupt::SidecarIncomplete { found: hash.name.clone(), expected: self.tree_name.clone() }.into()
    }

    /// The error for another root hash than the one that was asked for.
    pub(crate) fn other_hash(hash: &Hash) -> crate::error::Error {
        ambiguous("the root hash that was asked for", &hash.name)
    }
}

fn ambiguous(first: &str, second: &str) -> crate::error::Error {
    Corrupt::SidecarAmbiguous { first: first.to_owned(), second: second.to_owned() }.into()
}

/// What people and programs have called such files, besides the right names.
const NEARLY: [(&str, Kind); 12] = [
    (".roothash", Kind::RootHash),
    (".root-hash", Kind::RootHash),
    (".root_hash", Kind::RootHash),
    (".roothash.p7s", Kind::RootHashSignature),
    (".roothash.p7", Kind::RootHashSignature),
    (".roothash.p7b", Kind::RootHashSignature),
    (".roothash.sig", Kind::RootHashSignature),
    (".usrhash", Kind::UsrHash),
    (".usr-hash", Kind::UsrHash),
    (".usrhash.p7s", Kind::UsrHashSignature),
    (".usrhash.sig", Kind::UsrHashSignature),
    (".verity", Kind::HashTree),
];

/// Finds the names that are nearly those of sidecars of `image`: `.raw` kept, the class left out, other case, another
/// ending. A name that belongs to another image of `names` is none of them.
#[must_use]
pub fn near_misses<N: AsRef<[u8]>>(image: &[u8], names: &[N]) -> Vec<NearMiss> {
    let stem = image.strip_suffix(b".raw").unwrap_or(image);
    let short = [&b".confext"[..], b".sysext"].iter().find_map(|class| stem.strip_suffix(*class));
    let raw = [stem, b".raw"].concat();
    let there = |name: &[u8]| names.iter().any(|other| other.as_ref() == name);
    let is_right = |name: &[u8]| Kind::ALL.iter().any(|kind| kind.file_name(image).as_deref() == Some(name));
    let belongs_elsewhere = |name: &[u8]| {
        let others = NEARLY.iter().filter_map(|(_, kind)| name.strip_suffix(kind.suffix()?.as_bytes()));
        others
            .filter(|other| *other != stem)
            .any(|other| (there(other) && other != image) || there(&[other, b".raw"].concat()))
    };
    let mut found = Vec::new();
    for name in names.iter().map(AsRef::as_ref).filter(|name| *name != image && !is_right(name)) {
        let kind = [Some(&raw[..]), Some(stem), short].into_iter().flatten().find_map(|stem| {
            let (start, ending) = name.split_at_checked(stem.len())?;
            let nearly = |(nearly, _): &&(&str, Kind)| nearly.as_bytes().eq_ignore_ascii_case(ending);
            start.eq_ignore_ascii_case(stem).then_some(())?;
            NEARLY.iter().find(nearly).map(|(_, kind)| *kind)
        });
        // Last, because it goes through all names again.
        let kind = kind.filter(|_| !belongs_elsewhere(name));
        let expected = kind.and_then(|kind| kind.file_name(image));
        found.extend(expected.map(|expected| NearMiss {
            found: String::from_utf8_lossy(name).into_owned(),
            expected: String::from_utf8_lossy(&expected).into_owned(),
        }));
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn add(kind: Kind, bytes: &[u8]) -> Result<Sidecars<()>> {
        let mut sidecars = Sidecars::of(b"app.raw");
        sidecars.add_bytes(kind, bytes, &Limits::default())?;
        Ok(sidecars)
    }

    #[test]
    fn the_names_are_those_of_systemd() {
        let names = |image: &str| -> Vec<String> {
            Kind::ALL
                .iter()
                .filter_map(|kind| kind.file_name(image.as_bytes()))
                .map(|name| String::from_utf8(name).unwrap())
                .collect()
        };
        assert_eq!(
            names("a.b.raw"),
            ["a.b.roothash", "a.b.roothash.p7s", "a.b.usrhash", "a.b.usrhash.p7s", "a.b.verity"]
        );
        assert_eq!(names("a.img")[0], "a.img.roothash");
        assert_eq!(names("a.RAW")[0], "a.RAW.roothash");
    }

    #[test]
    fn a_root_hash_is_hex_and_at_most_one_line_feed() {
        for text in [HEX.to_owned(), format!("{HEX}\n"), HEX.to_uppercase()] {
            let parts = add(Kind::RootHash, text.as_bytes()).unwrap().into_parts().unwrap();
            assert_eq!(parts.hash.unwrap().root_hash.to_hex(), HEX);
        }
        let wrong = [
            format!("{HEX}\n\n"),
            format!("{HEX}\r\n"),
            format!(" {HEX}"),
            format!("{HEX} "),
            format!("0x{HEX}"),
            HEX[1..].to_owned(),
            format!("{HEX}0"),
            format!("{}\n{}", &HEX[..32], &HEX[32..]),
            "\n".into(),
            format!("\u{feff}{HEX}"),
            format!("{HEX}\0"),
            "g".repeat(64),
        ];
        for text in wrong {
            let error = add(Kind::RootHash, text.as_bytes()).unwrap_err();
            assert_eq!(
                (error.code(), error.path().as_str()),
                ("root-hash-syntax", "app.roothash"),
                "{text:?}"
            );
        }
        assert_eq!(add(Kind::RootHash, b"").unwrap_err().code(), "sidecar-empty");
        assert_eq!(add(Kind::RootHash, &[b'0'; 130]).unwrap_err().code(), "limit-bytes");
        assert_eq!(add(Kind::UsrHashSignature, b"").unwrap_err().code(), "sidecar-empty");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let limits = Limits::default();
        let mut other = HEX.to_owned();
        other.replace_range(0..1, "c");
        let both = |first: Kind, second: Kind, text: &str| {
            let mut sidecars = add(first, HEX.as_bytes()).unwrap();
            sidecars.add_bytes(second, text.as_bytes(), &limits).map_err(|error| error.to_string())
        };
        assert_eq!(both(Kind::RootHashAttribute, Kind::RootHash, HEX), Ok(()));
        let error = both(Kind::RootHashAttribute, Kind::RootHash, &other).unwrap_err();
        assert!(error.contains("user.verity.roothash") && error.contains("app.roothash"), "{error}");
        assert!(both(Kind::RootHash, Kind::UsrHash, HEX).is_err(), "of root or of usr, not of both");

        let incomplete = |sidecars: Sidecars<()>| sidecars.into_parts().unwrap_err().to_string();
        let error = incomplete(add(Kind::RootHashSignature, b"x").unwrap());
        assert!(
            error.contains("found app.roothash.p7s") && error.contains("expected app.roothash"),
            "{error}"
        );
        let mut sidecars = add(Kind::UsrHash, HEX.as_bytes()).unwrap();
        sidecars.add_bytes(Kind::RootHashSignature, b"x", &limits).unwrap();
        assert!(incomplete(sidecars).contains("expected app.roothash"));
        let mut sidecars = Sidecars::of(b"app.raw");
        sidecars.add_tree(());
        assert!(incomplete(sidecars).contains("found app.verity"));
    }

    #[test]
    fn what_was_looked_for_is_told() {
        let mut sidecars = add(Kind::RootHash, HEX.as_bytes()).unwrap();
        sidecars.add_missing(Kind::UsrHashAttribute);
        let told: Vec<_> =
            sidecars.report().looked_for.iter().map(|look| (look.name.as_str(), look.found)).collect();
        assert_eq!(told, [("app.roothash", true), ("user.verity.usrhash", false)]);
    }

    #[test]
    fn names_that_are_nearly_right() {
        let near = |image: &str, names: &[&str]| -> Vec<(String, String)> {
            near_misses(image.as_bytes(), names).into_iter().map(|near| (near.found, near.expected)).collect()
        };
        for (image, found, expected) in [
            ("app.raw", "app.raw.roothash", "app.roothash"),
            ("app.raw", "app.raw.verity", "app.verity"),
            ("app.raw", "app.raw.roothash.p7s", "app.roothash.p7s"),
            ("app.raw", "app.RootHash", "app.roothash"),
            ("app.raw", "App.roothash", "app.roothash"),
            ("app.raw", "app.VERITY", "app.verity"),
            ("app.raw", "app.roothash.sig", "app.roothash.p7s"),
            ("app.confext.raw", "app.roothash", "app.confext.roothash"),
            ("app.confext.raw", "app.confext.raw.usrhash", "app.confext.usrhash"),
            ("app.img", "app.img.raw.roothash", "app.img.roothash"),
        ] {
            assert_eq!(near(image, &[image, found]), [(found.to_owned(), expected.to_owned())], "{image}");
        }
        for (image, names) in [
            ("app.raw", &["app.raw", "app.roothash", "app.verity", "app.roothash.p7s"][..]),
            ("app.raw", &["app.raw", "other.roothash", "app2.verity", "app", "app.txt", ".roothash"]),
            // They belong to another image that is there.
            ("app.confext.raw", &["app.confext.raw", "app.raw", "app.roothash"]),
            ("app.raw", &["app.raw", "app.raw.raw", "app.raw.roothash"]),
            ("app.raw", &["app.raw", "App.raw", "App.roothash"]),
        ] {
            assert_eq!(near(image, names), [], "{names:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for kind in Kind::ALL {
                let parts = add(kind, &bytes).and_then(Sidecars::into_parts);
                if let Some(hash) = parts.ok().and_then(|parts| parts.hash) {
                    let text = bytes.to_ascii_lowercase();
                    prop_assert!(text.starts_with(hash.root_hash.to_hex().as_bytes()));
                }
            }
        }

        #[test]
        fn the_right_names_are_never_near_misses(image in "[a-zA-Z.]{1,8}(\\.raw)?", name in "[a-zA-Z.]{0,12}") {
            let right = Kind::ALL.iter().filter_map(|kind| kind.file_name(image.as_bytes()));
            let names: Vec<Vec<u8>> = right.chain([name.clone().into_bytes(), image.clone().into_bytes()]).collect();
            for near in near_misses(image.as_bytes(), &names) {
                prop_assert_eq!(&near.found, &name);
                prop_assert!(names.contains(&near.expected.into_bytes()));
            }
        }
    }
}
