"""The examples of the documentation say what is printed."""

from __future__ import annotations

import doctest
import os
import re
import tarfile
from pathlib import Path

import confext
import pytest
from conftest import Make

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def files(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    """What the examples have around them."""
    (tmp_path / "vendor.pem").write_bytes(vendor.certificate)
    images = tmp_path / "images/app.raw.v"
    images.mkdir(parents=True)
    for version in (1, 2):
        make({"etc/app.conf": f"version = {version}\n".encode()}, path=images / f"app_{version}.raw")
    configuration = tmp_path / "host/etc/systemd/confext.conf"
    configuration.parent.mkdir(parents=True)
    configuration.write_text("[ConfExt]\nMutable=ephemeral\n")
    (tmp_path / "host/etc/os-release").write_text("ID=demo\n")
    (tmp_path / "host/run/confexts").mkdir(parents=True)
    make({"etc/app.conf": b"version = 1\n"}, path=tmp_path / "host/run/confexts/app.raw")
    with tarfile.open(tmp_path / "layer.tar.gz", "w:gz") as layer:
        for name in ("etc/app.conf", "etc/cache/1", "etc/old.pyc"):
            layer.addfile(tarfile.TarInfo(name))
    damaged = make({"etc/app.data": bytes(range(256)) * 100}, path=tmp_path / "damaged.raw")
    with confext.Image.open(damaged) as image:
        start = image.data.offset + 4096
    content = bytearray(damaged.read_bytes())
    content[start : start + 8192] = bytes([0xA5]) * 8192
    damaged.write_bytes(content)


def test_examples_print_what_they_say(
    files: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    if os.geteuid() == 0:
        request.getfixturevalue("needs_root")
    else:
        text, cut = re.subn(r"\nWhat changes the host needs root;.*?\n## ", "\n## ", text, flags=re.DOTALL)
        assert cut == 1
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL | doctest.REPORT_NDIFF
    examples = doctest.DocTestParser().get_doctest(text, {}, "python.md", str(DOCS / "python.md"), 0)
    found = doctest.DocTestRunner(optionflags=flags).run(examples)
    assert found.attempted > 30 and not found.failed
