"""examples/oci.py with a registry of Debian on loopback: what is pushed is pulled, and nothing else gets into a store."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import confext
import pytest
import requests
from conftest import EXAMPLES, TESTS, build

PROGRAM = EXAMPLES / "oci.py"
CONFIGURATION = """version: 0.1
log: {{ accesslog: {{ disabled: true }}, level: info }}
storage: {{ filesystem: {{ rootdirectory: {root} }} }}
http: {{ addr: "127.0.0.1:0" }}
"""


class Registry:
    """A registry, and what is in its files."""

    def __init__(self, work: Path) -> None:
        script = '. "$1/cache.sh" && echo "$REGISTRY/usr/bin/docker-registry"'
        program = subprocess.run(["bash", "-c", script, "-", TESTS], capture_output=True, text=True, check=True).stdout
        self.root = work / "registry"
        configuration = work / "registry.yml"
        configuration.write_text(CONFIGURATION.format(root=self.root))
        environment = {"OTEL_TRACES_EXPORTER": "none", "PATH": os.environ["PATH"]}
        self._process = subprocess.Popen(
            [program.strip(), "serve", str(configuration)], env=environment, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if address := re.search(r"listening on (127\.0\.0\.1:[0-9]+)", line):
                self.address = address[1]
                break
        else:
            pytest.fail("the registry does not come up: run tests/setup.sh fleet")
        # What it says later is nobody's business, but it must not wait for a reader.
        self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._reader.start()

    def blob(self, digest: str) -> Path:
        """The file of a blob."""
        value = digest.removeprefix("sha256:")
        return self.root / f"docker/registry/v2/blobs/sha256/{value[:2]}/{value}/data"

    def get(self, reference: str) -> dict[str, Any]:
        """A manifest."""
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        answer = requests.get(f"http://{self.address}/v2/app/manifests/{reference}", headers=accept, timeout=60)
        said = answer.json()
        assert answer.status_code == 200 and isinstance(said, dict), said
        return said

    def put(self, manifest: dict[str, Any], tag: str) -> None:
        """A manifest under a tag, as whoever may write to the registry can have it."""
        said = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        url = f"http://{self.address}/v2/app/manifests/{tag}"
        answer = requests.put(url, data=json.dumps(manifest), headers=said, timeout=60)
        assert answer.status_code == 201, answer.text

    def upload(self, content: bytes, type: str) -> dict[str, Any]:
        """A blob, and its descriptor."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        place = requests.post(f"http://{self.address}/v2/app/blobs/uploads/", timeout=60).headers["Location"]
        answer = requests.put(f"{place}&digest={digest}", data=content, timeout=60)
        assert answer.status_code == 201, answer.text
        return {"mediaType": type, "digest": digest, "size": len(content)}

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    yield registry
    registry.end()


class Place:
    """A store, and the program."""

    def __init__(self, work: Path, address: str, vendor: confext.KeyPair) -> None:
        self.work, self.address, self.vendor = work, address, vendor
        (work / "images").mkdir()
        self.store = work / "images/app.raw.v"
        self.store.mkdir()
        (work / "vendor.crt").write_bytes(vendor.certificate)

    def image(self, name: str, text: str, key: confext.KeyPair | None = None, **release: str) -> Path:
        version = name.removesuffix(".raw").split("_")[1]
        release = release or {"IMAGE_VERSION": version}
        return build(self.work / name, {"etc/app.conf": text}, key or self.vendor, **release)

    def run(self, *arguments: str | Path, status: int = 0) -> str:
        command = [sys.executable, PROGRAM, *arguments, "--certificate", self.work / "vendor.crt", "--insecure"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def push(self, image: Path, tag: str | None = None) -> str:
        """Push it, and return the digest."""
        version = tag or image.stem.split("_")[1]
        return self.run("push", image, f"{self.address}/app:{version}").split(": ")[1].strip()

    def pull(self, reference: str, *options: str) -> None:
        self.run("pull", f"{self.address}/app{reference}", "--store", self.store, *options)

    def refused(self, reference: str, code: str, *options: str) -> None:
        """The pull has to be refused, and nothing of it is there."""
        before = self.there()
        said = self.run("pull", f"{self.address}/app{reference}", "--store", self.store, *options, status=1)
        assert f"error[{code}]" in said and "hint: " in said, said
        assert self.there() == before

    def there(self) -> list[str]:
        return sorted(str(path.relative_to(self.work)) for path in (self.work / "images").rglob("*"))


@pytest.fixture
def place(tmp_path: Path, registry: Registry, vendor: confext.KeyPair) -> Place:
    return Place(tmp_path, registry.address, vendor)


def test_what_is_pushed_is_pulled(place: Place, registry: Registry) -> None:
    image = place.image("app_1.raw", "one\n")
    digest = place.push(image)
    manifest = registry.get("1")
    assert manifest["artifactType"] == "application/vnd.confext.image.v1"
    assert manifest["config"]["mediaType"] == "application/vnd.confext.image.config.v1+json"
    assert manifest["annotations"]["org.opencontainers.image.version"] == "1"
    record = json.loads(registry.blob(manifest["config"]["digest"]).read_bytes())
    assert (record["name"], record["class_"], record["version"]) == ("app", "confext", "1")
    assert record["signers"] == [{"subject": "CN=vendor", "fingerprint": place.vendor.fingerprint}]
    place.pull(":1")
    published = place.store / "app_1.raw"
    assert published.read_bytes() == image.read_bytes()
    # Again, and by its digest: it is there.
    place.pull(":1")
    place.pull(f"@{digest}")
    place.push(place.image("app_2.raw", "two\n"))
    place.pull(":2")
    assert place.there() == ["images/app.raw.v", "images/app.raw.v/app_1.raw", "images/app.raw.v/app_2.raw"]


def test_what_is_not_verified_is_not_pushed(place: Place, stranger: confext.KeyPair) -> None:
    reference = f"{place.address}/never:1"
    foreign = place.image("app_1.raw", "x\n", stranger)
    assert "unknown-signer" in place.run("push", foreign, reference, status=1)
    said = place.run("push", place.image("app_2.raw", "x\n", VARIANT_ID="server"), reference, status=1)
    assert "oci-version" in said and "IMAGE_VERSION" in said
    assert requests.get(f"http://{place.address}/v2/never/tags/list", timeout=60).status_code == 404


Change = Callable[[bytes], bytes]


@pytest.mark.parametrize("change", [lambda it: it[:-1] + b"x", lambda it: it[:-1], lambda it: it + b"x"])
@pytest.mark.parametrize("which", ["layer", "config"])
def test_a_blob_that_was_changed(place: Place, registry: Registry, which: str, change: Change) -> None:
    place.push(place.image("app_1.raw", f"{which} {change(b'---')!r}\n"))
    manifest = registry.get("1")
    blob = registry.blob((manifest["layers"][0] if which == "layer" else manifest["config"])["digest"])
    blob.write_bytes(change(blob.read_bytes()))
    before = place.there()
    said = place.run("pull", f"{place.address}/app:1", "--store", place.store, status=1)
    assert re.search(r"error\[oci-(digest|size)\]", said) and place.there() == before


def test_a_manifest_that_is_another_one(place: Place, registry: Registry, stranger: confext.KeyPair) -> None:
    first, second = place.image("app_1.raw", "old\n"), place.image("app_2.raw", "new\n")
    digest = place.push(first)
    place.push(second)
    manifest, other = registry.get("1"), registry.get("2")
    # An old version under the tag of a newer one.
    registry.put(manifest, "2")
    place.refused(":2", "oci-version")
    # Somebody else's image, another extension, and a record of another image.
    for name, key, code in (("app_3.raw", stranger, "unknown-signer"), ("tool_3.raw", place.vendor, "oci-name")):
        layer = registry.upload(place.image(name, "x\n", key).read_bytes(), manifest["layers"][0]["mediaType"])
        registry.put({**manifest, "layers": [layer]}, "3")
        place.refused(":3", code)
    registry.put({**other, "config": manifest["config"]}, "2")
    place.refused(":2", "oci-record")
    # Types, layers, sizes.
    layer = manifest["layers"][0]
    container = "application/vnd.oci.image.layer.v1.tar"
    changes: list[tuple[dict[str, Any], str]] = [
        ({"artifactType": "application/vnd.example"}, "oci-type"),
        ({"layers": [{**layer, "mediaType": container}]}, "oci-type"),
        ({"config": {**manifest["config"], "mediaType": "application/vnd.oci.image.config.v1+json"}}, "oci-type"),
        ({"layers": [layer, layer]}, "oci-manifest"),
        ({"layers": [{**layer, "size": layer["size"] - 1}]}, "oci-size"),
        ({"layers": [{**layer, "size": layer["size"] + 1}]}, "oci-digest"),
    ]
    for change, code in changes:
        registry.put({**manifest, **change}, "1")
        place.refused(":1", code)
    # By its digest it is what it was, whatever the tag says; and not when the registry has another file there.
    place.pull(f"@{digest}")
    file = registry.blob(digest)
    file.write_bytes(json.dumps(other).encode())
    place.refused(f"@{digest}", "oci-digest")
    place.refused(":2", "oci-size", "--most", "1000")
    place.refused(":9", "oci-registry")


def test_a_registry_without_end(place: Place) -> None:
    """Not a registry at all: it sends as much as somebody takes."""

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"[" * 65536)
            except OSError:
                return

        def log_message(self, format: str, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        place.address = f"127.0.0.1:{server.server_port}"
        place.refused(":1", "oci-size")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
