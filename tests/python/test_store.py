"""Stores: versions are published whole and checked, counted, called good or bad, and pruned."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import confext
import pytest

Make = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> confext.Store:
    """An empty store."""
    place = tmp_path / "app.raw.v"
    place.mkdir()
    return confext.Store(place)


def names(store: confext.Store) -> list[str]:
    return sorted(os.listdir(store.path))


def test_a_version_is_published_tried_and_called_good(
    store: confext.Store, make: Make, vendor: confext.KeyPair
) -> None:
    one, two = make({"etc/app.conf": b"one"}), make({"etc/app.conf": b"two"}, path=Path(store.path).parent / "2.raw")
    done = []
    first = store.publish(one, version="1", certificates=vendor.certificate, progress=lambda *at: done.append(at))
    assert (first.version.version, first.evidence.kind, first.was_there) == ("1", "signed", False)
    assert done and done[-1][0] == done[-1][1]
    assert Path(first.version).read_bytes() == one.read_bytes()
    assert store.publish(one, version="1", certificates=vendor.certificate).was_there
    second = store.publish(two, version="2", certificates=vendor.certificate, tries=2)
    assert (second.version.tries, store.name) == ((2, 0), "app")
    assert [found.version for found in store.versions()] == ["2", "1"]
    assert store.begin().tries == (1, 1)
    assert store.bad("2").version == "1"
    assert store.good("2") == store.used()
    assert names(store) == ["app_1.raw", "app_2.raw"]
    with confext.Image.open(store.used()) as image:
        assert image.claim.root_hash == second.evidence.root_hash
    pruned = store.prune(1)
    assert ([found.version for found in pruned.removed], pruned.in_use) == (["1"], ())
    assert names(store) == ["app_2.raw"]


def test_what_does_not_check_is_not_published(
    store: confext.Store, make: Make, vendor: confext.KeyPair, stranger: confext.KeyPair
) -> None:
    image = make({"etc/app.conf": b"one"})
    with pytest.raises(confext.UnverifiedError):
        store.publish(image, version="1", certificates=stranger.certificate)
    with pytest.raises(confext.Error) as caught:
        store.publish(image, version="1 2", certificates=vendor.certificate)
    assert caught.value.code == "version-name"

    class Enough(Exception):
        """Raised by the caller."""

    def stop(*_: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        store.publish(image, version="1", certificates=vendor.certificate, progress=stop)
    assert names(store) == []
    with pytest.raises(confext.Error) as caught:
        store.used()
    assert caught.value.code == "version-missing"


def test_a_store_says_what_it_is_of(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        confext.Store(tmp_path / "app.raw.v")
    (tmp_path / "app.v").mkdir()
    with pytest.raises(confext.Error) as caught:
        confext.Store(tmp_path / "app.v")
    assert caught.value.code == "store-name"
    (tmp_path / "app.sysext.raw.v").mkdir()
    assert confext.Store(tmp_path / "app.sysext.raw.v", class_="sysext").name == "app"
    with pytest.raises(ValueError, match="wait"):
        confext.Store(tmp_path / "app.sysext.raw.v", wait=-1)
    with pytest.raises(ValueError, match="keep"):
        confext.Store(tmp_path / "app.sysext.raw.v", class_="sysext").prune(0)


def test_a_version_must_be_for_the_host(
    store: confext.Store, tmp_path: Path, vendor: confext.KeyPair
) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=debian\nVERSION_ID=13\n")
    image = tmp_path / "app.raw"
    source = {"etc/app.conf": b"one"}
    release = {"ID": "fedora", "VERSION_ID": "40"}
    keys = (vendor.key, vendor.certificate)
    confext.build("app", source=source, output=image, release=release, key=keys[0], certificate=keys[1])
    with pytest.raises(confext.RefusedError):
        store.publish(image, version="1", certificates=vendor.certificate, host=confext.Host(root))
    assert names(store) == []
    assert not store.publish(image, version="1", certificates=vendor.certificate).was_there
