"""Types of the native module; the package `confext` has all of it under its own name."""

import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from io import BufferedReader
from os import PathLike
from types import TracebackType
from typing import BinaryIO, ClassVar, Final, Literal, Protocol, TypeAlias, final
from uuid import UUID

from typing_extensions import disjoint_base

from ._files import Readable
from ._policy import Use

__all__ = [
    "Admitted",
    "AdmittedPartition",
    "Affected",
    "After",
    "Attached",
    "AttributeChange",
    "Attributes",
    "Built",
    "Change",
    "ChangedPath",
    "Claim",
    "CoveredDirectory",
    "Damage",
    "DamagedBlock",
    "DamagedRange",
    "Decision",
    "Device",
    "Difference",
    "Directory",
    "DoctorItem",
    "DoctorReport",
    "Done",
    "Doubt",
    "DropIn",
    "Evidence",
    "Explained",
    "Explanation",
    "Extracted",
    "Fault",
    "Fifo",
    "File",
    "Files",
    "Finding",
    "HardLink",
    "Hierarchy",
    "Host",
    "Image",
    "ImageFilter",
    "InvalidRequest",
    "KernelKey",
    "KernelParameter",
    "KeyPair",
    "KeyRule",
    "KeyRules",
    "Keyring",
    "Layer",
    "LayerChange",
    "LayerPartition",
    "Listed",
    "Listing",
    "Manifest",
    "ManifestEntry",
    "MergedDirectory",
    "Mutable",
    "Near",
    "NearMiss",
    "Origin",
    "Origins",
    "Parity",
    "Partition",
    "PathChange",
    "Picked",
    "Place",
    "Plan",
    "Policy",
    "PolicyFinding",
    "PortableAttachment",
    "PortableFile",
    "PortablePart",
    "PortableService",
    "PortableUnit",
    "Pruned",
    "Published",
    "Refusal",
    "Rejection",
    "Repair",
    "Report",
    "RolloutEvent",
    "RolloutFailure",
    "RolloutOutcome",
    "Rule",
    "Running",
    "Searched",
    "ServiceExplanation",
    "ServiceMount",
    "ServicePlan",
    "ServiceReload",
    "ServiceReport",
    "ServiceUnit",
    "ServiceView",
    "Setting",
    "Settings",
    "Shadow",
    "Shadowed",
    "Sidecar",
    "Sidecars",
    "Signed",
    "Signer",
    "Skipped",
    "Source",
    "Stack",
    "Stat",
    "Status",
    "Store",
    "StoredVersion",
    "Symlink",
    "Table",
    "Told",
    "TrustAnswer",
    "TrustFile",
    "TrustKernel",
    "TrustKeyring",
    "TrustReport",
    "TrustSignature",
    "TrustSource",
    "UnitEntry",
    "UnitProcess",
    "UnitSetting",
    "Unknown",
    "VerityDevice",
    "Veto",
    "Voa",
    "Work",
    "__version__",
    "_log_results",
    "build",
    "doctor",
    "fec",
    "generate_key",
    "lint",
    "main",
    "pick",
    "repair",
    "report",
    "rollout",
    "service_attach",
    "service_attached",
    "service_detach",
    "service_drop_in",
    "service_explain",
    "service_install_generator",
    "service_plan",
    "service_refresh",
    "service_remove_drop_in",
    "service_show",
    "service_status",
    "service_trace",
    "service_uninstall_generator",
    "sign",
    "to_sign",
    "verify",
]

_Path: TypeAlias = str | PathLike[str]
#: A path inside an image, where names are bytes.
_ImagePath: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes]
#: A key or certificate: PEM text as bytes, or the path of its file.
_Pem: TypeAlias = bytes | _Path
#: Certificates: one, or any number of them. A host stands for those in its `verity.d` directories.
_Certificates: TypeAlias = _Pem | Host | Keyring | Voa | Iterable[_Pem | Host | Keyring | Voa]
#: What owners become: numbers, or ranges of them by what the first becomes.
_OwnerMap: TypeAlias = Mapping[int, int] | Mapping[range, int] | Mapping[int | range, int]
#: Called with how many bytes are done and how many there are; what it raises ends the work.
_Progress: TypeAlias = Callable[[int, int], object]
_Digest: TypeAlias = Literal["sha256", "sha384", "sha512"]
_Class: TypeAlias = Literal["confext", "sysext"]
#: A step of a rollout.
_Step: TypeAlias = Literal[
    "lock",
    "look",
    "publish",
    "settle",
    "begin",
    "bad",
    "withdraw",
    "refresh",
    "reload",
    "check",
    "good",
    "prune",
]
_Mode: TypeAlias = Literal["no", "yes", "auto", "import", "ephemeral", "ephemeral-import"]
_ImageKind: TypeAlias = Literal["confext", "sysext", "portable", "root", "usr"]
_Hierarchy: TypeAlias = Literal["usr", "opt", "etc"]
_Protection: TypeAlias = Literal["none", "verity", "signed"]
_Kind: TypeAlias = Literal["regular", "directory", "symlink", "char-device", "block-device", "fifo", "socket"]
_Attribute: TypeAlias = Literal["mode", "owner", "mtime", "content", "xattrs", "hard-links"]
_Body: TypeAlias = Literal["directory", "raw", "block"]
_Test: TypeAlias = Literal["root-hash", "file", "directory", "content"]
_Preset: TypeAlias = Literal[
    "sysext", "sysext-strict", "confext", "confext-strict", "service", "portable", "container", "host"
]
_Designator: TypeAlias = Literal[
    "root",
    "usr",
    "home",
    "srv",
    "esp",
    "xbootldr",
    "swap",
    "root-verity",
    "usr-verity",
    "root-verity-sig",
    "usr-verity-sig",
    "tmp",
    "var",
]
#: A state of a partition, or its word.
_Use: TypeAlias = (
    Use
    | Literal["unprotected", "encrypted", "encryptedwithintegrity", "verity", "signed", "unused", "absent"]
)
_FileSystem: TypeAlias = Literal["btrfs", "erofs", "ext4", "f2fs", "squashfs", "vfat", "xfs"]

__version__: Final[str]

# ---- keys and building

def generate_key(subject: str, *, days: int = 30, not_before: int | datetime | None = None) -> KeyPair:
    """Make a new key (RSA, 2048 bits) and a certificate that it signs itself.

    For tests and first steps: nobody vouches for such a certificate, and nobody can revoke it.
    """

def sign(
    image: _Path,
    *,
    certificate: _Pem,
    key: _Pem | None = None,
    signature: bytes | None = None,
    signer: Callable[[bytes, str], bytes] | None = None,
    output: _Path | None = None,
    add: bool = False,
    digest: _Digest = "sha256",
    select: str | None = None,
    copies: Literal["any", "both"] = "any",
    image_filter: ImageFilter | str = "",
    progress: _Progress | None = None,
) -> Signed:
    """Sign an image that is there.

    Exactly one of these says where the signature comes from: `key`, a private key (PEM); `signature`, one that was made
    elsewhere, as PKCS#7 or raw (RSA PKCS#1 1.5, ECDSA); `signer`, called with the content to sign and the name of the
    digest, which returns such a signature, and whose exceptions come through. `certificate` is the one that goes with the
    key; a signature that does not check with it is refused.

    All of the image's data is checked against its hash tree first. The image is replaced by the signed copy when that is on
    disk; `output`, if it is another path, is a new file (`output-exists`). Signatures that are there go; `add=True` keeps them, and the new one comes last. The other arguments
    are those of `Image.open`. `progress` is called as by `Admitted.check`; how many bytes there are is about right.
    """

def to_sign(
    image: _Path,
    *,
    digest: _Digest | None = None,
    select: str | None = None,
    copies: Literal["any", "both"] = "any",
    image_filter: ImageFilter | str = "",
) -> bytes:
    """The exact bytes that a signature of an image is made over; with `digest`, their digest.

    All of the image's data is checked against its hash tree first.
    """

def build(
    name: str,
    *,
    class_: _ImageKind = "confext",
    source: _Path | Readable | Mapping[_ImagePath, _Entry] | Mapping[str, _Entry] | Mapping[bytes, _Entry],
    output: _Path,
    release: Mapping[str, str] | None = None,
    key: _Pem | None = None,
    certificate: _Pem | None = None,
    unsigned: bool = False,
    sign_later: bool = False,
    architecture: str | None = None,
    seed: UUID | str | None = None,
    source_date_epoch: int | None = None,
    file_system: Literal["erofs", "squashfs", "mkfs.erofs"] = "erofs",
    compression: str | None = None,
    allow: Sequence[str] | None = None,
    owner: tuple[int, int] | None = None,
    exclude: Sequence[str] | None = None,
    drop_xattrs: Sequence[str] | None = None,
    file_contexts: _Path | None = None,
    whiteouts: Literal["refuse", "overlay"] | None = None,
    map_uid: _OwnerMap | None = None,
    map_gid: _OwnerMap | None = None,
    mapped_only: bool = False,
    xattrs: bool = True,
    strict: bool = False,
    base: _Path | None = None,
    esp: _Path | Readable | Mapping[_ImagePath, _Entry] | Mapping[str, _Entry] | Mapping[bytes, _Entry] | None = None,
    xbootldr: _Path | Readable | Mapping[_ImagePath, _Entry] | Mapping[str, _Entry] | Mapping[bytes, _Entry] | None = None,
    replace: bool = False,
    progress: _Progress | None = None,
) -> Built:
    """Build an image from a directory, a tar archive (not compressed), or a mapping of path to entry.

    An archive is a path, or anything with `read`, like `gzip.open("layer.tar.gz")`.

    `class_` says what it is: an extension (`confext`, `sysext`), a `portable` service, or the `root` or `usr` of an
    operating system. `name` is the image's file name without version and ending: a host looks for the release file of an
    extension by this name. Without `release` the entries must have that file; `{"ID": "_any"}` fits every host.
    Signing needs `key` and `certificate`; without them, `unsigned=True` says that this is meant, and `sign_later=True` leaves
    room for a signature that `sign` puts in: until then nobody uses the image.

    The same input, seed and time give the same bytes. The file appears at once when it is complete; one that is there
    is refused (`output-exists`), or replaced with `replace=True`.

    `esp` and `xbootldr`, given as `source` is, become boot partitions of an operating system: vfat that nothing protects.

    What `lint` finds to be an error is refused unless `allow` names its code, with `strict=True` a warning, too; `base` is
    that of `lint`. `file_system` is `erofs`, `squashfs` or `mkfs.erofs`; the latter two are compressed by `compression`.

    `owner`, `exclude` (patterns as in `.gitignore`), `xattrs=False`, `drop_xattrs` (names, or beginnings of names and `*`) and
    `file_contexts` (a list of SELinux labels) change the entries. `map_uid` and `map_gid` say what owners become:
    `{range(1000, 2000): 100000, 5: 0}`; the first that fits counts, others stay, unless they are refused by
    `mapped_only=True`. `whiteouts` says what the marks of an OCI layer for deleted files become, `overlay` or an error.

    `progress` is called as by `Admitted.check`; how many bytes there are is about right. What it raises, and an interrupt,
    ends the build, and nothing is left.
    """

def lint(
    name: str,
    *,
    class_: _ImageKind = "confext",
    source: Admitted | _Path | Readable | Mapping[_ImagePath, _Entry] | Mapping[str, _Entry] | Mapping[bytes, _Entry],
    base: _Path | None = None,
) -> tuple[Finding, ...]:
    """What speaks against an image, or against what is to become one.

    `source` is what `build` takes, or an `Admitted`. `base` is the root directory of a host: what would become another
    type there is found, too.
    """

@final
class KeyPair:
    """A private key and its certificate, both in PEM form."""

    @property
    def key(self) -> bytes:
        """The private key, not encrypted. Whoever has it signs as you."""

    @property
    def certificate(self) -> bytes:
        """The certificate: what machines trust."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in hex."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class File:
    """A regular file."""

    __match_args__ = ("content", "mode", "uid", "gid", "mtime", "xattrs")
    #: Its bytes.
    content: Final[bytes]
    #: Permission, set-id and sticky bits.
    mode: Final[int]
    #: Owner.
    uid: Final[int]
    #: Group.
    gid: Final[int]
    #: Modification time, seconds since 1970; `None`: the time of the build.
    mtime: Final[int | None]
    #: Extended attributes by full name, like `user.comment`.
    xattrs: Final[dict[str, bytes]]
    def __new__(
        cls,
        content: bytes,
        *,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        mtime: int | None = None,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> File: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Directory:
    """A directory. One that is only needed as a parent need not be named."""

    __match_args__ = ("mode", "uid", "gid", "mtime", "xattrs")
    #: Permission, set-id and sticky bits.
    mode: Final[int]
    #: Owner.
    uid: Final[int]
    #: Group.
    gid: Final[int]
    #: Modification time, seconds since 1970; `None`: the time of the build.
    mtime: Final[int | None]
    #: Extended attributes by full name, like `user.comment`.
    xattrs: Final[dict[str, bytes]]
    def __new__(
        cls,
        *,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        mtime: int | None = None,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> Directory: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Symlink:
    """A symbolic link; its mode is always 0o777."""

    __match_args__ = ("target", "mode", "uid", "gid", "mtime", "xattrs")
    #: Where it leads.
    target: Final[str]
    #: Permission, set-id and sticky bits.
    mode: Final[int]
    #: Owner.
    uid: Final[int]
    #: Group.
    gid: Final[int]
    #: Modification time, seconds since 1970; `None`: the time of the build.
    mtime: Final[int | None]
    #: Extended attributes by full name, like `user.comment`.
    xattrs: Final[dict[str, bytes]]
    def __new__(
        cls,
        target: str,
        *,
        mode: int = 0o777,
        uid: int = 0,
        gid: int = 0,
        mtime: int | None = None,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> Symlink: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Device:
    """A device node."""

    __match_args__ = ("kind", "major", "minor", "mode", "uid", "gid", "mtime", "xattrs")
    #: Which of the two kinds.
    kind: Final[Literal["char", "block"]]
    #: Which driver.
    major: Final[int]
    #: Which device of the driver.
    minor: Final[int]
    #: Permission, set-id and sticky bits.
    mode: Final[int]
    #: Owner.
    uid: Final[int]
    #: Group.
    gid: Final[int]
    #: Modification time, seconds since 1970; `None`: the time of the build.
    mtime: Final[int | None]
    #: Extended attributes by full name, like `user.comment`.
    xattrs: Final[dict[str, bytes]]
    def __new__(
        cls,
        kind: Literal["char", "block"],
        major: int,
        minor: int,
        *,
        mode: int = 0o600,
        uid: int = 0,
        gid: int = 0,
        mtime: int | None = None,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> Device: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Fifo:
    """A named pipe."""

    __match_args__ = ("mode", "uid", "gid", "mtime", "xattrs")
    #: Permission, set-id and sticky bits.
    mode: Final[int]
    #: Owner.
    uid: Final[int]
    #: Group.
    gid: Final[int]
    #: Modification time, seconds since 1970; `None`: the time of the build.
    mtime: Final[int | None]
    #: Extended attributes by full name, like `user.comment`.
    xattrs: Final[dict[str, bytes]]
    def __new__(
        cls,
        *,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        mtime: int | None = None,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> Fifo: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class HardLink:
    """Another name for an entry that is not a directory."""

    __match_args__ = ("existing",)
    #: The path of the entry.
    existing: Final[str]
    def __new__(cls, existing: str) -> HardLink: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

#: An entry of an image that is built from memory; bytes are a file with mode 0o644.
_Entry: TypeAlias = bytes | File | Directory | Symlink | HardLink | Device | Fifo

@final
class Built:
    """What was built."""

    __match_args__ = ("root_hash", "size", "fingerprint", "findings")
    #: What a signature of the image vouches for, in hex.
    root_hash: Final[str]
    #: The size of the image in bytes.
    size: Final[int]
    #: SHA-256 of the certificate whose key signed it, in hex; `None` for an image with a hash tree only.
    fingerprint: Final[str | None]
    #: What speaks against it and did not stop the build.
    findings: Final[tuple[Finding, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Signed:
    """An image that was signed."""

    __match_args__ = ("root_hash", "size", "fingerprints")
    #: What the signatures vouch for, in hex.
    root_hash: Final[str]
    #: The size of the image in bytes.
    size: Final[int]
    #: SHA-256 of the certificates of its signatures, in their order, in hex; `None` where one does not say.
    fingerprints: Final[tuple[str | None, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

# ---- policies and filters

@final
class Policy:
    """Which protection each partition of an image must have.

    `Policy` takes `signed`, `verity`, `unprotected`, `@` and the name of a preset of systemd, or the words of
    systemd.image-policy(7): `root=signed+absent:=ignore`. Every function with an argument `policy` takes these, too.

    - `policy[designator]` is the rule that holds for a partition, its own or the default; `None` where nothing satisfies
      it. Keys are the designators that policies can name, whether there is a rule or not.
    - `first & second` admits what both admit (`RefusedError` where they have nothing in common), `first | second` is the
      strictest that admits what either admits.
    - `first <= second`: everything that `first` admits is admitted by `second`, too. Of two policies it can be that
      neither is as strict as the other, and that each is. Equal are those with the same rules.
    """

    #: The partitions that a rule can be about.
    DESIGNATORS: ClassVar[tuple[_Designator, ...]]
    #: The names that `preset` takes.
    PRESETS: ClassVar[tuple[_Preset, ...]]

    def __new__(cls, policy: Policy | str, /) -> Policy:
        """Parse a policy, or look one up by its name."""

    @staticmethod
    def preset(name: str) -> Policy:
        """A policy that systemd uses where it is told none, like `sysext` or `confext-strict`."""

    @staticmethod
    def of(
        rules: Mapping[_Designator, Rule] | Mapping[_Designator, str] | Mapping[_Designator, Rule | str],
        *,
        otherwise: Rule | str = "ignore",
    ) -> Policy:
        """A policy of these rules by designator, and of one that holds for all other partitions."""

    def with_rule(self, designator: _Designator, rule: Rule | str) -> Policy:
        """The same with a rule for this partition, in the place of the one that there was."""

    @property
    def rules(self) -> dict[_Designator, Rule]:
        """The rules as they were written, by designator."""

    @property
    def default(self) -> Rule:
        """What holds for partitions without a rule."""

    def admits(self, designator: _Designator, protection: _Protection) -> bool:
        """Whether a partition with this much protection may be used."""

    def is_equivalent(self, other: Policy | str) -> bool:
        """Whether nothing tells the two apart, here or in systemd."""

    def simplified(self) -> Policy:
        """The shortest policy that is equivalent: all equivalent ones have the same."""

    def lint(self) -> tuple[PolicyFinding, ...]:
        """What the policy says and its author may not have meant: warnings first."""

    def keys(self) -> list[_Designator]:
        """The designators that policies can name."""

    def values(self) -> list[Rule | None]:
        """The rules that hold for them."""

    def items(self) -> list[tuple[_Designator, Rule | None]]:
        """Both of them."""

    def __getitem__(self, designator: _Designator, /) -> Rule | None: ...
    def __contains__(self, designator: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_Designator]: ...
    def __and__(self, other: Policy, /) -> Policy: ...
    def __rand__(self, other: Policy, /) -> Policy: ...
    def __or__(self, other: Policy, /) -> Policy: ...
    def __ror__(self, other: Policy, /) -> Policy: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __lt__(self, other: Policy, /) -> bool: ...
    def __le__(self, other: Policy, /) -> bool: ...
    def __gt__(self, other: Policy, /) -> bool: ...
    def __ge__(self, other: Policy, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs__(self) -> tuple[str]:
        """For `pickle` and `copy`."""

@final
class Rule:
    """What a policy allows of one partition: some uses, attributes and file systems. Of each one must fit.

    `Rule` takes the words that a policy has behind the equals sign, joined with `+`: `signed+absent`. `first <= second`
    says that everything `first` lets in is let in by `second`, too: the first one is as strict.
    """

    def __new__(cls, rule: Rule | str, /) -> Rule:
        """Parse a rule."""

    @staticmethod
    def of(
        *uses: _Use,
        read_only: bool | None = None,
        growfs: bool | None = None,
        file_systems: Sequence[_FileSystem] | None = None,
    ) -> Rule:
        """A rule that allows these uses and no others.

        `read_only` and `growfs` say whether the partition has to have the attribute (`True`), must not have it (`False`),
        or may (`None`); `file_systems` are those that are allowed, `None` for all.
        """

    @staticmethod
    def least(
        protection: _Protection,
        /,
        *also: _Use,
        read_only: bool | None = None,
        growfs: bool | None = None,
        file_systems: Sequence[_FileSystem] | None = None,
    ) -> Rule:
        """A rule that allows this much protection or more, `none`, `verity` or `signed`, and the uses in `also`.

        A signature that is there must check. The other arguments are those of `of`.
        """

    @property
    def uses(self) -> tuple[Use, ...]:
        """The uses it allows, weakest first: at least one."""

    @property
    def read_only(self) -> bool | None:
        """Whether the attribute `read-only` must be set (`True`), must not be (`False`), or may be (`None`)."""

    @property
    def growfs(self) -> bool | None:
        """Whether the attribute `growfs` must be set (`True`), must not be (`False`), or may be (`None`)."""

    @property
    def file_systems(self) -> tuple[_FileSystem, ...] | None:
        """The file systems it allows; `None` when it allows every one."""

    def __contains__(self, word: _Use, /) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __lt__(self, other: Rule, /) -> bool: ...
    def __le__(self, other: Rule, /) -> bool: ...
    def __gt__(self, other: Rule, /) -> bool: ...
    def __ge__(self, other: Rule, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs__(self) -> tuple[str]:
        """For `pickle` and `copy`."""

@final
class PolicyFinding:
    """Something about a policy that its author may not have meant."""

    __match_args__ = ("code", "level", "designator", "found", "message", "hint")
    #: The stable code.
    code: Final[str]
    #: A `warning`: the policy lets in what it seems to keep out, or keeps everything out. A `note`: a word has no effect,
    #: or systemd reads the text differently.
    level: Final[Literal["note", "warning"]]
    #: The partition it is about; `None` for the default or the whole policy.
    designator: Final[_Designator | None]
    #: The rule or words it is about.
    found: Final[str]
    #: What is the matter.
    message: Final[str]
    #: The way out.
    hint: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ImageFilter:
    """Which partitions of an image are considered, by their labels.

    `ImageFilter` takes the words of systemd.image-filter(7): `root=app_*:usr=app_[0-9]`; the empty text leaves out nothing.
    Every function with an argument `image_filter` takes these, too.
    """

    def __new__(cls, image_filter: ImageFilter | str, /) -> ImageFilter:
        """Parse a filter."""

    @property
    def patterns(self) -> dict[_Designator, str]:
        """The patterns by designator. Partitions without one all count."""

    def admits(self, designator: _Designator, label: str) -> bool:
        """Whether a partition with this label counts."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs__(self) -> tuple[str]:
        """For `pickle` and `copy`."""

@final
class KeyRule:
    """What one signer may sign: images of these names, classes and versions.

    `signer` is the SHA-256 of the signer's certificate, in hex. In `names`, `*` stands for any characters and `?` for one;
    one of them must match. `class_` is the only class that is allowed. `versions` are demands on the version that the image
    says of itself, like `>=1.2`: all must hold.
    """

    __match_args__ = ("signer", "names", "class_", "versions")

    def __new__(
        cls, signer: str, /, *names: str, class_: _Class | None = None, versions: Sequence[str] = ()
    ) -> KeyRule:
        """Put a rule together."""

    @property
    def signer(self) -> str:
        """SHA-256 of the signer's certificate, in hex."""

    @property
    def names(self) -> tuple[str, ...]:
        """The patterns of names."""

    @property
    def class_(self) -> _Class | None:
        """The only class that is allowed; `None`: both."""

    @property
    def versions(self) -> tuple[str, ...]:
        """What is demanded of the version."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs_ex__(self) -> tuple[tuple[str, ...], dict[str, object]]:
        """For `pickle` and `copy`."""

@final
class KeyRules:
    """Which signer may sign which images: what no rule allows is refused.

    Every function with an argument `key_rules` takes these, the path of a file with rules, or its text as `bytes`.
    """

    def __new__(cls, *rules: KeyRule) -> KeyRules:
        """Put rules together. Without any, nobody may sign anything."""

    @staticmethod
    def parse(text: bytes) -> KeyRules:
        """Parse the text of a file with rules."""

    @property
    def rules(self) -> tuple[KeyRule, ...]:
        """The rules: an image is allowed when one of them allows it."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs__(self) -> tuple[KeyRule, ...]:
        """For `pickle` and `copy`."""

# ---- images

@final
class Finding:
    """Something that speaks against an image; an error stops a build unless `allow` names its code."""

    __match_args__ = ("code", "severity", "path", "found", "expected", "hint")
    #: The stable code.
    code: Final[str]
    #: `error` or `warning`.
    severity: Final[Literal["error", "warning"]]
    #: From the root of the image.
    path: Final[str]
    #: What is there.
    found: Final[str]
    #: What would be no objection.
    expected: Final[str]
    #: What to do about it.
    hint: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Image:
    """An opened image. Nothing of it is checked: `verify` does that."""

    @staticmethod
    def open(
        path: _Path,
        *,
        architecture: str | None = None,
        foreign: bool = False,
        select: str | None = None,
        copies: Literal["any", "both"] = "any",
        image_filter: ImageFilter | str = "",
    ) -> Image:
        """Open an image: a file or a block device, with root hash, signature and hash tree that lie beside it.

        An image for another architecture than `architecture` (that of this machine) is refused, unless `foreign` says
        that it may be looked at. Of several root or usr partitions, `select` takes the highest version by label
        (`newest`) or those that a root hash names; without it such an image is refused. `copies="both"` asks for both
        copies of the partition table. `image_filter` says which partitions are considered, by their labels.
        """

    @property
    def path(self) -> str:
        """The path it was opened by."""

    @property
    def size(self) -> int:
        """The size of the file or device, in bytes."""

    @property
    def table(self) -> Table | None:
        """The partition table; `None` for a bare file system."""

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """The partitions that mean something, in the order of their numbers."""

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The partitions that do not count, and why."""

    @property
    def claim(self) -> Claim:
        """What the image says of its own protection. Nobody checked it."""

    @property
    def data(self) -> Partition:
        """The root or usr partition: what the image is for."""

    @property
    def hash(self) -> Partition | None:
        """The partition with the hash tree over `data`; for a bare file system, all of the file that holds it."""

    @property
    def sidecars(self) -> Sidecars:
        """What was looked for beside the image, what was found, and what was nearly found."""

    @property
    def closed(self) -> bool:
        """Whether the image was closed."""

    def verify(
        self,
        *,
        certificates: _Certificates,
        policy: Policy | str = "signed",
        now: int | datetime | None = None,
        certificate_rules: str = "",
        key_rules: KeyRules | _Pem | None = None,
        class_: _Class = "confext",
        name: str | None = None,
    ) -> Admitted:
        """Check signature and hash tree as the policy asks for, and admit the image.

        Only signatures of `certificates` count, a `Host` standing for those it trusts, which have to be valid `now`, and
        like `certificate_rules` say. With none, `()`, no signature is checked, and the policy has to do with less. Blocks
        are checked as they are read: what the result returns is what was signed.

        With `key_rules` the signer must be allowed to sign what the image is to be used as: the extension `name` of the
        class `class_`. Without `name` that is the name of the file without version and ending.
        """

    def verify_partition(
        self,
        designator: Literal["home", "srv", "esp", "xbootldr", "swap", "tmp", "var", "user-home", "linux-generic"],
        /,
        *,
        certificates: _Certificates,
        policy: Policy | str = "signed",
        now: int | datetime | None = None,
        certificate_rules: str = "",
        key_rules: KeyRules | _Pem | None = None,
        class_: _Class = "confext",
        name: str | None = None,
    ) -> AdmittedPartition:
        """Check the image as `verify` does, and let one more of its partitions be used, like `esp`.

        Nothing protects such a partition, so that the policy has to let it be used: `root=signed:esp=unprotected`.
        """

    def close(self) -> None:
        """Close the file. What was admitted keeps it open for itself."""

    def __enter__(self) -> Image: ...
    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@disjoint_base
class Files:
    """The files of what a policy admitted: of an image (`Admitted`) or of one more of its partitions (`AdmittedPartition`).

    Paths are `str`, `bytes` or path-like, from the root of the file system; symbolic links are followed inside it.
    """

    @property
    def path(self) -> str:
        """The path of the image."""

    def listdir(self, path: _ImagePath = "/") -> list[str]:
        """The names in a directory, sorted by their bytes."""

    def walk(self, path: _ImagePath = "/") -> list[tuple[str, Stat]]:
        """Everything below a directory with its `Stat`: a directory before what is in it, names sorted by their bytes."""

    def stat(self, path: _ImagePath, *, follow_symlinks: bool = True) -> Stat:
        """What a file is."""

    def read(self, path: _ImagePath, *, offset: int = 0, size: int | None = None) -> bytes:
        """The bytes of a file, or `size` of them from `offset`: fewer only at its end."""

    def open(self, path: _ImagePath) -> BufferedReader:
        """Open a file for reading, as `open(path, "rb")` does with files that are not in an image."""

    def readlink(self, path: _ImagePath) -> str:
        """Where a symbolic link leads."""

    def xattrs(self, path: _ImagePath, *, follow_symlinks: bool = True) -> dict[str, bytes]:
        """The extended attributes of a file, by full name."""

    def manifest(self, *, digests: bool = True, progress: _Progress | None = None) -> Manifest:
        """Every file with its attributes and, unless `digests` is false, the SHA-256 of its content.

        `progress` is called as by `Admitted.check`; how many bytes there are is about right.
        """

    def diff(
        self, other: Files | Manifest, *, ignore: Sequence[_Attribute] = (), progress: _Progress | None = None
    ) -> list[Difference]:
        """What `other` has different: another image, or a manifest, which then counts as what was before.

        `ignore` names attributes that may differ: `mode`, `owner`, `mtime`, `content`, `xattrs`, `hard-links`. `progress` is
        called as by `Admitted.check`, with the bytes of this image; how many there are is about right.
        """

    def extract(
        self,
        destination: _Path,
        *,
        existing: Literal["refuse", "replace"] = "refuse",
        owner: Literal["caller", "image"] | tuple[int, int] | range = "caller",
        devices: Literal["refuse", "leave-out", "make"] = "refuse",
        set_id: Literal["clear", "keep"] = "clear",
        xattrs: Sequence[str] = ["user."],
        sync: Literal["later", "now"] = "later",
        progress: _Progress | None = None,
    ) -> Extracted:
        """Extract all files to a directory. One that is not there appears when it is complete; on failure nothing stays.

        Neither names nor links lead out of it, whether they are in the image or in the directory. What is in the way is
        refused, unless `existing` is `replace`; device nodes are refused, unless `devices` is `leave-out` or `make`.
        Files belong to who extracts, unless `owner` is `image`, a user and a group, or a `range` of what the owners 0, 1, …
        of the image become. Set-id bits are cleared, unless
        `set_id` is `keep`. Of extended attributes those are set whose names begin as one of `xattrs`. With `sync="now"`
        all is on disk afterwards. `progress` is called as by `Admitted.check`; how many bytes there are is about right.
        """

@final
class Admitted(Files):
    """An image that a policy admitted. Only `Image.verify` and `confext.verify` make one.

    Every method that reads does so through the hash tree, when the evidence says that there is one: it returns what
    the root hash promises, or raises `UnverifiedError`.
    """

    @property
    def evidence(self) -> Evidence:
        """What was checked."""

    @property
    def root_hash(self) -> str | None:
        """The root hash that was checked, in hex; `None` when nothing was checked."""

    @property
    def signer(self) -> Signer | None:
        """Whose signature was checked; `None` when none was."""

    @property
    def signers(self) -> tuple[Signer, ...]:
        """Everyone whose signature was checked and counts, in the order of the image."""

    def check(self, *, progress: _Progress | None = None) -> None:
        """Read and check every block once. What is damaged is the attribute `damage` of the exception.

        `progress` is called with how many bytes are done and how many there are; what it raises ends the check.
        """

    def damage(self, *, most: int = 1000, progress: _Progress | None = None) -> Damage | None:
        """Read and check every block once, and return what is damaged; `None` when there is no hash tree to check by.

        Of the ranges of blocks that are wrong, `most` are listed. `progress` is as for `check`.
        """

@final
class AdmittedPartition(Files):
    """A partition besides root and usr that a policy lets be used. Only `Image.verify_partition` makes one.

    Nothing protects it: its files are as they are.
    """

    @property
    def partition(self) -> Partition:
        """Which one it is."""

@final
class Manifest:
    """Every file of an image with its attributes and the SHA-256 of its content, in a fixed order.

    `Admitted.manifest` and `Manifest.parse` make one.
    """

    @staticmethod
    def parse(json: bytes) -> Manifest:
        """Read what `to_json` wrote."""

    @property
    def entries(self) -> tuple[ManifestEntry, ...]:
        """The files, the root first, a directory before what is in it, names sorted by their bytes."""

    def to_json(self) -> bytes:
        """The manifest as JSON, which `parse` reads."""

    def to_mtree(self, dialect: Literal["bsd", "systemd"] = "bsd") -> bytes:
        """The manifest as mtree: `bsd` as NetBSD and libarchive read it, `systemd` as `systemd-dissect` prints it."""

    def __len__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ManifestEntry:
    """A file of a manifest."""

    __match_args__ = (
        "path",
        "kind",
        "mode",
        "uid",
        "gid",
        "mtime",
        "mtime_nsec",
        "size",
        "sha256",
        "target",
        "rdev",
        "xattrs",
        "hard_link_to",
    )
    #: The path from the image's root, with a slash in front.
    path: Final[str]
    #: `regular`, `directory`, `symlink`, `char-device`, `block-device`, `fifo` or `socket`.
    kind: Final[_Kind]
    #: Permission, set-id and sticky bits.
    mode: Final[int]
    #: Owner.
    uid: Final[int]
    #: Group.
    gid: Final[int]
    #: Modification time, seconds since 1970.
    mtime: Final[int]
    #: Nanoseconds of the modification time.
    mtime_nsec: Final[int]
    #: Size in bytes; only of a regular file.
    size: Final[int | None]
    #: SHA-256 of the content, in hex; only of a regular file that was read.
    sha256: Final[str | None]
    #: Where it leads; only of a symbolic link.
    target: Final[str | None]
    #: Major and minor number; only of a device node.
    rdev: Final[tuple[int, int] | None]
    #: Extended attributes by full name.
    xattrs: Final[dict[str, bytes]]
    #: The first path of the same file, where there is one before this.
    hard_link_to: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class AttributeChange:
    """An attribute that is not the same on both sides."""

    __match_args__ = ("attribute", "name", "before", "after")
    #: `kind`, `mode`, `uid`, `gid`, `mtime`, `size`, `sha256`, `target`, `rdev`, `xattr` or `hard_link_to`.
    attribute: Final[str]
    #: The name of an extended attribute.
    name: Final[str | None]
    #: The value on the first side: as in `ManifestEntry`, `mtime` with nanoseconds; `None` where there is none.
    before: Final[int | tuple[int, int] | str | bytes | None]
    #: The value on the second side.
    after: Final[int | tuple[int, int] | str | bytes | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Difference:
    """A path where two trees differ."""

    __match_args__ = ("path", "kind", "entry", "changes")
    #: The path from the image's root, with a slash in front.
    path: Final[str]
    #: `added`, `removed` or `changed`.
    kind: Final[Literal["added", "removed", "changed"]]
    #: The file that only one side has. Its content was not read: of an image it has no digest.
    entry: Final[ManifestEntry | None]
    #: What changed.
    changes: Final[tuple[AttributeChange, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Extracted:
    """What was extracted, and what of it was not as in the image."""

    __match_args__ = (
        "directories",
        "files",
        "symlinks",
        "hard_links",
        "special_files",
        "bytes",
        "replaced",
        "set_id_cleared",
        "xattrs_left_out",
        "devices_left_out",
    )
    #: Directories that were made, the destination included.
    directories: Final[int]
    #: Regular files, each once.
    files: Final[int]
    #: Symbolic links.
    symlinks: Final[int]
    #: Further names of files.
    hard_links: Final[int]
    #: Device nodes, named pipes and sockets.
    special_files: Final[int]
    #: Bytes of the contents of files, holes included.
    bytes: Final[int]
    #: Files and links that were there and are replaced.
    replaced: Final[int]
    #: Files whose set-id bits were cleared.
    set_id_cleared: Final[int]
    #: Extended attributes that were left out.
    xattrs_left_out: Final[int]
    #: Device nodes that were left out.
    devices_left_out: Final[int]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def verify(
    path: _Path,
    *,
    certificates: _Certificates,
    policy: Policy | str = "signed",
    now: int | datetime | None = None,
    architecture: str | None = None,
    select: str | None = None,
    copies: Literal["any", "both"] = "any",
    image_filter: ImageFilter | str = "",
    certificate_rules: str = "",
    key_rules: KeyRules | _Pem | None = None,
    class_: _Class = "confext",
    name: str | None = None,
    progress: _Progress | None = None,
) -> Admitted:
    """Verify an image: open it, check signature and hash tree, and read every block once.

    What `Image.verify` returns is checked block by block as it is read; here all of it has been read already. The arguments
    are those of `Image.open`, `Image.verify` and `Admitted.check`.
    """

def report(
    host: Host,
    classes: Sequence[Literal["confext", "sysext"]] = ("sysext", "confext"),
    *,
    planned: bool = False,
    time: int | datetime | None = None,
    files: int = 200000,
    host_files: int = 20000,
    progress: _Progress | None = None,
) -> str:
    """One HTML page about a host that loads nothing: layers and who signed them, where each file is from, what shadows what,
    what is not used and why.

    It is about what is merged; where nothing is, or with `planned`, about what a merge would give. `time` is when it says that
    it was made, else now: the same host and time give the same page. `files` and `host_files` are how many paths are listed at
    most, the latter of those that only the host has; the others are counted. `progress` is called with how much of all is done;
    what it raises ends the work.
    """

def pick(
    path: _Path,
    *,
    suffix: str = "",
    accept: Literal["any", "raw", "directory"] = "any",
    version: str | None = None,
    architecture: str | None = None,
) -> Picked:
    """Pick the best version out of a `.v` directory: of `DIR/NAME.v` or `DIR.v/NAME___SUFFIX`. Other paths stay.

    `suffix` is what names end in, for a path that ends in `.v`. `accept` says which kinds of entry count: `any`, `raw`
    (regular files and block devices) or `directory`. `version` and `architecture` let only that one count, else any version
    for this machine.
    """

@final
class Picked:
    """What a path stands for. It is path-like: it can be passed where a path can."""

    __match_args__ = ("path", "kind", "version", "architecture", "tries")
    #: The path; links are not resolved.
    path: Final[str]
    #: What it is, after links.
    kind: Final[Literal["regular", "directory", "block-device", "other"]]
    #: The version in its name; `None` when there was nothing to pick from.
    version: Final[str | None]
    #: The architecture in its name.
    architecture: Final[str | None]
    #: The counters in its name: attempts left, and made.
    tries: Final[tuple[int, int] | None]
    def __fspath__(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class StoredVersion:
    """A version in a `.v` directory. It is path-like: it can be passed where a path can."""

    __match_args__ = ("path", "version", "architecture", "tries")
    #: Its file.
    path: Final[str]
    #: The version in its name.
    version: Final[str]
    #: The architecture in its name.
    architecture: Final[str | None]
    #: The counters in its name: attempts left, and made.
    tries: Final[tuple[int, int] | None]
    def __fspath__(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Published:
    """A version that was published."""

    __match_args__ = ("version", "evidence", "was_there")
    #: The version.
    version: Final[StoredVersion]
    #: What was checked of the file that is there now.
    evidence: Final[Evidence]
    #: Whether it was there before, byte for byte.
    was_there: Final[bool]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Pruned:
    """What pruning did."""

    __match_args__ = ("removed", "in_use")
    #: The versions that are gone.
    removed: Final[tuple[StoredVersion, ...]]
    #: Those that would be, were they not in use.
    in_use: Final[tuple[StoredVersion, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Store:
    """The versions of one image in its directory, `NAME.raw.v` or `NAME.CLASS.raw.v`.

    One writer at a time: the directory is locked. Readers see the old set or the new one, never half of a file.
    """

    def __new__(cls, path: _Path, *, class_: _Class = "confext", wait: float = 30.0) -> Store:
        """Open the directory. `wait` is how many seconds to wait for another writer.

        Raises `OSError` when it is not there, and `ConflictError` with the code `store-name` when it is called otherwise.
        """

    @property
    def path(self) -> str:
        """The directory."""

    @property
    def name(self) -> str:
        """The image's name."""

    def versions(self) -> tuple[StoredVersion, ...]:
        """All versions, best first: the first one is used."""

    def used(self) -> StoredVersion:
        """The version that is used."""

    def publish(
        self,
        image: _Path,
        /,
        *,
        version: str,
        certificates: _Certificates,
        policy: Policy | str = "signed",
        now: int | datetime | None = None,
        certificate_rules: str = "",
        key_rules: KeyRules | _Pem | None = None,
        architecture: str | None = None,
        tries: int | None = None,
        host: Host | None = None,
        progress: _Progress | None = None,
    ) -> Published:
        """Put a version there: copied, checked to its last byte, on disk, and then by one step under its name.

        What is checked is the copy that is published. `tries` is how often it may be tried before others are preferred; with
        `host` it must be for that host. The other arguments are those of `confext.verify`. A version that is there already,
        with the same bytes, is no error; with other bytes its code is `version-exists`.
        """

    def begin(self, version: str | None = None) -> StoredVersion:
        """Count an attempt to use a version, before it is made; without `version`, of the one that is used."""

    def good(self, version: str | None = None) -> StoredVersion:
        """Call a version good: it is not counted any more."""

    def bad(self, version: str | None = None) -> StoredVersion:
        """Call a version bad: it is used only when nothing else is there. Returns the one that is used now."""

    def prune(self, keep: int = 3, *, host: Host | None = None) -> Pruned:
        """Remove all but the best versions; not those that the stacks of a host are made of, where one is given."""

@final
class RolloutFailure:
    """A step of a rollout that failed."""

    __match_args__ = ("way", "step", "code", "message", "hint")
    #: On which way.
    way: Final[Literal["there", "back"]]
    #: Which step.
    step: Final[_Step]
    #: The stable code.
    code: Final[str]
    #: What was found and what was expected.
    message: Final[str]
    #: What to do about it.
    hint: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class RolloutEvent:
    """One step of a rollout begins or ends."""

    __match_args__ = ("at", "way", "step", "version", "state", "failure")
    #: How long after the rollout began.
    at: Final[timedelta]
    #: To the new version, or back.
    way: Final[Literal["there", "back"]]
    #: Which step.
    step: Final[_Step]
    #: The version it is about.
    version: Final[str | None]
    #: Whether it begins, or how it ended.
    state: Final[Literal["started", "done", "failed"]]
    #: Why it failed.
    failure: Final[RolloutFailure | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class RolloutOutcome:
    """What came of a rollout."""

    __match_args__ = ("runs", "version", "previous", "failure", "not_done", "settled", "pruned", "complete")
    #: What the service runs now.
    runs: Final[Literal["new", "previous", "unknown"]]
    #: The version that it runs; none when there was none before, or it is not known.
    version: Final[StoredVersion | None]
    #: What was used before.
    previous: Final[StoredVersion | None]
    #: Why the new version does not run: the first step that failed.
    failure: Final[RolloutFailure | None]
    #: What could not be done after that, or after the new version ran.
    not_done: Final[tuple[RolloutFailure, ...]]
    #: Versions of earlier rollouts that nobody finished. They are bad now.
    settled: Final[tuple[str, ...]]
    #: What pruning did, where it was asked for.
    pruned: Final[Pruned | None]
    #: Whether the new version runs, and all was done.
    complete: Final[bool]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

class _Service(Protocol):
    @property
    def name(self) -> str: ...
    def refresh(self) -> object: ...
    def reload(self) -> object: ...
    def check(self, version: StoredVersion | None, /) -> object: ...

def rollout(
    service: str | _Service,
    image: _Path,
    /,
    *,
    store: Store | None = None,
    version: str | None = None,
    certificates: _Certificates,
    policy: Policy | str = "signed",
    now: int | datetime | None = None,
    certificate_rules: str = "",
    key_rules: KeyRules | _Pem | None = None,
    architecture: str | None = None,
    tries: int = 3,
    keep: int | None = None,
    host: Host | None = None,
    refresh: Callable[[], object] | None = None,
    reload: Literal["job", "none", "SIGHUP", "SIGUSR1", "SIGUSR2"] | Callable[[], object] = "job",
    check: Sequence[str] | Callable[[StoredVersion | None], object] | None = None,
    check_inside: bool = False,
    any_main_process: bool = False,
    settle: float = 0.0,
    check_timeout: float = 30.0,
    timeout: float = 90.0,
    wait: float = 60.0,
    locks: _Path | None = None,
    events: Callable[[RolloutEvent], object] | None = None,
    progress: Callable[[int, int], object] | None = None,
    cancelled: Callable[[], object] | None = None,
    class_: _Class = "confext",
) -> RolloutOutcome:
    """Roll a version out to a service: published, refreshed, reloaded, checked and good; or everything as before.

    `service` is the name of a unit of systemd, or an object with a `name` and the methods `refresh()`, `reload()` and
    `check(version)`. `events` is called with a `RolloutEvent` for each step when it begins and when it ends; `progress`,
    with how many bytes of the image are done and how many there are, while it is published. `keep` is how many versions
    stay, beside those in use by the stacks of `host`. The arguments up to `architecture` are those of `Store.publish`; those
    from `refresh` to `settle` are for units, times are in seconds.

    Without `store`, of a unit, the versions are those in the directory that it lists for images called as this one is, and their
    class is `class_`; without `version` it is what the name of the image says, as in `NAME_VERSION.raw`.

    `cancelled` is asked now and then, also while a step is waited for: what is true leads back, as far as that is possible.

    A callback that raises an exception, and a check that returns `False`, are failures of their steps. An interrupt, and an
    exception of `events` or `progress`, leads back, and is raised when that is done. Raises only as long as the service was not
    touched.
    """

@final
class Damage:
    """What a check of every block found."""

    __match_args__ = ("ranges", "omitted", "changed_data_blocks", "changed_hash_blocks", "unchecked_blocks")
    #: Blocks that are wrong: the levels of the hash tree from the top down, then the data, each in order.
    ranges: Final[tuple[DamagedRange, ...]]
    #: How many more such ranges there are than were asked for.
    omitted: Final[int]
    #: How many blocks of data are changed.
    changed_data_blocks: Final[int]
    #: How many hash blocks are changed.
    changed_hash_blocks: Final[int]
    #: How many blocks of both could not be checked.
    unchecked_blocks: Final[int]
    def __new__(
        cls,
        ranges: Sequence[DamagedRange],
        omitted: int,
        changed_data_blocks: int,
        changed_hash_blocks: int,
        unchecked_blocks: int,
    ) -> Damage: ...
    @property
    def whole(self) -> bool:
        """Whether every block is what the root hash promises."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class DamagedRange:
    """Blocks that follow each other and have the same fault."""

    __match_args__ = ("area", "level", "fault", "first_block", "blocks", "offset", "size")
    #: What they hold.
    area: Final[Literal["data", "hash"]]
    #: The level of the hash tree, from 0 at its leaves; `None` for blocks of data.
    level: Final[int | None]
    #: `changed`, or `unchecked`: a hash block above is changed, so that nobody can say.
    fault: Final[Literal["changed", "unchecked"]]
    #: The first of them, counted from the start of the data or of the level.
    first_block: Final[int]
    #: How many there are.
    blocks: Final[int]
    #: Where the first one starts in the image, in bytes; of a hash tree in a file of its own, in that file.
    offset: Final[int]
    #: How many bytes they have.
    size: Final[int]
    def __new__(
        cls,
        area: Literal["data", "hash"],
        level: int | None,
        fault: Literal["changed", "unchecked"],
        first_block: int,
        blocks: int,
        offset: int,
        size: int,
    ) -> DamagedRange: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

# ---- parity

def fec(
    path: _Path,
    *,
    output: _Path,
    roots: int = 2,
    select: str | None = None,
    copies: Literal["any", "both"] = "any",
    image_filter: ImageFilter | str = "",
    progress: _Progress | None = None,
) -> Parity:
    """Make parity for an image, as `veritysetup` does, after checking every block of it.

    `roots` bytes of parity, 2 to 24, protect up to 255 minus so many bytes of the image. `output` is a
    new file (`output-exists`). `progress` is called as by `Admitted.check`.
    """

def repair(
    path: _Path,
    *,
    fec: _Path,
    output: _Path,
    roots: int = 2,
    fec_offset: int = 0,
    root_hash: str | None = None,
    select: str | None = None,
    copies: Literal["any", "both"] = "any",
    image_filter: ImageFilter | str = "",
    progress: _Progress | None = None,
) -> Repair:
    """Repair a damaged image with its parity into a new image. The image itself is only read; no signature is checked.

    `output` is written when every block could be repaired, and nothing may be there before. `roots` and `fec_offset`, in
    bytes, are those that the parity was made with. Without `root_hash` the one that the image claims is repaired towards.
    `progress` is called as by `Admitted.check`.
    """

@final
class Parity:
    """The parity of an image."""

    __match_args__ = ("roots", "size", "data_blocks", "hash_blocks")
    #: How many bytes of each codeword of 255 are parity.
    roots: Final[int]
    #: The size of the parity, in bytes.
    size: Final[int]
    #: How many blocks of data are covered.
    data_blocks: Final[int]
    #: How many blocks of the hash partition are covered.
    hash_blocks: Final[int]

@final
class DamagedBlock:
    """A block that was damaged."""

    __match_args__ = ("area", "block", "offset")
    #: What it holds.
    area: Final[Literal["data", "hash"]]
    #: Which it is, counted from the start of the data or of the hash tree.
    block: Final[int]
    #: Where it starts in the image, in bytes.
    offset: Final[int]

@final
class Repair:
    """What a repair came to."""

    __match_args__ = ("whole", "root_hash", "repaired", "unrepairable", "unchecked_blocks")
    #: Whether every block is right now; only then the output was written.
    whole: Final[bool]
    #: What every block was checked against, in hex. Nobody checked a signature of it.
    root_hash: Final[str]
    #: The blocks that were damaged and are right now.
    repaired: Final[tuple[DamagedBlock, ...]]
    #: The blocks that are damaged and stay so.
    unrepairable: Final[tuple[DamagedBlock, ...]]
    #: How many blocks could not be looked at, because the hash block with their digest is unrepairable.
    unchecked_blocks: Final[int]

@final
class Table:
    """The partition table."""

    __match_args__ = ("sector_size", "disk_guid", "source", "backup", "reason")
    #: The unit of all block addresses in it, in bytes.
    sector_size: Final[int]
    #: Which disk it is.
    disk_guid: Final[str]
    #: Which copy was used: `primary` or `backup`.
    source: Final[Literal["primary", "backup"]]
    #: The other copy, when the primary one was used: `same`, `different`, `missing` or `damaged`.
    backup: Final[Literal["same", "different", "missing", "damaged"] | None]
    #: The code of what is wrong with the primary copy, when the backup was used.
    reason: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Partition:
    """A partition with a designator; of an image without a partition table, all of it as `root`."""

    __match_args__ = (
        "designator",
        "architecture",
        "number",
        "uuid",
        "label",
        "offset",
        "size",
        "read_only",
        "growfs",
        "fs",
    )
    #: What it is for, like `root` or `root-verity`.
    designator: Final[str]
    #: For which architecture.
    architecture: Final[str | None]
    #: Its place in the table, from 1.
    number: Final[int | None]
    #: Its identifier.
    uuid: Final[str | None]
    #: Its name.
    label: Final[str | None]
    #: Where it starts, in bytes.
    offset: Final[int]
    #: How long it is, in bytes.
    size: Final[int]
    #: Whether the table marks it read-only.
    read_only: Final[bool]
    #: Whether the table asks to grow its file system.
    growfs: Final[bool]
    #: The file system it seems to hold.
    fs: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Skipped:
    """A partition that does not count."""

    __match_args__ = ("number", "because")
    #: Its place in the table, from 1.
    number: Final[int]
    #: Why it does not count, in words.
    because: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Sidecars:
    """What was looked for beside an image."""

    __match_args__ = ("looked_for", "near_misses")
    #: Everything that was looked for, in this order; empty when nothing was.
    looked_for: Final[tuple[Sidecar, ...]]
    #: What was nearly found. Looked for only where the image is not signed, or has no partition table.
    near_misses: Final[tuple[NearMiss, ...]]
    @property
    def found(self) -> tuple[Sidecar, ...]:
        """What was found."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Sidecar:
    """Something that belongs beside an image, or in its attributes."""

    __match_args__ = ("kind", "name", "found")
    #: What it is; the last two are attributes of the image.
    kind: Final[
        Literal[
            "root-hash",
            "root-hash-signature",
            "usr-hash",
            "usr-hash-signature",
            "hash-tree",
            "root-hash-attribute",
            "usr-hash-attribute",
            "other",
        ]
    ]
    #: The name of the file beside the image, or of the attribute.
    name: Final[str]
    #: Whether it was there.
    found: Final[bool]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class NearMiss:
    """A file beside an image whose name is nearly that of a sidecar, and which does not count."""

    __match_args__ = ("found", "expected")
    #: Its name.
    found: Final[str]
    #: The name that would count.
    expected: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Claim:
    """What an image says of its own protection. Nothing of it was checked."""

    __match_args__ = ("kind", "root_hash", "fingerprint", "additional")
    #: `none`, `verity` or `signed`.
    kind: Final[_Protection]
    #: The top of the hash tree, in hex.
    root_hash: Final[str | None]
    #: Of the certificate, as the signature partition names it, in hex.
    fingerprint: Final[str | None]
    #: Of the certificates of further signatures, in hex; `None` where one does not say.
    additional: Final[tuple[str | None, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Evidence:
    """What was checked."""

    __match_args__ = ("kind", "root_hash", "signer")
    #: `none`, `verity` or `signed`.
    kind: Final[_Protection]
    #: The top of the hash tree, in hex, unless nothing was checked.
    root_hash: Final[str | None]
    #: Whose signature was checked, when one was.
    signer: Final[Signer | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Signer:
    """Whose signature was checked."""

    __match_args__ = ("subject", "fingerprint", "not_before", "not_after", "source")
    #: The certificate's subject, like `CN=vendor`; issuer and serial number where nobody has the certificate.
    subject: Final[str]
    #: SHA-256 of the certificate, in hex; `None` where nobody has the certificate of a kernel's key.
    fingerprint: Final[str | None]
    #: Start of the certificate's validity, seconds since 1970; `None` as above.
    not_before: Final[int | None]
    #: End of the certificate's validity, seconds since 1970; `None` as above.
    not_after: Final[int | None]
    #: Where it is said that this signer counts.
    source: Final[TrustSource]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Keyring:
    """Keys of the kernel whose signatures count, passed where certificates are."""

    #: The keyring's description or number; `None` for those that the kernel's dm-verity uses.
    name: Final[str | None]
    def __new__(cls, name: str | None = None) -> Keyring: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Voa:
    """Certificates for images in the VOA hierarchy of a host, passed where certificates are.

    They are those of the host that is passed with it, else of the running one; a host that is passed counts with its own
    `verity.d` certificates, too.
    """

    #: The context they are for.
    context: Final[str]
    def __new__(cls, context: str = "default") -> Voa: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def service_plan(host: Host, unit: str, *, root: _Path | None = None) -> ServicePlan:
    """What the extensions of a service would change in its view if it were started now.

    Changes nothing and needs no privilege. `root` is the root directory of the service, instead of the one that its unit
    says; of a `RootImage=` the files are read here, through what was checked of it. Raises for what keeps the unit or the root
    from being read; what is wrong with an extension is part of the answer.
    """

def service_explain(host: Host, unit: str, *, root: _Path | None = None) -> ServiceExplanation:
    """What becomes of each extension that a unit lists: used, and where in the stack, or why not.

    The arguments are those of `service_plan`.
    """

def service_trace(
    host: Host, unit: str, path: _Path, *, pid: int | None = None, root: _Path | None = None
) -> Origin:
    """Where a path in the view of a service comes from, and who signed it.

    In the view of its process `pid`, which takes root; without it, as it would be if the service were started now, over `root`
    instead of the root directory that its unit says. At and below what the unit mounts over its extensions the answer is
    `submount`, or `cannot-tell`. Raises `missing-capability` for `RootImage=`.
    """

def service_refresh(
    host: Host,
    unit: str | None = None,
    *,
    pid: int | None = None,
    images: Sequence[_Path | UnitEntry] | None = None,
    directories: Sequence[_Path | UnitEntry] | None = None,
    sysexts: bool = False,
    force: bool = False,
    timeout: float = 10.0,
    progress: _Progress | None = None,
) -> ServiceReport:
    """Have a running service see the extensions that its unit lists, as the service manager has loaded it.

    Nothing is restarted, and what is mounted below `/etc` there stays as it is. `images` and `directories` count instead of
    what the unit lists; with them, `pid` can name any process that has a mount namespace of its own. With `sysexts` also
    `/usr` and `/opt`; with `force` what is right already is exchanged, too. `timeout`, in seconds, is for the service manager,
    and for file systems of the service, each of the two times they are looked at.
    `progress` is as for `Host.merge`.

    Takes root. Raises when an extension cannot be used or the service does not answer; it sees what it saw then.
    """

@final
class UnitEntry:
    """One extension of a service, as its unit lists it."""

    __match_args__ = ("path", "kind", "may_miss", "options", "relaxed")
    #: Its absolute path on the host; it can end in `.v` or have a part in a `.v` directory.
    path: Final[str]
    #: `image` or `directory`.
    kind: Final[Literal["image", "directory"]]
    #: Whether the service starts without it where it is missing.
    may_miss: Final[bool]
    #: Mount options of an image, by partition, in the order they are written.
    options: Final[tuple[tuple[_Designator, str], ...]]
    #: Whether a release file of another name is taken.
    relaxed: Final[bool]
    def __new__(
        cls,
        path: str,
        kind: Literal["image", "directory"] = "image",
        *,
        may_miss: bool = False,
        options: Sequence[tuple[_Designator, str]] = (),
        relaxed: bool = False,
    ) -> UnitEntry:
        """Name an extension."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class UnitSetting:
    """A line of a unit's file that is about its extensions."""

    __match_args__ = ("section", "key", "value", "file", "line")
    #: The section it is in.
    section: Final[str]
    #: Its name, like `ExtensionImages`.
    key: Final[str]
    #: Its value as written.
    value: Final[str]
    #: The file, inside the root.
    file: Final[str]
    #: The line in it, from 1.
    line: Final[int]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class CoveredDirectory:
    """Something that a unit mounts at a directory of its extensions, or below."""

    __match_args__ = ("hierarchy", "path", "key", "place")
    #: The directory.
    hierarchy: Final[str]
    #: Where it is mounted: there, where systemd uses that or the extensions, or below.
    path: Final[str]
    #: The setting that does, like `BindPaths`.
    key: Final[str]
    #: The file and line of the setting.
    place: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ServiceReload:
    """What a reload of a service is."""

    __match_args__ = ("kind", "commands", "signal")
    #: `Type=` as written; empty where it is not set.
    kind: Final[str]
    #: `ExecReload=` as written.
    commands: Final[tuple[str, ...]]
    #: `ReloadSignal=`; empty where it is not set.
    signal: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class UnitProcess:
    """A unit in the running service manager."""

    __match_args__ = ("main_pid", "active", "sub", "can_reload", "outdated")
    #: Its main process.
    main_pid: Final[int | None]
    #: `active`, `reloading`, `refreshing`, `inactive`, `failed`, …
    active: Final[str]
    #: What that is more exactly, like `running`.
    sub: Final[str]
    #: Whether it can be reloaded now.
    can_reload: Final[bool]
    #: Whether files changed since the manager read them.
    outdated: Final[bool]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ServiceUnit:
    """A unit, as far as it matters to its extensions."""

    __match_args__ = (
        "name",
        "aliases",
        "files",
        "images",
        "directories",
        "policy",
        "refresh_on_reload",
        "root",
        "root_path",
        "covered",
        "reload",
        "settings",
        "running",
    )
    #: Its name: where it was asked for by an alias, the name behind that.
    name: Final[str]
    #: Other names it has.
    aliases: Final[tuple[str, ...]]
    #: The files that say it, in the order in which they are read.
    files: Final[tuple[str, ...]]
    #: `ExtensionImages=`, as listed: the last one is on top.
    images: Final[tuple[UnitEntry, ...]]
    #: `ExtensionDirectories=`, as listed: they are over the images.
    directories: Final[tuple[UnitEntry, ...]]
    #: `ExtensionImagePolicy=`.
    policy: Final[str | None]
    #: `RefreshOnReload=`.
    refresh_on_reload: Final[str | None]
    #: What the service sees as `/`: `host`, `directory` or `image`.
    root: Final[Literal["host", "directory", "image"]]
    #: The path of that directory or image.
    root_path: Final[str | None]
    #: What else the unit mounts at `/etc`, `/usr` or `/opt`, or below.
    covered: Final[tuple[CoveredDirectory, ...]]
    #: What a reload is.
    reload: Final[ServiceReload]
    #: The lines that say it, in the order in which they count.
    settings: Final[tuple[UnitSetting, ...]]
    #: What the running manager says of it; `None` where files were read.
    running: Final[UnitProcess | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ServiceMount:
    """What a process sees over one of its directories."""

    __match_args__ = (
        "hierarchy",
        "found",
        "since",
        "policy",
        "layers",
        "mounts",
        "attributes",
        "below_unchanged",
    )
    #: `etc`, `usr` or `opt`.
    hierarchy: Final[_Hierarchy]
    #: Who put extensions over it: `nothing`, `own` (this library), `systemd`, or `interrupted` in the middle.
    found: Final[Literal["nothing", "own", "systemd", "interrupted"]]
    #: When, seconds since 1970; `None` when another program did.
    since: Final[int | None]
    #: The policy of images; `None` when another program did.
    policy: Final[str | None]
    #: What it is made of, bottom first; `None` when another program did.
    layers: Final[tuple[Layer, ...] | None]
    #: The mounts on it.
    mounts: Final[tuple[str, ...]]
    #: What the mount forbids, like `nosuid`.
    attributes: Final[tuple[str, ...]]
    #: Whether what it is over is what it was; `None` where that is not written down.
    below_unchanged: Final[bool | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class DropIn:
    """A drop-in that was written."""

    __match_args__ = ("unit", "path", "done")
    #: The unit.
    unit: Final[str]
    #: Its file, inside the root.
    path: Final[str]
    #: `new`, `changed` or `same`.
    done: Final[Literal["new", "changed", "same"]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def service_show(host: Host, unit: str, *, live: bool = False, timeout: float = 10.0) -> ServiceUnit:
    """What a unit says of its extensions: by its files and drop-ins below the host's root.

    With `live` as the running service manager has it, which is waited for at most `timeout` seconds. Raises for what systemd
    would skip with a warning, with file and line.
    """

def service_status(
    unit: str | None = None, *, pid: int | None = None, timeout: float = 10.0
) -> tuple[ServiceMount, ...]:
    """What a running service, or any process with a mount namespace of its own, sees over its directories.

    `timeout`, in seconds, is for the service manager and for file systems of the service. Takes root.
    """

def service_drop_in(
    host: Host,
    unit: str,
    *,
    images: Sequence[_Path | UnitEntry] = (),
    directories: Sequence[_Path | UnitEntry] = (),
    policy: Policy | str | None = None,
    refresh_on_reload: str | None = None,
    name: str = "50-confext.conf",
    runtime: bool = False,
) -> DropIn:
    """Write a drop-in with the extensions of a unit, in place of one of this name: it says all of it.

    It counts from the next `systemctl daemon-reload` on; with `runtime` until the machine stops. Images and directories are
    paths, or entries as `show` returns them. Raises for what no unit can say (`unit-entry`) and for a name that is none
    (`drop-in-name`); what was there before then still is.
    """

def service_remove_drop_in(
    host: Host, unit: str, *, name: str = "50-confext.conf", runtime: bool = False
) -> bool:
    """Remove a drop-in, and say whether it was there. It counts from the next `systemctl daemon-reload` on."""

def service_install_generator(host: Host, program: _Path) -> Literal["new", "changed", "same"]:
    """Install the generator by which systemd learns of directories `NAME.confext.d` beside units.

    `program` is the path of the command `confext` inside the root. It counts from the next `systemctl daemon-reload` on. Raises
    (`generator-path`) for a path that generators cannot use, and where something else is in its place.
    """

def service_uninstall_generator(host: Host) -> bool:
    """Take the generator away, and say whether it was there."""

def service_attach(
    host: Host,
    image: _Path,
    *,
    names: Sequence[str] | None = None,
    extensions: Sequence[_Path] = (),
    all_units: bool = False,
    profile: str | None = "default",
    runtime: bool = False,
    dry_run: bool = False,
) -> PortableAttachment:
    """Attach a portable service: its units are taken from an image or directory and its extensions, and bound to them.

    They are bound to the protection that was checked, too, and count from the next `systemctl daemon-reload` on. `names` are
    units, or what they begin with, before a dash, a dot or an at sign; without it that is the name of the image. Of the
    `extensions` the last one is on top; directories are over images. `profile` is the one of the host that says what the
    services may do. With `runtime` it counts until the machine stops; with `dry_run` nothing is written.

    Raises when an image has not what the host's policy asks for, when no unit is found (`portable-units`), or one is there
    already (`portable-exists`), and with the other codes `portable-…`; then nothing is left behind.
    """

def service_detach(host: Host, image: _Path) -> PortableService:
    """Detach a portable service: its units and their drop-ins are removed. Units that run have to be stopped before.

    `image` is the path that it was attached by, or its name. Raises `portable-missing`, `portable-several`, `portable-active`.
    """

def service_attached(host: Host) -> tuple[PortableService, ...]:
    """The portable services that are attached to a host, by whichever program."""

@final
class PortablePart:
    """The image or directory that the units of a portable service have as their root, or an extension of it."""

    __match_args__ = ("path", "leads_to", "kind", "evidence")
    #: As it was named, and is in settings.
    path: Final[str]
    #: The file that this stands for now, inside the root.
    leads_to: Final[str]
    #: From which setting it is.
    kind: Final[Literal["image", "directory"]]
    #: What was checked of it.
    evidence: Final[Evidence]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class PortableUnit:
    """A unit that an image brings along."""

    __match_args__ = ("name", "image", "path")
    #: Its name.
    name: Final[str]
    #: The image or directory, as it was named.
    image: Final[str]
    #: The file in there.
    path: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class PortableFile:
    """A file that attaching puts below the root of the host."""

    __match_args__ = ("path", "text", "link_to")
    #: Where.
    path: Final[str]
    #: What it says; `None` for a link.
    text: Final[str | None]
    #: What it leads to; `None` for text.
    link_to: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class PortableAttachment:
    """A portable service: what was found and checked, and what is written."""

    __match_args__ = (
        "attached",
        "base",
        "extensions",
        "matches",
        "root_policy",
        "extension_policy",
        "units",
        "files",
    )
    #: Whether it was attached; else nothing was written.
    attached: Final[bool]
    #: What its units have as their root.
    base: Final[PortablePart]
    #: Its extensions, the last on top.
    extensions: Final[tuple[PortablePart, ...]]
    #: What names of units begin with; none stands for all.
    matches: Final[tuple[str, ...]]
    #: What the base must be from now on; `None` for a directory.
    root_policy: Final[str | None]
    #: What the images of extensions must be from now on; `None` when there is no image.
    extension_policy: Final[str | None]
    #: Its units by name.
    units: Final[tuple[PortableUnit, ...]]
    #: All files that are put below the root of the host.
    files: Final[tuple[PortableFile, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class PortableService:
    """A portable service that is attached, by this library or by `portablectl`."""

    __match_args__ = ("base", "extensions", "runtime", "units", "incomplete")
    #: The image or directory that is the root of its units.
    base: Final[str]
    #: Its extensions, in the order in which they were named.
    extensions: Final[tuple[str, ...]]
    #: Whether it counts only until the machine stops.
    runtime: Final[bool]
    #: Its units.
    units: Final[tuple[str, ...]]
    #: Units of which there are only drop-ins: whoever attached or detached it did not come to the end.
    incomplete: Final[tuple[str, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ServiceView:
    """What became of one directory in the view of a service."""

    __match_args__ = (
        "hierarchy",
        "outcome",
        "because",
        "decided_by",
        "found",
        "layers",
        "carried",
        "attributes",
        "owners",
    )
    #: `etc`, `usr` or `opt`.
    hierarchy: Final[Literal["etc", "usr", "opt"]]
    #: `merged`, `refreshed`, `unchanged`, `unmerged` or `nothing`.
    outcome: Final[Literal["merged", "refreshed", "unchanged", "unmerged", "nothing"]]
    #: Why what was there was no longer right, when it was refreshed.
    because: Final[tuple[Change, ...]]
    #: Why it is still right, when it is unchanged.
    decided_by: Final[tuple[Decision, ...]]
    #: What was there: `nothing`, `own`, `systemd` or `interrupted`.
    found: Final[Literal["nothing", "own", "systemd", "interrupted"]]
    #: What it is made of now, bottom first.
    layers: Final[tuple[Layer, ...]]
    #: The mounts on it that were carried over.
    carried: Final[tuple[str, ...]]
    #: What the mount forbids: `ro`, `nosuid`, `nodev`, `noexec`, `nosymfollow`.
    attributes: Final[tuple[str, ...]]
    #: Whose the files are: `image`, or `namespace` of a process in a user namespace; `None` when nothing was mounted.
    owners: Final[Literal["image", "namespace"] | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ServiceReport:
    """What became of the view of a service."""

    __match_args__ = ("pid", "hierarchies", "refused", "policy")
    #: The number of its process.
    pid: Final[int]
    #: Each directory that was looked at.
    hierarchies: Final[tuple[ServiceView, ...]]
    #: What is not used, and why.
    refused: Final[tuple[Rejection, ...]]
    #: The policy of images.
    policy: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ServicePlan:
    """What the extensions of a service change, and which are not used."""

    __match_args__ = ("plans", "refusal", "refused", "policy", "covered")
    #: A plan for each class that has files.
    plans: Final[tuple[Plan, ...]]
    #: Why the service would not have these extensions: the first reason.
    refusal: Final[Refusal | None]
    #: What is not used, and why.
    refused: Final[tuple[Rejection, ...]]
    #: The policy that images are admitted under.
    policy: Final[str]
    #: What the unit mounts over paths that extensions change.
    covered: Final[tuple[CoveredDirectory, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ServiceExplanation:
    """What becomes of each extension that a unit lists, bottom first."""

    __match_args__ = ("listed", "refusal", "policy", "covered")
    #: What the unit lists: `entry` is its path.
    listed: Final[tuple[Explained, ...]]
    #: Why the service would not have these extensions: the first reason.
    refusal: Final[Refusal | None]
    #: The policy that images are admitted under.
    policy: Final[str]
    #: What the unit mounts at directories that extensions are merged over, or below.
    covered: Final[tuple[CoveredDirectory, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def doctor(root: _Path = "/") -> DoctorReport:
    """Look at what this machine and this process can do; nothing is changed, and no module of the kernel is loaded.

    `root` is where extensions and certificates are looked for; all else is about the running kernel. Never raises for what
    is missing: that is in the report. Raises `OSError` with code `os` when `root` is no directory.
    """

@final
class DoctorReport:
    """What a machine can do. `report["overlay"]` is the item of that name."""

    __match_args__ = ("kernel", "items")
    #: The release of the running kernel.
    kernel: Final[str | None]
    #: Each thing that was looked at, always all of them, in a fixed order.
    items: Final[tuple[DoctorItem, ...]]
    def __getitem__(self, id: str, /) -> DoctorItem: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class DoctorItem:
    """One thing that something depends on."""

    __match_args__ = ("id", "state", "why", "advice", "needed_for")
    #: Its name, stable.
    id: Final[str]
    #: Whether it is there.
    state: Final[Literal["yes", "no", "not-permitted", "on-demand", "unknown"]]
    #: How that was found out.
    why: Final[str]
    #: What to do about it, where there is something to do.
    advice: Final[str | None]
    #: What depends on it.
    needed_for: Final[tuple[str, ...]]
    @property
    def usable(self) -> bool:
        """Whether it may be relied on: `yes` or `on-demand`."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class TrustReport:
    """Whose signatures count on a host, and what would become of an image."""

    __match_args__ = ("kernel", "keyrings", "files", "root_hash", "signatures", "next_step")
    #: What the running kernel has.
    kernel: Final[TrustKernel]
    #: The keyrings that the kernel trusts, and those that were named.
    keyrings: Final[tuple[TrustKeyring, ...]]
    #: The files in the `verity.d` directories of the host.
    files: Final[tuple[TrustFile, ...]]
    #: Of an image: the root hash that it claims, in hex.
    root_hash: Final[str | None]
    #: Of an image: its signatures; `None` where no image was asked about.
    signatures: Final[tuple[TrustSignature, ...] | None]
    #: What to do next; one thing.
    next_step: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class TrustKernel:
    """What the running kernel has."""

    __match_args__ = ("release", "device_mapper", "verity", "parameters")
    #: Its release.
    release: Final[str | None]
    #: Whether device-mapper is there: `present`, `absent` or `unknown`.
    device_mapper: Final[Literal["present", "absent", "unknown"]]
    #: Whether the target verity is there: `present`, `absent` or `unknown`.
    verity: Final[Literal["present", "absent", "unknown"]]
    #: Parameters of dm-verity.
    parameters: Final[tuple[KernelParameter, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class KernelParameter:
    """A parameter of the kernel."""

    __match_args__ = ("name", "value", "command_line")
    #: As it is written on the kernel's command line.
    name: Final[str]
    #: What is in force.
    value: Final[str | None]
    #: What the command line asks for.
    command_line: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class TrustKeyring:
    """A keyring of the kernel."""

    __match_args__ = ("name", "state", "sealing", "keys", "code", "message")
    #: The name it was looked for by.
    name: Final[str]
    #: `seen`, `missing`, `hidden` (only root sees it) or `refused`.
    state: Final[Literal["seen", "missing", "hidden", "refused"]]
    #: When it was seen, whether it takes further keys: `sealed`, `restricted`, `open` or `unknown`.
    sealing: Final[Literal["sealed", "restricted", "open", "unknown"] | None]
    #: What is in it.
    keys: Final[tuple[KernelKey, ...]]
    #: When it was refused: the stable code.
    code: Final[str | None]
    #: When it was refused: what was found and what was expected.
    message: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class KernelKey:
    """A key in a keyring, as far as the kernel tells of it."""

    __match_args__ = ("serial", "kind", "description", "subject", "key_id", "algorithm", "state")
    #: Its number.
    serial: Final[int]
    #: Its kind.
    kind: Final[str | None]
    #: Its description.
    description: Final[str | None]
    #: The subject as the kernel shortens it.
    subject: Final[str | None]
    #: The subject key identifier, in hex.
    key_id: Final[str | None]
    #: The algorithm.
    algorithm: Final[str | None]
    #: `valid`, `revoked`, `expired` or `hidden`.
    state: Final[Literal["valid", "revoked", "expired", "hidden"]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class TrustFile:
    """A file in a `verity.d` directory."""

    __match_args__ = ("path", "state", "code", "message")
    #: Where it is, inside the root.
    path: Final[str]
    #: `used`, `shadowed`, `masks` or `refused`.
    state: Final[Literal["used", "shadowed", "masks", "refused"]]
    #: When it was refused: the stable code.
    code: Final[str | None]
    #: When it was refused: what was found and what was expected.
    message: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class TrustSignature:
    """A signature of an image, and who would accept it."""

    __match_args__ = ("claims", "answers")
    #: Whose it claims to be; `None` when it cannot be read.
    claims: Final[str | None]
    #: What each source says.
    answers: Final[tuple[TrustAnswer, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class TrustAnswer:
    """What a source says of a signature."""

    __match_args__ = ("source", "chosen", "signer", "code", "message", "hint")
    #: The source.
    source: Final[str]
    #: Whether its yes counts.
    chosen: Final[bool]
    #: Whose signature it is, when the source accepts it.
    signer: Final[Signer | None]
    #: When it is refused: the stable code.
    code: Final[str | None]
    #: When it is refused: what was found and what was expected.
    message: Final[str | None]
    #: When it is refused: what to do about it.
    hint: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class TrustSource:
    """Where it is said that a signer's signatures count."""

    __match_args__ = ("kind", "path", "keyring", "key")
    #: `caller`, `file` or `keyring`.
    kind: Final[Literal["caller", "file", "keyring"]]
    #: Of a file: its path, inside the root.
    path: Final[str | None]
    #: Of a keyring: its description, like `.secondary_trusted_keys`.
    keyring: Final[str | None]
    #: Of a keyring: the description of the key in it.
    key: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Stat:
    """What `stat` tells of a file of an image."""

    __match_args__ = ("kind", "mode", "uid", "gid", "size", "mtime", "mtime_nsec", "nlink", "rdev", "ino")
    #: `regular`, `directory`, `symlink`, `char-device`, `block-device`, `fifo` or `socket`.
    kind: Final[_Kind]
    #: Permission, set-id and sticky bits.
    mode: Final[int]
    #: Owner.
    uid: Final[int]
    #: Group.
    gid: Final[int]
    #: Size in bytes; of a symbolic link, the length of its target.
    size: Final[int]
    #: Modification time, seconds since 1970.
    mtime: Final[int]
    #: Nanoseconds of the modification time.
    mtime_nsec: Final[int]
    #: How many names it has.
    nlink: Final[int]
    #: Major and minor number of a device node.
    rdev: Final[tuple[int, int] | None]
    #: Inode number: two entries with the same one are the same file.
    ino: Final[int]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

# ---- hosts

@final
class Host:
    """A root directory, `/` or that of another system, and the conditions under which its extensions are used.

    The conditions are those of every merge and refresh made with this object, so that a refresh never replaces a stack
    only because somebody forgot one. Nothing is kept but the open root directory: certificates have to be valid
    whenever something is done.
    """

    def __new__(
        cls,
        root: _Path = "/",
        *,
        policy: Policy | str | None = None,
        certificates: _Certificates | None = None,
        on_bad: Literal["refuse", "skip"] = "refuse",
        attach: Literal["auto", "dm-verity", "sealed-memory", "plain", "in-place"] = "auto",
        host_match: bool = True,
        allow: Sequence[str] | None = None,
        lock_wait: float = 30.0,
        key_rules: KeyRules | _Pem | None = None,
        certificate_rules: str = "",
        require: Sequence[str] | None = None,
        detect: Literal["identity", "content"] = "identity",
        mutable: _Mode | None = None,
        busy_wait: float = 2.0,
        exchange: Literal["gapless", "gap-allowed"] = "gapless",
        noexec: bool | None = None,
        read_settings: bool = False,
        on_corruption: Literal["fail", "restart", "panic"] = "fail",
        check_at_most_once: bool = False,
        ignore_zero_blocks: bool = False,
    ) -> Host:
        """Open a root directory.

        - `policy`: what images must have; `None`: `signed`.
        - `certificates`: whose signatures count; `None`: those in the `verity.d` directories of the root; `()`:
          nobody's.
        - `on_bad`: whether one bad extension stops a merge, or is left out and told of in `refused`.
        - `attach`: how images reach the kernel: by dm-verity where that is there and copied elsewhere (`auto`), or in one
          way. `dm-verity` is only for images with a hash tree, `plain` only for those without; `in-place` copies those
          that have one, and uses the others where they are.
        - `host_match`: whether an extension must be for this host.
        - `allow`: objections that do not stop a merge, by the codes of `Veto`; `NAME:CODE` of one extension alone.
        - `lock_wait`: how many seconds to wait for another program that merges.
        - `key_rules`: which signer may sign which extensions: `KeyRules`, the path of a file, or its text as
          `bytes`.
        - `certificate_rules`: what certificates must be like, besides being trusted: `usage=required,chain=issued`.
        - `require`: names of extensions without which nothing is merged, whatever `on_bad` says.
        - `detect`: whether an extension without a hash tree is the same by its `identity` (inode, size and times), or
          by its `content`, all of which is read then.
        - `mutable`: whether what is merged can be written to, and where what is written goes; `None`: `no`.
        - `busy_wait`: how many seconds to wait for files that are open for writing in a stack that goes.
        - `exchange`: whether files of both may be missing for a moment when one stack takes the place of another
          (`gap-allowed`), on kernels before Linux 6.5 that know no other way there.
        - `noexec`: whether nothing is to be run from what is merged; `None`: nothing of a confext.
        - `read_settings`: whether `sysext.conf` and `confext.conf` of the host count where `policy` and `mutable` are
          not given, as they do for the command.
        - `on_corruption`: what dm-verity does about a block that does not check: reading it fails, or the machine is
          restarted or panics.
        - `check_at_most_once`: dm-verity checks each block only when it is read for the first time.
        - `ignore_zero_blocks`: dm-verity reads no block that is to be all zeros.
        """

    @property
    def root(self) -> str:
        """Where the root directory is."""

    @property
    def policy(self) -> Policy:
        """What images must have, unless the configuration is read and says something else."""

    def settings(self, class_: _Class = "confext") -> Settings:
        """What the configuration files of the host say of a class, whether or not that counts."""

    def list(self, class_: _Class = "confext") -> Listing:
        """The extensions that could be merged, whether they are, and what is left out."""

    def trust_report(self, image: _Path | None = None) -> TrustReport:
        """Whose signatures count here, what the kernel can check, who would accept an image, and what to do next.

        Changes nothing; root sees more.
        """
    def explain(self, name: str, class_: _Class = "confext") -> Explanation:
        """What becomes of every entry that has a name, in all search directories: used, and where in the stack, or why not."""

    def plan(self, class_: _Class = "confext") -> Plan:
        """What a merge or refresh would do, path by path. Changes nothing."""

    def merge(
        self, class_: _Class = "confext", *, reload: bool = False, progress: _Progress | None = None
    ) -> Report:
        """Merge the extensions of a class over the directories of the host.

        `progress` is called while images are copied into memory, with how many bytes of all are done and how many there are;
        what it raises ends the merge, and nothing has changed. Where nothing is copied it is not called.
        """

    def refresh(
        self,
        class_: _Class = "confext",
        *,
        force: bool = False,
        reload: bool = False,
        progress: _Progress | None = None,
    ) -> Report:
        """Make what is merged what should be merged; readers never miss a file that is in both.

        `progress` is as for `merge`.
        """

    def unmerge(self, class_: _Class = "confext", *, reload: bool = False) -> Report:
        """Take the stack of a class away. Nothing merged is no error."""

    def apply(
        self,
        verb: Literal["merge", "refresh", "unmerge"],
        classes: Sequence[_Class] = ("sysext", "confext"),
        *,
        force: bool = False,
        reload: bool = False,
        progress: _Progress | None = None,
    ) -> tuple[Report, ...]:
        """Do it to several classes in one go: all of it is done, or nothing. One report for each class.

        `progress` is as for `merge`, and begins anew with the second class.
        """

    def status(self, class_: _Class = "confext") -> tuple[Status, ...]:
        """How the hierarchies of a class stand."""

    def trace(
        self, path: _Path, *, planned: bool = False, class_: _Class = "confext", follow: bool = False, content: bool = False
    ) -> Origin:
        """Where a path inside the root comes from, or would come from after a merge of the class.

        `follow` also says where that comes from which a symbolic link leads to; `content` compares the content of a file
        that is seen with that of the image, and not only its attributes.
        """

    def trace_all(
        self,
        *,
        planned: bool = False,
        class_: _Class = "confext",
        content: bool = False,
        image: str | None = None,
        signer: str | None = None,
        unverified: bool = False,
        progress: _Progress | None = None,
    ) -> Origins:
        """All paths of every stack, one after the other, or those that are wanted.

        - `image`: those of one image, by the extension's name or the path of the image.
        - `signer`: those of one signer, by the fingerprint of the certificate or its subject.
        - `unverified`: those that nothing vouches for.

        `progress` is called, while the next one is asked for, with how much of all is done.
        """

@final
class Origins(Iterator[Origin]):
    """Answers of `Host.trace_all`, made while they are asked for: nothing is kept of those before."""

    def __iter__(self) -> Origins: ...
    def __next__(self) -> Origin: ...

@final
class Setting:
    """Something that the configuration says."""

    __match_args__ = ("value", "place")
    #: The value, as it is written where an argument takes it.
    value: Final[str]
    #: The file inside the root, and the line.
    place: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Settings:
    """What `sysext.conf` or `confext.conf` of a host say, with the drop-ins beside them."""

    __match_args__ = ("class_", "mutable", "policy", "files")
    #: `confext` or `sysext`.
    class_: Final[_Class]
    #: Whether what is merged can be written to; as `Host(mutable=…)`.
    mutable: Final[Setting | None]
    #: What images must have; as `Host(policy=…)`.
    policy: Final[Setting | None]
    #: The files that were read, in this order; of two that say something the later one counts.
    files: Final[tuple[str, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Stack:
    """Extensions of a host or of a service, assembled and not put in place: for a command that sees them, and nobody else."""

    def __new__(
        cls,
        host: Host,
        class_: _Class = "confext",
        *,
        service: str | None = None,
        live: bool = False,
        timeout: float = 10.0,
        progress: _Progress | None = None,
    ) -> Stack:
        """Open, judge, attach and mount the extensions of a class.

        With `service` those that a unit lists, of both classes, over the root directory that it has. The unit is read from files
        below the host's root, or with `live` as the running service manager has it, which is waited for at most `timeout`
        seconds. `progress` is as for `Host.merge`, of each class by itself.
        """

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The extensions of the stack, bottom first; of a service first the sysexts, then the confexts."""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """What it changes, path by path: a plan for each class."""

    @property
    def plan(self) -> Plan:
        """The last of them: where there are several, that of the confexts."""

    @property
    def manner(self) -> str:
        """How it is made: `mounts` of images; or, for an ordinary user, files in memory under an `overlay` or in a `tree`."""

    @property
    def manner_reason(self) -> str | None:
        """Why it is a tree."""

    def run(
        self,
        arguments: Sequence[_Path],
        *,
        capture_output: bool = False,
        cwd: _Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command that sees the host's root with the stack in place, in a mount namespace of its own.

        The mounts go with the command's last process: a stack runs once. When the wait is interrupted, the command is
        killed.
        """

    def start(
        self,
        arguments: Sequence[_Path],
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        cwd: _Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Running:
        """Start a command that sees the host's root with the stack in place, and return while it runs.

        The streams are those of the caller, or `subprocess.PIPE`, `subprocess.DEVNULL`, and for standard error
        `subprocess.STDOUT`.
        """

    def close(self) -> None:
        """Take the mounts away. Nothing happens when it was run."""

    def __enter__(self) -> Stack: ...
    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class Running:
    """A command that was started with a stack.

    As a context manager it is waited for at the end, after its pipes were closed; when an exception ends the block, it
    is killed first.
    """

    @property
    def args(self) -> list[str]:
        """The command and its arguments."""

    @property
    def pid(self) -> int:
        """Its process number."""

    @property
    def returncode(self) -> int | None:
        """How it ended, as `subprocess` tells it; `None` while it runs."""

    @property
    def stdin(self) -> BinaryIO | None:
        """What it reads, where that is a pipe."""

    @property
    def stdout(self) -> BinaryIO | None:
        """What it prints, where that is a pipe."""

    @property
    def stderr(self) -> BinaryIO | None:
        """What it prints on standard error, where that is a pipe."""

    def poll(self) -> int | None:
        """How it ended; `None` while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; `subprocess.TimeoutExpired` after that many seconds."""

    def send_signal(self, signal: int) -> None:
        """Send it a signal; nothing happens when it has ended."""

    def terminate(self) -> None:
        """Send it `SIGTERM`."""

    def kill(self) -> None:
        """Send it `SIGKILL`."""

    def refresh(self, stack: Stack) -> None:
        """Put another stack in the place of the one it sees, while it runs; that stack is used up."""

    def __enter__(self) -> Running: ...
    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class Listing:
    """What there is to merge."""

    __match_args__ = ("extensions", "refused")
    #: Those that could be merged, bottom first.
    extensions: Final[tuple[Listed, ...]]
    #: Everything else that was found, with the reason.
    refused: Final[tuple[Rejection, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Listed:
    """An extension that could be merged."""

    __match_args__ = ("entry", "layer", "merged")
    #: Where it was found, inside the root: the name comes from here.
    entry: Final[str]
    #: What it is, and what was checked of it just now.
    layer: Final[Layer]
    #: Whether it is merged: `yes`, `no`, `other` (another one of its name is) or `unknown` (another program merged one
    #: of its name).
    merged: Final[Literal["yes", "no", "other", "unknown"]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Attached:
    """How an image reached the kernel, and why not otherwise."""

    __match_args__ = ("asked", "reads", "io", "because", "detail", "verity")
    #: What was asked for.
    asked: Final[Literal["auto", "dm-verity", "sealed-memory", "plain", "in-place"]]
    #: What the kernel reads.
    reads: Final[Literal["dm-verity", "sealed-memory", "loop-device", "file"]]
    #: How a loop device reads its file; `None` without one.
    io: Final[Literal["direct", "buffered"] | None]
    #: Why it is this way.
    because: Final[
        Literal["asked", "hash-tree", "no-hash-tree", "no-dm-verity", "file-system", "place", "kernel"]
    ]
    #: What the kernel said against more than this; `None` when nothing was tried in vain.
    detail: Final[str | None]
    #: The dm-verity device, if it is one.
    verity: Final[VerityDevice | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class VerityDevice:
    """A dm-verity device."""

    __match_args__ = ("name", "signature", "corruption", "check_at_most_once", "ignore_zero_blocks")
    #: Its name, as `dmsetup` lists it.
    name: Final[str]
    #: Who checked the signature of the root hash.
    signature: Final[Literal["kernel", "library", "nobody"]]
    #: What happens when a block does not check.
    corruption: Final[Literal["fail", "restart", "panic"]]
    #: Whether a block is checked only when it is read for the first time.
    check_at_most_once: Final[bool]
    #: Whether blocks that are to be all zeros are not read.
    ignore_zero_blocks: Final[bool]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Layer:
    """One extension of a stack."""

    __match_args__ = ("name", "path", "kind", "version", "evidence", "partition", "hierarchies", "identity", "attached")
    #: The extension's name.
    name: Final[str]
    #: Where the image or directory is, inside the root.
    path: Final[str]
    #: `directory`, `raw` or `block`.
    kind: Final[_Body]
    #: The version chosen from a `.v/` directory.
    version: Final[str | None]
    #: What was checked when it was opened or merged.
    evidence: Final[Evidence]
    #: The partition of the image that is mounted.
    partition: Final[LayerPartition | None]
    #: The hierarchies it has files in.
    hierarchies: Final[tuple[str, ...]]
    #: What tells it from another one of its name: `root-hash`, `file`, `directory` or `content`.
    identity: Final[_Test]
    #: How its image reached the kernel; `None` for a directory, and before it is merged.
    attached: Final[Attached | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class LayerPartition:
    """The partition a layer is from."""

    __match_args__ = ("designator", "number", "uuid")
    #: `root` or `usr`.
    designator: Final[str]
    #: Its place in the table, from 1; `None` without a table.
    number: Final[int | None]
    #: Its identifier; `None` without a table.
    uuid: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Rejection:
    """Something that was found and is not used, and why."""

    __match_args__ = ("name", "path", "severity", "code", "message", "hint", "found", "expected", "field", "by")
    #: The extension's name, as far as it has one.
    name: Final[str | None]
    #: Where it is, inside the root.
    path: Final[str]
    #: `ignored`: as intended; `refused`: something is wrong with it.
    severity: Final[Literal["ignored", "refused"]]
    #: The stable code.
    code: Final[str]
    #: What was found and what was expected.
    message: Final[str]
    #: What to do about it.
    hint: Final[str]
    #: What was found, where the message says it.
    found: Final[str | None]
    #: What was expected, where the message says it.
    expected: Final[str | None]
    #: The field of the release file that is for another host.
    field: Final[str | None]
    #: For `shadowed`: the entry that has the name.
    by: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Plan:
    """What a merge would do."""

    __match_args__ = ("class_", "hierarchies", "vetoes", "refused", "layers", "layer_changes", "refusal", "after")
    #: `confext` or `sysext`.
    class_: Final[_Class]
    #: The hierarchies that would be merged.
    hierarchies: Final[tuple[Hierarchy, ...]]
    #: What speaks against it.
    vetoes: Final[tuple[Veto, ...]]
    #: What was found and would not be used.
    refused: Final[tuple[Rejection, ...]]
    #: The extensions of the stack, bottom first.
    layers: Final[tuple[Layer, ...]]
    #: What becomes of each extension, compared with what is merged now: the stack that would be, bottom first, then
    #: those that would go.
    layer_changes: Final[tuple[LayerChange, ...]]
    #: Why a merge would end with an error, if it would.
    refusal: Final[Refusal | None]
    #: Who has to hear of it, compared with what is merged now.
    after: Final[After]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Hierarchy:
    """What a merge would do to one hierarchy."""

    __match_args__ = ("path", "layers", "changes", "merged", "mutable")
    #: `usr`, `opt` or `etc`.
    path: Final[_Hierarchy]
    #: The extensions with files in it, bottom first.
    layers: Final[tuple[str, ...]]
    #: Every path that would be different, sorted by its bytes.
    changes: Final[tuple[PathChange, ...]]
    #: Directories with files of several, sorted by their bytes.
    merged: Final[tuple[MergedDirectory, ...]]
    #: Where writes would go, and what was written before would be seen.
    mutable: Final[Mutable]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class LayerChange:
    """An extension that is merged now, or would be, or both."""

    __match_args__ = ("name", "change", "test")
    #: The extension's name.
    name: Final[str]
    #: `added`, `removed`, `replaced` (another one of its name would be merged), `rechecked` (the same one, but checked
    #: differently, or elsewhere), `kept`, or `unknown` (another program merged one of its name).
    change: Final[Literal["added", "removed", "replaced", "rechecked", "kept", "unknown"]]
    #: The test that says that it is another one, or the same: `root-hash`, `file`, `directory` or `content`.
    test: Final[Literal["root-hash", "file", "directory", "content"] | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Mutable:
    """Whether a hierarchy can be written to while it is merged. Paths are inside the root, without a slash at the front."""

    __match_args__ = ("mode", "writes", "path", "work", "imported")
    #: `no`, `yes`, `auto`, `import`, `ephemeral` or `ephemeral-import`.
    mode: Final[_Mode]
    #: Where writes go: `nowhere` (they are refused), `directory`, `host` (the host's own directory, above all
    #: extensions) or `memory` (they are gone with the stack).
    writes: Final[Literal["nowhere", "directory", "host", "memory"]]
    #: The directory that writes go to.
    path: Final[str | None]
    #: The overlay's work directory.
    work: Final[str | None]
    #: The directory with what was written before, where that is only seen.
    imported: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class PathChange:
    """A path that would be different."""

    __match_args__ = ("path", "kind", "layer", "effect", "found_kind", "found", "becomes", "shadows")
    #: Below the hierarchy.
    path: Final[str]
    #: What would be there, as in `Stat.kind`.
    kind: Final[_Kind]
    #: The extension it would come from.
    layer: Final[str]
    #: `added`, `shadowed`, `type-changed`, `attributes-changed`, `hidden` or `opaque`.
    effect: Final[Literal["added", "shadowed", "type-changed", "attributes-changed", "hidden", "opaque", "other"]]
    #: What was there, of another type.
    found_kind: Final[_Kind | None]
    #: Owner and mode of the host's directory, where they would change.
    found: Final[Attributes | None]
    #: What they would become.
    becomes: Final[Attributes | None]
    #: What would no longer be seen there, topmost first.
    shadows: Final[tuple[Shadowed, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Shadowed:
    """Something that would no longer be seen."""

    __match_args__ = ("layer", "kind")
    #: Whose it is: an extension's, or with `None` the host's.
    layer: Final[str | None]
    #: What it is, as in `Stat.kind`.
    kind: Final[_Kind]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Attributes:
    """Owner and mode."""

    __match_args__ = ("mode", "uid", "gid")
    #: Permission, set-id and sticky bits.
    mode: Final[int]
    #: Owner.
    uid: Final[int]
    #: Group.
    gid: Final[int]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Veto:
    """Something that speaks against a merge, and stops it unless `Host(allow=…)` names its code."""

    __match_args__ = ("code", "layer", "hierarchy", "path", "found", "expected", "allowed")
    #: The stable code.
    code: Final[str]
    #: The extension.
    layer: Final[str]
    #: The hierarchy.
    hierarchy: Final[_Hierarchy]
    #: Below the hierarchy.
    path: Final[str]
    #: What the extension has there.
    found: Final[str]
    #: What would be no objection.
    expected: Final[str]
    #: Whether `Host(allow=…)` lets it pass.
    allowed: Final[bool]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class MergedDirectory:
    """A directory with files of several."""

    __match_args__ = ("path", "layers")
    #: Below the hierarchy.
    path: Final[str]
    #: Whose files are in it, topmost first: extensions', or with `None` the host's.
    layers: Final[tuple[str | None, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Refusal:
    """Why a merge would end with an error and change nothing."""

    __match_args__ = ("name", "code", "message", "hint")
    #: The extension, as far as it has a name.
    name: Final[str | None]
    #: The stable code.
    code: Final[str]
    #: What was found and what was expected.
    message: Final[str]
    #: What to do about it.
    hint: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Searched:
    """A directory in which extensions are looked for."""

    __match_args__ = ("path", "state")
    #: Where it is, inside the root.
    path: Final[str]
    #: Whether it is there.
    state: Final[Literal["listed", "missing"]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Fault:
    """Why something is not used."""

    __match_args__ = ("path", "code", "found", "expected", "message", "hint")
    #: Where, inside the root.
    path: Final[str]
    #: The stable code.
    code: Final[str]
    #: What was found.
    found: Final[str | None]
    #: What was expected.
    expected: Final[str | None]
    #: All of it in one sentence.
    message: Final[str]
    #: What to do about it.
    hint: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Place:
    """Where in the stack an extension is."""

    __match_args__ = ("position", "of", "hierarchies", "above", "below", "evidence", "merged")
    #: Its place, from 1 at the bottom.
    position: Final[int]
    #: How many there are.
    of: Final[int]
    #: The hierarchies it has files in.
    hierarchies: Final[tuple[_Hierarchy, ...]]
    #: The extensions above it, the next one first.
    above: Final[tuple[str, ...]]
    #: The extensions below it, the next one first.
    below: Final[tuple[str, ...]]
    #: What was checked of it just now.
    evidence: Final[Evidence]
    #: Whether it is merged, as in `Listed.merged`.
    merged: Final[Literal["yes", "no", "other", "unknown"]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Explained:
    """One entry of a search directory, and what becomes of it."""

    __match_args__ = ("entry", "reason", "path", "kind", "version", "place", "vetoes", "by", "field", "fault", "passed_over")
    #: The entry that gives the name, inside the root.
    entry: Final[str]
    #: What becomes of it.
    reason: Final[Literal["used", "vetoed", "shadowed", "masked", "other-host", "not-an-extension", "refused", "undecided"]]
    #: What it leads to, links resolved and the version chosen, as far as that was found out.
    path: Final[str | None]
    #: What that is.
    kind: Final[Literal["directory", "raw", "block"] | None]
    #: The version chosen from a `.v/` directory.
    version: Final[str | None]
    #: For `used`: where in the stack.
    place: Final[Place | None]
    #: For `vetoed`: what speaks against it.
    vetoes: Final[tuple[Veto, ...]]
    #: For `shadowed`: the entry that comes first.
    by: Final[str | None]
    #: For `other-host`: the field of its release file that says so.
    field: Final[str | None]
    #: Code, found and expected, for the other reasons.
    fault: Final[Fault | None]
    #: For a `.v/` directory: what in it is passed over.
    passed_over: Final[tuple[Fault, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Near:
    """A name that somebody may have meant."""

    __match_args__ = ("class_", "name")
    #: The class that has it.
    class_: Final[_Class]
    #: The name.
    name: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Explanation:
    """Everything that has a name, and what becomes of it."""

    __match_args__ = ("class_", "name", "verdict", "entries", "searched", "refusal", "near")
    #: `confext` or `sysext`.
    class_: Final[_Class]
    #: The name that was asked for.
    name: Final[str]
    #: What it comes to; `refused`: it would be used, but nothing is merged.
    verdict: Final[Literal["used", "not-used", "refused", "unknown"]]
    #: Every entry of the name in all search directories, in order of precedence.
    entries: Final[tuple[Explained, ...]]
    #: The search directories, in order of precedence.
    searched: Final[tuple[Searched, ...]]
    #: Why a merge would end with an error, if it would.
    refusal: Final[Refusal | None]
    #: Where nothing has the name: names that are nearly the same.
    near: Final[tuple[Near, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ChangedPath:
    """A file that is different."""

    __match_args__ = ("path", "change")
    #: Below the root.
    path: Final[str]
    #: How.
    change: Final[Literal["added", "removed", "changed"]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Affected:
    """A program, and what is different for it."""

    __match_args__ = ("consumer", "command", "paths")
    #: The program: `units`, `dbus`, `sysusers`, `tmpfiles`, `udev-rules`, `ld-so`, …
    consumer: Final[str]
    #: What makes it notice: a program and its arguments; `None` when it watches its directories.
    command: Final[tuple[str, ...] | None]
    #: What is different, sorted.
    paths: Final[tuple[ChangedPath, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class InvalidRequest:
    """What an extension asks of the service manager and means nothing."""

    __match_args__ = ("layer", "key", "found")
    #: The extension.
    layer: Final[str]
    #: The key of its release file.
    key: Final[str]
    #: The value, or the word of it.
    found: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Work:
    """What extensions ask of the service manager."""

    __match_args__ = ("reload", "restart", "reload_or_restart", "stop", "invalid")
    #: Whether it is to read unit files again.
    reload: Final[bool]
    #: Units to restart.
    restart: Final[tuple[str, ...]]
    #: Units to reload, or to restart where they cannot.
    reload_or_restart: Final[tuple[str, ...]]
    #: Units to stop: their file is gone.
    stop: Final[tuple[str, ...]]
    #: What means nothing.
    invalid: Final[tuple[InvalidRequest, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class After:
    """Who has to hear of a changed stack."""

    __match_args__ = ("complete", "consumers", "manager")
    #: Whether these are all changes: not when another program merged what was there before.
    complete: Final[bool]
    #: Programs that read files which are different.
    consumers: Final[tuple[Affected, ...]]
    #: What the extensions ask of the service manager.
    manager: Final[Work]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Done:
    """One action of the service manager."""

    __match_args__ = ("action", "unit", "result", "message")
    #: What.
    action: Final[Literal["reload", "stop", "restart", "reload-or-restart"]]
    #: The unit; `None` for the manager itself.
    unit: Final[str | None]
    #: `done`, what else the manager says of the job, `refused`, or `unknown` when it took longer than the wait.
    result: Final[str]
    #: What the manager says, where it refused.
    message: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Told:
    """What came of telling the service manager."""

    __match_args__ = ("actions", "failure")
    #: Each action, in the order they were asked for.
    actions: Final[tuple[Done, ...]]
    #: Why not all of it was done: the stable code, what was found, and what to do about it.
    failure: Final[tuple[str, ...] | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Report:
    """What was done, and with what."""

    __match_args__ = (
        "class_",
        "outcome",
        "because",
        "decided_by",
        "hierarchies",
        "propagated",
        "gaps",
        "layers",
        "refused",
        "after",
        "left_behind",
        "told",
    )
    #: `confext` or `sysext`.
    class_: Final[_Class]
    #: `merged`, `refreshed`, `unchanged`, `unmerged` or `nothing` (there was nothing to do).
    outcome: Final[Literal["merged", "refreshed", "unchanged", "unmerged", "nothing"]]
    #: Why the stack from before was no longer right, when it was refreshed.
    because: Final[tuple[Change, ...]]
    #: Why the stack is still right, when it is unchanged.
    decided_by: Final[tuple[Decision, ...]]
    #: The hierarchies that are merged now.
    hierarchies: Final[tuple[str, ...]]
    #: Of these, the ones that other mount namespaces receive, too.
    propagated: Final[tuple[str, ...]]
    #: Of these, the ones in which files were missing for a moment; only with `Host(exchange='gap-allowed')`.
    gaps: Final[tuple[str, ...]]
    #: The extensions of the stack that is there now, bottom first.
    layers: Final[tuple[Layer, ...]]
    #: What was found and is not used.
    refused: Final[tuple[Rejection, ...]]
    #: Who has to hear of the change.
    after: Final[After]
    #: What could not be removed after the change, with the reason.
    left_behind: Final[tuple[str, ...]]
    #: What came of `reload=True`; `None` when nothing was told.
    told: Final[Told | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Change:
    """A difference between a merged stack and what a refresh merges."""

    __match_args__ = ("kind", "name", "test", "found", "expected")
    #: `added`, `removed`, `replaced`, `rechecked`, `attached`, `checks`, `policy`, `execution`, `mutability`, `hierarchy`, `below`,
    #: `interrupted`, `unknown` or `asked`.
    kind: Final[
        Literal[
            "added",
            "removed",
            "replaced",
            "rechecked",
            "attached",
            "checks",
            "policy",
            "execution",
            "mutability",
            "hierarchy",
            "below",
            "interrupted",
            "unknown",
            "asked",
        ]
    ]
    #: The extension, or the hierarchy.
    name: Final[str | None]
    #: The test that says that an extension is another one: `root-hash`, `file`, `directory` or `content`.
    test: Final[_Test | None]
    #: The policy, the mode, or the way to attach, to check blocks or to run programs, before.
    found: Final[str | None]
    #: The same, now.
    expected: Final[str | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Decision:
    """How it was decided that an extension is the same as before."""

    __match_args__ = ("name", "test")
    #: The extension.
    name: Final[str]
    #: `root-hash`, `file`, `directory` or `content`.
    test: Final[_Test]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Status:
    """How one hierarchy stands."""

    __match_args__ = (
        "class_",
        "hierarchy",
        "state",
        "extensions",
        "since",
        "policy",
        "layers",
        "mutable",
        "execution",
        "doubts",
    )
    #: The class that was looked for.
    class_: Final[_Class]
    #: `usr`, `opt` or `etc`.
    hierarchy: Final[_Hierarchy]
    #: `missing` (no such directory), `bare` or `merged`.
    state: Final[Literal["missing", "bare", "merged"]]
    #: The names of the merged extensions, bottom first.
    extensions: Final[tuple[str, ...]]
    #: When it was merged, seconds since 1970.
    since: Final[int | None]
    #: The policy it was merged under; `None` when another program merged it.
    policy: Final[str | None]
    #: What it is made of, bottom first; `None` when another program merged it.
    layers: Final[tuple[Layer, ...] | None]
    #: Whether it can be written to; `None` when another program merged it.
    mutable: Final[Mutable | None]
    #: Whether programs can be run from it: `by-class` (from a sysext), `allowed` or `forbidden`; `None` when another
    #: program merged it.
    execution: Final[Literal["by-class", "allowed", "forbidden"] | None]
    #: Where what is mounted is not as it was written down.
    doubts: Final[tuple[Doubt, ...]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Doubt:
    """A property of a mount that is not what a merge gives it."""

    __match_args__ = ("what", "found", "expected")
    #: Which property.
    what: Final[str]
    #: What it is.
    found: Final[str]
    #: What it should be.
    expected: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Origin:
    """Where a path comes from."""

    __match_args__ = (
        "path",
        "view",
        "kind",
        "answer",
        "hierarchy",
        "source",
        "sources",
        "shadows",
        "base",
        "written",
        "unknown",
        "because",
        "doubts",
        "target",
    )
    #: The path inside the root, links on the way resolved.
    path: Final[str]
    #: `live`, or `planned` for what a merge would give.
    view: Final[Literal["live", "planned"]]
    #: What is there, as in `Stat.kind`; `None` when there is nothing.
    kind: Final[_Kind | None]
    #: `absent`, `not-merged`, `base`, `layer`, `directory`, `copied-up`, `written`, `deleted`, `hidden`, `submount`,
    #: `metadata` or `cannot-tell`.
    answer: Final[
        Literal[
            "absent",
            "not-merged",
            "base",
            "layer",
            "directory",
            "copied-up",
            "written",
            "deleted",
            "hidden",
            "submount",
            "metadata",
            "cannot-tell",
        ]
    ]
    #: The hierarchy of the stack, where one is merged.
    hierarchy: Final[_Hierarchy | None]
    #: The extension it comes from: for `layer` and `hidden`, and for `directory` the topmost one.
    source: Final[Source | None]
    #: All extensions that have it, topmost first: more than one only for `directory`.
    sources: Final[tuple[Source, ...]]
    #: What has the path, too, and is not seen; topmost first.
    shadows: Final[tuple[Shadow, ...]]
    #: Whether the host has it, for `directory` and `base`: `present`, `absent` or `unknown`.
    base: Final[Literal["present", "absent", "unknown"] | None]
    #: Whether what was written after the merge has a `directory`, too: `present` or `absent`.
    written: Final[Literal["present", "absent", "unknown"] | None]
    #: The extensions of which it cannot be told, topmost first.
    unknown: Final[tuple[Unknown, ...]]
    #: Why it cannot be told, where it is not because of single extensions.
    because: Final[str | None]
    #: What the kernel says that does not fit the stack's record.
    doubts: Final[tuple[Doubt, ...]]
    #: Of a symbolic link, where what it leads to comes from; only when that was asked for.
    target: Final[Origin | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Source:
    """An extension that has a path."""

    __match_args__ = ("layer", "image", "kind", "version", "partition", "evidence", "attached", "known_from", "confirmed_by")
    #: The extension's name.
    layer: Final[str]
    #: The image or directory, inside the root.
    image: Final[str]
    #: `directory`, `raw` or `block`.
    kind: Final[_Body]
    #: The version chosen from a `.v/` directory.
    version: Final[str | None]
    #: The partition it is from.
    partition: Final[LayerPartition | None]
    #: What was checked; `known_from` says when. A signer stands here only if the signature was checked.
    evidence: Final[Evidence]
    #: How its image reached the kernel; `None` for a directory, in a plan, and where another program merged it.
    attached: Final[Attached | None]
    #: Who says that it is part of the stack, and when `evidence` was checked: `record` (at the merge), `origin` (another
    #: program merged it; checked now) or `plan` (checked now).
    known_from: Final[Literal["record", "origin", "plan", "settings"]]
    #: How it was made sure that the image opened for this answer is the one that is merged: `root-hash`, `file`,
    #: `directory` or `content`; `path` is no proof, and `plan` is no merge.
    confirmed_by: Final[Literal["root-hash", "file", "directory", "content", "path", "plan"]]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Shadow:
    """Something that has the path, too, and is not seen."""

    __match_args__ = ("by", "source", "unknown")
    #: `layer`, `unknown`, `imported`, `base` (the host's own) or `base-unknown`.
    by: Final[Literal["layer", "unknown", "imported", "base", "base-unknown"]]
    #: The extension below, when it is one.
    source: Final[Source | None]
    #: The extension below of which it cannot be told, when it is one.
    unknown: Final[Unknown | None]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Unknown:
    """An extension of which it cannot be told whether it has a path."""

    __match_args__ = ("layer", "code", "reason")
    #: The extension's name.
    layer: Final[str]
    #: The stable code.
    code: Final[str]
    #: Why.
    reason: Final[str]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

# ---- reports

def _log_results(wanted: bool) -> None:
    """Whether results are handed to `confext.logs`."""

# ---- the command

def main(arguments: Sequence[str]) -> int:
    """Run the command with these arguments, the program's name first, and return its exit status."""
