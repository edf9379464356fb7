"""Building: what goes in comes out, the same input gives the same bytes, and bad input is told."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import uuid
from pathlib import Path
from types import MappingProxyType
from typing import Any

import confext
import pytest
from conftest import Make

SOURCE = {
    "etc/app.conf": b"greeting = hello\n",
    "etc/app.d": confext.Directory(mode=0o2750, uid=7, gid=8),
    b"etc/app.d/\xff": confext.File(b"x" * 5000, mode=0o4755, uid=1, gid=2, mtime=-5, xattrs={"user.a": b"\0v"}),
    "etc/link": confext.Symlink("app.conf"),
    # Its place in the mapping does not matter.
    "etc/a-second-name": confext.HardLink("etc/app.conf"),
    "etc/null": confext.Device("char", 1, 3, mode=0o666),
    "etc/disk": confext.Device("block", 8, 1),
    "etc/pipe": confext.Fifo(mode=0o600),
}

TAPE = confext.Device("tape", 1, 1)  # type: ignore[arg-type]


def test_entries_come_out_as_they_went_in(make: Make, vendor: confext.KeyPair) -> None:
    admitted = confext.verify(make(SOURCE), certificates=vendor.certificate)
    assert admitted.read("etc/app.conf") == b"greeting = hello\n"
    directory = admitted.stat("etc/app.d")
    assert (directory.kind, directory.mode, directory.uid, directory.gid) == ("directory", 0o2750, 7, 8)
    odd = os.fsdecode(b"etc/app.d/\xff")
    file = admitted.stat(odd)
    assert (file.kind, file.mode, file.uid, file.gid, file.size, file.mtime) == ("regular", 0o4755, 1, 2, 5000, -5)
    assert admitted.xattrs(odd) == {"user.a": b"\0v"}
    assert admitted.readlink("/etc/link") == "app.conf"
    assert admitted.stat("etc/a-second-name") == admitted.stat("etc/app.conf")
    assert admitted.stat("etc/app.conf").nlink == 2
    assert (admitted.stat("etc/null").kind, admitted.stat("etc/null").rdev) == ("char-device", (1, 3))
    assert (admitted.stat("etc/disk").kind, admitted.stat("etc/disk").rdev) == ("block-device", (8, 1))
    assert (admitted.stat("etc/pipe").kind, admitted.stat("etc/pipe").mode) == ("fifo", 0o600)


def test_a_directory_becomes_an_image(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "etc/app").mkdir(parents=True)
    (tree / "etc/app/conf").write_bytes(b"from a directory")
    built = confext.build(
        "app",
        source=tree,
        output=tmp_path / "app.raw",
        release={"ID": "debian", "CONFEXT_LEVEL": "2", "CONFEXT_SCOPE": "system"},
        key=vendor.key,
        certificate=vendor.certificate,
    )
    assert built.fingerprint == vendor.fingerprint
    assert built.size == (tmp_path / "app.raw").stat().st_size
    admitted = confext.verify(tmp_path / "app.raw", certificates=[vendor.certificate])
    assert admitted.root_hash == built.root_hash
    assert admitted.read("etc/app/conf") == b"from a directory"
    release = admitted.read("etc/extension-release.d/extension-release.app").decode().splitlines()
    assert sorted(release) == ["CONFEXT_LEVEL=2", "CONFEXT_SCOPE=system", "ID=debian"]


def test_the_same_input_gives_the_same_bytes(make: Make, tmp_path: Path) -> None:
    seed = uuid.UUID("12345678-1234-5678-9234-567812345678")
    options: dict[str, Any] = {"seed": seed, "source_date_epoch": 1_700_000_000}
    first = make(SOURCE, **options).read_bytes()
    assert make(SOURCE, path=tmp_path / "again.raw", **options).read_bytes() == first
    by_text = make(MappingProxyType(SOURCE), path=tmp_path / "text.raw", **options | {"seed": str(seed)})
    assert by_text.read_bytes() == first
    other = make(SOURCE, path=tmp_path / "other.raw", **options | {"seed": uuid.uuid4()})
    assert other.read_bytes() != first


def test_keys_are_pem_text_or_paths(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(vendor.key)
    (tmp_path / "cert.pem").write_bytes(vendor.certificate)
    by_text = make({"etc/a": b"a"}).read_bytes()
    by_path = make({"etc/a": b"a"}, key=tmp_path / "key.pem", certificate=str(tmp_path / "cert.pem"))
    assert by_path.read_bytes() == by_text


def test_a_small_signed_image_is_small(make: Make) -> None:
    assert make({"etc/app.conf": b"greeting = hello\n"}).stat().st_size <= 64 << 10


def test_an_unsigned_image_is_an_explicit_choice(make: Make, tmp_path: Path) -> None:
    with pytest.raises(confext.RefusedError) as refused:
        confext.build("app", source={"etc/a": b""}, output=tmp_path / "app.raw", release={"ID": "_any"})
    assert refused.value.code == "signer-missing"
    there = make({"etc/a": b""})
    before = there.read_bytes()
    with pytest.raises(confext.FileLookupError) as exists:
        confext.build("app", source={"etc/b": b""}, output=there, release={"ID": "_any"}, unsigned=True)
    assert exists.value.code == "output-exists" and there.read_bytes() == before
    image = confext.Image.open(make({"etc/a": b""}, unsigned=True))
    assert image.claim.kind == "verity"


def test_sysext_has_its_own_hierarchies(make: Make, vendor: confext.KeyPair) -> None:
    admitted = confext.verify(make({"usr/bin/tool": b"#!"}, class_="sysext"), certificates=vendor.certificate)
    assert admitted.listdir("usr/lib/extension-release.d") == ["extension-release.app"]
    with pytest.raises(confext.RefusedError) as refused:
        make({"usr/bin/tool": b"#!"})
    assert refused.value.code == "outside-hierarchy"


def test_an_operating_system_has_boot_partitions(make: Make, tmp_path: Path) -> None:
    boot = {"EFI/BOOT/BOOTX64.EFI": b"MZ"}
    system: dict[str, Any] = {
        "class_": "root",
        "source": {"usr/bin/tool": b"#!"},
        "output": tmp_path / "os.raw",
        "release": {"ID": "test"},
        "unsigned": True,
        "replace": True,
    }
    confext.build("os", **system, esp=boot, xbootldr=boot)
    found = [(part.designator, part.fs) for part in confext.Image.open(tmp_path / "os.raw").partitions]
    assert found[:3] == [("esp", "vfat"), ("xbootldr", "vfat"), ("root", "erofs")]
    with pytest.raises(confext.RefusedError) as refused:
        make({"etc/a": b""}, esp=boot)
    assert refused.value.code == "boot-partition"
    with pytest.raises(confext.UnsupportedError) as unsupported:
        confext.build("os", **system, esp={"EFI/link": confext.Symlink("BOOT")})
    assert unsupported.value.code == "vfat-entry"


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"class_": "service"}, ValueError, "class_: found 'service', expected 'sysext' or 'confext' or 'portable' or"),
        ({"architecture": "z80"}, ValueError, "architecture: found 'z80'"),
        ({"key": b"junk"}, confext.CorruptError, "key"),
        ({"key": None}, ValueError, "key and certificate go together"),
        ({"seed": "junk"}, confext.CorruptError, "not a UUID"),
        ({"source": {"etc/a": 5}}, TypeError, "etc/a.*int.*expected bytes"),
        ({"source": {"etc/a/../b": b""}}, confext.CorruptError, "etc/a/../b"),
        ({"source": {"etc/a": confext.HardLink("etc/b")}}, confext.CorruptError, "etc/b"),
        ({"source": {"etc/a": TAPE}}, ValueError, "kind: found 'tape'"),
        ({"source": 5}, TypeError, "source: .*int.*expected a path, a file or a mapping"),
        ({"release": {"ID": ""}}, confext.CorruptError, "ID"),
        ({"release": 5}, TypeError, "expected a mapping"),
        ({"name": "a/b"}, confext.CorruptError, "a/b"),
    ],
)
def test_bad_input_is_told(
    vendor: confext.KeyPair, tmp_path: Path, change: dict[str, Any], error: type[Exception], text: str
) -> None:
    arguments: dict[str, Any] = {
        "name": "app",
        "source": {"etc/a": b""},
        "output": tmp_path / "app.raw",
        "release": {"ID": "_any"},
        "key": vendor.key,
        "certificate": vendor.certificate,
    }
    with pytest.raises(error, match=text):
        confext.build(**arguments | change)
    assert list(tmp_path.iterdir()) == [], "a failed build leaves nothing"


def test_a_failed_build_leaves_the_old_image(make: Make) -> None:
    path = make({"etc/a": b"first"})
    before = path.read_bytes()
    with pytest.raises(confext.RefusedError):
        make({"opt/a": b"second"}, path=path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_lint_says_what_a_build_refuses(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    tool = confext.File(b"", mode=0o4755)
    source: dict[str, confext.File | bytes] = {"etc/tool": tool, "etc/os-release": b"ID=x\n"}
    found = confext.lint("app", source=source)
    assert [(one.code, one.severity, one.path) for one in found] == [
        ("replaces-os-release", "error", "etc/os-release"),
        ("set-id", "error", "etc/tool"),
        ("release-missing", "error", "etc/extension-release.d/extension-release.app"),
    ]
    with pytest.raises(confext.RefusedError) as refused:
        make({"etc/tool": tool}, allow=[])
    assert refused.value.code == "lint"
    image = make({"etc/tool": source["etc/tool"], "etc/motd": confext.Symlink("x")}, allow=["set-id"])
    admitted = confext.verify(image, certificates=vendor.certificate)
    (tmp_path / "host/etc/motd").mkdir(parents=True)
    codes = [one.code for one in confext.lint("app", source=admitted, base=tmp_path / "host")]
    assert codes == ["type-change", "set-id"]
    with pytest.raises(ValueError, match="allow: found 'all'"):
        make(SOURCE, allow=["all"])


def test_an_archive_becomes_an_image_by_rules(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    tree = tmp_path / "tree/etc"
    (tree / "cache").mkdir(parents=True)
    (tree / "app.conf").write_bytes(b"a" * 9000)
    (tree / "cache/x").write_bytes(b"x")
    contexts = tmp_path / "file_contexts"
    contexts.write_text("/etc(/.*)? u:r:etc:s0\n")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tree, "etc")
    image = make(tmp_path / "a.tar", owner=(3, 4), exclude=["cache/"], file_contexts=contexts)
    admitted = confext.verify(image, certificates=vendor.certificate)
    assert (admitted.stat("etc/app.conf").uid, admitted.stat("etc/app.conf").gid) == (3, 4)
    assert admitted.xattrs("etc/app.conf") == {"security.selinux": b"u:r:etc:s0\0"}
    with pytest.raises(confext.FileLookupError):
        admitted.stat("etc/cache")
    small = make(tmp_path / "a.tar", file_system="squashfs", compression="xz")
    assert confext.verify(small, certificates=vendor.certificate).read("etc/app.conf") == b"a" * 9000
    with pytest.raises(ValueError, match="compression"):
        make(tmp_path / "a.tar", compression="xz")


def test_an_archive_is_read_from_what_has_read(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name, content in (("etc/app.conf", b"a" * 9000), ("etc/b", b"b")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    by_path = tmp_path / "a.tar"
    by_path.write_bytes(gzip.decompress((tmp_path / "a.tar.gz").read_bytes()))
    with gzip.open(tmp_path / "a.tar.gz") as layer, open(by_path, "rb") as file:
        for source in (layer, io.BytesIO(by_path.read_bytes()), file):
            image = make(source, path=tmp_path / "file.raw")
            assert image.read_bytes() == make(by_path, path=tmp_path / "path.raw").read_bytes()
    assert confext.verify(image, certificates=vendor.certificate).read("etc/app.conf") == b"a" * 9000
    with open(by_path, "rb") as file:
        assert [found.code for found in confext.lint("app", source=file)] == ["release-missing"]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TypeError, match="bytes"):
        make(io.StringIO("text"), path=tmp_path / "text.raw")
    with pytest.raises(confext.CorruptError):
        make(io.BytesIO(b"junk" * 1000), path=tmp_path / "junk.raw")

    class Broken:
        def read(self, size: int, /) -> bytes:
            raise InterruptedError("broken")

    with pytest.raises(InterruptedError, match="broken"):
        make(Broken(), path=tmp_path / "broken.raw")
    assert sorted(tmp_path.iterdir()) == before


def owners(image: Path, vendor: confext.KeyPair) -> list[tuple[int, int]]:
    admitted = confext.verify(image, certificates=vendor.certificate)
    stats = [admitted.stat(path) for path in ("etc/a", "etc/b", "etc/c")]
    return [(stat.uid, stat.gid) for stat in stats]


def test_owners_become_others(make: Make, vendor: confext.KeyPair) -> None:
    source = {
        "etc/a": confext.File(b"", uid=1000, gid=5),
        "etc/b": confext.File(b"", uid=1999, gid=1000),
        "etc/c": confext.File(b"", uid=7, gid=7),
    }
    assert owners(make(source), vendor) == [(1000, 5), (1999, 1000), (7, 7)]
    mapped = make(source, map_uid={1000: 3, range(1000, 2000): 100_000}, map_gid={range(5, 6): 0})
    assert owners(mapped, vendor) == [(3, 0), (100_999, 1000), (7, 7)]
    assert owners(make(source, owner=(1, 2)), vendor) == [(1, 2)] * 3
    with pytest.raises(confext.RefusedError) as refused:
        make(source, map_uid={range(1000, 2000): 0}, mapped_only=True)
    assert refused.value.code == "owner-unmapped"
    everybody = range(2**16)
    assert owners(make(source, map_uid={everybody: 1}, map_gid={everybody: 2}, mapped_only=True), vendor)[2] == (8, 9)
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"map_uid": {range(5, 5): 0}}, ValueError, "range\\(5, 5\\), expected a range that is not empty"),
        ({"map_uid": {range(0, 9, 3): 0}}, ValueError, "in steps of 1"),
        ({"map_gid": {-1: 0}}, confext.CorruptError, "-1"),
        ({"map_gid": {0: 2**32 - 1}}, confext.CorruptError, "4294967295"),
        ({"map_gid": {0: 0}, "owner": (0, 0)}, ValueError, "exclude each other"),
        ({"map_gid": 5}, TypeError, "expected a mapping"),
        ({"map_gid": {"root": 0}}, TypeError, "int"),
    ]
    for options, error, text in cases:
        with pytest.raises(error, match=text):
            make(source, **options)


def test_attributes_are_left_out(make: Make, vendor: confext.KeyPair) -> None:
    source = {"etc/a": confext.File(b"", xattrs={"user.a": b"1", "user.b": b"2"})}
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["user.a", "user.b"]),
        ({"drop_xattrs": ["user.a"]}, ["user.b"]),
        ({"xattrs": False}, []),
    ]
    for options, names in cases:
        image = make(source, **options)
        assert list(confext.verify(image, certificates=vendor.certificate).xattrs("etc/a")) == names


def test_warnings_are_told_or_stop_a_build(vendor: confext.KeyPair, tmp_path: Path) -> None:
    (tmp_path / "host/etc/a").mkdir(parents=True)
    arguments: dict[str, Any] = {
        "name": "app",
        "source": {"etc/a": b""},
        "output": tmp_path / "app.raw",
        "release": {"ID": "debian"},
        "key": vendor.key,
        "certificate": vendor.certificate,
    }
    built = confext.build(**arguments)
    assert [(found.code, found.severity) for found in built.findings] == [("release-version", "warning")]
    assert confext.build(**arguments, allow=["release-version"], strict=True, replace=True).findings == ()
    (tmp_path / "app.raw").unlink()
    for options in ({"strict": True}, {"base": tmp_path / "host"}):
        with pytest.raises(confext.RefusedError) as refused:
            confext.build(**arguments, **options)
        assert refused.value.code == "lint"
    assert not (tmp_path / "app.raw").exists()
