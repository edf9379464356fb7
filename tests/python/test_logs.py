"""`confext.logs`: what results say, as records of `logging`, when that is asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import confext
import confext.logs
import pytest
import stubs
from conftest import Make


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    yield
    confext.logs.stop()


def plan(tmp_path: Path, make: Make, stranger: confext.KeyPair) -> confext.Plan:
    """A plan with an extension that nobody trusted signed."""
    images = tmp_path / "root/run/confexts"
    if not images.exists():
        images.mkdir(parents=True)
        (tmp_path / "root/etc").mkdir()
        (tmp_path / "root/etc/os-release").write_text("ID=demo\n")
        make({"etc/a": b"a"}, path=images / "app.raw", key=stranger.key, certificate=stranger.certificate)
    return confext.Host(tmp_path / "root", certificates=(), on_bad="skip").plan()


def test_nothing_is_logged_unless_asked(
    tmp_path: Path, make: Make, stranger: confext.KeyPair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    plan(tmp_path, make, stranger)
    assert caplog.records == []
    with confext.logs.capture() as logger:
        assert logger is logging.getLogger("confext")
        plan(tmp_path, make, stranger)
    assert caplog.records
    caplog.clear()
    plan(tmp_path, make, stranger)
    assert caplog.records == []


def test_refusals_have_their_reason(
    tmp_path: Path, make: Make, stranger: confext.KeyPair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with confext.logs.capture("elsewhere"):
        found = plan(tmp_path, make, stranger)
    (refused,) = found.refused
    records = [record for record in caplog.records if getattr(record, "confext", None) == refused]
    assert [(record.name, record.levelname) for record in records] == [("elsewhere", "WARNING")]
    assert refused.code in records[0].getMessage() and "app.raw" in records[0].getMessage()
    assert getattr(records[0], "code") == refused.code


def test_exceptions_and_steps_are_logged(
    tmp_path: Path, make: Make, vendor: confext.KeyPair, caplog: pytest.LogCaptureFixture
) -> None:
    class App:
        name = "app"

        def refresh(self) -> None: ...

        def reload(self) -> None: ...

        def check(self, version: confext.StoredVersion | None) -> bool:
            return version is None

    caplog.set_level(logging.DEBUG)
    (tmp_path / "app.raw.v").mkdir()
    image, store = make({"etc/a": b"a"}), confext.Store(tmp_path / "app.raw.v")
    with confext.logs.capture():
        with pytest.raises(confext.MissingFileError):
            confext.Image.open(tmp_path / "none")
        outcome = confext.rollout(
            App(), image, store=store, version="1", certificates=vendor.certificate, locks=tmp_path / "locks"
        )
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert any(level == "DEBUG" and "none" in text for level, text in said)
    assert ("DEBUG", "rollout, there: lock started") in said
    failed = [text for level, text in said if level == "WARNING" and "rollout-check" in text]
    assert failed and outcome.failure is not None
    assert outcome.failure.message in failed[0]


def test_everything_that_says_something_can_be_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    names = [name for name in confext.__all__ if stubs.is_result(name)]
    assert set(confext.logs._SAYS) <= set(names)
    for name in names:
        for start in range(6):
            confext.logs._tell(stubs.example(name, iter(range(start, 1000))))
    about = {type(getattr(record, "confext")).__name__ for record in caplog.records}
    assert about >= set(confext.logs._SAYS)
    assert all(record.getMessage() for record in caplog.records)
