"""Fixtures: a browser, and pages about root directories that are made here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import confext
import pytest
from chromium import Browser

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
pytest_plugins = ["pytest_confext"]

MADE = 1_764_340_000


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the browser sees."""
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def browser(as_root: None, pages: Path) -> Iterator[Browser]:
    with Browser(pages) as browser:
        yield browser


class Scene:
    """A root directory that does not run."""

    def __init__(self, root: Path, **conditions: object) -> None:
        self.root = root
        self.conditions = conditions
        self.file("etc/os-release", "ID=demo\n")

    def file(self, path: str | bytes, text: str = "x\n") -> None:
        place = os.path.join(os.fsencode(self.root), os.fsencode(path))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "w", encoding="utf-8") as file:
            file.write(text)

    def directory(self, name: str, *files: str | bytes, release: str = "ID=_any\n") -> None:
        """A confext that is a directory."""
        place = f"run/confexts/{name}/etc"
        self.file(f"{place}/extension-release.d/extension-release.{name}", release)
        for file in files:
            self.file(os.fsencode(place) + b"/" + os.fsencode(file))

    def image(self, name: str, signer: confext.KeyPair | None, *files: str) -> None:
        """A confext that is an image."""
        place = self.root / "run/confexts"
        place.mkdir(parents=True, exist_ok=True)
        options: dict[str, object] = {"unsigned": True}
        if signer is not None:
            options = {"key": signer.key, "certificate": signer.certificate}
            self.file(f"etc/verity.d/{name}.crt", signer.certificate.decode())
        source = {f"etc/{file}": name.encode() for file in files}
        confext.build(name, source=source, output=place / f"{name}.raw", release={"ID": "_any"}, **options)  # type: ignore[arg-type]

    def page(self, path: Path) -> Path:
        host = confext.Host(self.root, policy="root=signed+verity+unprotected+absent", on_bad="skip")
        path.write_text(confext.report(host, ["confext"], time=MADE), encoding="utf-8")
        return path


@pytest.fixture(scope="session")
def small(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with one of each: evidence, shadows, hostile names, refusals and objections."""
    scene = Scene(tmp_path_factory.mktemp("small"))
    vendor, site = confext.generate_key("vendor"), confext.generate_key("site <b>&amp;")
    scene.file("etc/nginx/nginx.conf")
    scene.file("etc/nginx/mime.types")
    scene.file("etc/hosts")
    scene.image("10-base", vendor, "nginx/nginx.conf", "nginx/conf.d/tls.conf", "chrony.conf")
    scene.image("50-site", site, "nginx/conf.d/tls.conf", "nginx/conf.d/site.conf")
    scene.image("90-hotfix", None, "nginx/conf.d/tls.conf")
    scene.directory("local", "hosts", "</script><img src=x onerror=alert(1)>".replace("/", "\u2215"), b"bad\xff\x07name\n",
                  "\u202egnp.exe", "<!--<script>", "CAPITAL.conf")
    scene.directory("rootkit", "os-release")
    scene.directory("fedora", release="ID=fedora\n")
    scene.file("run/confexts/empty.raw", "")
    return scene.page(pages / "small.html")


@pytest.fixture(scope="session")
def large(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with 100 layers and 50,000 files."""
    scene = Scene(tmp_path_factory.mktemp("large"))
    for layer in range(100):
        # Every tenth has files that others have, too.
        start = layer // 10 if layer % 10 == 0 else layer
        scene.directory(f"layer-{layer:03}", *(
            f"app-{(start + part) % 100:02}/part-{part if layer % 10 else 0}/file-{file:02}.conf"
            for part in range(10) for file in range(50)
        ))
    return scene.page(pages / "large.html")
