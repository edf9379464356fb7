"""Fixtures: images made by the module itself, and root directories in a mount namespace."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import confext
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
pytest_plugins = ["pytest_confext"]

# Who is started in the background by a shell ignores interrupts, and Python with it.
signal.signal(signal.SIGINT, signal.default_int_handler)


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, vendor: confext.KeyPair) -> Make:
    """Build an image with these entries and return its path."""

    def make(source: Mapping[str, Any], *, path: Path | None = None, name: str = "app", **options: Any) -> Path:
        output = path or tmp_path / "app.raw"
        if not options.get("unsigned"):
            options = {"key": vendor.key, "certificate": vendor.certificate, **options}
        options = {"allow": ["set-id", "device-node", "brings-certificates"], "replace": True, **options}
        confext.build(name, source=source, output=output, **{"release": {"ID": "_any"}, **options})
        return output

    return make


def kernel_objects() -> list[str]:
    """The mounts of this namespace, and the loop devices that read a file of ours."""
    mounts = [line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    loops = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            loops.append(f"{backing} {backing.read_text()}")
        except OSError:  # gone meanwhile
            continue
    return sorted(mounts + [loop for loop in loops if "confext" in loop])


@pytest.fixture
def needs_root(namespace: None) -> Iterator[None]:
    """What needs root; nothing may be left behind."""
    before = kernel_objects()
    yield
    more: list[str] = []
    # The kernel frees a device a moment after its last user has gone, which is later on a machine with more to do.
    for _ in range(500):
        more = [thing for thing in kernel_objects() if thing not in before]
        if not more:
            return
        time.sleep(0.01)
    raise AssertionError(f"left behind: {more}")


@pytest.fixture
def root(needs_root: None, tmp_path: Path) -> Path:
    """A root directory with an `os-release`, a file in `etc` and a directory for images."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=demo\nVERSION_ID=1\n")
    (root / "etc/own.conf").write_text("own\n")
    (root / "run/confexts/app.raw.v").mkdir(parents=True)
    return root


@pytest.fixture
def programs(root: Path) -> Iterator[None]:
    """The programs of this machine, in the test's root."""
    (root / "usr").mkdir()
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    subprocess.run(["mount", "--bind", "/usr", root / "usr"], check=True)
    yield
    subprocess.run(["umount", root / "usr"], check=True)
