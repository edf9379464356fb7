"""The interpreter's lock is not held while the library works."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import confext
import pytest
from conftest import Make

# The library waits for a certificate in a named pipe that another thread writes to. With the lock held, neither would
# ever go on.
PROGRAM = """
import sys, threading, confext
image, pipe, certificate = sys.argv[1:]
found = []
def verify():
    found.append(confext.verify(image, certificates=[pipe]).signer.subject)
thread = threading.Thread(target=verify)
thread.start()
with open(pipe, "wb") as out:
    out.write(open(certificate, "rb").read())
thread.join()
print(found)
"""


def test_other_threads_run_while_the_library_waits(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    image = make({"etc/a": b"a"})
    certificate, pipe = tmp_path / "certificate", tmp_path / "pipe"
    certificate.write_bytes(vendor.certificate)
    os.mkfifo(pipe)
    command = [sys.executable, "-c", PROGRAM, str(image), str(pipe), str(certificate)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.fail("two threads wait for each other: the lock is held")
    assert (done.stdout, done.returncode) == ("['CN=vendor']\n", 0), done.stderr


def test_one_image_can_be_read_by_many_threads(make: Make, vendor: confext.KeyPair) -> None:
    files = {f"etc/{number}": str(number).encode() * 3000 for number in range(64)}
    admitted = confext.Image.open(make(files)).verify(certificates=vendor.certificate)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4):
            found = dict(zip(files, pool.map(admitted.read, files), strict=True))
            assert found == files


class Enough(Exception):
    """Raised by a callback."""


def test_long_work_tells_how_far_it_is(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    image = make({"etc/big": os.urandom(1 << 20), "etc/small": b"s"})
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))

    admitted = confext.verify(image, certificates=vendor.certificate, progress=progress)
    works: list[Callable[[Callable[[int, int], object]], object]] = [
        lambda progress: admitted.check(progress=progress),
        lambda progress: admitted.damage(progress=progress),
        lambda progress: admitted.extract(tmp_path / "new", progress=progress),
    ]
    for work in works:
        before = len(told)
        work(progress)
        assert len(told) > before
    assert all(0 <= done <= total and total >= 1 << 20 for done, total in told)
    assert told[0][0] == told[0][1] and (tmp_path / "new/etc/small").read_bytes() == b"s"

    def enough(done: int, total: int) -> None:
        raise Enough(done)

    works[2] = lambda progress: admitted.extract(tmp_path / "other", progress=progress)
    works.append(lambda progress: confext.verify(image, certificates=vendor.certificate, progress=progress))
    for work in works:
        with pytest.raises(Enough):
            work(enough)
    assert not (tmp_path / "other").exists()


# The signal comes while the library works: the callback sends it and says nothing.
INTERRUPTED = """
import os, signal, sys, confext
image, certificate = sys.argv[1:]
# Whoever runs this in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
calls = []
def progress(done, total):
    calls.append(done)
    os.kill(os.getpid(), signal.SIGINT)
admitted = confext.Image.open(image).verify(certificates=certificate)
try:
    admitted.extract("extracted", progress=progress)
except KeyboardInterrupt:
    print("interrupted", len(calls), os.path.exists("extracted"))
"""


def test_an_interrupt_ends_long_work(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    image = make({f"etc/{number}": bytes([number]) * 5000 for number in range(1, 50)})
    (tmp_path / "certificate").write_bytes(vendor.certificate)
    command = [sys.executable, "-c", INTERRUPTED, str(image), str(tmp_path / "certificate")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("interrupted 1 False\n", 0), done.stderr


def test_two_images_are_verified_at_once(
    make: Make, vendor: confext.KeyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [make({"etc/big": os.urandom(24 << 20)}, path=tmp_path / f"{name}.raw") for name in ("one", "two")]
    inside = threading.Barrier(2)
    held: list[int] = []

    def verify(image: Path, progress: Callable[[int, int], object] | None = None) -> None:
        confext.verify(image, certificates=vendor.certificate, progress=progress)

    def meet() -> Callable[[int, int], object]:
        """Called in the middle of a call: goes on when the other thread is in the middle of its own, too."""
        met = threading.Event()

        def progress(done: int, total: int) -> None:
            if not met.is_set():
                met.set()
                inside.wait(60)
                held.append(done)

        return progress

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(verify, images, [meet(), meet()]))
        assert len(held) == 2

        def seconds(work: Callable[[], object]) -> float:
            start = time.perf_counter()
            work()
            return time.perf_counter() - start

        one_by_one = min(seconds(lambda: list(map(verify, images))) for _ in range(3))
        at_once = min(seconds(lambda: list(pool.map(verify, images))) for _ in range(3))
        # The files one after the other use a processor each: what the interpreter's lock would forbid.
        opened = [confext.Image.open(image).verify(certificates=vendor.certificate) for image in images]
        apart = min(seconds(lambda: [one.manifest() for one in opened]) for _ in range(3))
        together = min(seconds(lambda: list(pool.map(lambda one: one.manifest(), opened))) for _ in range(3))
    with capsys.disabled():
        print(
            f"\ntwo images by two threads, time one by one / at once: verify {one_by_one / at_once:.2f} "
            f"(each uses all processors already), manifest {apart / together:.2f}"
        )


# The same for what has threads of its own: the signal comes to the one that called.
INTERRUPTED_APART = """
import os, signal, sys, confext
signal.signal(signal.SIGINT, signal.default_int_handler)
image, certificate, key, what = sys.argv[1:]
admitted = confext.Image.open(image).verify(certificates=certificate)
def progress(done, total):
    os.kill(os.getpid(), signal.SIGINT)
source = {f"etc/{number}": bytes([number]) * (1 << 20) for number in range(16)}
works = {
    "build": lambda: confext.build("app", source=source, release={"ID": "_any"}, output="out", unsigned=True,
                                   progress=progress),
    "sign": lambda: confext.sign(image, output="out", key=key, certificate=certificate, progress=progress),
    "manifest": lambda: admitted.manifest(progress=progress),
    "diff": lambda: admitted.diff(admitted.manifest(), progress=progress),
    "fec": lambda: confext.fec(image, output="out", progress=progress),
    "repair": lambda: confext.repair(image, fec="../fec", output="out", progress=progress),
    "report": lambda: confext.report(confext.Host("../root", certificates=()), progress=progress),
    "trace_all": lambda: list(confext.Host("../root", certificates=()).trace_all(planned=True, progress=progress)),
}
try:
    works[what]()
except KeyboardInterrupt:
    print("interrupted", os.path.exists("out"), os.listdir("."))
"""


@pytest.mark.parametrize("what", ["build", "sign", "manifest", "diff", "fec", "repair", "report", "trace_all"])
def test_an_interrupt_ends_work_with_threads(what: str, make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    image = make({f"etc/{number}": bytes([number]) * 50000 for number in range(1, 50)})
    certificate, key, place = tmp_path / "certificate", tmp_path / "key", tmp_path / "place"
    certificate.write_bytes(vendor.certificate)
    key.write_bytes(vendor.key)
    place.mkdir()
    tree = tmp_path / "root/run/confexts/app/etc"
    (tree / "extension-release.d").mkdir(parents=True)
    (tree / "extension-release.d/extension-release.app").write_text("ID=_any\n")
    (tmp_path / "root/etc").mkdir()
    (tmp_path / "root/etc/os-release").write_text("ID=demo\n")
    confext.fec(image, output=tmp_path / "fec")
    command = [sys.executable, "-c", INTERRUPTED_APART, str(image), str(certificate), str(key), what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=place)
    assert (done.stdout, done.returncode) == ("interrupted False []\n", 0), done.stderr
