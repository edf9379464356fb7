"""examples/agent.py: what it rolls out, what it refuses, and that it goes on wherever it was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import confext
import pytest
from conftest import EXAMPLES, Machine, Machines, build, nginx, with_nginx

AGENT = EXAMPLES / "agent.py"

#: The agent with a service whose files say what it sees and runs, instead of a unit. Each run is a process of its own, which
#: can kill itself at a point: at an event of the rollout, and before and after each change that the agent makes itself.
RUNNER = """
import json, os, signal, sys
from pathlib import Path
sys.path.insert(0, {examples!r})
import agent, confext

class Run:
    name, points = "app", 0
    def __init__(self, work, kill_at):
        self.work, self.kill_at = Path(work), kill_at
    def point(self):
        if self.points == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.points += 1
    def refresh(self):
        versions = confext.Store(self.work / "app.raw.v").versions()
        (self.work / "sees").write_text(versions[0].version if versions else "none")
    def reload(self):
        SLOWLY
        (self.work / "runs").write_text((self.work / "sees").read_text())
    def check(self, version):
        return (self.work / "runs").read_text() != "2"
    def rollout(self, unit, image, *, events, reload, check, check_inside, settle, **options):
        def tell(event):
            self.point()
            events(event)
        return confext.rollout(self, image, locks=self.work / "locks", events=tell, **options)
    def run(self, arguments):
        for name in ("fsync", "rename"):
            def wrapped(*arguments, before=getattr(os, name)):
                self.point()
                result = before(*arguments)
                self.point()
                return result
            setattr(os, name, wrapped)
        status = agent.main([str(self.work / "agent.json"), "--quiet", "0", *arguments], self.rollout)
        (self.work / "points").write_text(str(self.points))
        return status

if sys.argv[1] == "each":
    # Many runs, without the start of an interpreter for each.
    for work, kill_at in json.loads(sys.argv[2]):
        child = os.fork()
        if child == 0:
            os._exit(Run(work, kill_at).run(["--once"]))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit(Run(sys.argv[1], -1).run(sys.argv[2:]))
"""


class Place:
    """A store, a drop directory, and the agent with a service of files."""

    def __init__(self, work: Path, vendor: confext.KeyPair) -> None:
        self.work, self.vendor = work, vendor
        (work / "app.raw.v").mkdir(parents=True)
        (work / "vendor.crt").write_bytes(vendor.certificate)
        self.shelf = work / "drop/app"
        self.shelf.mkdir(parents=True)
        self.configuration = work / "agent.json"
        self.configure(store=str(work / "app.raw.v"))
        (work / "runner.py").write_text(RUNNER.replace("{examples!r}", repr(str(EXAMPLES))).replace("SLOWLY", "pass"))

    def configure(self, **unit: object) -> None:
        said = {"drop": str(self.work / "drop"), "certificates": [str(self.work / "vendor.crt")], "units": {"app": unit}}
        self.configuration.write_text(json.dumps(said))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.work / "runner.py"), str(self.work), *arguments]

    def once(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command("--once"), capture_output=True, text=True, timeout=60)

    def drop(self, version: float, key: confext.KeyPair | None = None) -> Path:
        image = build(self.work / f"app_{version}.raw", {"etc/app.conf": f"version = {version}\n"}, key or self.vendor)
        target = self.shelf / image.name
        image.rename(target)
        return target

    def record(self, result: str, name: str) -> dict[str, Any]:
        said = json.loads((self.shelf / result / f"{name}.json").read_text())
        assert isinstance(said, dict) and (self.shelf / result / f"{name}.raw").exists()
        return said

    def names(self) -> set[str]:
        """Everything there is, less the lock."""
        return {str(path.relative_to(self.shelf)) for path in self.shelf.rglob("*") if not path.is_dir()}

    def runs(self) -> str:
        return (self.work / "runs").read_text()


@pytest.fixture
def place(tmp_path: Path, vendor: confext.KeyPair) -> Place:
    return Place(tmp_path, vendor)


def test_images_are_done_or_refused_with_a_reason(place: Place, stranger: confext.KeyPair) -> None:
    place.drop(1)
    done = place.once()
    assert done.returncode == 0, done.stderr
    assert place.runs() == "1" and place.record("done", "app_1")["runs"] == "new"
    place.drop(2)
    place.drop(3, stranger)
    damaged = place.drop(4)
    damaged.write_bytes(damaged.read_bytes().replace(b"version = 4", b"Version = 4"))
    (place.shelf / "app_5.raw").symlink_to("app_4.raw")
    place.drop(1.1).rename(place.shelf / "other.raw")
    (place.shelf / ".app_6.raw").write_bytes(b"not written to its end yet")
    (place.shelf / "app_7.raw").mkdir()
    os.mkfifo(place.shelf / "app_8.raw")
    done = place.once()
    assert done.returncode == 1, done.stderr
    codes = {name: place.record("refused", name)["code"] for name in ("app_2", "app_3", "app_4", "other")}
    assert codes == {"app_2": "rollout-check", "app_3": "unknown-signer", "app_4": "root-hash", "other": "agent-name"}
    for name in ("app_5", "app_7", "app_8"):
        assert json.loads((place.shelf / f"refused/{name}.json").read_text())["code"] == "agent-file"
    assert (place.shelf / "refused/app_5.raw").is_symlink()
    failed = place.record("refused", "app_2")
    assert (failed["runs"], failed["step"], place.runs()) == ("previous", "check", "1") and failed["hint"]
    assert (place.shelf / ".app_6.raw").exists()
    # What was refused comes again, as other bytes: neither record is lost.
    place.drop(2, stranger)
    assert place.once().returncode == 1
    assert len([name for name in place.names() if name.startswith("refused/app_2.")]) == 4


def test_versions_go_in_the_order_of_their_times(place: Place) -> None:
    for number, version in enumerate((3, 4, 1)):
        os.utime(place.drop(version), (number, number))
    assert place.once().returncode == 1
    assert place.record("refused", "app_1")["code"] == "rollout-outranked"
    assert place.record("done", "app_3") and place.record("done", "app_4") and place.runs() == "4"


def each(places: list[Place], kill_at: list[int]) -> list[int]:
    """One run of the agent for each place, killed at a point, and the exit status of each."""
    runs = json.dumps([(str(place.work), at) for place, at in zip(places, kill_at, strict=True)])
    command = [sys.executable, str(places[0].work / "runner.py"), "each", runs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return [int(status) for status in done.stdout.split()]


@pytest.mark.parametrize("version", [1, 2])
def test_killed_at_any_point_it_goes_on(tmp_path: Path, vendor: confext.KeyPair, version: int) -> None:
    """Version 2 fails its check. Each run is killed one point later than the one before, and another one finishes it."""
    whole = Place(tmp_path / "whole", vendor)
    whole.drop(version)
    assert each([whole], [-1]) == [version - 1]
    points, result = int((whole.work / "points").read_text()), "done" if version == 1 else "refused"
    assert points > 20
    places = [Place(tmp_path / str(at), vendor) for at in range(points)]
    images = [place.drop(version) for place in places]
    assert each(places, list(range(points))) == [-signal.SIGKILL] * points
    left = [image.exists() for image in images]
    assert left.count(True) > points - 6
    statuses = each(places, [-1] * points)
    assert statuses == [version - 1 if it else 0 for it in left]
    for at, place in enumerate(places):
        assert place.names() == whole.names(), at
        assert place.record(result, f"app_{version}")["image"] == f"app_{version}.raw"
        assert version == 2 or place.runs() == "1", at


def test_sigterm_goes_back_and_ends(place: Place) -> None:
    place.drop(1)
    assert place.once().returncode == 0
    # The second version is slow to reload: it is told to end meanwhile.
    runner = place.work / "runner.py"
    text = runner.read_text()
    waits = 'open(self.work / "reloading", "w").close(); signal.sigtimedwait([], 1)'
    runner.write_text(text.replace("pass", waits))
    image = place.drop(3)
    process = subprocess.Popen(place.command(), stderr=subprocess.PIPE, text=True)
    try:
        while not (place.work / "reloading").exists() and process.poll() is None:
            time.sleep(0.01)
        second = subprocess.run(place.command("--once"), capture_output=True, text=True)
        assert second.returncode == 3 and "another agent" in second.stderr
        process.terminate()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0 and "went back" in said
    assert image.exists() and place.runs() == "1", said
    runner.write_text(text)
    assert place.once().returncode == 0
    assert place.runs() == "3" and place.record("done", "app_3")


def test_what_is_not_the_images_fault_waits(place: Place) -> None:
    image = place.drop(1)
    (place.work / "vendor.crt").rename(place.work / "elsewhere")
    ended = place.once()
    assert ended.returncode == 1 and "waits" in ended.stderr and image.exists()
    (place.work / "elsewhere").rename(place.work / "vendor.crt")
    assert place.once().returncode == 0 and place.runs() == "1"


@pytest.mark.parametrize(
    "unit",
    [{}, {"store": 1}, {"store": "x", "check": "nginx -t"}, {"store": "x", "reload": "restart"}, {"store": "x", "what": 1}],
)
def test_a_wrong_configuration_is_told(place: Place, unit: dict[str, object]) -> None:
    place.configure(**unit)
    ended = place.once()
    assert ended.returncode == 2 and "units: app" in ended.stderr and not (place.shelf / "done").exists()


def test_a_unit_of_systemd(machines: Machines, vendor: confext.KeyPair) -> None:
    """nginx under systemd: a good version and one that is broken, dropped while the agent runs."""

    def prepare(machine: Machine) -> None:
        with_nginx(machine, vendor)
        unit = {"store": "/var/lib/confexts/nginx.raw.v", "check": ["nginx", "-t", "-q"], "check_inside": True}
        said = {"drop": "/var/lib/agent", "certificates": ["/etc/verity.d/vendor.crt"], "units": {"nginx": unit}}
        machine.file("etc/agent.json", json.dumps(said))
        machine.file("usr/local/lib/agent.py", AGENT.read_bytes())
        build(machine.work / "nginx_2.raw", nginx(2), vendor)
        build(machine.work / "nginx_3.raw", nginx(3, "broken"), vendor)

    (machine,) = machines(1, prepare)
    machine.run("systemctl", "start", "nginx")
    assert machine.get() == "version 1"
    machine.run("mkdir", "-p", "/var/lib/agent/nginx")
    agent = ["/usr/local/bin/python3", "/usr/local/lib/agent.py", "/etc/agent.json", "--quiet", "0", "--interval", "0.05"]
    service = ["systemd-run", "--quiet", "--pipe", "--wait", "--unit=agent", *agent]
    process = subprocess.Popen([*machine.enter(), *service], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for version, expected in ((2, "version 2 runs"), (3, "nginx_3.raw is refused: [rollout-check]")):
            machine.run("cp", f"nginx_{version}.raw", "/var/lib/agent/nginx/.new")
            machine.run("mv", "/var/lib/agent/nginx/.new", f"/var/lib/agent/nginx/nginx_{version}.raw")
            for line in process.stderr:
                if expected in line:
                    break
            else:
                pytest.fail(f"it ended without {expected!r}")
            machine.serves("version 2")
        machine.run("systemctl", "stop", "agent")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert machine.stored() == ["nginx_1.raw", "nginx_2.raw", "nginx_3+0-1.raw"]
