"""The examples of the documentation say what is printed."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def test_examples_print_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL | doctest.REPORT_NDIFF
    found = doctest.testfile(str(DOCS / "python.md"), module_relative=False, optionflags=flags, encoding="utf-8")
    assert found.attempted > 15 and not found.failed
