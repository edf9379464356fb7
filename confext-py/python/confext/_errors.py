"""The exceptions, by who is at fault."""

from __future__ import annotations

import errno as _errno

# Not imported to run: `typing` alone takes longer than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from ._confext import Damage


class Error(Exception):
    """Base of all exceptions of this package.

    The text says what was found and what was expected. On Python 3.11 and later, `hint` is a note of the exception,
    so that a traceback shows it.
    """

    #: Who is at fault: `corrupt`, `unsupported`, `unverified`, `refused`, `limit`, `lookup`, `io`, `host`, `internal`.
    family: ClassVar[str] = ""

    #: Stable, kebab-case; docs/errors.md lists all of them.
    code: str
    #: What to do about it.
    hint: str
    #: The file of the image that is at fault, where one is.
    image: str | None
    #: The part of the image, like `root-verity/superblock`; empty where it is not known.
    path: str
    #: The byte of the image, where it is known.
    offset: int | None

    def __init__(
        self,
        *args: object,
        code: str = "",
        hint: str = "",
        image: str | None = None,
        path: str = "",
        offset: int | None = None,
    ) -> None:
        super().__init__(*args)
        self.code = code
        self.hint = hint
        self.image = image
        self.path = path
        self.offset = offset
        if hint and hasattr(self, "add_note"):
            self.add_note(f"hint: {hint}")

    def __reduce__(self) -> tuple[Any, ...]:
        """For `pickle` and `copy`."""
        return _restore, (type(self), self._arguments(), dict(self.__dict__))

    def _arguments(self) -> tuple[object, ...]:
        return self.args


class CorruptError(Error):
    """The bytes break their specification."""

    family = "corrupt"


class UnsupportedError(Error):
    """The bytes may be fine, but this library cannot deal with them."""

    family = "unsupported"


class UnverifiedError(Error):
    """A hash or a signature does not check. Trying again or asking for less is never the answer."""

    family = "unverified"

    #: Every block that is wrong, where all of an image was checked: by `verify` and `Admitted.check`.
    damage: Damage | None = None


class RefusedError(Error):
    """The policy or the host says no."""

    family = "refused"


class LimitError(Error):
    """More than this library is ready to read or hold."""

    family = "limit"


class FileLookupError(Error, LookupError):
    """What was asked for is not in the image, or is something else there."""

    family = "lookup"


class HostError(Error):
    """The running system stands against it."""

    family = "host"


class CapabilityError(HostError):
    """This kernel or this process cannot do what was asked."""


class ConflictError(HostError):
    """What is there stands against what was asked."""


class InternalError(Error):
    """A fault of this library. Please report it."""

    family = "internal"

    def __init__(self, *args: object) -> None:
        super().__init__(*args, code="panic", hint="report it, with what led to it")


class IoError(Error, OSError):
    """A file, a device or the kernel fails: an `OSError` with its `errno`, `strerror` and `filename`."""

    family = "io"

    def __init__(
        self,
        errno: int | None = None,
        strerror: str | None = None,
        filename: str | None = None,
        *,
        message: str = "",
        **fields: Any,
    ) -> None:
        super().__init__(errno, strerror, filename, **fields)
        self._message = message

    def __str__(self) -> str:
        return self._message or OSError.__str__(self)

    def _arguments(self) -> tuple[object, ...]:
        return (self.errno, self.strerror, self.filename)


class MissingFileError(IoError, FileNotFoundError):
    """The file or directory is not there: also a `FileNotFoundError`."""


class PermissionDeniedError(IoError, PermissionError):
    """This process may not do it: also a `PermissionError`."""


_BY_ERRNO: dict[int | None, type[IoError]] = {
    _errno.ENOENT: MissingFileError,
    _errno.EACCES: PermissionDeniedError,
    _errno.EPERM: PermissionDeniedError,
}


def io_error(errno: int | None, strerror: str, filename: str | None, **fields: Any) -> IoError:
    """Make the exception that goes with a number, as `OSError` itself does."""
    # Without the number that Rust puts behind the text.
    strerror = strerror.removesuffix(f" (os error {errno})")
    return _BY_ERRNO.get(errno, IoError)(errno, strerror, filename, **fields)


def _restore(cls: type[Error], arguments: tuple[object, ...], state: dict[str, Any]) -> Error:
    """The exception that was pickled or copied: its hint is a note once."""
    error = cls(*arguments)
    error.__dict__.update(state)
    if "__notes__" in state:
        error.__dict__["__notes__"] = list(state["__notes__"])
    return error
