"""Results are values: frozen, equal, hashable, shown, matched, pickled and copied. What is open is none."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import confext
import pytest
import stubs
from conftest import Make


def test_results_are_values(make: Make, vendor: confext.KeyPair) -> None:
    image = make({"etc/a": b"a"})
    first, second = (confext.verify(image, certificates=vendor.certificate) for _ in range(2))
    assert first.signer == second.signer and first.signer is not None
    assert len({first.evidence, second.evidence}) == 1
    assert first.evidence != first.signer
    with pytest.raises(AttributeError):
        first.signer.subject = "CN=somebody else"  # type: ignore[misc]
    assert repr(first.signer).startswith(
        f"Signer(subject='CN=vendor', fingerprint='{vendor.fingerprint}', not_before="
    )


def test_results_can_be_matched(make: Make, vendor: confext.KeyPair) -> None:
    evidence = confext.verify(make({"etc/a": b"a"}), certificates=vendor.certificate).evidence
    match evidence:
        case confext.Evidence("signed", root_hash, confext.Signer(subject=subject)):
            assert (len(root_hash or ""), subject) == (64, "CN=vendor")
        case _:
            pytest.fail(f"no match: {evidence}")


def test_entries_can_be_compared() -> None:
    assert confext.File(b"a", mode=0o600) == confext.File(b"a", mode=0o600, uid=0)
    assert confext.File(b"a") != confext.File(b"b")
    assert repr(confext.Symlink("x")) == "Symlink(target='x', mode=511, uid=0, gid=0, mtime=None, xattrs={})"


def test_what_only_the_library_makes_cannot_be_made() -> None:
    for made in (confext.Admitted, confext.AdmittedPartition, confext.Files, confext.Image, confext.Evidence, confext.Signer):
        with pytest.raises(TypeError):
            made()


CLASSES = {name: getattr(confext, name) for name in confext.__all__ if inspect.isclass(getattr(confext, name))}
ERRORS = [name for name, found in CLASSES.items() if issubclass(found, BaseException)]
RESULTS = [name for name in CLASSES if stubs.is_result(name)]

#: What stands for something that is open, or runs.
HANDLES = ["Admitted", "AdmittedPartition", "Files", "Host", "Image", "Origins", "Running", "Stack", "Store"]

VENDOR = "6e0d" * 16
KEYS = [confext.generate_key("one"), confext.generate_key("two")]


def manifest(mode: int) -> confext.Manifest:
    entry = f'{{"path":"/","file_type":"directory","mode":{mode},"uid":0,"gid":0,"mtime_sec":0,"mtime_nsec":0}}'
    return confext.Manifest.parse(f'{{"format":"confext-manifest","version":1,"entries":[{entry}]}}'.encode())


#: Values that are more than fields: two of each that are not equal.
OTHERS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "ImageFilter": (lambda: confext.ImageFilter("root=app_*"), lambda: confext.ImageFilter("")),
    "KeyPair": (lambda: KEYS[0], lambda: KEYS[1]),
    "KeyRule": (lambda: confext.KeyRule(VENDOR, "a", versions=[">=1"]), lambda: confext.KeyRule(VENDOR, "b")),
    "KeyRules": (lambda: confext.KeyRules(confext.KeyRule(VENDOR, "a")), lambda: confext.KeyRules()),
    "Keyring": (lambda: confext.Keyring(".platform"), lambda: confext.Keyring()),
    "Manifest": (lambda: manifest(0o755), lambda: manifest(0o700)),
    "Policy": (lambda: confext.Policy("root=signed+absent"), lambda: confext.Policy("@sysext")),
    "Rule": (lambda: confext.Rule("signed+absent"), lambda: confext.Rule("verity")),
    "Use": (lambda: confext.Use.SIGNED, lambda: confext.Use.VERITY),
    "Voa": (lambda: confext.Voa("a"), lambda: confext.Voa("b")),
}


def test_every_class_is_a_value_a_handle_or_an_exception() -> None:
    groups = [RESULTS, list(OTHERS), HANDLES, ERRORS]
    assert sorted(itertools.chain(*groups)) == sorted(CLASSES)
    assert len(RESULTS) > 80


def is_a_value(first: Any, other: Any, name: str) -> None:
    assert first != other and not first == other
    assert first != object() and not first == "text"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(first, protocol))
        assert type(again) is type(first) and again == first and hash(again) == hash(first)
    for copied in (copy.copy(first), copy.deepcopy(first)):
        assert copied == first
    assert len({first, copy.deepcopy(first), other}) == 2
    assert repr(first).startswith((name, f"<{name}.", f"<confext.{name} "))
    if not isinstance(first, Enum):
        for attribute in [field for field in dir(first) if not field.startswith("_")]:
            with pytest.raises((AttributeError, TypeError)):
                setattr(first, attribute, None)


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_kept(name: str) -> None:
    known = stubs.fields(name)
    assert getattr(confext, name).__match_args__ == tuple(known)
    for start in range(0, 24, 3):
        first, again, other = (stubs.example(name, itertools.count(number)) for number in (start, start, start + 1))
        assert first == again
        is_a_value(first, other, name)
        shown = ", ".join(f"{field}={getattr(first, field)!r}" for field in known)
        assert repr(first) == f"{name}({shown})"


@pytest.mark.parametrize("name", OTHERS)
def test_other_values_are_kept(name: str) -> None:
    first, other = (make() for make in OTHERS[name])
    is_a_value(first, other, name)


def test_what_is_no_value_is_not_restored() -> None:
    wrong: list[tuple[Any, tuple[object, ...]]] = [
        (confext.Near, ("confext",)),
        (confext.Near, ("confext", 1)),
        (confext.Near, ("confext", "a", "b")),
        (confext.Skipped, (-1, "x")),
        (confext.Near, ("x" * 2000, "a")),
        (confext.Shadow, ("layer", "app", None)),
        (confext.Affected, ("units", ["a"], ())),
        (confext.AttributeChange, ("mode", None, {}, None)),
    ]
    for cls, values in wrong:
        with pytest.raises(TypeError, match=cls.__name__):
            cls._restore(values)


@pytest.mark.parametrize("name", HANDLES)
def test_handles_are_themselves(name: str, make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    cls = CLASSES[name]
    assert "__eq__" not in vars(cls) and "__reduce__" not in vars(cls)
    assert name == "Files" or "__repr__" in vars(cls)
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/os-release").write_text("ID=demo\n")
    (tmp_path / "app.raw.v").mkdir()
    host = confext.Host(tmp_path / "root", certificates=())
    image = confext.Image.open(make({"etc/a": b"a"}))
    makers: dict[str, Callable[[], Any]] = {
        "Admitted": lambda: image.verify(certificates=vendor.certificate),
        "Host": lambda: host,
        "Image": lambda: image,
        "Origins": lambda: host.trace_all(planned=True),
        "Store": lambda: confext.Store(tmp_path / "app.raw.v"),
    }
    if name in makers:
        opened = makers[name]()
        assert opened == opened and opened != makers["Host"]() or name == "Host"
        assert len({opened, opened}) == 1
        assert name in repr(opened)
        for keep in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="pickle"):
                keep(opened)


@pytest.mark.parametrize("name", ERRORS)
def test_exceptions_are_kept(name: str) -> None:
    fields: dict[str, Any] = {"hint": "do that", "image": "a.raw", "path": "gpt/header", "offset": 512}
    cls: Any = CLASSES[name]
    error: Any
    if issubclass(cls, confext.IoError):
        error = cls(2, "No such file", "/a", message="a text", code="io", **fields)
    elif cls is confext.InternalError:
        error = cls("a text")
    else:
        error = cls("a text", code="some-code", **fields)
    damage = stubs.example("Damage")
    if isinstance(error, confext.UnverifiedError):
        error.damage = damage
    if hasattr(error, "add_note"):
        error.add_note("added by hand")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is cls and str(again) == str(error) and again.args == error.args
        assert vars(again) == vars(error)
        for field in ("code", "hint", "image", "path", "offset", "family"):
            assert getattr(again, field) == getattr(error, field)
        if isinstance(error, confext.IoError):
            assert (again.errno, again.strerror, again.filename) == (2, "No such file", "/a")
        if isinstance(error, confext.UnverifiedError):
            assert again.damage == damage


def test_what_is_raised_is_kept(tmp_path: Path) -> None:
    calls: list[Callable[[], object]] = [lambda: confext.Image.open(tmp_path / "none"), lambda: confext.Policy("root=no")]
    for call in calls:
        with pytest.raises(confext.Error) as caught:
            call()
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), vars(again)) == (str(caught.value), vars(caught.value))
        assert again.code and again.hint
