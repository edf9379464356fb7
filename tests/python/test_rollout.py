"""Rollouts: what the service runs at the end, what is told, and what an exception or an interrupt leads to."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import confext
import pytest

Make = Callable[..., Path]


class Service:
    """A service in memory. It sees what its store says is used, and runs what it saw."""

    name = "app"

    def __init__(self, store: confext.Store) -> None:
        self.store = store
        self.sees: str | None = None
        self.runs: str | None = None
        self.broken: set[str] = set()

    def refresh(self) -> None:
        versions = self.store.versions()
        self.sees = versions[0].version if versions else None

    def reload(self) -> None:
        self.runs = self.sees

    def check(self, version: confext.StoredVersion | None) -> bool:
        assert (version.version if version else None) == self.runs
        return self.runs not in self.broken


class Place:
    def __init__(self, tmp_path: Path, make: Make, vendor: confext.KeyPair) -> None:
        (tmp_path / "app.raw.v").mkdir()
        self.store = confext.Store(tmp_path / "app.raw.v")
        self.service = Service(self.store)
        self.events: list[confext.RolloutEvent] = []
        self.locks = tmp_path / "locks"
        self.certificate = vendor.certificate
        self.image = make({"etc/app.conf": b"one"}, path=tmp_path / "image.raw")

    def roll(
        self,
        version: str,
        *,
        keep: int | None = None,
        events: Callable[[confext.RolloutEvent], object] | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> confext.RolloutOutcome:
        return confext.rollout(
            self.service,
            self.image,
            store=self.store,
            version=version,
            certificates=self.certificate,
            keep=keep,
            locks=self.locks,
            events=events or self.events.append,
            progress=progress,
        )

    def versions(self) -> list[str]:
        return [version.version for version in self.store.versions()]


@pytest.fixture
def place(tmp_path: Path, make: Make, vendor: confext.KeyPair) -> Place:
    """A store without versions, and a service."""
    return Place(tmp_path, make, vendor)


def test_a_version_runs_or_the_one_before(place: Place) -> None:
    outcome = place.roll("1")
    assert (outcome.runs, outcome.previous, place.service.runs) == ("new", None, "1")
    assert outcome.complete and outcome.version is not None and outcome.version.tries is None
    ended = [event.step for event in place.events if event.state == "done"]
    assert ended == ["lock", "look", "publish", "begin", "refresh", "reload", "check", "good"]
    assert [event.at for event in place.events] == sorted(event.at for event in place.events)
    place.service.broken = {"2"}
    outcome = place.roll("2")
    assert (outcome.runs, place.service.runs, outcome.complete) == ("previous", "1", False)
    assert outcome.failure is not None and outcome.version is not None
    assert (outcome.failure.step, outcome.failure.code, outcome.version.version) == ("check", "rollout-check", "1")
    assert outcome.not_done == () and place.versions() == ["1", "2"]
    match place.events[-1]:
        case confext.RolloutEvent(way="back", step="check", version="1", state="done", failure=None):
            pass
        case event:
            pytest.fail(repr(event))
    outcome = place.roll("3", keep=1)
    assert outcome.pruned is not None
    assert ([it.version for it in outcome.pruned.removed], place.versions()) == (["1", "2"], ["3"])


def test_what_a_callback_raises_is_a_failure(place: Place) -> None:
    place.roll("1")

    def fails() -> None:
        raise RuntimeError("it does not listen")

    place.service.reload = fails  # type: ignore[method-assign]
    outcome = place.roll("2")
    assert outcome.failure is not None
    assert (outcome.runs, outcome.failure.step, outcome.failure.code) == ("unknown", "reload", "rollout-callback")
    assert "it does not listen" in outcome.failure.message
    assert [failure.step for failure in outcome.not_done] == ["reload"]


def test_an_interrupt_leads_back(place: Place) -> None:
    place.roll("1")

    def interrupt(event: confext.RolloutEvent) -> None:
        if (event.step, event.state, event.way) == ("reload", "done", "there"):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        place.roll("2", events=interrupt)
    assert (place.service.runs, place.versions()) == ("1", ["1"])

    def fails(event: confext.RolloutEvent) -> None:
        if event.step == "refresh":
            raise LookupError

    with pytest.raises(LookupError):
        place.roll("2", events=fails)
    assert (place.service.runs, place.versions()) == ("1", ["1"])


def test_it_says_how_much_is_published(place: Place) -> None:
    told: list[tuple[int, int]] = []
    place.roll("1", progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told) and told[-1][0] == told[-1][1] > 0

    def fails(done: int, total: int) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        place.roll("2", progress=fails)
    assert (place.service.runs, place.versions()) == ("1", ["1"])


def test_what_is_refused_touches_nothing(place: Place, tmp_path: Path, stranger: confext.KeyPair) -> None:
    place.roll("2")
    with pytest.raises(confext.ConflictError) as caught:
        place.roll("1")
    assert caught.value.code == "rollout-outranked"
    place.certificate = stranger.certificate
    with pytest.raises(confext.UnverifiedError):
        place.roll("3")
    assert (place.service.runs, place.versions()) == ("2", ["2"])

    def unit(**options: object) -> None:
        confext.rollout(
            "app", place.image, store=place.store, version="3", certificates=place.certificate, **options  # type: ignore[arg-type]
        )

    refused: list[dict[str, object]] = [{"reload": "restart"}, {"check": []}, {"timeout": -1.0}, {"keep": 0}]
    for options in refused:
        with pytest.raises(ValueError, match=next(iter(options))):
            unit(**options)
