"""The pages of the book: their fenced blocks, what each is for, and what a command is to print."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]

# What a fence can say. Another word is an error, so that no block is passed over.
SHELL, PYTHON, RUST, TEXT = ("console", "sh"), ("python", "pycon"), ("rust",), ("text",)
FILES = ("ini", "json", "toml", "yaml")

NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
FRESH = re.compile(r"<!-- run by tests/fresh.sh: (.+) -->")
FILE = re.compile(r"<!-- file: (\S+) -->")
SHOWN_FROM = re.compile(r"<!-- (examples/\S+) -->")
SYSTEMD = "<!-- book: systemd -->"


@dataclass(frozen=True)
class Step:
    """A command with what it is to print."""

    as_root: bool
    command: str
    line: int
    expected: tuple[str, ...]


@dataclass
class Block:
    """A fenced block."""

    page: str
    line: int
    language: str
    attributes: tuple[str, ...]
    comment: str
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def not_run(self) -> str | None:
        """Why it is not run, where the page says that it is not."""
        found = NOT_RUN.fullmatch(self.comment)
        return found[1] if found else None

    @property
    def fresh(self) -> str | None:
        """Why it is run only on a fresh machine, by tests/fresh.sh, where the page says so."""
        found = FRESH.fullmatch(self.comment)
        return found[1] if found else None

    @property
    def shown_from(self) -> str | None:
        """The program that it is a part of, which is run as a whole."""
        found = SHOWN_FROM.fullmatch(self.comment)
        return found[1] if found else None

    @property
    def file(self) -> str:
        """The file that it is the content of: its first line says it, or the comment above where it can have none."""
        first = self.lines[0] if self.lines else ""
        found = FILE.fullmatch(self.comment)
        if found:
            return found[1]
        assert first.startswith("# ") and " " not in first[2:], f"{self.where}: a file without its path"
        return first[2:]

    def steps(self) -> list[Step]:
        """The commands of a console: behind `$` for whoever, behind `#` for root; below each what it prints."""
        steps: list[Step] = []
        continued = False
        for number, line in enumerate(self.lines, self.line + 1):
            prompt = line[:2] in ("$ ", "# ")
            if continued:
                last = steps[-1]
                steps[-1] = Step(last.as_root, f"{last.command}\n{line}", last.line, ())
            elif prompt:
                steps.append(Step(line[0] == "#", line[2:], number, ()))
            else:
                assert steps, f"{self.page}:{number}: output without a command"
                last = steps[-1]
                steps[-1] = Step(last.as_root, last.command, last.line, (*last.expected, line))
            continued = (prompt or continued) and line.endswith("\\")
        return steps


def all_pages() -> list[str]:
    """README and every page below docs."""
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, text: str | None = None) -> list[Block]:
    """The fenced blocks of a page, each with the comment above it."""
    found: list[Block] = []
    fence = None
    above = ""
    for number, line in enumerate((read(page) if text is None else text).splitlines(), 1):
        start = re.match(r"\s*(`{3,}|~{3,})(.*)", line)
        if fence is not None:
            if line == fence:
                fence, above = None, ""
            else:
                found[-1].lines.append(line)
        elif start:
            assert line.startswith("```"), f"{page}:{number}: a fence that is not at the start of its line"
            language, *attributes = start[2].split(",")
            fence = start[1]
            found.append(Block(page, number, language, tuple(attributes), above))
        elif line.strip():
            above = line.strip()
    assert fence is None, f"{page}: a block without an end"
    return found


def to_run(page: str) -> list[Block]:
    """Those that are run on every change."""
    kinds = (*SHELL, *PYTHON, *FILES)
    found = blocks(page)
    return [block for block in found if block.language in kinds and not (block.not_run or block.fresh or block.shown_from)]


def fits(expected: str, line: str) -> bool:
    """Whether a line is the one expected, where `…` stands for any text."""
    pattern = ".*".join(re.escape(part) for part in expected.split("…"))
    return re.fullmatch(pattern, line) is not None


def answers(expected: tuple[str, ...], printed: tuple[str, ...]) -> bool:
    """Whether lines are those expected, where a line of nothing but `…` stands for one line or more."""
    if not expected:
        return not printed
    if not printed or not fits(expected[0], printed[0]):
        return False
    if answers(expected[1:], printed[1:]):
        return True
    return expected[0] == "…" and answers(expected, printed[1:])
