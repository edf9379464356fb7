"""Reading and verifying: what an image says, what is checked, and what is refused."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import confext
import pytest
from conftest import Make

CONTENT = b"greeting = hello\n"


@pytest.fixture
def image(make: Make) -> Path:
    return make(
        {
            "etc/app.conf": CONTENT,
            "etc/big": bytes(range(256)) * 400,
            "etc/dir/link": confext.Symlink("/etc/app.conf"),
            "etc/to-dir": confext.Symlink("dir"),
        }
    )


def damage(image: Path, what: bytes) -> Path:
    """A copy in which one bit of this text is flipped."""
    data = bytearray(image.read_bytes())
    at = data.index(what)
    data[at] ^= 1
    copy = image.with_name("damaged.raw")
    copy.write_bytes(data)
    return copy


def test_an_opened_image_says_what_it_is_and_claims(image: Path, vendor: confext.KeyPair) -> None:
    with confext.Image.open(image) as opened:
        assert opened.path == str(image)
        assert opened.size == image.stat().st_size
        assert [partition.designator for partition in opened.partitions] == ["root", "root-verity", "root-verity-sig"]
        data = opened.partitions[0]
        assert (data.number, data.fs, data.read_only) == (1, "erofs", True)
        assert opened.table is not None
        assert (opened.table.sector_size, opened.table.source, opened.table.backup) == (512, "primary", "same")
        assert (opened.claim.kind, opened.claim.fingerprint) == ("signed", vendor.fingerprint)
        assert not opened.closed
    assert opened.closed
    with pytest.raises(ValueError, match="closed"):
        opened.verify(certificates=vendor.certificate)


def test_verification_names_the_signer(image: Path, vendor: confext.KeyPair) -> None:
    with confext.Image.open(image) as opened:
        admitted = opened.verify(certificates=vendor.certificate)
        assert admitted.root_hash == opened.claim.root_hash
    assert admitted.evidence == confext.verify(image, certificates=(vendor.certificate,)).evidence
    assert admitted.evidence.kind == "signed"
    assert admitted.signer is not None
    assert (admitted.signer.subject, admitted.signer.fingerprint) == ("CN=vendor", vendor.fingerprint)
    # What was admitted outlives what it was opened from.
    assert admitted.read("/etc/app.conf") == CONTENT


def test_files_are_read_from_checked_blocks(image: Path, vendor: confext.KeyPair) -> None:
    admitted = confext.verify(image, certificates=vendor.certificate)
    assert admitted.listdir() == ["etc"]
    assert admitted.listdir("/etc/to-dir/") == ["link"]
    assert admitted.read(b"etc/to-dir/link") == CONTENT
    assert admitted.read(Path("/etc/app.conf"), offset=3, size=5) == CONTENT[3:8]
    assert admitted.read("etc/app.conf", offset=10**12) == b""
    assert admitted.read("etc/big", offset=102_390) == (bytes(range(256)) * 400)[102_390:]
    assert admitted.stat("etc/to-dir/link").kind == "regular"
    assert admitted.stat("etc/to-dir/link", follow_symlinks=False).kind == "symlink"
    assert admitted.readlink("etc/to-dir/link") == "/etc/app.conf"
    paths = [path for path, _ in admitted.walk("etc")]
    assert paths == sorted(paths) and {"/etc/app.conf", "/etc/dir/link"} <= set(paths)


def test_a_changed_byte_is_refused(image: Path, vendor: confext.KeyPair) -> None:
    copy = damage(image, CONTENT)
    with pytest.raises(confext.UnverifiedError) as refused:
        confext.verify(copy, certificates=vendor.certificate)
    assert refused.value.code == "data-block"
    assert refused.value.image == str(copy)
    # Block by block, too: other files are in other blocks.
    admitted = confext.Image.open(copy).verify(certificates=vendor.certificate)
    with pytest.raises(confext.UnverifiedError) as refused:
        admitted.check()
    assert refused.value.code == "data-block"


def test_an_unknown_signer_is_refused(image: Path, vendor: confext.KeyPair, stranger: confext.KeyPair) -> None:
    for policy in ("signed", "verity", "unprotected", "root=signed+verity"):
        with pytest.raises(confext.UnverifiedError) as refused:
            confext.verify(image, certificates=stranger.certificate, policy=policy)
        assert refused.value.code == "unknown-signer"
        assert refused.value.family == "unverified"
    # One of many is enough.
    assert confext.verify(image, certificates=[stranger.certificate, vendor.certificate]).signer is not None


def test_nobody_to_trust_is_no_signature(image: Path) -> None:
    with pytest.raises(confext.UnverifiedError) as refused:
        confext.verify(image, certificates=())
    assert refused.value.code == "signature-unchecked"
    admitted = confext.verify(image, certificates=(), policy="verity")
    assert (admitted.evidence.kind, admitted.signer) == ("verity", None)
    with pytest.raises(confext.UnverifiedError):
        confext.verify(damage(image, CONTENT), certificates=(), policy="verity")


def test_certificates_have_to_be_valid_now(make: Make) -> None:
    key = confext.generate_key("short", days=1, not_before=1_000_000_000)
    image = make({"etc/a": b""}, key=key.key, certificate=key.certificate)
    assert confext.verify(image, certificates=key.certificate, now=1_000_000_001).signer is not None
    moment = datetime(2001, 9, 9, 12, tzinfo=timezone.utc)
    assert confext.verify(image, certificates=key.certificate, now=moment).signer is not None
    for now, code in [(None, "certificate-expired"), (999_999_999, "certificate-not-yet-valid")]:
        with pytest.raises(confext.UnverifiedError) as refused:
            confext.verify(image, certificates=key.certificate, now=now)
        assert refused.value.code == code


def test_an_unprotected_image_is_an_explicit_choice(image: Path) -> None:
    data = confext.Image.open(image).partitions[0]
    bare = image.with_name("bare.raw")
    bare.write_bytes(image.read_bytes()[data.offset : data.offset + data.size])
    with confext.Image.open(bare) as opened:
        assert (opened.table, opened.claim.kind) == (None, "none")
        assert [partition.number for partition in opened.partitions] == [None]
        for policy in ("signed", "verity"):
            with pytest.raises(confext.RefusedError) as refused:
                opened.verify(certificates=(), policy=policy)
            assert refused.value.code == "policy"
        admitted = opened.verify(certificates=(), policy="unprotected")
    assert (admitted.evidence.kind, admitted.root_hash, admitted.signer) == ("none", None, None)
    assert admitted.read("etc/app.conf") == CONTENT


def test_a_foreign_image_can_be_looked_at(make: Make) -> None:
    machine = confext.Image.open(make({"etc/a": b""})).partitions[0].architecture
    other = "arm64" if machine != "arm64" else "x86-64"
    image = make({"etc/a": b""}, architecture=other)
    with pytest.raises(confext.Error) as refused:
        confext.Image.open(image)
    assert refused.value.code == "foreign-architecture"
    assert confext.Image.open(image, foreign=True).partitions[0].architecture == other
    assert confext.Image.open(image, architecture=other).partitions[0].architecture == other


@pytest.mark.parametrize("policy", ["", "root=", "junk", "root=signed:root=signed", "root=SIGNED"])
def test_a_policy_is_parsed_strictly(image: Path, vendor: confext.KeyPair, policy: str) -> None:
    if policy == "root=":
        # All uses are allowed: that is what the words say.
        assert confext.verify(image, certificates=vendor.certificate, policy=policy).signer is not None
        return
    with pytest.raises(confext.Error) as refused:
        confext.verify(image, certificates=vendor.certificate, policy=policy)
    assert refused.value.code.startswith("policy")


def test_all_damage_is_told(image: Path, vendor: confext.KeyPair) -> None:
    with confext.Image.open(image) as opened:
        start = opened.data.offset
        assert opened.verify(certificates=vendor.certificate).damage() == confext.Damage((), 0, 0, 0, 0)
    content = bytearray(image.read_bytes())
    for block in (2, 3, 7):
        content[start + block * 4096] ^= 1
    damaged = image.with_name("damaged.raw")
    damaged.write_bytes(content)
    with confext.Image.open(damaged) as opened:
        admitted = opened.verify(certificates=vendor.certificate)
    damage = admitted.damage()
    assert damage is not None and not damage.whole
    assert [(found.area, found.level, found.fault) for found in damage.ranges] == [("data", None, "changed")] * 2
    places = [(found.first_block, found.blocks, found.offset, found.size) for found in damage.ranges]
    assert places == [(2, 2, start + 2 * 4096, 8192), (7, 1, start + 7 * 4096, 4096)]
    assert (damage.changed_data_blocks, damage.changed_hash_blocks, damage.unchecked_blocks) == (3, 0, 0)
    less = admitted.damage(most=1)
    assert less is not None and (less.ranges, less.omitted) == (damage.ranges[:1], 1)
    asks: list[Callable[[], object]] = [admitted.check, lambda: confext.verify(damaged, certificates=vendor.certificate)]
    for ask in asks:
        with pytest.raises(confext.UnverifiedError) as refused:
            ask()
        assert (refused.value.code, refused.value.offset) == ("data-block", start + 2 * 4096)
        assert refused.value.damage == damage
        again = pickle.loads(pickle.dumps(refused.value))
        assert again.damage == damage and hash(again.damage) == hash(damage)


def test_without_a_hash_tree_nothing_is_known_to_be_damaged(image: Path) -> None:
    with confext.Image.open(image) as opened:
        data = opened.data
    bare = image.with_name("bare.raw")
    bare.write_bytes(image.read_bytes()[data.offset : data.offset + data.size])
    admitted = confext.verify(bare, certificates=(), policy="unprotected")
    assert admitted.damage() is None
    with pytest.raises(confext.UnverifiedError) as refused:
        confext.verify(image, certificates=())
    assert refused.value.damage is None


def test_a_file_is_opened_like_any_other(image: Path, vendor: confext.KeyPair) -> None:
    admitted = confext.verify(image, certificates=vendor.certificate)
    content = bytes(range(256)) * 400
    with admitted.open("etc/big") as file:
        assert (file.read(300), file.tell()) == (content[:300], 300)
        assert file.seek(-5, os.SEEK_END) == len(content) - 5 and file.read() == content[-5:]
        assert file.seek(1000) == 1000 and file.seek(24, os.SEEK_CUR) == 1024
        assert file.read(512) == content[1024:1536] and file.seek(10**12) and file.read() == b""
        assert file.readable() and file.seekable() and not file.writable() and file.name == "etc/big"
        with pytest.raises(ValueError, match="expected 0 or more"):
            file.seek(-len(content) - 1, os.SEEK_END)
    assert file.closed
    with io.TextIOWrapper(admitted.open(b"etc/to-dir/link")) as lines:
        assert list(lines) == [CONTENT.decode()]
    wrong: list[tuple[str | Path, str]] = [("etc", "not-a-file"), (Path("etc/none"), "no-such-file")]
    for path, code in wrong:
        with pytest.raises(confext.FileLookupError) as refused:
            admitted.open(path)
        assert refused.value.code == code
    damaged = confext.Image.open(damage(image, CONTENT)).verify(certificates=vendor.certificate)
    with pytest.raises(confext.UnverifiedError):
        damaged.open("etc/app.conf").read()


def test_a_host_stands_for_the_certificates_it_trusts(
    image: Path, vendor: confext.KeyPair, stranger: confext.KeyPair, tmp_path: Path
) -> None:
    (tmp_path / "root/etc/verity.d").mkdir(parents=True)
    host = confext.Host(tmp_path / "root")
    with pytest.raises(confext.UnverifiedError) as refused:
        confext.verify(image, certificates=host)
    assert refused.value.code == "signature-unchecked"
    assert confext.verify(image, certificates=host, policy="verity").signer is None
    (tmp_path / "root/etc/verity.d/stranger.crt").write_bytes(stranger.certificate)
    with pytest.raises(confext.UnverifiedError) as refused:
        confext.verify(image, certificates=host)
    assert refused.value.code == "unknown-signer"
    assert confext.verify(image, certificates=[host, vendor.certificate]).signer is not None
    # What is trusted is what is there now.
    (tmp_path / "root/etc/verity.d/vendor.crt").write_bytes(vendor.certificate)
    assert confext.verify(image, certificates=host).signer is not None
    assert confext.Image.open(image).verify(certificates=(host,)).signer is not None
    with pytest.raises(ValueError, match="several hosts"):
        confext.verify(image, certificates=(host, host))


def test_certificates_of_the_voa_hierarchy_count_where_they_are_named(
    make: Make, vendor: confext.KeyPair, tmp_path: Path
) -> None:
    image = make({"etc/a": b"a"})
    place = tmp_path / "root/usr/share/voa/demo/image/default/x509"
    place.mkdir(parents=True)
    (place / "vendor.pem").write_bytes(vendor.certificate)
    (tmp_path / "root/etc").mkdir()
    (tmp_path / "root/etc/os-release").write_text("ID=demo\n")
    host = confext.Host(tmp_path / "root")
    with pytest.raises(confext.UnverifiedError):
        confext.verify(image, certificates=host)
    signer = confext.verify(image, certificates=[host, confext.Voa()]).signer
    assert signer is not None and signer.source.path == "/usr/share/voa/demo/image/default/x509/vendor.pem"
    with pytest.raises(confext.UnverifiedError):
        confext.verify(image, certificates=[host, confext.Voa("other")])


def test_a_keyring_that_is_not_there_is_told(make: Make, vendor: confext.KeyPair) -> None:
    image = make({"etc/a": b"a"})
    with pytest.raises(confext.Error) as error:
        confext.verify(image, certificates=[confext.Keyring(".no-such-keyring"), vendor.certificate])
    assert error.value.code == "keyring-missing"
    assert confext.Keyring("a") == confext.Keyring("a") != confext.Keyring()
    assert confext.Voa() == confext.Voa("default") != confext.Voa("other")
    assert (confext.Keyring().name, repr(confext.Keyring("a"))) == (None, 'Keyring("a")')


def test_a_signer_says_where_it_is_trusted(make: Make, vendor: confext.KeyPair) -> None:
    signer = confext.verify(make({"etc/a": b"a"}), certificates=vendor.certificate).signer
    assert signer is not None and signer.source.kind == "caller"
    assert (signer.source.path, signer.source.keyring, signer.source.key) == (None, None, None)


def test_a_report_says_who_would_accept_an_image(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    image = make({"etc/a": b"a"})
    host = confext.Host(tmp_path)
    report = host.trust_report()
    assert (report.signatures, report.root_hash, report.files) == (None, None, ())
    assert {keyring.name for keyring in report.keyrings} >= {".builtin_trusted_keys", ".dm-verity"}
    directory = tmp_path / "etc/verity.d"
    directory.mkdir(parents=True)
    (directory / "vendor.crt").write_bytes(vendor.certificate)
    (directory / "junk.crt").write_bytes(b"junk")
    report = host.trust_report(image)
    assert [(file.path, file.state) for file in report.files] == [
        ("/etc/verity.d/junk.crt", "refused"),
        ("/etc/verity.d/vendor.crt", "used"),
    ]
    assert report.signatures is not None
    answer = report.signatures[0].answers[0]
    assert (answer.source, answer.chosen) == ("certificates", True)
    assert answer.signer is not None and answer.signer.source.path == "/etc/verity.d/vendor.crt"
    assert report.next_step == "nothing: the image is accepted on the word of certificates"
