"""examples/kms_signer.py: the key is in another process, and what that answers is checked."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import confext
import pytest
from conftest import EXAMPLES

PROGRAM = EXAMPLES / "kms_signer.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kms_signer", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kms_signer = load()


@pytest.fixture
def service(tmp_path: Path, vendor: confext.KeyPair) -> Iterator[Path]:
    """The socket of the stand-in, which has the vendor's key."""
    path, key = tmp_path / "kms.sock", tmp_path / "vendor.key"
    key.write_bytes(vendor.key)
    (tmp_path / "vendor.crt").write_bytes(vendor.certificate)
    process = subprocess.Popen([sys.executable, PROGRAM, "serve", "--socket", path, "--key", key])
    try:
        while not path.exists() and process.poll() is None:
            time.sleep(0.01)
        yield path
        process.terminate()
        assert process.wait(timeout=60) == 0 and not path.exists()
    finally:
        process.kill()
        process.wait()


def unsigned(path: Path) -> Path:
    confext.build("app", source={"etc/app.conf": b"x\n"}, output=path, release={"ID": "_any"}, sign_later=True)
    return path


def test_the_story_runs() -> None:
    said = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "[signature-not-of-key]" in said and "verified: signed by CN=vendor" in said


def test_images_are_signed_by_the_service(service: Path, tmp_path: Path, vendor: confext.KeyPair) -> None:
    images = [unsigned(tmp_path / f"app_{number}.raw") for number in range(3)]
    assert service.stat().st_mode & 0o077 == 0
    # The client has the certificate and the socket, and no key.
    command = ["sign", "--socket", service, "--certificate", tmp_path / "vendor.crt", *images]
    said = subprocess.run([sys.executable, PROGRAM, *map(str, command)], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0 and said.stdout.count("signed, root hash") == 3, said.stderr
    for image in images:
        admitted = confext.verify(image, certificates=vendor.certificate)
        assert admitted.signer is not None and admitted.signer.subject == "CN=vendor"


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_every_digest(service: Path, tmp_path: Path, vendor: confext.KeyPair, digest: str) -> None:
    image, kms = unsigned(tmp_path / "app.raw"), kms_signer.Kms(service)
    confext.sign(image, certificate=vendor.certificate, signer=kms, digest=digest)  # type: ignore[arg-type]
    confext.verify(image, certificates=vendor.certificate)
    # The same by hand: what is signed goes there, and what comes back is attached.
    again = unsigned(tmp_path / "again.raw")
    signature = kms.sign(confext.to_sign(again, digest=digest), digest)  # type: ignore[arg-type]
    confext.sign(again, certificate=vendor.certificate, signature=signature, digest=digest)  # type: ignore[arg-type]
    confext.verify(again, certificates=vendor.certificate)


def test_what_the_service_does_not_do(service: Path, tmp_path: Path, stranger: confext.KeyPair) -> None:
    image = unsigned(tmp_path / "app.raw")
    before = image.read_bytes()
    with pytest.raises(kms_signer.KmsError, match="404"):
        confext.sign(image, certificate=tmp_path / "vendor.crt", signer=kms_signer.Kms(service, "other"))
    with pytest.raises(kms_signer.KmsError, match="400"):
        kms_signer.Kms(service).sign(b"no digest", "sha256")
    with pytest.raises(kms_signer.KmsError, match="gone.sock"):
        kms_signer.Kms(tmp_path / "gone.sock", attempts=1).sign(bytes(32), "sha256")
    with pytest.raises(confext.UnverifiedError) as caught:
        confext.sign(image, certificate=stranger.certificate, signer=kms_signer.Kms(service))
    assert caught.value.code == "signature-not-of-key" and image.read_bytes() == before
