"""The commands of docs/fleet.md print what the page says."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import confext
from conftest import EXAMPLES, TESTS, build
from test_oci import Registry

PAGE = "docs/fleet.md"


def load_pages() -> ModuleType:
    """How the other tests of the book read a page."""
    spec = importlib.util.spec_from_file_location("pages", TESTS / "book/pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pages"] = module
    spec.loader.exec_module(module)
    return module


def test_commands_print_what_the_page_says(tmp_path: Path, vendor: confext.KeyPair) -> None:
    pages = load_pages()
    blocks = [block for block in pages.blocks(PAGE) if block.language == "text" and block.lines[0].startswith("$ ")]
    steps = [step for block in blocks for step in block.steps()]
    assert sum("python examples/" in step.command for step in steps) == 5
    # What the page talks of.
    (tmp_path / "examples").symlink_to(EXAMPLES)
    (tmp_path / "vendor.crt").write_bytes(vendor.certificate)
    for place in ("store", "web.raw.v"):
        (tmp_path / place).mkdir()
    for version in (1, 2, 3):
        path = tmp_path / f"store/web_{version}.raw"
        build(path, {"etc/web.conf": f"version = {version}\n"}, vendor, IMAGE_VERSION=str(version))
    path.write_bytes(path.read_bytes().replace(b"version = 3", b"Version = 3"))
    (tmp_path / "web_1.raw").write_bytes((tmp_path / "store/web_1.raw").read_bytes())
    registry = Registry(tmp_path)
    try:
        for step in steps:
            run(pages, step, tmp_path, registry.address)
    finally:
        registry.end()


def run(pages: ModuleType, step: object, work: Path, address: str) -> None:
    """One command: `python` is this one, and the registry is where it listens."""
    command, expected = getattr(step, "command"), getattr(step, "expected")
    text = re.sub(r"^python ", f"{sys.executable} ", command).replace("localhost:5000", address)
    if query := re.fullmatch(r'sqlite3 (\S+) "(.*)"', command):
        # Without the program itself.
        code = "import sqlite3, sys\nfor row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print(*row, sep='|')"
        arguments = [sys.executable, "-c", code, *query.groups()]
    else:
        arguments = ["sh", "-c", text]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        arguments, cwd=work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240
    )
    found = (*done.stdout.splitlines(), *([f"[{done.returncode}]"] if done.returncode else []))
    assert pages.answers(expected, found), "\n".join((command, "expected:", *expected, "found:", *found))
