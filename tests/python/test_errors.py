"""Exceptions: one base, the place in the image, and `OSError` where a file is at fault."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import confext
import pytest
from conftest import Make


def test_every_class_is_an_error_with_a_family() -> None:
    exported = [getattr(confext, name) for name in confext.__all__]
    classes = [value for value in exported if isinstance(value, type) and issubclass(value, confext.Error)]
    others = [value for value in exported if isinstance(value, type) and issubclass(value, BaseException)]
    assert len(classes) == len(others) == 14
    families = {value.family for value in classes if value is not confext.Error}
    assert families == {
        "corrupt", "unsupported", "unverified", "refused", "limit", "lookup", "io", "host", "internal"
    }  # fmt: skip


def test_a_missing_file_is_a_file_not_found_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    asks: list[Callable[[], object]] = [
        lambda: confext.Image.open(missing),
        lambda: confext.verify(missing, certificates=()),
        lambda: confext.Host(missing),
        lambda: confext.Host(tmp_path, certificates=missing),
        lambda: confext.build("a", source=missing, output=tmp_path / "a.raw", unsigned=True),
    ]
    for ask in asks:
        with pytest.raises(FileNotFoundError) as caught:
            ask()
        error = caught.value
        assert isinstance(error, confext.MissingFileError)
        assert (error.errno, error.filename) == (errno.ENOENT, str(missing))
        assert error.strerror == "No such file or directory"
        assert str(missing) in str(error) and error.code and error.hint


def test_what_is_no_image_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "junk").write_bytes(b"junk" * 5000)
    for name, kind, code in [
        (".", confext.ConflictError, "image-file-type"),
        ("empty", confext.CorruptError, "image-empty"),
        ("junk", confext.UnsupportedError, "image-unknown"),
    ]:
        with pytest.raises(kind) as caught:
            confext.Image.open(tmp_path / name)
        assert caught.value.code == code
        assert caught.value.hint


def test_the_place_in_the_image_is_told(make: Make) -> None:
    image = make({"etc/a": b""})
    data = bytearray(image.read_bytes())
    # Both copies of the partition table: the first entry's type.
    for at in (1024, len(data) - 512 * 33):
        data[at] ^= 0xFF
    image.write_bytes(data)
    with pytest.raises(confext.CorruptError) as caught:
        confext.Image.open(image)
    error = caught.value
    assert (error.code, error.family, error.image) == ("gpt-entries-crc", "corrupt", str(image))
    assert error.path.startswith("gpt")
    assert error.offset is not None
    assert str(error).count("checksum") <= 1, "the message is told once"


def test_files_that_are_not_there_are_a_lookup_error(make: Make, vendor: confext.KeyPair) -> None:
    admitted = confext.verify(make({"etc/a": b""}), certificates=vendor.certificate)
    asks: list[tuple[Callable[[], object], str]] = [
        (lambda: admitted.read("etc/b"), "no-such-file"),
        (lambda: admitted.read("etc"), "not-a-file"),
        (lambda: admitted.listdir("etc/a"), "not-a-directory"),
        (lambda: admitted.readlink("etc/a"), "not-a-symlink"),
        (lambda: admitted.read("a\0b"), "path-syntax"),
    ]
    for ask, code in asks:
        with pytest.raises(LookupError) as caught:
            ask()
        assert isinstance(caught.value, confext.FileLookupError)
        assert caught.value.code == code


def test_exceptions_can_be_pickled(make: Make, tmp_path: Path) -> None:
    errors: list[confext.Error] = []
    image = make({"etc/a": b""})
    asks: list[Callable[[], object]] = [
        lambda: confext.Image.open(tmp_path / "no"),
        lambda: confext.verify(image, certificates=()),
    ]
    for ask in asks:
        with pytest.raises(confext.Error) as caught:
            ask()
        errors.append(caught.value)
    for error in errors:
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have notes since Python 3.11")
def test_a_traceback_shows_the_hint(tmp_path: Path) -> None:
    program = f"import confext; confext.Image.open({str(tmp_path / 'no')!r})"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "confext._errors.MissingFileError: " in shown.stderr
    assert "\nhint: check the path" in shown.stderr


def test_a_private_key_is_not_shown(vendor: confext.KeyPair) -> None:
    assert "PRIVATE" not in repr(vendor) and vendor.fingerprint in repr(vendor)
