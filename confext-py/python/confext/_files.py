"""Files of an image as Python's file objects."""

from __future__ import annotations

import io
import os
import tempfile
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ._confext import Files

#: Small reads are served from this much, which is checked once.
_BUFFER_BYTES = 1 << 17

#: So much of an archive is read at a time.
_CHUNK_BYTES = 1 << 20


class _Raw(io.RawIOBase):
    """A file of an image: each read goes through the hash tree."""

    def __init__(self, image: Files, path: str | bytes) -> None:
        super().__init__()
        self._image = image
        self._path = path
        self._size = image.stat(path).size
        self._position = 0
        # Tells what is no regular file now, and not at the first read.
        image.read(path, size=0)

    @property
    def name(self) -> str | bytes:
        """The path it was opened by."""
        return self._path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = self._image.read(self._path, offset=self._position, size=len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"found position {start + offset}, expected 0 or more")
        self._position = start + offset
        return self._position


class Readable(Protocol):
    """What archives are read from."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""


def kept(archive: Readable, place: str | os.PathLike[str] | None) -> IO[bytes]:
    """All of an archive in a file without a name, where it can be read at any place."""
    file = tempfile.TemporaryFile(dir=place or ".")
    try:
        while content := archive.read(_CHUNK_BYTES):
            file.write(content)
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def open_file(
    image: Files, path: str | bytes | os.PathLike[str] | os.PathLike[bytes]
) -> io.BufferedReader:
    """Open a file of an image for reading."""
    return io.BufferedReader(_Raw(image, os.fspath(path)), _BUFFER_BYTES)
