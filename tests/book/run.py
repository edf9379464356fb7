"""Runs the blocks of a page in a room, and compares what they print with the page. Needs nothing but Python itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pages import FILES, answers, blocks, to_run
from room import USER, Room

SETUP = Path(__file__).parent / "setup"
COMMON = SETUP.with_name("setup.inc.sh")


def setup_of(page: str) -> Path:
    """What is run before a page, where there is such a file."""
    return SETUP / f"{page.removeprefix('docs/').removesuffix('.md')}.sh"


def run(page: str, room: Room) -> Counter[str]:
    """How many commands and other blocks were run; AssertionError with both texts where the page is wrong."""
    counts: Counter[str] = Counter()
    setup = setup_of(page)
    if setup.exists():
        script = "\n".join(("set -eu", COMMON.read_text(), setup.read_text(), f"chown -R {USER}:{USER} ."))
        status, printed = room.run("root", script)
        assert status == 0, f"{setup}: {printed}"
    every = blocks(page)
    for block, after in zip(every, [*every[1:], None], strict=True):
        if block not in to_run(page):
            continue
        if block.language == "console":
            for step in block.steps():
                status, printed = room.run("root" if step.as_root else "user", step.command)
                found = (*printed.splitlines(), *([f"[{status}]"] if status else []))
                counts["commands"] += 1
                both = ("expected:", *step.expected, "found:", *found)
                assert answers(step.expected, found), "\n".join((f"{page}:{step.line}: {step.command}", *both))
            continue
        counts["other blocks"] += 1
        if block.language == "sh":
            status, printed = room.run("user", f"set -eu\n{block.text}")
        elif block.language in FILES:
            start = f"mkdir -p $(dirname {block.file})\ncat >{block.file} <<'END OF BLOCK'"
            status, printed = room.run("root", f"{start}\n{block.text}END OF BLOCK")
        else:
            status, printed = room.run(block.language, "\n" * block.line + block.text)
            # What a program prints stands in the text right below it.
            if status == 0 and block.language == "python":
                below = after is not None and not after.comment and after.language == "text"
                shown = tuple(after.lines) if after is not None and below else ()
                assert answers(shown, tuple(printed.splitlines())), f"{block.where} printed:\n{printed}"
        assert status == 0, f"{block.where}:\n{printed}"
    return counts
