"""The interpreter's lock is not held while the library works."""

from __future__ import annotations

import os
import subprocess
import sys
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
