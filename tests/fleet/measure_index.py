"""Measures examples/bulk_index.py: how long 1 and 2 worker processes take for one store.

    python tests/fleet/measure_index.py [--images 2000] [--files 40] [--rounds 3]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import confext
from conftest import EXAMPLES

PROGRAM = EXAMPLES / "bulk_index.py"


def make_store(store: Path, images: int, files: int, key: confext.KeyPair) -> None:
    """So many images, each with files of its own."""
    for number in range(images):
        name = f"app{number:05}"
        directory = store / f"{number % 100:02}"
        directory.mkdir(parents=True, exist_ok=True)
        source = {f"etc/{name}/{file}.conf": f"{number} {file}\n".encode() * 400 for file in range(files)}
        confext.build(
            name, source=source, output=directory / f"{name}_1.raw", release={"ID": "_any"},
            key=key.key, certificate=key.certificate,
        )  # fmt: skip


def measure(store: Path, work: Path, workers: int) -> float:
    """Seconds for all images, without the start of the workers."""
    database = work / "index.sqlite"
    for left in work.glob("index.sqlite*"):
        left.unlink()
    command = [sys.executable, PROGRAM, store, "--database", database, "--certificate", work / "vendor.crt"]
    command += ["--workers", str(workers)]
    said = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    seconds = re.search(r"read in ([0-9.]+) s", said)
    assert seconds is not None, said
    return float(seconds[1])


def main() -> None:
    """Print the best of some rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    key = confext.generate_key("vendor")
    with tempfile.TemporaryDirectory(prefix="confext-measure-", dir="/var/tmp") as directory:
        work = Path(directory)
        (work / "vendor.crt").write_bytes(key.certificate)
        make_store(work / "store", given.images, given.files, key)
        size = sum(path.stat().st_size for path in (work / "store").rglob("*.raw"))
        print(f"{given.images} images, {given.files} files each, {size / 1e6:.0f} MB")
        best = {}
        for workers in (1, 2):
            best[workers] = min(measure(work / "store", work, workers) for _ in range(given.rounds))
            print(f"{workers} workers: {best[workers]:.2f} s, {given.images / best[workers]:.0f} images a second")
        print(f"speed-up {best[1] / best[2]:.2f}")


if __name__ == "__main__":
    main()
