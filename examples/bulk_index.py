#!/usr/bin/env python3
"""Verifies all images of a store and indexes their signers and files, over the worker processes of Dask.

    bulk_index.py STORE --database INDEX.sqlite --certificate CERT.pem… [--workers N]
    bulk_index.py STORE --database INDEX.sqlite --certificate CERT.pem… --scheduler tls://HOST:PORT

Every block of every `*.raw` below STORE is read and checked. What comes of it is in the database (SCHEMA below says how), in
one transaction for each batch: killed at any point, the next run goes on, and verifies again only what is not there. An image
is verified again when the file, the certificates, the policy or the version of this package is another one, and with `--recheck`.

A refused image has its code and the place of its fault. An image that ends a worker process does so once more by itself, when all
else is done, and is then refused as `index-worker`; all others are not touched by that.

Exit status: 0 all images are verified; 1 some are refused; 2 something else is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sqlite3
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import confext
import dask
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed
from distributed.security import Security

VERSION = 1
SCHEMA = """
-- One row for each image. `trust` says what it was judged by: certificates, policy, version of the package.
CREATE TABLE images (
    id        INTEGER PRIMARY KEY,
    path      TEXT NOT NULL UNIQUE,     -- below the store
    size      INTEGER NOT NULL,         -- with the next three: which file it was
    inode     INTEGER NOT NULL,
    mtime_ns  INTEGER NOT NULL,
    ctime_ns  INTEGER NOT NULL,
    trust     TEXT NOT NULL,
    at        REAL NOT NULL,            -- when it was judged, in seconds since 1970
    state     TEXT NOT NULL CHECK (state IN ('verified', 'refused')),
    kind      TEXT,                     -- verified: what was checked, `signed`, `verity` or `none`
    content   TEXT,                     -- verified: the root hash, or what stands for it where nothing was checked
    code      TEXT,                     -- refused: the stable code, and the rest of the error
    family    TEXT,
    message   TEXT,
    hint      TEXT,
    part      TEXT,
    offset    INTEGER
);
CREATE INDEX images_by_content ON images (content);
-- Whose signatures were checked and count, in the order of the image.
CREATE TABLE signers (
    image       INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    subject     TEXT NOT NULL,
    fingerprint TEXT,
    not_before  INTEGER,
    not_after   INTEGER,
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX signers_by_fingerprint ON signers (fingerprint);
-- The manifest of each content, once, however many images have it. Paths and targets that are no UTF-8 are BLOBs.
CREATE TABLE files (
    content TEXT NOT NULL,
    path    NOT NULL,
    kind    TEXT NOT NULL,
    mode    INTEGER NOT NULL,
    uid     INTEGER NOT NULL,
    gid     INTEGER NOT NULL,
    mtime   INTEGER NOT NULL,
    size    INTEGER,
    sha256  TEXT,
    target,
    PRIMARY KEY (content, path)
) WITHOUT ROWID;
CREATE INDEX files_by_sha256 ON files (sha256);
CREATE INDEX files_by_path ON files (path);
"""


@dataclass(frozen=True)
class Trust:
    """What images are judged by. It goes to the workers as it is: they read no certificates of their own."""

    certificates: tuple[bytes, ...]
    policy: str
    now: int

    def key(self) -> str:
        """What makes verifying again necessary when it is another one."""
        parts = [confext.__version__.encode(), self.policy.encode(), *sorted(self.certificates)]
        return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()


@dataclass(frozen=True)
class File:
    """A file of the store, and which one it is."""

    path: str
    size: int
    inode: int
    mtime_ns: int
    ctime_ns: int

    @staticmethod
    def of(path: str, found: os.stat_result) -> File:
        """The file that was found."""
        return File(path, found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)


@dataclass
class Judged:
    """What came of an image. `state` is also `changed` when it was replaced meanwhile, or `gone`."""

    file: File
    state: str
    at: float
    kind: str | None = None
    content: str | None = None
    #: Code, family, message, hint, part and offset.
    error: tuple[str, str, str, str, str, int | None] | None = None
    signers: list[tuple[str, str | None, int | None, int | None]] = field(default_factory=list)
    files: list[tuple[Any, ...]] = field(default_factory=list)


def text(name: str | None) -> str | bytes | None:
    """A name as the database has it: one that is no UTF-8 by its bytes."""
    if name is None or name.isprintable():
        return name
    raw = os.fsencode(name)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def scan(store: Path) -> Iterator[File]:
    """Every image below the store. Links are not followed: what they lead to is found where it is."""
    for directory, names, files in os.walk(store):
        names.sort()
        for name in sorted(files):
            path = os.path.join(directory, name)
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                continue
            if name.endswith(".raw") and not name.startswith(".") and stat.S_ISREG(found.st_mode):
                yield File.of(os.path.relpath(path, store), found)


def judge(store: str, files: list[File], trust: Trust) -> list[Judged]:
    """Verify some images and read their manifests. This runs in the workers."""
    return [judge_one(store, file, trust) for file in files]


def judge_one(store: str, file: File, trust: Trust) -> Judged:
    """One image."""
    path, now = os.path.join(store, file.path), time.time()
    result = Judged(file, "verified", now)
    try:
        admitted = confext.verify(path, certificates=trust.certificates, policy=trust.policy, now=trust.now)
        manifest = admitted.manifest()
    except confext.Error as error:
        result.state = "refused"
        result.error = (error.code, error.family, str(error), error.hint, error.path, error.offset)
    else:
        result.kind = admitted.evidence.kind
        result.content = admitted.root_hash or f"file:{file.path}:{file.inode}:{file.ctime_ns}"
        result.signers = [(it.subject, it.fingerprint, it.not_before, it.not_after) for it in admitted.signers]
        result.files = [
            (text(it.path), it.kind, it.mode, it.uid, it.gid, it.mtime, it.size, it.sha256, text(it.target))
            for it in manifest.entries
        ]
    try:
        if File.of(file.path, os.lstat(path)) != file:
            result.state = "changed"
    except FileNotFoundError:
        result.state = "gone"
    return result


class Index:
    """The database. One process writes to it: this one."""

    def __init__(self, path: Path, trust: Trust) -> None:
        self.trust = trust.key()
        self.database = sqlite3.connect(path, isolation_level=None, timeout=60)
        # What was committed survives the end of this process. What a power cut takes is verified again.
        self.database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;")
        (version,) = self.database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self.database.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
        elif version != VERSION:
            raise SystemExit(f"{path}: found schema version {version}, expected {VERSION}")

    def known(self) -> set[File]:
        """The files that were judged by the same certificates and policy."""
        rows = self.database.execute(
            "SELECT path, size, inode, mtime_ns, ctime_ns FROM images WHERE trust = ?", (self.trust,)
        )
        return {File(*row) for row in rows}

    def add(self, results: Iterable[Judged]) -> None:
        """Write down what came of a batch: all of it, or nothing."""
        with self.database:
            self.database.execute("BEGIN IMMEDIATE")
            for one in results:
                # Also of what was replaced meanwhile: what was said of another file does not hold.
                self.database.execute("DELETE FROM images WHERE path = ?", (one.file.path,))
                if one.state in ("verified", "refused"):
                    self._add(one)

    def _add(self, one: Judged) -> None:
        file, run = one.file, self.database.execute
        row = (file.path, file.size, file.inode, file.mtime_ns, file.ctime_ns, self.trust, one.at, one.state, one.kind)
        rest = (one.content, *(one.error or (None,) * 6))
        image = run(f"INSERT INTO images VALUES (NULL{', ?' * 16})", row + rest).lastrowid
        many = self.database.executemany
        signers = [(image, position, *signer) for position, signer in enumerate(one.signers)]
        many("INSERT INTO signers VALUES (?, ?, ?, ?, ?, ?)", signers)
        if run("SELECT 1 FROM files WHERE content = ? LIMIT 1", (one.content,)).fetchone() is None:
            files = [(one.content, *row) for row in one.files]
            many(f"INSERT INTO files VALUES (?{', ?' * 9})", files)

    def forget(self, files: set[str]) -> int:
        """Remove images that are not among these any more, and manifests that no image has."""
        with self.database:
            self.database.execute("BEGIN IMMEDIATE")
            gone = [(path,) for (path,) in self.database.execute("SELECT path FROM images") if path not in files]
            self.database.executemany("DELETE FROM images WHERE path = ?", gone)
            wanted = "SELECT content FROM images WHERE content IS NOT NULL"
            self.database.execute(f"DELETE FROM files WHERE content NOT IN ({wanted})")
        return len(gone)

    def count(self, state: str) -> int:
        """How many images there are in this state."""
        (count,) = self.database.execute("SELECT count(*) FROM images WHERE state = ?", (state,)).fetchone()
        return int(count)


def work_off(client: Client, store: Path, files: list[File], batch: int, trust: Trust) -> Iterator[list[Judged]]:
    """Have the workers judge the files, a few batches at a time, and yield what comes of each batch.

    What was with a worker that ended is tried again when all else is done, one image after the other: a worker has the next
    batch while it is at one, and neither says anything of the other images.
    """
    batches = [files[start : start + batch] for start in range(0, len(files), batch)]
    batches.reverse()
    # So many that no worker waits, and so few that a large store is not all in memory.
    most = 4 * max(1, len(client.nthreads()))  # type: ignore[no-untyped-call]
    pending: dict[Future[list[Judged]], list[File]] = {}
    results = as_completed()  # type: ignore[no-untyped-call]
    again: list[File] = []

    def refill() -> None:
        while batches and len(pending) < most:
            some = batches.pop()
            future = client.submit(judge, str(store), some, trust, pure=False)
            pending[future] = some
            results.add(future)  # type: ignore[no-untyped-call]

    refill()
    for future in results:
        some = pending.pop(future)
        error = future.exception()
        if error is None:
            yield future.result()
        elif isinstance(error, KilledWorker):
            again += some
        else:
            raise error
        refill()
    for one in again:
        future = client.submit(judge, str(store), [one], trust, pure=False)
        try:
            yield future.result()
        except KilledWorker:
            hint = "look at the image by itself, in a machine that can be lost"
            why = ("index-worker", "internal", "it ended the process that verified it", hint, "", None)
            yield [Judged(one, "refused", time.time(), error=why)]


def cluster(workers: int) -> LocalCluster:
    """Worker processes on this machine, which talk by TLS: who reaches a scheduler runs code in its workers."""
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    security = Security.temporary()  # type: ignore[no-untyped-call]
    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        security=security,
        protocol="tls",
        host="127.0.0.1",
    )


def run(given: argparse.Namespace) -> int:
    """The whole of it."""
    certificates = tuple(path.read_bytes() for path in given.certificate)
    trust = Trust(certificates, given.policy, int(time.time()))
    index = Index(given.database, trust)
    with closing(index.database):
        store = given.store.resolve(strict=True)
        found = list(scan(store))
        known = set() if given.recheck else index.known()
        files = [file for file in found if file not in known]
        seconds = 0.0
        if files:
            place: AbstractContextManager[Any] = nullcontext(given.scheduler)
            with (
                place if given.scheduler else cluster(given.workers) as where,
                Client(where) as client,  # type: ignore[no-untyped-call]
            ):
                start = time.monotonic()
                for results in work_off(client, store, files, given.batch, trust):
                    index.add(results)
                seconds = time.monotonic() - start
        gone = index.forget({file.path for file in found})
        refused = index.count("refused")
        rate = f", {len(files) / seconds:.0f} a second" if seconds else ""
        print(f"{len(found)} images: {index.count('verified')} verified, {refused} refused")
        print(f"{len(files)} read in {seconds:.2f} s{rate}; {len(found) - len(files)} as before, {gone} gone")
    return 1 if refused else 0


def main(arguments: list[str]) -> int:
    """The command."""
    about, details = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--certificate", type=Path, action="append", default=[], help="whose signatures count")
    parser.add_argument("--policy", default="signed")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes on this machine")
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a cluster whose workers have the store at the same path")
    parser.add_argument("--batch", type=int, default=16, help="images for a worker at a time [16]")
    parser.add_argument("--recheck", action="store_true", help="verify everything again")
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
