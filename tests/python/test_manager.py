"""What asks the service manager, where systemd is process 1: what a unit has by its word, and services that it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import confext
import pytest
from conftest import Make

MANAGER = Path(__file__).parents[1] / "manager.sh"

#: Runs on the machine.
SCRIPT = """
import asyncio, json, subprocess
import confext, confext.aio
from pathlib import Path

def systemctl(*words): subprocess.run(["systemctl", *words], check=True)

def code(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except confext.Error as error:
        return error.code

said, host, cat = {}, confext.Host(certificates="/vendor.pem"), ["cat", "/etc/app.conf"]
systemctl("start", "app")

# The drop-in counts for the files at once, and for the manager when it reads them.
confext.service.drop_in(host, "app", images=["/new/app_2.raw"], name="60-next.conf")
for live in (False, True):
    done = confext.run(cat, host=host, service="app", live=live, capture_output=True, text=True)
    said[f"run, live: {live}"] = done.stdout
done = asyncio.run(confext.aio.run(cat, host=host, service="app", live=True, capture_output=True, text=True))
said["run in a task"] = done.stdout
with confext.Stack(host, service="app", live=True) as stack:
    said["stack"] = [layer.version for layer in stack.layers]
confext.service.remove_drop_in(host, "app", name="60-next.conf")

# The store is the one that the unit lists, and the version what the image is called.
steps = []
outcome = confext.rollout("app", "/new/app_2.raw", certificates="/vendor.pem", events=lambda event: steps.append(event.step))
said["rollout"] = [outcome.runs, outcome.version and outcome.version.version, outcome.failure and outcome.failure.message]
pid = confext.service.show(host, "app", live=True).running.main_pid
said["seen"] = Path(f"/proc/{pid}/root/etc/app.conf").read_text()
roll = lambda image, **named: code(confext.rollout, "app", image, certificates="/vendor.pem", **named)
said["no store"] = roll("/new/top_2.raw")
said["no version"] = roll("/new/app.raw")

lenient = confext.Host(certificates=(), policy="unprotected")
attached = confext.service.attach(lenient, "/srv/guest", runtime=True)
said["attached"] = [unit.name for unit in attached.units]
systemctl("daemon-reload")
systemctl("start", "guest")
said["while it runs"] = code(confext.service.detach, host, "guest")
systemctl("stop", "guest")
said["detached"] = list(confext.service.detach(host, "guest").units)
print(json.dumps(said))
"""


@pytest.fixture
def work(needs_root: None, tmp_path: Path) -> Iterator[Path]:
    """The directory that the machine shares, with this interpreter and the package."""
    binds = [(Path(sys.base_prefix), tmp_path / "python"), (Path(confext.__file__).parent, tmp_path / "site/confext")]
    for source, target in binds:
        target.mkdir(parents=True)
        subprocess.run(["mount", "--bind", source, target], check=True)
    yield tmp_path
    for _, target in binds:
        subprocess.run(["umount", target], check=True)


def on_machine(work: Path, script: str) -> Any:
    """What a script prints there."""
    (work / "script.py").write_text(script)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = ["env", f"LD_LIBRARY_PATH={work}/python/lib", f"PYTHONPATH={work}/site", f"{work}/python/bin/{version}"]
    command = [str(MANAGER), str(work), *python, str(work / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_service_manager_is_asked(work: Path, make: Make, vendor: confext.KeyPair) -> None:
    root = work / "root"
    for directory in ("srv/app.raw.v", "srv/guest/usr/lib/systemd/system", "srv/guest/etc", "new", "etc/systemd/system"):
        (root / directory).mkdir(parents=True)
    (root / "vendor.pem").write_bytes(vendor.certificate)
    for version, path in ((1, "srv/app.raw.v/app_1.raw"), (2, "new/app_2.raw"), (2, "new/app.raw")):
        make({"etc/app.conf": f"version = {version}\n".encode()}, path=root / path)
    (root / "new/top_2.raw").write_bytes(b"")
    app = "[Service]\nType=exec\nExecStart=/usr/bin/sleep infinity\nExecReload=/usr/bin/true\n"
    lists = "ExtensionImages=/srv/app.raw.v\nExtensionImagePolicy=root=unprotected+absent\nRefreshOnReload=yes\n"
    (root / "etc/systemd/system/app.service").write_text(app + lists)
    guest = root / "srv/guest"
    (guest / "usr/lib/os-release").write_text("ID=guest\n")
    run = "[Service]\nType=exec\nExecStart=/usr/bin/sleep infinity\nBindReadOnlyPaths=/usr/bin /usr/lib -/usr/lib64\n"
    (guest / "usr/lib/systemd/system/guest.service").write_text(run)
    for name in ("etc/machine-id", "etc/resolv.conf"):
        (guest / name).touch()
    for name in ("usr/bin", "usr/lib64", "run", "proc", "sys", "dev", "tmp", "var/tmp"):
        (guest / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (guest / name).symlink_to(f"usr/{name}")
    assert on_machine(work, SCRIPT) == {
        "run, live: False": "version = 2\n",
        "run, live: True": "version = 1\n",
        "run in a task": "version = 1\n",
        "stack": ["1"],
        "rollout": ["new", "2", None],
        "seen": "version = 2\n",
        "no store": "rollout-store",
        "no version": "version-name",
        "attached": ["guest.service"],
        "while it runs": "portable-active",
        "detached": ["guest.service"],
    }
