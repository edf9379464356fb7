"""For tests/fresh.sh: what a page shows to somebody new, and the whole page on their machine.

    newcomer.py show PAGE                 the blocks that the page says are run by tests/fresh.sh
    newcomer.py run PAGE ROOT PYTHON      all other blocks, on a machine with this root, with systemd and with what was installed
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pages import blocks
from room import Room
from run import run


def show(page: str) -> None:
    for block in blocks(page):
        if block.fresh:
            print(block.text, end="")


def run_page(page: str, root: str, python: str) -> None:
    with tempfile.TemporaryDirectory(prefix="confext-test-book-") as scratch:
        room = Room(Path(scratch), systemd=True, programs=None, python=Path(python), root=Path(root))
        try:
            counts = run(page, room)
        except AssertionError as error:
            print(f"newcomer: {error}", flush=True)
            sys.exit(1)
        finally:
            room.close()
    print(f"newcomer: {page}: {counts['commands']} commands and {counts['other blocks']} other blocks print what it shows")


{"show": show, "run": run_page}[sys.argv[1]](*sys.argv[2:])
