#!/usr/bin/env python3
"""Images as artifacts of an OCI registry: pushed after they were verified, and pulled into a store after they were verified.

    oci.py push IMAGE.raw REGISTRY/REPOSITORY[:TAG] --certificate CERT.pem…
    oci.py pull REGISTRY/REPOSITORY:TAG|@DIGEST --store DIR/NAME.raw.v --certificate CERT.pem…

The registry is asked by `oras` (PyPI) and believed nothing. A manifest has the type ARTIFACT below, one layer, which is the image
as it is, and as its configuration a record of what the image is. What comes is checked in this order, and a store sees
nothing before all of it:

1. the digest of the manifest, where the reference has one; types, sizes and the number of layers;
2. size and SHA-256 of record and image, while they come, into a hidden file beside the store;
3. the image: its signature by the certificates given here, and every block;
4. what was signed: it has to be the extension that the store is for, and say in its release file (`IMAGE_VERSION=`) the version
   that was asked for, which is that of the tag unless `--version` or a digest says otherwise. So whoever writes to the registry can
   neither put another image under a tag nor an old version of it;
5. the record against the image.

Then `Store.publish` copies it, and verifies the copy. Exit status: 0 done; 1 refused; 2 something else is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import confext
import requests
from oras.container import Container  # type: ignore[import-untyped]
from oras.provider import Registry  # type: ignore[import-untyped]
from requests.adapters import HTTPAdapter

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
#: Types of this project; they are registered nowhere.
ARTIFACT = "application/vnd.confext.image.v1"
RECORD = "application/vnd.confext.image.config.v1+json"
IMAGE = "application/vnd.confext.image.layer.v1.raw"
#: No manifest, and no record, is longer.
MOST = 64 * 1024
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
RELEASE = {"confext": "/etc/extension-release.d", "sysext": "/usr/lib/extension-release.d"}


class OciError(Exception):
    """The registry, or what it has, is not what was asked for."""

    def __init__(self, code: str, found: object, expected: object, hint: str) -> None:
        super().__init__(f"found {found}, expected {expected}")
        self.code, self.hint = code, hint


@dataclass(frozen=True)
class Record:
    """What an artifact says that its image is. It is compared with the image, and decides nothing."""

    name: str
    class_: str
    version: str
    root_hash: str
    size: int
    signers: list[dict[str, str | None]] = field(default_factory=list)

    @staticmethod
    def of(path: Path, trust: Trust) -> Record:
        """The record of an image that is verified here."""
        admitted = confext.verify(path, certificates=trust.certificates, policy=trust.policy)
        found = [(class_, name) for class_, place in RELEASE.items() for name in releases(admitted, place)]
        if len(found) != 1:
            raise OciError("oci-release", f"{len(found)} release files", "one", "build it as one extension")
        ((class_, name),) = found
        lines = admitted.read(f"{RELEASE[class_]}/extension-release.{name}", size=MOST).decode().splitlines()
        fields = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        version = fields.get("IMAGE_VERSION", "").strip("\"'")
        if not version:
            hint = "build it with IMAGE_VERSION in its release file: the signature then says which version it is"
            raise OciError("oci-version", "no IMAGE_VERSION", "a version", hint)
        signers = [{"subject": it.subject, "fingerprint": it.fingerprint} for it in admitted.signers]
        return Record(name, class_, version, admitted.root_hash or "", path.stat().st_size, signers)


def releases(admitted: confext.Admitted, place: str) -> list[str]:
    """The names of the extensions that an image has release files of."""
    try:
        names = admitted.listdir(place)
    except confext.FileLookupError:
        return []
    return [name.partition(".")[2] for name in names if name.startswith("extension-release.")]


@dataclass(frozen=True)
class Trust:
    """Whose signatures count, and what is asked of an image."""

    certificates: tuple[Path, ...]
    policy: str = "signed"


@dataclass(frozen=True)
class Blob:
    """Something that the registry has under its digest."""

    type: str
    digest: str
    size: int

    @staticmethod
    def parse(said: object, type: str, most: int) -> Blob:
        """A descriptor of a manifest."""
        said = said if isinstance(said, dict) else {}
        blob = Blob(str(said.get("mediaType")), str(said.get("digest")), said.get("size", -1))
        if blob.type != type:
            raise OciError("oci-type", blob.type, type, "pull an artifact that oci.py pushed")
        if not DIGEST.fullmatch(blob.digest):
            raise OciError("oci-digest", blob.digest, "sha256:…", "pull an artifact that oci.py pushed")
        if isinstance(blob.size, bool) or not isinstance(blob.size, int) or not 0 < blob.size <= most:
            raise OciError("oci-size", blob.size, f"1 to {most} bytes", "allow more with --most, if it is meant")
        return blob

    def descriptor(self) -> dict[str, Any]:
        """As a manifest has it."""
        return {"mediaType": self.type, "digest": self.digest, "size": self.size}


class _Patience(HTTPAdapter):
    """Requests that end: `oras` sets no limit."""

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        options["timeout"] = options.get("timeout") or 60
        return super().send(*arguments, **options)


class Repository:
    """A repository of a registry."""

    def __init__(self, reference: str, *, insecure: bool = False) -> None:
        self.container = Container(reference)
        self.client = Registry(insecure=insecure)
        for scheme in ("http://", "https://"):
            self.client.session.mount(scheme, _Patience())
        self.client.auth.load_configs(self.container)

    @property
    def digest(self) -> str | None:
        """The digest of the reference, where it has one."""
        digest: str | None = self.container.digest
        return digest

    def url(self, tag: str | None = None) -> str:
        """Where the manifest is."""
        return f"{self.client.prefix}://{self.container.manifest_url(tag)}"

    def manifest(self) -> tuple[dict[str, Any], str]:
        """The manifest and its digest."""
        with self.client.do_request(self.url(), "GET", headers={"Accept": MANIFEST}, stream=True) as response:
            self._check(response)
            body = b"".join(limited(response, MOST))
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        if self.digest not in (None, digest):
            raise OciError("oci-digest", digest, self.digest, "the registry has another manifest; ask who writes to it")
        try:
            said = json.loads(body)
        except ValueError as error:
            raise OciError("oci-manifest", error, "JSON", "pull an artifact that oci.py pushed") from error
        if not isinstance(said, dict) or said.get("schemaVersion") != 2 or said.get("mediaType", MANIFEST) != MANIFEST:
            raise OciError("oci-manifest", "another document", MANIFEST, "pull an artifact that oci.py pushed")
        if said.get("artifactType") != ARTIFACT:
            raise OciError("oci-type", said.get("artifactType"), ARTIFACT, "pull an artifact that oci.py pushed")
        return said, digest

    def fetch(self, blob: Blob, file: BinaryIO) -> None:
        """Write what a descriptor stands for to a file, and check that it is that."""
        sha256, size = hashlib.sha256(), 0
        with self.client.get_blob(self.container, blob.digest, stream=True) as response:
            self._check(response)
            for part in limited(response, blob.size):
                sha256.update(part)
                size += len(part)
                file.write(part)
        found = "sha256:" + sha256.hexdigest()
        if (found, size) != (blob.digest, blob.size):
            hint = "the registry does not serve what was pushed; ask who writes to it"
            raise OciError("oci-digest", f"{size} bytes with {found}", f"{blob.size} bytes with {blob.digest}", hint)

    def upload(self, path: Path, type: str) -> Blob:
        """Have the registry have a file, unless it has it. It checks the digest, too."""
        sha256 = hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                sha256.update(part)
        blob = Blob(type, "sha256:" + sha256.hexdigest(), path.stat().st_size)
        self._check(self.client.upload_blob(str(path), self.container, blob.descriptor()))
        return blob

    def put(self, manifest: dict[str, Any], tag: str) -> str:
        """Push a manifest, and return its digest."""
        body = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
        self._check(self.client.do_request(self.url(tag), "PUT", headers={"Content-Type": MANIFEST}, data=body))
        return "sha256:" + hashlib.sha256(body).hexdigest()

    @staticmethod
    def _check(response: requests.Response) -> None:
        if response.status_code not in (200, 201, 202):
            found = f"status {response.status_code} of {response.url}"
            raise OciError("oci-registry", found, "what was asked for", "check the reference, and who may read it")


def limited(response: requests.Response, most: int) -> Iterator[bytes]:
    """What a response brings, as long as it is not more than this."""
    size = 0
    for part in response.iter_content(64 * 1024):
        size += len(part)
        if size > most:
            raise OciError("oci-size", f"more than {most} bytes", f"at most {most}", "ask who writes to the registry")
        yield part


def push(image: Path, repository: Repository, trust: Trust) -> str:
    """Verify an image and push it; without a tag in the reference under its version. Returns the digest."""
    record = Record.of(image, trust)
    with tempfile.NamedTemporaryFile(prefix="confext-oci-") as file:
        file.write(json.dumps({"schema": 1, **asdict(record)}, sort_keys=True).encode())
        file.flush()
        described = repository.upload(Path(file.name), RECORD)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": described.descriptor(),
        "layers": [repository.upload(image, IMAGE).descriptor()],
        "annotations": {
            "org.opencontainers.image.title": f"{record.name}_{record.version}.raw",
            "org.opencontainers.image.version": record.version,
        },
    }
    return repository.put(manifest, repository.container.tag)


@contextmanager
def hidden_file(directory: Path) -> Iterator[BinaryIO]:
    """A file that no discovery looks at, and that goes however this ends but by SIGKILL."""
    with tempfile.NamedTemporaryFile(prefix=".confext-oci-", suffix=".part", dir=directory) as file:
        yield file  # type: ignore[misc]


def pull(repository: Repository, store: confext.Store, trust: Trust, version: str | None, most: int) -> confext.Published:
    """Pull an image into a store, if it is what was asked for."""
    manifest, _ = repository.manifest()
    layers = manifest.get("layers")
    if not isinstance(layers, list) or len(layers) != 1:
        raise OciError("oci-manifest", "other layers", "one layer", "pull an artifact that oci.py pushed")
    described, layer = Blob.parse(manifest.get("config"), RECORD, MOST), Blob.parse(layers[0], IMAGE, most)
    if version is None and repository.digest is None:
        version = repository.container.tag
    with hidden_file(Path(store.path).resolve().parent) as file:
        repository.fetch(described, file)
        file.flush()
        said = Path(file.name).read_bytes()
        file.seek(0)
        file.truncate()
        repository.fetch(layer, file)
        file.flush()
        found = Record.of(Path(file.name), trust)
        if found.name != store.name:
            raise OciError("oci-name", f"the extension {found.name}", store.name, "pull it into the store that it is for")
        if version not in (None, found.version):
            hint = "the signed image says another version than was asked for; ask who writes to the registry"
            raise OciError("oci-version", found.version, version, hint)
        if said != json.dumps({"schema": 1, **asdict(found)}, sort_keys=True).encode():
            hint = "the record is not of this image, or the certificates are others; push it again"
            raise OciError("oci-record", "another record", "that of the image", hint)
        return store.publish(file.name, version=found.version, certificates=trust.certificates, policy=trust.policy)


def main(arguments: list[str]) -> int:
    """The command."""
    about, details = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    pushing, pulling = verbs.add_parser("push"), verbs.add_parser("pull")
    pushing.add_argument("image", type=Path)
    for verb in (pushing, pulling):
        verb.add_argument("reference")
        verb.add_argument("--certificate", type=Path, action="append", default=[], help="whose signatures count")
        verb.add_argument("--policy", default="signed")
        verb.add_argument("--insecure", action="store_true", help="HTTP, for a registry on this machine")
    pulling.add_argument("--store", type=Path, required=True)
    pulling.add_argument("--version", help="the version that it has to be; else that of the tag")
    pulling.add_argument("--most", type=int, default=4 << 30, metavar="BYTES", help="how large an image may be [4 GiB]")
    given = parser.parse_args(arguments)
    trust = Trust(tuple(given.certificate), given.policy)
    try:
        repository = Repository(given.reference, insecure=given.insecure)
        if given.verb == "push":
            print(f"pushed {given.image.name}: {push(given.image, repository, trust)}")
        else:
            published = pull(repository, confext.Store(given.store), trust, given.version, given.most)
            print(f"published {published.version.version}: {os.path.basename(published.version.path)}")
    except (OciError, confext.Error) as error:
        print(f"error[{error.code}]: {error}\n  hint: {error.hint}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
