"""A room: where the blocks of one page are run, one after the other, and the machine is not changed."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from pathlib import Path

from pages import ROOT

HERE = Path(__file__).parent
USER = 1000
PROGRAMS = ("confext", "examples/admit", "examples/would_match")  # that pages call
SECONDS = 120  # that a block may take; no page asks for more than some


class Room:
    """Namespaces with a directory for the page; with systemd as process 1 where the page needs it.

    `programs` is where they were built; None where they are installed, in `root`: a machine of its own.
    """

    def __init__(
        self, directory: Path, *, systemd: bool, programs: Path | None, python: Path, root: Path | None = None
    ) -> None:
        self.directory = directory
        directory.chmod(0o755)
        for name in ("page", "home", "book", "book/private"):
            (directory / name).mkdir()
        for name in ("page", "home"):
            os.chown(directory / name, USER, USER)
        self._count = 0
        self.book = directory / "book"
        for name, text in (("cwd", f"{directory}/page\n"), ("env", "")):
            (self.book / name).write_text(text)
            (self.book / name).chmod(0o666)
        for name in ("server.sh", "step.sh", "python_blocks.py"):
            shutil.copy(HERE / name, self.book)
        # Others may not come to where it was built. With systemd the directory is what is copied over the root.
        there = directory / ("root/usr/local/bin" if systemd else "bin")
        there.mkdir(parents=True)
        for name in PROGRAMS if programs else ():
            shutil.copy(programs / name, there)
        manager = [ROOT / "tests/manager.sh", *(["--root", root] if root else [])]
        start = [*manager, directory] if systemd else [HERE / "room.sh", directory]
        self._process = subprocess.Popen(
            [*map(str, start), "bash", str(self.book / "server.sh"), str(self.book), str(python), str(USER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def run(self, kind: str, script: str) -> tuple[int, str]:
        """Runs a script as `user`, `root`, or as `python` or `pycon` of the page; its status, and what it printed."""
        self._count += 1
        step = self.book / f"{self._count}.{kind}"
        step.write_text(script, encoding="utf-8")
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{kind} {step}\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], SECONDS)
        answer = self._process.stdout.readline().strip() if ready else ""
        output = step.with_name(f"{step.name}.out")
        printed = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
        assert ready, f"not done after {SECONDS} s: {script}\n{printed}"
        assert answer, f"the room has ended at: {script}\n{printed}"
        return int(answer), printed

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait(SECONDS)
            raise
        finally:
            assert self._process.stdout
            self._process.stdout.close()
