"""The examples are typed: strict mypy has nothing to say of them, nor of these tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import EXAMPLES, TESTS


def test_strict_types(tmp_path: Path) -> None:
    files = [*EXAMPLES.glob("*.py"), *(TESTS / "fleet").glob("*.py")]
    assert len(files) > 6
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), *sorted(map(str, files))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS / "fleet")
    assert done.returncode == 0, done.stdout
