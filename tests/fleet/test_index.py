"""examples/bulk_index.py: what is in the index, that it goes on where it was killed, and what one bad image may do."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import confext
import pytest
from conftest import EXAMPLES, build

PROGRAM = EXAMPLES / "bulk_index.py"

#: The program, where an image of a certain name ends the process that verifies it.
DEADLY = """
import os, sys
sys.path[:0] = [{examples!r}, {here!r}]
import bulk_index
from deadly import judge
bulk_index.judge = judge
if __name__ == "__main__":
    sys.exit(bulk_index.main(sys.argv[1:]))
"""
JUDGE = """
import os, bulk_index
before = bulk_index.judge
def judge(store, files, trust):
    if any("deadly" in file.path for file in files):
        os._exit(1)
    return before(store, files, trust)
"""


class Place:
    """A store with images of all kinds, and its index."""

    def __init__(self, work: Path, vendor: confext.KeyPair) -> None:
        self.work, self.vendor = work, vendor
        self.store, self.database = work / "store", work / "index.sqlite"
        self.store.mkdir()
        (work / "vendor.crt").write_bytes(vendor.certificate)

    def image(self, path: str, text: str, key: confext.KeyPair | None = None) -> Path:
        target = self.store / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return build(target, {"etc/app.conf": text}, key or self.vendor)

    def command(self, *options: str, program: Path = PROGRAM) -> list[str]:
        places = [program, self.store, "--database", self.database, "--certificate", self.work / "vendor.crt"]
        return [sys.executable, *map(str, places), *options]

    def run(self, *options: str, status: int = 0, program: Path = PROGRAM) -> str:
        path = os.pathsep.join([str(EXAMPLES), str(self.work)])
        done = subprocess.run(
            self.command(*options, program=program),
            env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database)) as database:
            return database.execute(query, values).fetchall()


@pytest.fixture
def place(tmp_path: Path, vendor: confext.KeyPair) -> Place:
    return Place(tmp_path, vendor)


def test_the_index_says_what_is_there(place: Place, stranger: confext.KeyPair) -> None:
    first = place.image("a/app_1.raw", "one\n")
    shutil.copy(first, place.store / "copy_1.raw")
    place.image("a/app_2.raw", "two\n")
    place.image("b/foreign_1.raw", "three\n", stranger)
    damaged = place.image("b/damaged_1.raw", "four\n")
    damaged.write_bytes(damaged.read_bytes().replace(b"four\n", b"Four\n"))
    (place.store / "b/short.raw").write_bytes(b"no image")
    (place.store / "b/link.raw").symlink_to(first)
    (place.store / "b/.hidden.raw").write_bytes(b"")
    said = place.run("--workers", "2", "--batch", "1", status=1)
    assert "6 images: 3 verified, 3 refused" in said and "6 read" in said
    refused = place.ask("SELECT path, code, family FROM images WHERE state = 'refused' ORDER BY path")
    assert [row[0] for row in refused] == ["b/damaged_1.raw", "b/foreign_1.raw", "b/short.raw"]
    assert refused[1][1:] == ("unknown-signer", "unverified") and all(row[1] for row in refused)
    # Which images have a file, by its digest; a manifest is there once for equal images.
    admitted = confext.verify(first, certificates=place.vendor.certificate)
    entry = next(it for it in admitted.manifest().entries if it.path == "/etc/app.conf")
    having = "SELECT images.path FROM files JOIN images USING (content) WHERE sha256 = ? ORDER BY images.path"
    assert place.ask(having, entry.sha256) == [("a/app_1.raw",), ("copy_1.raw",)]
    assert place.ask("SELECT count(*) FROM files WHERE path = '/etc/app.conf'") == [(2,)]
    signers = place.ask("SELECT DISTINCT subject, fingerprint FROM signers")
    assert signers == [("CN=vendor", place.vendor.fingerprint)]
    # Nothing is read again but what is another file; what is gone is gone.
    assert "0 read" in place.run(status=1)
    damaged.unlink()
    place.image("a/app_3.raw", "three\n")
    said = place.run("--workers", "1", status=1)
    assert "6 images: 4 verified, 2 refused" in said and "1 read" in said and "1 gone" in said
    # Other certificates are another question.
    (place.work / "vendor.crt").write_bytes(stranger.certificate)
    assert "6 images: 1 verified, 5 refused" in place.run("--workers", "1", status=1)
    # The manifests of images that are refused now are no more.
    assert place.ask("SELECT count(DISTINCT content) FROM files") == [(1,)]


def test_killed_it_goes_on(place: Place) -> None:
    for number in range(10):
        place.image(f"app{number}_1.raw", f"{number}\n")
    for number in range(10, 400):
        shutil.copy(place.store / f"app{number % 10}_1.raw", place.store / f"app{number}_1.raw")
    process = subprocess.Popen(place.command("--workers", "2", "--batch", "4"), start_new_session=True)
    done = 0
    try:
        while process.poll() is None and done < 40:
            time.sleep(0.01)
            try:
                ((done,),) = place.ask("SELECT count(*) FROM images")
            except sqlite3.OperationalError:  # not made yet
                continue
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    # The workers end by themselves when nobody is there any more.
    for _ in range(3000):
        if not members(process.pid):
            break
        time.sleep(0.01)
    assert not members(process.pid)
    ((done, last),) = place.ask("SELECT count(*), max(id) FROM images")
    assert 40 <= done < 400 and done % 4 == 0
    before = place.ask("SELECT id, path, at FROM images WHERE id <= ?", last)
    assert f"{400 - done} read" in place.run("--workers", "2")
    assert place.ask("SELECT id, path, at FROM images WHERE id <= ?", last) == before
    assert place.ask("SELECT count(*), count(DISTINCT path) FROM images WHERE state = 'verified'") == [(400, 400)]


def members(session: int) -> list[int]:
    """The processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def test_an_image_that_ends_its_worker_is_alone(place: Place) -> None:
    for number in range(6):
        place.image(f"app{number}_1.raw", f"{number}\n")
    place.image("deadly_1.raw", "x\n")
    program = place.work / "program.py"
    program.write_text(DEADLY.format(examples=str(EXAMPLES), here=str(place.work)))
    (place.work / "deadly.py").write_text(JUDGE)
    said = place.run("--workers", "1", "--batch", "4", status=1, program=program)
    assert "7 images: 6 verified, 1 refused" in said
    assert place.ask("SELECT path, code FROM images WHERE state = 'refused'") == [("deadly_1.raw", "index-worker")]


def test_an_image_that_is_replaced_meanwhile_is_not_there(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import bulk_index

    trust = bulk_index.Trust((place.vendor.certificate,), "signed", int(time.time()))
    index = bulk_index.Index(place.database, trust)
    image = place.image("app_1.raw", "one\n")
    (found,) = bulk_index.scan(place.store)
    index.add(bulk_index.judge(str(place.store), [found], trust))
    assert index.known() == {found} and index.count("verified") == 1
    shutil.copy(image, image.with_suffix(".new"))
    image.with_suffix(".new").rename(image)
    (judged,) = bulk_index.judge(str(place.store), [found], trust)
    assert judged.state == "changed"
    index.add([judged])
    assert index.known() == set()
    image.unlink()
    (judged,) = bulk_index.judge(str(place.store), [found], trust)
    assert judged.state == "gone"
    index.database.close()


def test_another_schema_is_refused(place: Place) -> None:
    with closing(sqlite3.connect(place.database)) as database:
        database.execute("PRAGMA user_version = 2")
    place.run(status=1)
