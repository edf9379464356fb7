"""The types say what is there: strict mypy over the package, the example and these tests.

That the stub fits the native module is for `mypy.stubtest`, which `tests/run.sh python` calls.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_everything_is_typed(tmp_path: Path) -> None:
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path)]
    for what in (["-p", "confext"], [str(HERE.parents[1] / "examples/quickstart.py"), str(HERE)]):
        done = subprocess.run([*mypy, *what], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
