"""What this machine can do: the function, the module as a command, and the command say the same."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import confext
import confext.__main__
import pytest

NOBODY = 65534


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "confext", *map(str, arguments)], capture_output=True, text=True
    )


def agree(report: confext.DoctorReport, told: dict[str, Any]) -> None:
    """What the function and the command say is the same."""
    assert told["kernel"] == report.kernel
    for ours, theirs in zip(report.items, told["items"], strict=True):
        # The clock's reason has the time of day.
        same = ["id", "state", "advice"] if ours.id == "clock" else ["id", "state", "advice", "why"]
        assert [getattr(ours, name) for name in same] == [theirs[name] for name in same]
        assert list(ours.needed_for) == theirs["needed_for"]


def test_the_command_says_what_the_function_says(tmp_path: Path) -> None:
    (tmp_path / "var/lib/confexts/app/etc").mkdir(parents=True)
    told = json.loads(run("doctor", "--json", "--root", tmp_path).stdout)
    report = confext.doctor(tmp_path)
    assert told["root"] == str(tmp_path)
    agree(report, told)
    assert report["extension-directories"].usable
    assert report["extension-directories"].why == "/var/lib/confexts with 1 extensions"
    with pytest.raises(KeyError):
        report["no-such-item"]
    assert list(tmp_path.iterdir()) == [tmp_path / "var"], "nothing is made"


def as_user() -> tuple[confext.DoctorReport, dict[str, Any]]:
    """What the function and the command say to a user without privileges."""
    ours, theirs = os.pipe()
    child = os.fork()
    # No other program: the user may not be allowed to start this interpreter.
    if child == 0:
        status = 1
        try:
            os.close(ours)
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with tempfile.TemporaryFile() as out:
                os.dup2(out.fileno(), 1)
                sys.argv = ["confext", "doctor", "--json"]
                assert confext.__main__.main() == 0
                out.seek(0)
                told = json.load(out)
            with open(theirs, "wb") as answer:
                pickle.dump((confext.doctor(), told), answer)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(theirs)
    with open(ours, "rb") as reader:
        said = reader.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    report, told = pickle.loads(said)
    return report, told


def test_root_and_a_user_are_told_what_they_can_do(needs_root: None) -> None:
    root = confext.doctor()
    agree(root, json.loads(run("doctor", "--json").stdout))
    script = subprocess.run([Path(sys.executable).with_name("confext"), "doctor", "--json"], capture_output=True)
    agree(root, json.loads(script.stdout))
    user, told = as_user()
    agree(user, told)
    assert [item.id for item in user.items] == [item.id for item in root.items]
    for privilege in ("mount-privilege", "file-privileges", "run-directory"):
        assert (root[privilege].state, user[privilege].state) == ("yes", "not-permitted")
        assert user[privilege].advice and not root[privilege].advice


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
