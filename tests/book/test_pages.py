"""Every block of README and docs is run, and prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pages
import pytest
from conftest import counts
from pages import FILES, NOT_RUN, PYTHON, ROOT, RUST, SHELL, SYSTEMD, TEXT, all_pages, answers, blocks, read, to_run
from room import Room
from run import SETUP, run, setup_of

# Blocks that cannot be run, each with its reason in the page. To be lowered when there are fewer; not to be raised.
NOT_RUN_BLOCKS = 8

# Pages for newcomers: nothing is there before their first block.
FROM_NOTHING = ("docs/tutorial.md", "docs/howto/", "docs/concepts.md")


@pytest.mark.skipif(os.geteuid() != 0 and os.environ.get("CONFEXT_TEST_REQUIRE") != "1", reason="needs root")
@pytest.mark.parametrize("page", [page for page in all_pages() if to_run(page)])
def test_page(page: str, scratch: Path, programs: Path, python: Path) -> None:
    room = Room(scratch, systemd=SYSTEMD in read(page).splitlines(), programs=programs, python=python)
    try:
        counts.update(run(page, room))
    finally:
        room.close()
    counts["pages"] += 1


@pytest.mark.parametrize("page", all_pages())
def test_every_block_is_of_a_kind_that_is_run(page: str) -> None:
    included = (ROOT / "tests/common/pages.rs").read_text(encoding="utf-8")
    for block in blocks(page):
        if block.not_run or block.fresh:
            continue
        assert not block.attributes, f"{block.where}: {block.attributes} needs a reason"
        if block.shown_from:
            assert (ROOT / block.shown_from).is_file(), block.where
        elif block.language in RUST:
            assert f'include_str!("../../{page}")' in included, f"{page} is not in tests/common/pages.rs"
        elif block.language in TEXT:
            for line in block.lines:
                command = re.match(r"[$#] (confext|systemctl|keyctl)\b", line)
                assert not command, f"{block.where}: a command that is not run: {line}"
            # Of command.md the arguments are compared, below.
            assert page == "docs/command.md" or not block.text.startswith("confext "), f"{block.where}: a command"
        elif block.language in FILES:
            assert block.file, block.where
        else:
            assert block.language in (*SHELL, *PYTHON), f"{block.where}: what is a block of {block.language!r}?"


@pytest.mark.parametrize("page", all_pages())
def test_every_block_has_a_fence(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"^\n {4}", text, flags=re.MULTILINE), f"{page}: a block that is only indented is not run"


def test_few_blocks_are_not_run() -> None:
    reasons = {block.where: block.not_run for page in all_pages() for block in blocks(page) if block.not_run}
    assert all(len(reason or "") > 20 for reason in reasons.values()), "a reason is a sentence"
    assert len(reasons) == NOT_RUN_BLOCKS, "\n".join(f"{where}: {reason}" for where, reason in reasons.items())
    # A comment that stands anywhere else does nothing.
    comments = [line for page in all_pages() for line in read(page).splitlines() if NOT_RUN.fullmatch(line)]
    assert len(reasons) == len(comments)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_the_oldest_rust_is_named(page: str) -> None:
    oldest = re.search(r'^rust-version = "([0-9.]+)"', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert oldest and f"Rust {oldest[1]} or later" in read(page)


def test_blocks_for_a_fresh_machine_are_run_there() -> None:
    """By name: tests/fresh.sh takes what the page shows, and would not miss a page."""
    script = (ROOT / "tests/fresh.sh").read_text(encoding="utf-8")
    shown = [block for page in all_pages() for block in blocks(page) if block.fresh]
    assert shown
    for block in shown:
        assert block.language == "sh" and len(block.fresh or "") > 20, block.where
        assert re.search(rf"(shown|install_as_shown) {block.page}\b", script), f"{block.where}: not in tests/fresh.sh"


def test_setups_are_of_pages() -> None:
    pages_of = {setup_of(page): page for page in all_pages()}
    for setup in SETUP.rglob("*.sh"):
        assert setup in pages_of, f"{setup}: of no page"
        assert not pages_of[setup].startswith(FROM_NOTHING), f"{setup}: this page starts from nothing"


def anchors(page: str) -> set[str]:
    """What links to a page can name: its headings as GitHub writes them."""
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*all_pages(), "SECURITY.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        leads = (ROOT / page).parent / path if path else ROOT / page
        assert leads.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(str(leads.resolve().relative_to(ROOT))), f"{page}: {target}"


def test_the_contents_list_every_page() -> None:
    listed = set(re.findall(r"\]\(([^)#]+\.md)\)", read("docs/README.md")))
    there = {page.removeprefix("docs/") for page in all_pages()} - {"README.md"}
    assert not there - listed, "pages that are not in docs/README.md"


def synopses() -> Iterator[tuple[list[str], str]]:
    """What command.md says of the arguments of each verb: its words, and the lines up to the next verb."""
    for block in blocks("docs/command.md"):
        if block.language == "text" and block.lines[0].startswith("confext "):
            for lines in re.findall(r"^confext .*\n(?: .*\n)*", block.text, flags=re.MULTILINE):
                words = re.match(r"confext( [a-z][a-z|-]*)( [a-z][a-z|-]*(?=\s))?", lines)
                assert words, lines
                yield [word.split("|")[0] for word in words[0].split()[1:]], lines


@pytest.mark.parametrize(("words", "lines"), list(synopses()))
def test_flags_of_a_synopsis_are_there(words: list[str], lines: str, programs: Path) -> None:
    helped = subprocess.run([programs / "confext", *words, "--help"], capture_output=True, text=True, check=True).stdout
    for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", lines):
        assert re.search(rf"{flag}\b", helped), f"{words} has no {flag}"


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("a…", "abc", True),
        ("a…c", "abc", True),
        ("a…c", "abd", False),
        ("a…c", "abcd", False),
        ("a.c", "abc", False),
        ("a", "a\na", False),
        ("", "a", False),
        ("…", "", False),
        ("…", "a\nb", True),
        ("…\nb", "a\nb", True),
        ("…\n…", "a", False),
    ],
)
def test_what_is_expected_is_what_is_there(expected: str, printed: str, same: bool) -> None:
    assert answers(tuple(expected.splitlines()), tuple(printed.splitlines())) == same


def test_a_page_that_lies_is_found(scratch: Path, programs: Path, python: Path) -> None:
    """The runner itself: commands in order, as whoever they say, with their state; and what is wrong is wrong."""
    if os.geteuid() != 0:
        if os.environ.get("CONFEXT_TEST_REQUIRE") == "1":
            pytest.fail("needs root")
        pytest.skip("needs root")
    room = Room(scratch, systemd=False, programs=programs, python=python)
    try:
        assert room.run("user", "id -u; mkdir here; cd here; THERE=1") == (0, "1000\n")
        assert room.run("root", "id -u; basename $PWD; echo $THERE; touch /etc/only-here") == (0, "0\nhere\n1\n")
        assert room.run("user", "touch /etc/by-me")[0] == 1
        assert room.run("user", "set -eu\nfalse\necho not reached") == (1, "")
        assert room.run("root", "touch /usr/bin/by-root")[0] == 1
        assert room.run("python", "x = 1\nprint(x)") == (0, "1\n")
        assert room.run("pycon", ">>> x\n1\n") == (0, "")
        assert room.run("pycon", ">>> x\n2\n")[0] == 1
        assert room.run("python", "raise SystemExit(0)")[0] == 1
    finally:
        room.close()
    assert not Path("/etc/only-here").exists()


def test_blocks_are_read_strictly() -> None:
    text = "<!-- not run: it ends the machine -->\n```sh\nreboot\n```\n\n```console\n$ a \\\n  b\nc\n# d\n```\n"
    first, second = blocks("page", text)
    assert first.not_run == "it ends the machine" and second.not_run is None
    assert [(step.as_root, step.command, step.expected) for step in second.steps()] == [
        (False, "a \\\n  b", ("c",)),
        (True, "d", ()),
    ]
    (third,) = blocks("page", "<!-- run by tests/fresh.sh: it compiles everything -->\n\n```sh\nmake\n```\n")
    assert third.fresh == "it compiles everything" and third.not_run is None
    for bad in ("```sh\n", " ```sh\n ```\n"):
        with pytest.raises(AssertionError):
            blocks("page", bad)
    with pytest.raises(AssertionError):
        pages.Block("page", 1, "console", (), "", ["output"]).steps()
    with pytest.raises(AssertionError):
        _ = pages.Block("page", 1, "ini", (), "", ["[Service]"]).file
