#!/usr/bin/env python3
"""Images signed by a key management service: the private key is in another process and never comes here.

    kms_signer.py serve --socket SOCKET --key KEY.pem [--name NAME]       the service: a stand-in, with a key in a file
    kms_signer.py sign  --socket SOCKET --certificate CERT.pem IMAGE…     sign images by it
    kms_signer.py                                                        the whole story, in a temporary directory

The stand-in speaks what services of clouds speak: a digest goes there, the raw signature comes back. It is HTTP over a socket
of the file system that only its owner may open; the key is used by `openssl pkeyutl`. For a real service replace `Kms.sign`:
AWS KMS `Sign` with `MessageType=DIGEST` and `RSASSA_PKCS1_V1_5_SHA_256`, Google Cloud `asymmetricSign` with
`RSA_SIGN_PKCS1_*_SHA256`, Azure Key Vault `sign` with `RS256`, Vault `transit/sign` with `prehashed` and `pkcs1v15`.

A signature is checked with the certificate before it goes into the image: an answer of another key is an error
(`signature-not-of-key`), and the image stays as it was.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import confext

#: No request and no answer is longer.
MOST = 64 * 1024
SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}


class KmsError(Exception):
    """The service did not sign."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket of the file system."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Kms:
    """A key in the service. Calling it signs: it is what `confext.sign` takes as `signer`."""

    def __init__(self, path: Path, name: str = "vendor", *, timeout: float = 10.0, attempts: int = 3) -> None:
        self.path, self.name, self.timeout, self.attempts = path, name, timeout, attempts

    def __call__(self, content: bytes, digest: str) -> bytes:
        """The raw signature of what an image is signed by."""
        return self.sign(hashlib.new(digest, content).digest(), digest)

    def sign(self, value: bytes, digest: str) -> bytes:
        """The raw signature of a digest. An answer that does not come is waited for again, a refusal is not."""
        request = json.dumps({"digest": base64.b64encode(value).decode(), "algorithm": digest})
        for attempt in range(1, self.attempts + 1):
            try:
                status, answer = self._ask(request)
            except (OSError, http.client.HTTPException) as error:
                if attempt == self.attempts:
                    raise KmsError(f"{self.path}: {error}") from error
                time.sleep(0.1 * 2**attempt)
                continue
            if status == 200:
                return base64.b64decode(answer["signature"], validate=True)
            if status < 500 or attempt == self.attempts:
                raise KmsError(f"key {self.name}: found status {status}: {answer.get('error')}")
        raise KmsError("asked for no attempt")

    def _ask(self, request: str) -> tuple[int, dict[str, Any]]:
        connection = _Connection(self.path, self.timeout)
        try:
            connection.request("POST", f"/v1/keys/{self.name}:sign", request, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read(MOST))
        except ValueError as error:
            raise KmsError(f"{self.path}: no JSON: {error}") from error
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise KmsError(f"{self.path}: no answer: {answer!r}")
        return response.status, answer


class Service(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """The stand-in."""

    daemon_threads = True

    def __init__(self, path: Path, key: Path, name: str) -> None:
        self.key, self.name = key, name
        before = os.umask(0o177)
        try:
            super().__init__(str(path), _Handler)
        finally:
            os.umask(before)


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        """One signature."""
        named = re.fullmatch(r"/v1/keys/([a-z0-9-]+):sign", self.path)
        if named is None or named[1] != self.server.name:
            return self._answer(404, {"error": "no such key"})
        try:
            length = int(self.headers.get("Content-Length", ""))
            if not 0 <= length <= MOST:
                raise ValueError("too long")
            request = json.loads(self.rfile.read(length))
            algorithm, value = request["algorithm"], base64.b64decode(request["digest"], validate=True)
            if len(value) != SIZES[algorithm]:
                raise ValueError("not a digest")
        except (ValueError, KeyError, TypeError) as error:
            return self._answer(400, {"error": f"bad request: {error!r}"})
        command = ["openssl", "pkeyutl", "-sign", "-inkey", str(self.server.key), "-pkeyopt", f"digest:{algorithm}"]
        made = subprocess.run(command, input=value, capture_output=True)
        if made.returncode != 0:
            return self._answer(500, {"error": "the key does not sign"})
        self._answer(200, {"signature": base64.b64encode(made.stdout).decode()})

    def _answer(self, status: int, answer: dict[str, str]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """A client of such a socket has no address."""
        return "local"

    def log_message(self, format: str, *arguments: object) -> None:
        """Who asked for what is the business of a real service."""


def serve(path: Path, key: Path, name: str) -> int:
    """Serve until SIGTERM."""

    def end(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    with Service(path, key, name) as service:
        signal.signal(signal.SIGTERM, end)
        try:
            service.serve_forever()
        finally:
            path.unlink(missing_ok=True)
    return 0


def sign(kms: Kms, certificate: Path, images: list[Path]) -> int:
    """Sign each image, which was built with `sign_later`, and check what came of it."""
    failed = 0
    for image in images:
        try:
            signed = confext.sign(image, certificate=certificate, signer=kms)
            confext.verify(image, certificates=certificate)
        except (confext.Error, KmsError) as error:
            failed += 1
            print(f"{image}: not signed: {error}", file=sys.stderr)
        else:
            print(f"{image}: signed, root hash {signed.root_hash}")
    return 1 if failed else 0


def story(work: Path) -> int:
    """Build, sign by the service, verify; and what an answer of another key leads to."""
    key, other = work / "kms/vendor.key", work / "kms/other.key"
    key.parent.mkdir(mode=0o700)
    pair, stranger = confext.generate_key("vendor"), confext.generate_key("stranger")
    key.write_bytes(pair.key)
    other.write_bytes(stranger.key)
    certificate = work / "vendor.crt"
    certificate.write_bytes(pair.certificate)
    image = work / "app_1.raw"
    confext.build(
        "app", source={"etc/app.conf": b"version = 1\n"}, output=image, release={"ID": "_any"}, sign_later=True
    )
    for name, used in (("other", other), ("vendor", key)):
        path = work / f"{name}.sock"
        command = [sys.executable, __file__, "serve", "--socket", str(path), "--key", str(used)]
        service = subprocess.Popen(command)
        try:
            while not path.exists() and service.poll() is None:
                time.sleep(0.01)
            kms = Kms(path)
            try:
                confext.sign(image, certificate=certificate, signer=kms)
                print(f"signed by the key of process {service.pid}")
            except confext.UnverifiedError as error:
                print(f"a signature of another key: [{error.code}] {error.hint}")
        finally:
            service.terminate()
            service.wait()
    admitted = confext.verify(image, certificates=certificate)
    assert admitted.signer is not None
    print(f"verified: signed by {admitted.signer.subject}, has {admitted.read('etc/app.conf')!r}")
    return 0


def main(arguments: list[str]) -> int:
    """The command."""
    about, details = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb")
    service, client = verbs.add_parser("serve"), verbs.add_parser("sign")
    for verb in (service, client):
        verb.add_argument("--socket", type=Path, required=True)
        verb.add_argument("--name", default="vendor", help="of the key [vendor]")
    service.add_argument("--key", type=Path, required=True)
    client.add_argument("--certificate", type=Path, required=True)
    client.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    given = parser.parse_args(arguments)
    if given.verb == "serve":
        return serve(given.socket, given.key, given.name)
    if given.verb == "sign":
        return sign(Kms(given.socket, given.name), given.certificate, given.images)
    with tempfile.TemporaryDirectory(prefix="confext-kms-") as work:
        return story(Path(work))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
