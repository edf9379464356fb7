"""What the tests of the book need: the programs, and a summary of what was run."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pages
import pytest

counts: Counter[str] = Counter()


def required(name: str) -> Path:
    path = Path(os.environ.get(name, ""))
    if not path.is_file():
        pytest.exit(f"{name} is not the path of a program; tests/run.sh book sets it", 2)
    return path


@pytest.fixture(scope="session")
def confext() -> Path:
    return required("CONFEXT_BIN")


@pytest.fixture(scope="session")
def python() -> Path:
    return required("CONFEXT_PYTHON")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left = [block for page in pages.all_pages() for block in pages.blocks(page) if block.not_run]
    for block in left:
        terminalreporter.write_line(f"not run: {block.where}: {block.not_run}")
    shown = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    terminalreporter.write_line(f"book: {shown or 'nothing run'}; {len(left)} blocks not run")
