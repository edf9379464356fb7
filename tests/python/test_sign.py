"""Signing images that are there: with a key, with a signature made elsewhere, with a callback."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import confext
import pytest


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    """An image that has room for its signature."""
    path = tmp_path / "app.confext.raw"
    source = {"etc/app.conf": b"answer = 42\n"}
    built = confext.build("app", source=source, output=path, release={"ID": "_any"}, sign_later=True)
    assert built.fingerprint is None
    assert confext.to_sign(path) == built.root_hash.encode()
    with pytest.raises(confext.CorruptError) as refused:
        confext.Image.open(path)
    assert refused.value.code == "signature-empty"
    return path


def openssl(key: confext.KeyPair, directory: Path, *arguments: str, stdin: bytes) -> bytes:
    """What the program makes of a content, with the key in a file."""
    (directory / "key.pem").write_bytes(key.key)
    command = ["openssl", *arguments]
    return subprocess.run(command, input=stdin, cwd=directory, check=True, capture_output=True).stdout


def test_the_same_bytes_as_signed_while_built(waiting: Path, tmp_path: Path, vendor: confext.KeyPair) -> None:
    source = {"etc/app.conf": b"answer = 42\n"}
    now = tmp_path / "now.raw"
    confext.build(
        "app", source=source, output=now, release={"ID": "_any"}, key=vendor.key, certificate=vendor.certificate
    )
    signed = confext.sign(waiting, key=vendor.key, certificate=vendor.certificate)
    assert signed.fingerprints == (vendor.fingerprint,)
    assert signed.size == waiting.stat().st_size
    assert waiting.read_bytes() == now.read_bytes()


def test_a_callback_signs(waiting: Path, tmp_path: Path, vendor: confext.KeyPair) -> None:
    asked = []

    def signer(content: bytes, digest: str) -> bytes:
        asked.append((content, digest))
        return openssl(vendor, tmp_path, "dgst", f"-{digest}", "-sign", "key.pem", stdin=content)

    expected = confext.to_sign(waiting)
    signed = confext.sign(waiting, certificate=vendor.certificate, signer=signer, digest="sha512")
    assert asked == [(expected, "sha512")] and signed.root_hash.encode() == expected
    image = confext.verify(waiting, certificates=vendor.certificate)
    assert image.signer is not None and image.signer.fingerprint == vendor.fingerprint


def test_a_signature_of_a_digest_is_put_in(waiting: Path, tmp_path: Path, vendor: confext.KeyPair) -> None:
    content = confext.to_sign(waiting)
    digest = confext.to_sign(waiting, digest="sha384")
    assert digest == hashlib.sha384(content).digest()
    (tmp_path / "digest").write_bytes(digest)
    arguments = ("pkeyutl", "-sign", "-inkey", "key.pem", "-in", "digest", "-pkeyopt", "digest:sha384")
    signature = openssl(vendor, tmp_path, *arguments, stdin=b"")
    confext.sign(waiting, certificate=vendor.certificate, signature=signature)
    confext.verify(waiting, certificates=vendor.certificate)


def test_what_a_signer_raises_comes_through(waiting: Path, vendor: confext.KeyPair) -> None:
    class TokenGone(Exception):
        pass

    def gone(content: bytes, digest: str) -> bytes:
        raise TokenGone("pulled out")

    before = waiting.read_bytes()
    with pytest.raises(TokenGone, match="pulled out"):
        confext.sign(waiting, certificate=vendor.certificate, signer=gone)
    with pytest.raises(TypeError):
        confext.sign(waiting, certificate=vendor.certificate, signer=lambda content, digest: "text")  # type: ignore[arg-type,return-value]
    with pytest.raises(confext.UnverifiedError) as refused:
        confext.sign(waiting, certificate=vendor.certificate, signer=lambda content, digest: bytes(256))
    assert refused.value.code == "signature-not-of-key"
    assert waiting.read_bytes() == before
    assert [path.name for path in waiting.parent.iterdir()] == [waiting.name]


def test_signatures_are_added(waiting: Path, vendor: confext.KeyPair, stranger: confext.KeyPair) -> None:
    confext.sign(waiting, key=vendor.key, certificate=vendor.certificate)
    both = confext.sign(waiting, key=stranger.key, certificate=stranger.certificate, add=True)
    assert both.fingerprints == (vendor.fingerprint, stranger.fingerprint)
    for key in (vendor, stranger):
        signer = confext.verify(waiting, certificates=key.certificate).signer
        assert signer is not None and signer.fingerprint == key.fingerprint


@pytest.mark.parametrize(
    "arguments",
    [{}, {"key": b"", "signature": b""}, {"signature": b"", "digest": "md5"}, {"signature": b"", "signer": print}],
)
def test_calls_that_make_no_sense(waiting: Path, vendor: confext.KeyPair, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        confext.sign(waiting, certificate=vendor.certificate, **arguments)


def test_key_rules(make: Any, tmp_path: Path, vendor: confext.KeyPair) -> None:
    root = tmp_path / "root"
    images = root / "var/lib/confexts"
    images.mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/os-release").write_text("ID=debian\n")
    make({"etc/a": b"b"}, path=images / "app.raw")

    def refused(rules: bytes | Path) -> list[str]:
        listing = confext.Host(root, certificates=vendor.certificate, key_rules=rules).list()
        return [one.code for one in listing.refused]

    allowed = f"signer={vendor.fingerprint} name=app class=confext\n"
    assert refused(allowed.encode()) == []
    (tmp_path / "rules").write_text(allowed.replace("app", "other"))
    assert refused(tmp_path / "rules") == ["key-rules"]
    with pytest.raises(confext.CorruptError) as wrong:
        confext.Host(root, key_rules=b"signer=me")
    assert wrong.value.code == "key-rule"
