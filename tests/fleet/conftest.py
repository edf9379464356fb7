"""Fixtures: images, and machines whose process 1 is systemd."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

import confext
import pytest

TESTS = Path(__file__).parents[1]
EXAMPLES = TESTS.parent / "examples"
MS_BIND = 0x1000

sys.path.insert(0, str(TESTS / "common"))
pytest_plugins = ["pytest_confext"]

#: What a unit of the machine has: where its images are, and that this kernel cannot check them for systemd.
DROP_IN = """[Service]
ExtensionImages=/var/lib/confexts/{name}.raw.v
ExtensionImagePolicy=root=unprotected+absent
ExecReload=
ExecReload=/bin/sh -c 'kill -HUP $MAINPID'
"""


def build(path: Path, files: dict[str, str], key: confext.KeyPair, **release: str) -> Path:
    """A signed image. Its name is that of the file up to the first underscore."""
    confext.build(
        path.name.split("_")[0].removesuffix(".raw"),
        source={name: text.encode() for name, text in files.items()},
        output=path,
        release={"ID": "_any", **release},
        key=key.key,
        certificate=key.certificate,
    )
    return path


def nginx(version: int, more: str = "") -> dict[str, str]:
    """All the configuration of nginx: its answer is the version."""
    return {
        "etc/nginx/nginx.conf": "pid /run/nginx.pid;\nerror_log /run/nginx-error.log;\nevents {}\nhttp {\n"
        f"  access_log off;\n{more}  server {{ listen 127.0.0.1:8080; return 200 'version {version}'; }}\n}}\n"
    }


def mounted(source: Path | str, target: Path, flags: int) -> None:
    """Call mount(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source), os.fsencode(target), None, flags, None) != 0:
        raise OSError(ctypes.get_errno(), f"mount {source} {target}")


class Machine:
    """A machine of tests/manager.sh: Debian with systemd, nginx, the interpreter that runs this, and the package."""

    def __init__(self, work: Path) -> None:
        self.work, self.name = work, work.name
        self.root = work / "root"
        self.root.mkdir()
        self._mounts: list[Path] = []
        for name, source in (("python", Path(sys.base_prefix)), ("site/confext", Path(confext.__file__).parent)):
            target = work / name
            target.mkdir(parents=True)
            mounted(source, target, MS_BIND)
            self._mounts.append(target)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        python = f'LD_LIBRARY_PATH={work}/python/lib PYTHONPATH={work}/site exec {work}/python/bin/{version} "$@"\n'
        self.file("usr/local/bin/python3", "#!/bin/sh\n" + python, 0o755)
        self.file("usr/local/bin/confext", "#!/bin/sh\n" + python.replace('"$@"', '-m confext "$@"'), 0o755)
        self._process: subprocess.Popen[bytes] | None = None
        self.init = 0

    def file(self, path: str, content: str | bytes, mode: int = 0o644) -> Path:
        """A file of the machine, before it starts."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)
        return target

    def begin(self) -> None:
        """Have it start."""
        command = [str(TESTS / "manager.sh"), str(self.work), "sh", "-c", "echo up; read line"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def wait(self) -> None:
        """Wait until it runs."""
        assert self._process is not None
        assert cast(IO[bytes], self._process.stdout).readline() == b"up\n", "the machine does not come up"
        for child in children(self._process.pid):
            if Path(f"/proc/{child}/comm").read_text() == "unshare\n":
                (self.init,) = children(child)
        assert self.init

    def enter(self) -> list[str]:
        """What to put in front of a command, so that it runs on the machine."""
        return [
            "nsenter", "--target", str(self.init), "--all", "env", "-i", "-C", str(self.work), "HOME=/root",
            "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
        ]  # fmt: skip

    def run(self, *command: str | Path, status: int = 0) -> str:
        """Run a command on the machine, and return what it says."""
        done = subprocess.run([*self.enter(), *map(str, command)], capture_output=True, text=True)
        assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def get(self) -> str:
        """What nginx answers."""
        script = "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
        return self.run("bash", "-c", script).rpartition("\n\n")[2]

    def serves(self, expected: str) -> None:
        """Wait until nginx answers so: after its signal it takes a moment."""
        for _ in range(1000):
            if (found := self.get()) == expected:
                return
        raise AssertionError(f"found {found!r}, expected {expected!r}")

    def stored(self, name: str = "nginx") -> list[str]:
        """The files of a store."""
        return sorted(self.run("ls", f"/var/lib/confexts/{name}.raw.v").split())

    def end(self) -> None:
        """Switch it off; nothing of it is left."""
        if self._process is not None:
            self._process.communicate(b"\n", timeout=60)
        for target in self._mounts:
            subprocess.run(["umount", target], check=True)
        self._mounts = []


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


Machines = Callable[[int, Callable[[Machine], None]], list[Machine]]


@pytest.fixture
def machines(namespace: None) -> Iterator[Machines]:
    """Start so many machines at once, after each was prepared."""
    # Not in the directory that pytest keeps: what is mounted there must never be removed with it.
    base = Path(tempfile.mkdtemp(prefix="confext-test-", dir="/var/tmp"))
    started: list[Machine] = []

    def start(count: int, prepare: Callable[[Machine], None]) -> list[Machine]:
        for number in range(1, count + 1):
            work = base / f"host{number}"
            work.mkdir()
            started.append(Machine(work))
            prepare(started[-1])
        for machine in started:
            machine.begin()
        for machine in started:
            machine.wait()
        return started

    try:
        yield start
    finally:
        for machine in started:
            machine.end()
        shutil.rmtree(base)


def with_nginx(machine: Machine, vendor: confext.KeyPair) -> None:
    """nginx with its configuration in a signed confext, version 1."""
    machine.file("etc/systemd/system/nginx.service.d/10-confext.conf", DROP_IN.format(name="nginx"))
    machine.file("etc/verity.d/vendor.crt", vendor.certificate)
    store = machine.root / "var/lib/confexts/nginx.raw.v"
    store.mkdir(parents=True)
    build(store / "nginx_1.raw", nginx(1), vendor)
