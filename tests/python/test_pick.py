"""Picking: the best version of a `.v` directory, and paths that stay as they are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import confext
import pytest
from hypothesis import given
from hypothesis import strategies as st

numbers = st.integers(0, 120)


@given(st.dictionaries(numbers, st.one_of(st.none(), st.integers(0, 3)), min_size=1, max_size=8))
def test_the_highest_version_with_tries_left_is_picked(tries: dict[int, int | None]) -> None:
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "app.raw.v"
        directory.mkdir()
        paths = {}
        for version, left in tries.items():
            counters = "" if left is None else f"+{left}-1"
            paths[version] = directory / f"app.raw_{version}{counters}"
            paths[version].touch()
        (directory / "other_999.raw").touch()
        (directory / "app.raw_1000").mkdir()
        usable = [version for version, left in tries.items() if left != 0]
        best = max(usable or tries)
        picked = confext.pick(directory, accept="raw")
        assert (picked.path, picked.version, picked.kind) == (str(paths[best]), str(best), "regular")
        left = tries[best]
        assert picked.tries == (None if left is None else (left, 1))
        for version in tries:
            assert confext.pick(directory, accept="raw", version=str(version)).path == str(paths[version])


@given(st.lists(numbers, unique=True, min_size=1, max_size=8), st.sampled_from([".raw", "", ".img"]))
def test_both_ways_to_write_a_pattern(versions: list[int], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "app.v"
        directory.mkdir()
        for version in versions:
            (directory / f"app_{version}{suffix}").touch()
        picked = confext.pick(directory, suffix=suffix)
        assert picked == confext.pick(directory / f"app___{suffix}")
        assert Path(picked).name == f"app_{max(versions)}{suffix}"


def test_what_is_picked_is_a_path(tmp_path: Path) -> None:
    directory = tmp_path / "app.v"
    (directory / "app_2_x86-64").mkdir(parents=True)
    (directory / "app_1_arm64").mkdir()
    picked = confext.pick(directory, architecture="arm64", accept="directory")
    assert (picked.version, picked.architecture, picked.kind) == ("1", "arm64", "directory")
    assert os.fspath(picked) == picked.path == str(directory / "app_1_arm64")
    assert os.listdir(picked) == []
    # Links are followed, and not resolved; one that leads nowhere does not count.
    (directory / "app_3_arm64").symlink_to("/etc/passwd")
    (directory / "app_4_arm64").symlink_to("nowhere")
    picked = confext.pick(directory, architecture="arm64")
    assert (picked.path, picked.kind) == (str(directory / "app_3_arm64"), "regular")
    literal = confext.pick(tmp_path)
    assert (literal.path, literal.kind, literal.version, literal.tries) == (str(tmp_path), "directory", None, None)


def test_nothing_fits(tmp_path: Path) -> None:
    (tmp_path / "app.v").mkdir()
    with pytest.raises(confext.FileLookupError) as nothing:
        confext.pick(tmp_path / "app.v")
    assert nothing.value.code == "nothing-to-pick" and nothing.value.hint
    with pytest.raises(FileNotFoundError):
        confext.pick(tmp_path / "missing.v")
    with pytest.raises(FileNotFoundError):
        confext.pick(tmp_path / "missing.raw")
    wrong: Any = "file"
    with pytest.raises(ValueError, match="accept: found 'file', expected 'any' or 'raw' or 'directory'"):
        confext.pick(tmp_path, accept=wrong)
