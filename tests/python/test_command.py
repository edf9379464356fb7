"""The command that the wheel installs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import confext
from conftest import Make


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("confext")
    return subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)


def test_the_command_does_what_the_module_does(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    image, certificate = make({"etc/app.conf": b"hello\n"}), tmp_path / "cert.pem"
    certificate.write_bytes(vendor.certificate)
    done = run("--json", "verify", "--root", tmp_path, "--certificate", certificate, image)
    assert done.returncode == 0, done.stderr
    admitted = confext.verify(image, certificates=certificate)
    assert json.loads(done.stdout)["evidence"]["root_hash"] == admitted.root_hash
    done = run("cat", "--root", tmp_path, "--certificate", certificate, image, "etc/app.conf")
    assert (done.stdout, done.returncode) == ("hello\n", 0)


def test_exit_status_and_messages_come_through(make: Make, tmp_path: Path) -> None:
    image = make({"etc/a": b""})
    done = run("verify", "--root", tmp_path, image)
    assert done.returncode == 1 and "no-certificates" in done.stderr
    assert run("no-such-verb").returncode == 2
    assert run("inspect", tmp_path / "missing").returncode == 3
    version = run("--version")
    assert version.stdout == f"confext {confext.__version__}\n"


def test_the_package_is_a_command_too() -> None:
    done = subprocess.run([sys.executable, "-m", "confext", "--version"], capture_output=True, text=True)
    assert done.stdout == f"confext {confext.__version__}\n"


def test_each_verb_has_its_place_in_the_documentation() -> None:
    """docs/python.md says of each verb, and of each verb below it, what it is in Python."""
    page = (Path(__file__).parents[2] / "docs/python.md").read_text(encoding="utf-8")
    table = page.split("## What is where")[1].split("\n## ")[0]
    # In a row with several, the verb above them stands at the first.
    named: set[str] = set()
    for row in (line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")):
        verbs = re.findall(r"`([^`]+)`", row)
        above = f"{verbs[0].split()[0]} " if " " in verbs[0] else ""
        named |= {verb if verb.startswith(above) else above + verb for verb in verbs}
    assert named == verbs_of()


def verbs_of(*above: str) -> set[str]:
    """The verbs below this one, as the command lists them."""
    text = run(*above, "--help").stdout
    if "\nCommands:\n" not in text:
        return {" ".join(above)}
    listed = text.split("\nCommands:\n")[1].split("\n\n")[0]
    found = [line.split()[0] for line in listed.splitlines() if re.match(r"  \S", line)]
    return set().union(*(verbs_of(*above, verb) for verb in found))
