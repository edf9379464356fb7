"""What this machine can do: the function, the module as a command, and the command say the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import confext
import pytest


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "confext", *map(str, arguments)], capture_output=True, text=True
    )


def test_the_command_says_what_the_function_says(tmp_path: Path) -> None:
    (tmp_path / "var/lib/confexts/app/etc").mkdir(parents=True)
    told = json.loads(run("doctor", "--json", "--root", tmp_path).stdout)
    report = confext.doctor(tmp_path)
    assert told["kernel"] == report.kernel and told["root"] == str(tmp_path)
    for ours, theirs in zip(report.items, told["items"], strict=True):
        # The clock's reason has the time of day.
        same = ["id", "state", "advice"] if ours.id == "clock" else ["id", "state", "advice", "why"]
        assert [getattr(ours, name) for name in same] == [theirs[name] for name in same]
        assert list(ours.needed_for) == theirs["needed_for"]
    assert report["extension-directories"].usable
    assert report["extension-directories"].why == "/var/lib/confexts with 1 extensions"
    with pytest.raises(KeyError):
        report["no-such-item"]
    assert list(tmp_path.iterdir()) == [tmp_path / "var"], "nothing is made"


def test_what_is_required_decides_the_exit_status(tmp_path: Path) -> None:
    (tmp_path / "var/lib/confexts").mkdir(parents=True)
    assert run("doctor", "--root", tmp_path, "--require", "extension-directories").returncode == 0
    missing = run("doctor", "--root", tmp_path, "--require", "extension-directories,certificates")
    assert missing.returncode == 3 and "required, and cannot be used: certificates" in missing.stdout
    assert run("doctor", "--require", "no-such-item").returncode == 2


def test_a_root_has_to_be_a_directory(tmp_path: Path) -> None:
    with pytest.raises(confext.MissingFileError) as missing:
        confext.doctor(tmp_path / "none")
    assert missing.value.code == "os"
