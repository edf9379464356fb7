"""What the tests of the book need: the programs, and a summary of what was run."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pages
import pytest

counts: Counter[str] = Counter()


def required(name: str) -> Path:
    if name not in os.environ:
        pytest.exit(f"{name} is not set; tests/run.sh book sets it", 2)
    return Path(os.environ[name])


@pytest.fixture(scope="session")
def programs() -> Path:
    """The directory where they were built."""
    return required("CONFEXT_PROGRAMS")


@pytest.fixture(scope="session")
def python() -> Path:
    """An interpreter that has the module."""
    return required("CONFEXT_PYTHON")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory for a room. Not one of pytest's: others cannot come to these."""
    with tempfile.TemporaryDirectory(prefix="confext-test-book-") as name:
        yield Path(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left = [block for page in pages.all_pages() for block in pages.blocks(page) if block.not_run]
    for block in left:
        terminalreporter.write_line(f"not run: {block.where}: {block.not_run}")
    shown = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    terminalreporter.write_line(f"book: {shown or 'nothing run'}; {len(left)} blocks not run")
