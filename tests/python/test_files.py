"""The files of an image: listed, compared and extracted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import confext
import pytest
from conftest import Make

CONTENT = b"greeting = hello\n"


def admit(image: Path, vendor: confext.KeyPair) -> confext.Admitted:
    return confext.verify(image, certificates=vendor.certificate)


@pytest.fixture
def image(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> confext.Admitted:
    entries = {
        b"etc/app.conf": confext.File(CONTENT, mode=0o640, xattrs={"user.note": b"\0"}),
        b"etc/again": confext.HardLink("etc/app.conf"),
        b"etc/link": confext.Symlink("app.conf"),
        b"etc/\xff": b"no text",
    }
    return admit(make(entries, path=tmp_path / "one.raw"), vendor)


def test_a_manifest_lists_every_file_and_reads_back(image: confext.Admitted) -> None:
    manifest = image.manifest()
    entries = {entry.path: entry for entry in manifest.entries}
    assert len(manifest) == len(entries)
    first, again = entries["/etc/again"], entries["/etc/app.conf"]
    assert (first.kind, first.mode, first.size) == ("regular", 0o640, len(CONTENT))
    assert first.sha256 == hashlib.sha256(CONTENT).hexdigest() == again.sha256
    assert (first.hard_link_to, again.hard_link_to) == (None, "/etc/again")
    assert first.xattrs == {"user.note": b"\0"}
    assert entries["/etc/link"].target == "app.conf"
    assert "/etc/\udcff" in entries
    text = manifest.to_json()
    assert json.loads(text)["format"] == "confext-manifest"
    assert confext.Manifest.parse(text) == manifest
    assert hash(confext.Manifest.parse(text)) == hash(manifest)
    assert manifest != image.manifest(digests=False)
    assert manifest.to_mtree().startswith(b"#mtree\n")
    assert b"./etc/ type=dir" in manifest.to_mtree("systemd")
    with pytest.raises(confext.CorruptError) as caught:
        confext.Manifest.parse(text.replace(b'"mode":416', b'"mode":4160'))
    assert caught.value.code == "manifest-entry"
    with pytest.raises(ValueError, match="dialect"):
        manifest.to_mtree("other")  # type: ignore[arg-type]


def test_images_and_manifests_are_compared(
    image: confext.Admitted, make: Make, vendor: confext.KeyPair, tmp_path: Path
) -> None:
    other = admit(make({"etc/app.conf": CONTENT.upper(), "etc/new": b""}, path=tmp_path / "two.raw"), vendor)
    assert image.diff(image) == image.diff(image.manifest()) == []
    found = {difference.path: difference for difference in image.diff(other, ignore=("mtime", "hard-links"))}
    assert found["/etc/new"].kind == "added" and found["/etc/link"].kind == "removed"
    assert found["/etc/new"].entry is not None and found["/etc/new"].entry.size == 0
    changes = {change.attribute: change for change in found["/etc/app.conf"].changes}
    assert (changes["mode"].before, changes["mode"].after) == (0o640, 0o644)
    assert changes["sha256"].after == hashlib.sha256(CONTENT.upper()).hexdigest()
    assert (changes["xattr"].name, changes["xattr"].before, changes["xattr"].after) == ("user.note", b"\0", None)
    listed = {difference.path for difference in other.diff(image.manifest(), ignore=("mtime", "hard-links"))}
    assert listed == set(found)
    with pytest.raises(TypeError):
        image.diff("other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ignore"):
        image.diff(other, ignore=("time",))  # type: ignore[arg-type]


def test_files_are_extracted_and_nothing_stays_of_a_failure(image: confext.Admitted, tmp_path: Path) -> None:
    destination = tmp_path / "new"
    extracted = image.extract(destination, xattrs=())
    assert (extracted.files, extracted.hard_links, extracted.symlinks) == (3, 1, 1)
    assert extracted.xattrs_left_out == 1
    assert (destination / "etc/app.conf").read_bytes() == CONTENT
    assert (destination / "etc/app.conf").samefile(destination / "etc/again")
    with pytest.raises(confext.ConflictError) as caught:
        image.extract(destination, xattrs=())
    assert caught.value.code == "extract-exists"
    replaced = image.extract(destination, existing="replace", xattrs=(), sync="now")
    assert replaced.replaced == 5
    (tmp_path / "outside").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "there/etc").symlink_to(tmp_path / "outside")
    with pytest.raises(confext.ConflictError):
        image.extract(tmp_path / "there", xattrs=())
    assert not list((tmp_path / "outside").iterdir())
    for wrong in (range(0), range(-1, 5), range(0, 10, 2), range(2**33)):
        with pytest.raises(ValueError, match="expected"):
            image.extract(tmp_path / "moved", owner=wrong)
    with pytest.raises(ValueError, match="existing"):
        image.extract(destination, existing="maybe")  # type: ignore[arg-type]


def test_owners_are_moved(needs_root: None, make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    source = {"etc/a": confext.File(b"", uid=0, gid=7), "etc/b": confext.File(b"", uid=9, gid=0)}
    admitted = confext.verify(make(source), certificates=vendor.certificate)
    admitted.extract(tmp_path / "moved", owner=range(100_000, 100_010))
    stats = [(tmp_path / "moved/etc" / name).stat() for name in "ab"]
    assert [(stat.st_uid, stat.st_gid) for stat in stats] == [(100_000, 100_007), (100_009, 100_000)]
    with pytest.raises(confext.Error) as refused:
        admitted.extract(tmp_path / "less", owner=range(100_000, 100_009))
    assert refused.value.code == "extract-owner"
