"""examples/ansible: ansible-core on three machines with systemd, and what ansible-doc and ansible-galaxy say of the collection."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ansible_test  # type: ignore[import-untyped]
import confext
import pytest
import yaml
from conftest import EXAMPLES, Machine, Machines, build, nginx, with_nginx

ANSIBLE = EXAMPLES / "ansible"
COLLECTION = ANSIBLE / "ansible_collections/confext/confext"


def ansible(work: Path, tool: str, *arguments: str | Path, status: int = 0) -> str:
    """Run a program of ansible-core with this collection, and return what it prints."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(work), "LC_ALL": "C.UTF-8", "ANSIBLE_HOME": str(work / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(ANSIBLE), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml", "ANSIBLE_PIPELINING": "1", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
    }  # fmt: skip
    command = [sys.executable, "-m", "ansible", tool, *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, timeout=240)
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}{done.stderr}"
    # One is where this test installs something, which is what it says.
    assert done.stderr.count("WARNING") == (tool == "galaxy" and "install" in arguments), done.stderr
    return done.stdout


def recap(said: str) -> dict[str, dict[str, int]]:
    """The numbers of the last lines: for each host that was touched, how many tasks ended how."""
    lines = said.partition("PLAY RECAP")[2].splitlines()[1:]
    hosts = (line.split(":") for line in lines if ":" in line)
    numbers = {name.strip(): dict(item.split("=") for item in rest.split()) for name, rest in hosts}
    return {name: {key: int(value) for key, value in items.items()} for name, items in numbers.items()}


class Fleet:
    """Three machines, and an inventory in which each is entered by the interpreter of its own."""

    def __init__(self, work: Path, machines: list[Machine]) -> None:
        self.work, self.machines = work, machines
        lines = ["[web]"]
        for machine in machines:
            machine.run("systemctl", "start", "nginx")
            enter = machine.work / "enter"
            enter.write_text(f'#!/bin/sh\nexec {" ".join(machine.enter())} /usr/local/bin/python3 "$@"\n')
            enter.chmod(0o755)
            lines.append(
                f"{machine.name} ansible_connection=local ansible_python_interpreter={enter}"
                f" ansible_remote_tmp={machine.work}/tmp"
            )
        self.inventory = work / "inventory.ini"
        self.inventory.write_text("\n".join(lines) + "\n")

    def roll(self, version: int, *options: str, status: int = 0) -> str:
        extra = f"version={version} images={self.work}"
        return ansible(
            self.work, "playbook", "-i", self.inventory, ANSIBLE / "rollout.yml", "-e", extra, *options, status=status
        )

    def state(self) -> list[tuple[str, list[str]]]:
        return [(machine.get(), machine.stored()) for machine in self.machines]


def test_one_host_after_the_other(
    machines: Machines, vendor: confext.KeyPair, stranger: confext.KeyPair, tmp_path: Path
) -> None:
    build(tmp_path / "nginx_2.raw", nginx(2), vendor)
    # The second host has not got the file that version 3 wants.
    build(tmp_path / "nginx_3.raw", nginx(3, "  include /srv/limits.conf;\n"), vendor)
    build(tmp_path / "nginx_4.raw", nginx(4), stranger)

    def prepare(machine: Machine) -> None:
        with_nginx(machine, vendor)
        if machine.name != "host2":
            machine.file("srv/limits.conf", "client_max_body_size 1m;\n")

    fleet = Fleet(tmp_path, machines(3, prepare))
    first = ("version 1", ["nginx_1.raw"])
    assert fleet.state() == [first] * 3
    # Check mode shows the plan and the difference, and touches nothing.
    said = fleet.roll(2, "--check", "--diff", "-v")
    assert said.count("publish version 2 to /var/lib/confexts/nginx.raw.v") == 3
    assert said.count("-version 1") == said.count("+version 2") == 3 and "+/etc/nginx/nginx.conf sha256=" in said
    assert all(host["changed"] == 1 for host in recap(said).values())
    assert fleet.state() == [first] * 3
    # Then it is done, and when it is asked for again there is nothing to do.
    assert all(host["changed"] == 1 and host["failed"] == 0 for host in recap(fleet.roll(2)).values())
    for machine in fleet.machines:
        machine.serves("version 2")
    both = ["nginx_1.raw", "nginx_2.raw"]
    assert fleet.state() == [("version 2", both)] * 3
    again = recap(fleet.roll(2))
    assert len(again) == 3 and all(host["changed"] == 0 and host["ok"] == 2 for host in again.values())
    # The second host does not take it: it is as before, and the third one was never asked.
    said = fleet.roll(3, status=2)
    hosts = recap(said)
    assert hosts["host1"]["failed"] == 0 and hosts["host2"]["failed"] == 1 and "host3" not in hosts
    assert "rollout-check" in said and "it runs what is previous" in said
    fleet.machines[0].serves("version 3")
    for machine in fleet.machines[1:]:
        machine.serves("version 2")
    assert fleet.state()[1:] == [("version 2", [*both, "nginx_3+0-1.raw"]), ("version 2", both)]
    # An image that nobody who counts has signed is refused before anything is done, in check mode, too.
    said = fleet.roll(4, "--check", status=2)
    assert "unknown-signer" in said and list(recap(said)) == ["host1"]


def test_images_are_built_once(tmp_path: Path, vendor: confext.KeyPair, stranger: confext.KeyPair) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/confext"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m confext "$@"\n')
    program.chmod(0o755)
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor/vendor.key").write_bytes(vendor.key)
    (tmp_path / "vendor/vendor.crt").write_bytes(vendor.certificate)
    config = tmp_path / "source/etc/nginx/nginx.conf"
    config.parent.mkdir(parents=True)
    config.write_text("one\n")
    image = tmp_path / "nginx_2.raw"
    places = f"version=2 images={tmp_path} source={tmp_path}/source vendor={tmp_path}/vendor"

    def play(*options: str, status: int = 0) -> dict[str, int]:
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{program.parent}:{before}"
        try:
            said = ansible(tmp_path, "playbook", ANSIBLE / "build.yml", "-e", places, *options, status=status)
        finally:
            os.environ["PATH"] = before
        return {**recap(said)["localhost"], "diff": said.count("/etc/nginx/nginx.conf")}

    assert play()["changed"] == 1 and play()["changed"] == 0
    admitted = confext.verify(image, certificates=vendor.certificate)
    assert admitted.read("/etc/nginx/nginx.conf") == b"one\n"
    config.write_text("two\n")
    before = image.read_bytes()
    assert play("--check", "--diff")["diff"] == 2 and image.read_bytes() == before
    # Somebody else's image is not ours, whatever is in it.
    confext.sign(image, key=stranger.key, certificate=stranger.certificate)
    assert play()["changed"] == 1
    assert confext.verify(image, certificates=vendor.certificate).read("/etc/nginx/nginx.conf") == b"two\n"
    assert not list(tmp_path.glob(".confext-*"))


@pytest.mark.parametrize("name", ["confext_image", "confext_service"])
def test_modules_are_documented(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ansible-doc says are the options that the module takes, and its examples are tasks with these options."""
    full = f"confext.confext.{name}"
    said = json.loads(ansible(tmp_path, "doc", "--json", full))[full]
    options: dict[str, dict[str, Any]] = said["doc"]["options"]
    monkeypatch.syspath_prepend(str(ANSIBLE))
    module = importlib.import_module(f"ansible_collections.confext.confext.plugins.modules.{name}")
    assert set(module.ARGUMENTS) == set(options)
    for option, spec in module.ARGUMENTS.items():
        documented = options[option]
        for field, none in (("type", "str"), ("required", False), ("default", None), ("choices", None), ("elements", None)):
            assert documented.get(field, none) == spec.get(field, none), (option, field)
        assert documented["description"]
    for task in yaml.safe_load(said["examples"]):
        assert task["name"] and set(task[full]) <= set(options)
    assert all(field["description"] and field["returned"] and field["type"] for field in said["return"].values())


def test_ansibles_own_tests_say_nothing(tmp_path: Path) -> None:
    """Those of `ansible-test sanity` that need no network, and its `validate-modules`."""
    collection = tmp_path / "ansible_collections/confext/confext"
    shutil.copytree(COLLECTION, collection, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "--quiet", collection], check=True)
    subprocess.run(["git", "-C", collection, "add", "."], check=True)
    tests = ["compile", "empty-init", "no-assert", "no-illegal-filenames", "no-smart-quotes", "shebang"]
    tests += ["symlinks", "use-argspec-type-path"]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    chosen = [word for test in tests for word in ("--test", test)]
    command = [sys.executable, "-m", "ansible", "test", "sanity", "--python", version, *chosen]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, cwd=collection, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0 and done.stdout.count("Running sanity test") == len(tests), done.stdout + done.stderr
    sanity = Path(ansible_test.__file__).parent / "_util/controller/sanity/validate-modules"
    script = [sys.executable, sanity / "validate.py", "--format", "json", "--arg-spec"]
    script += ["--collection", "ansible_collections/confext/confext", "plugins/modules"]
    environment |= {"PYTHONPATH": f"{tmp_path}:{sanity}", "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
    done = subprocess.run(
        list(map(str, script)), cwd=collection, env=environment, capture_output=True, text=True, timeout=240
    )
    found = json.loads(done.stdout)
    assert len(found) == 2, done.stdout + done.stderr
    for said in found.values():
        # The licence is that of this project.
        assert [error["code"] for error in said["errors"]] == ["missing-gplv3-license"] and not said["warnings"]


def test_the_collection_is_one(tmp_path: Path) -> None:
    """It can be packed and installed, plays are well-formed, and files are what Ansible's own tests ask for."""
    ansible(tmp_path, "galaxy", "collection", "build", COLLECTION, "--output-path", tmp_path)
    (archive,) = tmp_path.glob("*.tar.gz")
    ansible(tmp_path, "galaxy", "collection", "install", archive, "--offline", "--force", "-p", tmp_path / "installed/ansible_collections")
    installed = tmp_path / "installed/ansible_collections/confext/confext"
    assert (installed / "MANIFEST.json").exists() and (installed / "plugins/modules/confext_image.py").exists()
    for play in ("rollout.yml", "build.yml"):
        ansible(tmp_path, "playbook", "--syntax-check", "-i", ANSIBLE / "inventory.ini", "-e", "version=1", ANSIBLE / play)
    for path in COLLECTION.rglob("*.py"):
        text = path.read_text()
        compile(text, path, "exec")
        assert text.startswith("#!/usr/bin/python\n") == ("modules" in path.parts), path
        assert not path.stat().st_mode & 0o111 and "\t" not in text and max(map(len, text.splitlines())) <= 160, path
