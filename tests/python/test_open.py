"""Opening: which of several partitions count, both copies of the table, what lies beside an image, and who may sign it."""

from __future__ import annotations

import base64
import json
import struct
import uuid
import zlib
from pathlib import Path
from typing import Any

import confext
import pytest
from conftest import Make

SECTOR = 512


def entries(image: bytes) -> list[bytes]:
    """The used entries of a partition table, as they are on disk."""
    first, count, size = struct.unpack_from("<QII", image, SECTOR + 72)
    table = [image[first * SECTOR + at * size :][:size] for at in range(count)]
    return [entry for entry in table if any(entry[:16])]


def disk(parts: list[tuple[bytes, bytes, str]]) -> bytes:
    """A disk of these entries, contents and labels."""
    table, data, at = b"", b"", 2048
    for entry, content, label in parts:
        content += bytes(-len(content) % SECTOR)
        sectors = len(content) // SECTOR
        place = struct.pack("<QQ", at, at + sectors - 1)
        table += entry[:32] + place + entry[48:56] + label.encode("utf-16-le").ljust(72, b"\0")
        data, at = data + content, at + sectors
    table = table.ljust(128 * 128, b"\0")
    last = at + 32

    def header(own: int, other: int, entries_at: int) -> bytes:
        fields = [b"EFI PART", 0x10000, 92, 0, 0, own, other, 34, at - 1, bytes(range(16)), entries_at, 128, 128]
        raw = struct.pack("<8sIIIIQQQQ16sQIII", *fields, zlib.crc32(table))
        raw = raw[:16] + struct.pack("<I", zlib.crc32(raw)) + raw[20:]
        return raw.ljust(SECTOR, b"\0")

    protective = bytes(446) + struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff" * 3, 1, last) + bytes(48) + b"\x55\xaa"
    front = protective + header(1, last, 2) + table
    return front.ljust(2048 * SECTOR, b"\0") + data + table + header(last, 1, at)


@pytest.fixture
def both(make: Make, tmp_path: Path) -> Path:
    """An image with two versions of root, hash tree and signature."""
    parts = []
    for version in (9, 10):
        source = {"etc/version": str(version).encode()}
        path = make(source, path=tmp_path / f"{version}.raw", seed=uuid.UUID(int=version))
        raw = path.read_bytes()
        with confext.Image.open(path) as image:
            for entry, partition in zip(entries(raw), image.partitions):
                content = raw[partition.offset : partition.offset + partition.size]
                parts.append((entry, content, f"app_{version}"))
    path = tmp_path / "app.raw"
    path.write_bytes(disk(parts))
    return path


def test_of_several_versions_one_is_selected(both: Path, vendor: confext.KeyPair) -> None:
    with pytest.raises(confext.Error) as refused:
        confext.Image.open(both)
    assert refused.value.code == "partitions-ambiguous"
    newest = confext.verify(both, certificates=vendor.certificate, select="newest")
    assert newest.read("etc/version") == b"10"
    with confext.Image.open(both.with_name("9.raw")) as image:
        root_hash = image.claim.root_hash
    older = confext.verify(both, certificates=vendor.certificate, select=root_hash)
    assert (older.read("etc/version"), older.root_hash) == (b"9", root_hash)
    with confext.Image.open(both, select="newest") as image:
        assert (image.data.designator, image.data.label) == ("root", "app_10")
        assert image.hash is not None and image.hash.designator == "root-verity"
    for select, code in [("oldest", "root-hash-syntax"), ("0" * 64, "root-hash-partition")]:
        with pytest.raises(confext.Error) as refused:
            confext.Image.open(both, select=select)
        assert refused.value.code == code


def test_partitions_are_considered_by_their_labels(both: Path, vendor: confext.KeyPair) -> None:
    text = "root=*_9:root-verity=*_9:root-verity-sig=*_[!1]*"
    for image_filter in (text, confext.ImageFilter(text)):
        admitted = confext.verify(both, certificates=vendor.certificate, image_filter=image_filter)
        assert admitted.read("etc/version") == b"9"
    with pytest.raises(confext.RefusedError) as refused:
        confext.Image.open(both, image_filter="root=none")
    assert refused.value.code == "image-filter"
    with pytest.raises(confext.CorruptError):
        confext.Image.open(both, image_filter="root")


def test_parity_is_for_what_is_selected(both: Path, tmp_path: Path) -> None:
    fec, new = tmp_path / "app.fec", tmp_path / "new.raw"
    with pytest.raises(confext.Error) as refused:
        confext.fec(both, output=fec)
    assert refused.value.code == "partitions-ambiguous"
    confext.fec(both, output=fec, select="newest")
    repair = confext.repair(both, fec=fec, output=new, select="newest", image_filter="root=app_*", copies="both")
    assert repair.whole and not repair.repaired
    assert new.read_bytes() == both.read_bytes()


def test_what_is_selected_is_signed(both: Path, stranger: confext.KeyPair, tmp_path: Path) -> None:
    with pytest.raises(confext.Error) as refused:
        confext.to_sign(both)
    assert refused.value.code == "partitions-ambiguous"
    newest = confext.to_sign(both, select="newest")
    assert newest != confext.to_sign(both, image_filter="root=*_9:root-verity=*_9:root-verity-sig=*_9")
    new = tmp_path / "signed.raw"
    signed = confext.sign(
        both, output=new, key=stranger.key, certificate=stranger.certificate, add=True, select="newest", copies="both"
    )
    assert signed.root_hash.encode() == newest and signed.fingerprints[1] == stranger.fingerprint
    admitted = confext.verify(new, certificates=stranger.certificate, select="newest")
    assert admitted.read("etc/version") == b"10"


def test_both_copies_of_the_table_can_be_asked_for(make: Make) -> None:
    image = make({"etc/a": b"a"})
    assert confext.Image.open(image, copies="both").table is not None
    content = bytearray(image.read_bytes())
    content[-SECTOR] ^= 1
    image.write_bytes(content)
    with confext.Image.open(image) as opened:
        assert opened.table is not None and opened.table.backup != "same"
    with pytest.raises(confext.Error) as refused:
        confext.Image.open(image, copies="both")
    assert refused.value.code == "gpt-copies"
    wrong: Any = "all"
    with pytest.raises(ValueError, match="copies: found 'all', expected 'any' or 'both'"):
        confext.Image.open(image, copies=wrong)


@pytest.fixture
def apart(make: Make, tmp_path: Path) -> Path:
    """A bare file system with hash tree, root hash and signature beside it."""
    path = make({"etc/a": b"alone"})
    raw = path.read_bytes()
    place = tmp_path / "apart"
    place.mkdir()
    with confext.Image.open(path) as image:
        for partition, name in zip(image.partitions, ("app.raw", "app.verity", "signature")):
            (place / name).write_bytes(raw[partition.offset : partition.offset + partition.size])
    signature = json.loads((place / "signature").read_bytes().rstrip(b"\0"))
    (place / "signature").unlink()
    (place / "app.roothash").write_text(signature["rootHash"] + "\n")
    (place / "app.roothash.p7s").write_bytes(base64.b64decode(signature["signature"]))
    return place / "app.raw"


def test_what_lies_beside_an_image_is_told(apart: Path, vendor: confext.KeyPair, make: Make) -> None:
    with confext.Image.open(apart) as image:
        assert image.table is None and image.claim.kind == "signed"
        found = [(sidecar.kind, sidecar.name) for sidecar in image.sidecars.found]
        assert found == [
            ("root-hash", "app.roothash"),
            ("root-hash-signature", "app.roothash.p7s"),
            ("hash-tree", "app.verity"),
        ]
        assert len(image.sidecars.looked_for) == 7
        assert confext.Sidecar.__match_args__ == ("kind", "name", "found")
        assert image.hash is not None and image.hash.offset == 0
    assert confext.verify(apart, certificates=vendor.certificate).read("etc/a") == b"alone"
    for name in ("app.roothash", "app.roothash.p7s", "app.verity"):
        apart.with_name(name).rename(apart.with_name(f"{name}.old"))
    apart.with_name("app.roothash.old").rename(apart.with_name("app.root-hash"))
    with confext.Image.open(apart) as image:
        assert (image.claim.kind, image.hash, image.sidecars.found) == ("none", None, ())
        near = image.sidecars.near_misses
        assert ("app.root-hash", "app.roothash") in [(miss.found, miss.expected) for miss in near]
    with confext.Image.open(make({"etc/a": b"a"})) as image:
        assert image.sidecars.found == () and not any(look.found for look in image.sidecars.looked_for)


def test_parity_is_for_one_file_only(apart: Path) -> None:
    with pytest.raises(confext.FileLookupError) as refused:
        confext.fec(apart, output=apart.with_name("app.fec"))
    assert refused.value.code == "no-hash-tree"


def test_rules_say_who_may_sign_what(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    image = make({"etc/a": b"a"}, path=tmp_path / "app_3.raw")
    rules = f"signer={vendor.fingerprint} name=app* class=confext\n".encode()
    file = tmp_path / "rules"
    file.write_bytes(rules)
    for key_rules in (rules, file):
        assert confext.verify(image, certificates=vendor.certificate, key_rules=key_rules).signer is not None
    with confext.Image.open(image) as opened:
        for options in ({"name": "other"}, {"class_": "sysext"}):
            more: Any = options
            with pytest.raises(confext.RefusedError) as refused:
                opened.verify(certificates=vendor.certificate, key_rules=rules, **more)
            assert refused.value.code == "key-rules"
        assert opened.verify(certificates=vendor.certificate, key_rules=rules, name="application").signer is not None
        with pytest.raises(confext.RefusedError) as refused:
            opened.verify(certificates=(), policy="verity", key_rules=rules)
        assert refused.value.code == "key-rules-unsigned"
        with pytest.raises(confext.CorruptError):
            opened.verify(certificates=vendor.certificate, key_rules=b"junk")
        with pytest.raises(ValueError, match="name goes with key_rules"):
            opened.verify(certificates=vendor.certificate, name="app")


def test_rules_say_what_certificates_must_be_like(make: Make, tmp_path: Path) -> None:
    key = confext.generate_key("short", days=1, not_before=1_000_000_000)
    image = make({"etc/a": b""}, key=key.key, certificate=key.certificate)
    with pytest.raises(confext.UnverifiedError) as refused:
        confext.verify(image, certificates=key.certificate)
    assert refused.value.code == "certificate-expired"
    admitted = confext.verify(image, certificates=key.certificate, certificate_rules="validity=ignored")
    assert admitted.signer is not None and admitted.signers == (admitted.signer,)
    (tmp_path / "root/run/confexts").mkdir(parents=True)
    (tmp_path / "root/etc/verity.d").mkdir(parents=True)
    (tmp_path / "root/etc/verity.d/short.crt").write_bytes(key.certificate)
    (tmp_path / "root/etc/os-release").write_text("ID=demo\n")
    image.rename(tmp_path / "root/run/confexts/app.raw")
    for certificates in (None, key.certificate):
        host = confext.Host(tmp_path / "root", certificates=certificates, certificate_rules="validity=ignored")
        assert [found.layer.name for found in host.list().extensions] == ["app"]
        assert confext.Host(tmp_path / "root", certificates=certificates).list().extensions == ()
    for ask in (confext.Host, lambda root, **rules: confext.verify(image, certificates=(), **rules)):
        anything: Any = ask
        with pytest.raises(confext.CorruptError) as wrong:
            anything(tmp_path, certificate_rules="junk")
        assert wrong.value.code == "certificate-rules"


def test_further_signatures_are_told(make: Make, vendor: confext.KeyPair, stranger: confext.KeyPair) -> None:
    image = make({"etc/a": b"a"})
    confext.sign(image, key=stranger.key, certificate=stranger.certificate, add=True)
    with confext.Image.open(image) as opened:
        assert opened.claim.fingerprint == vendor.fingerprint
        assert opened.claim.additional == (stranger.fingerprint,)
        admitted = opened.verify(certificates=(stranger.certificate, vendor.certificate))
    assert [signer.subject for signer in admitted.signers] == ["CN=vendor", "CN=stranger"]


@pytest.fixture
def with_srv(make: Make, tmp_path: Path) -> Path:
    """A signed image with one more partition, which nothing protects."""
    path = make({"etc/a": b"signed"})
    other = make({"etc/a": b"of srv", "etc/link": confext.Symlink("a")}, path=tmp_path / "other.raw", unsigned=True)
    raw, parts = path.read_bytes(), []
    with confext.Image.open(path) as image, confext.Image.open(other) as unsigned:
        for entry, partition in zip(entries(raw), image.partitions):
            parts.append((entry, raw[partition.offset :][: partition.size], "signed"))
        data = other.read_bytes()[unsigned.data.offset :][: unsigned.data.size]
    kind = uuid.UUID("3b8f8425-20e0-4f3b-907f-1a25a76f98e8").bytes_le
    parts.append(((kind + bytes(range(1, 17))).ljust(128, b"\0"), data, "srv"))
    path.write_bytes(disk(parts))
    return path


def test_another_partition_is_used_where_the_policy_says_so(
    with_srv: Path, vendor: confext.KeyPair, stranger: confext.KeyPair, tmp_path: Path
) -> None:
    policy = "root=signed:srv=unprotected+erofs"
    with confext.Image.open(with_srv) as image:
        partition = image.verify_partition("srv", certificates=vendor.certificate, policy=policy)
        assert isinstance(partition, confext.Files)
        assert (partition.partition.designator, partition.partition.label) == ("srv", "srv")
        admitted = image.verify(certificates=vendor.certificate, policy="root=signed")
        for certificates, wanted, code in [
            (vendor.certificate, "signed", "policy"),
            (vendor.certificate, "root=signed:srv=unused", "policy"),
            (vendor.certificate, "root=signed:srv=unprotected+vfat", "policy-file-system"),
            (stranger.certificate, policy, "unknown-signer"),
        ]:
            with pytest.raises(confext.Error) as refused:
                image.verify_partition("srv", certificates=certificates, policy=wanted)
            assert refused.value.code == code
        with pytest.raises(confext.RefusedError):
            image.verify(certificates=vendor.certificate, policy=policy)
        with pytest.raises(confext.FileLookupError) as missing:
            image.verify_partition("esp", certificates=vendor.certificate, policy="root=signed:esp=unprotected")
        assert missing.value.code == "no-such-partition"
        wrong: Any = "root"
        with pytest.raises(ValueError, match="designator: found 'root', expected 'home' or"):
            image.verify_partition(wrong, certificates=vendor.certificate)
    # The image is closed; what was admitted is not.
    assert partition.path == str(with_srv) and repr(partition) == "<confext.AdmittedPartition srv>"
    assert partition.read("etc/link") == partition.open("etc/a").read() == b"of srv"
    assert "a" in partition.listdir("etc") and partition.stat("etc/a").size == 6
    assert len(partition.manifest()) == len(partition.walk()) + 1
    assert "/etc/link" in [found.path for found in admitted.diff(partition)]
    partition.extract(tmp_path / "srv")
    assert (tmp_path / "srv/etc/a").read_bytes() == b"of srv"
    assert admitted.read("etc/a") == b"signed"
    assert not hasattr(partition, "evidence")
    rules = f"signer={vendor.fingerprint} name=other".encode()
    with pytest.raises(confext.RefusedError) as refused, confext.Image.open(with_srv) as image:
        image.verify_partition("srv", certificates=vendor.certificate, policy=policy, key_rules=rules)
    assert refused.value.code == "key-rules"
