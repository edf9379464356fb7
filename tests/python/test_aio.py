"""`confext.aio`: long calls beside an event loop, and what becomes of them when a task is cancelled."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import confext
import confext.aio
import pytest
from conftest import Make

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it; nothing of it may take longer than a minute."""

    async def limited() -> T:
        return await asyncio.wait_for(work, 60)

    return asyncio.run(limited())


@pytest.fixture
def image(make: Make) -> Path:
    return make({f"etc/{number}": os.urandom(1 << 18) for number in range(16)})


def test_results_are_those_of_the_functions(image: Path, vendor: confext.KeyPair, tmp_path: Path) -> None:
    async def work() -> None:
        told: list[tuple[int, int, str]] = []

        def progress(done: int, total: int) -> None:
            told.append((done, total, threading.current_thread().name))

        admitted = await confext.aio.verify(image, certificates=vendor.certificate, progress=progress)
        assert admitted.signer == confext.verify(image, certificates=vendor.certificate).signer
        assert told and {name for *_, name in told} == {threading.main_thread().name}
        assert await confext.aio.manifest(admitted) == admitted.manifest()
        assert await confext.aio.diff(admitted, admitted.manifest()) == []
        assert await confext.aio.damage(admitted) == admitted.damage()
        extracted = await confext.aio.extract(admitted, tmp_path / "out")
        assert (extracted.files, (tmp_path / "out/etc/1").stat().st_size) == (17, 1 << 18)
        assert await confext.aio.call(admitted.listdir, "/etc") == admitted.listdir("/etc")
        built = await confext.aio.build(
            "b", source={"etc/b": b"b"}, output=tmp_path / "b.raw", release={"ID": "_any"}, unsigned=True
        )
        assert built.size == (tmp_path / "b.raw").stat().st_size

    run(work())


def test_the_event_loop_goes_on(image: Path, vendor: confext.KeyPair, tmp_path: Path) -> None:
    # The library waits for a certificate in a named pipe that the event loop writes to.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def work() -> None:
        task = asyncio.create_task(confext.aio.verify(image, certificates=pipe))
        await asyncio.sleep(0)
        with await confext.aio.call(open, pipe, "wb") as out:
            out.write(vendor.certificate)
        assert (await task).signer is not None

    run(work())


def test_exceptions_come_through(tmp_path: Path) -> None:
    with pytest.raises(confext.MissingFileError):
        run(confext.aio.verify(tmp_path / "none", certificates=()))
    with pytest.raises(TypeError):
        run(confext.aio.verify(tmp_path / "none"))  # type: ignore[call-arg]


class Enough(Exception):
    """Raised by a callback."""


def test_what_progress_raises_ends_the_work(image: Path, vendor: confext.KeyPair) -> None:
    def enough(done: int, total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        run(confext.aio.verify(image, certificates=vendor.certificate, progress=enough))


def cancelled_works(image: Path, vendor: confext.KeyPair, place: Path) -> dict[str, Callable[[Any], Awaitable[object]]]:
    admitted = confext.Image.open(image).verify(certificates=vendor.certificate)
    (place / "app.raw.v").mkdir()
    store = confext.Store(place / "app.raw.v")
    source = {f"etc/{number}": bytes([number]) * (1 << 20) for number in range(16)}
    root, fec = place.parent / "root", place.parent / "fec"
    (root / "etc").mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=demo\n")
    confext.fec(image, output=fec)
    return {
        "fec": lambda tell: confext.aio.fec(image, output=place / "out", progress=tell),
        "repair": lambda tell: confext.aio.repair(image, fec=fec, output=place / "out", progress=tell),
        "report": lambda tell: confext.aio.report(confext.Host(root, certificates=()), progress=tell),
        "verify": lambda tell: confext.aio.verify(image, certificates=vendor.certificate, progress=tell),
        "check": lambda tell: confext.aio.check(admitted, progress=tell),
        "damage": lambda tell: confext.aio.damage(admitted, progress=tell),
        "manifest": lambda tell: confext.aio.manifest(admitted, progress=tell),
        "diff": lambda tell: confext.aio.diff(admitted, admitted.manifest(), progress=tell),
        "extract": lambda tell: confext.aio.extract(admitted, place / "out", progress=tell),
        "build": lambda tell: confext.aio.build(
            "app", source=source, release={"ID": "_any"}, output=place / "out", unsigned=True, progress=tell
        ),
        "sign": lambda tell: confext.aio.sign(
            image, output=place / "out", key=vendor.key, certificate=vendor.certificate, progress=tell
        ),
        "publish": lambda tell: confext.aio.publish(
            store, image, version="1", certificates=vendor.certificate, progress=tell
        ),
    }


WORKS = [
    "build", "check", "damage", "diff", "extract", "fec", "manifest", "publish", "repair", "report", "sign", "verify",
]  # fmt: skip


@pytest.mark.parametrize("name", WORKS)
def test_a_cancelled_task_ends_the_work(
    name: str, image: Path, vendor: confext.KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    works = cancelled_works(image, vendor, place)
    assert sorted(works) == WORKS
    told: list[tuple[int, int]] = []

    async def work() -> None:
        task: asyncio.Future[object]

        def progress(done: int, total: int) -> None:
            told.append((done, total))
            task.cancel()

        # The work waits for the cancellation at its first word: else a fast one could be done before.
        tell = confext.aio._Work.progress

        def waiting(work: Any, callback: Callable[[int, int], object] | None) -> Callable[[int, int], object]:
            inner = tell(work, callback)

            def progress(done: int, total: int) -> None:
                inner(done, total)
                assert work.stopped.wait(60)
                inner(done, total)

            return progress

        monkeypatch.setattr(confext.aio._Work, "progress", waiting)
        task = asyncio.ensure_future(works[name](progress))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "confext" not in [thread.name for thread in threading.enumerate()]

    run(work())
    assert told
    assert [path.name for path in place.iterdir()] == ["app.raw.v"]
    assert list((place / "app.raw.v").iterdir()) == []


class App:
    """A service whose methods are coroutines."""

    name = "app"

    def __init__(self) -> None:
        self.did: list[str] = []
        self.entered: asyncio.Event | None = None

    async def refresh(self) -> None:
        self.did.append("refresh")

    async def reload(self) -> None:
        await asyncio.sleep(0)
        self.did.append("reload")

    async def check(self, version: confext.StoredVersion | None) -> bool:
        self.did.append(f"check {version and version.version}")
        if self.entered is not None and version is not None and version.version == "2":
            self.entered.set()
            await asyncio.Event().wait()
        return version is None or version.version != "3"


def rolling(
    app: App,
    store: confext.Store,
    image: Path,
    version: str,
    vendor: confext.KeyPair,
    progress: Callable[[int, int], object] | None = None,
) -> confext.aio.Rolling:
    locks = Path(store.path).parent / "locks"
    return confext.aio.rolling(
        app, image, store=store, version=version, certificates=vendor.certificate, locks=locks, progress=progress
    )


def test_rollouts_have_events_and_coroutines(image: Path, vendor: confext.KeyPair, tmp_path: Path) -> None:
    (tmp_path / "app.raw.v").mkdir()
    store = confext.Store(tmp_path / "app.raw.v")

    async def work() -> None:
        app, told = App(), list[tuple[int, str]]()

        def progress(done: int, total: int) -> None:
            told.append((done * 100 // total, threading.current_thread().name))

        async with rolling(app, store, image, "1", vendor, progress) as rolled:
            events = [event async for event in rolled]
            outcome = await rolled
        assert rolled.done() and [event async for event in rolled] == []
        assert (outcome.runs, outcome.complete) == ("new", True)
        assert app.did == ["refresh", "reload", "check 1"]
        assert [(event.step, event.state) for event in events[:2]] == [("lock", "started"), ("lock", "done")]
        assert {event.state for event in events} == {"started", "done"}
        assert told[-1] == (100, threading.main_thread().name)
        # A check that says no.
        outcome = await rolling(App(), store, image, "3", vendor)
        assert outcome.failure is not None
        assert (outcome.runs, outcome.failure.code) == ("previous", "rollout-check")

    run(work())


def test_a_cancelled_rollout_is_led_back(image: Path, vendor: confext.KeyPair, tmp_path: Path) -> None:
    (tmp_path / "app.raw.v").mkdir()
    store = confext.Store(tmp_path / "app.raw.v")

    async def work() -> None:
        app = App()
        await rolling(app, store, image, "1", vendor)
        app.entered = asyncio.Event()
        rolled = rolling(app, store, image, "2", vendor)
        await app.entered.wait()
        rolled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rolled
        assert app.did[-3:] == ["refresh", "reload", "check 1"], app.did
        ways = [(event.way, event.step) async for event in rolled if event.state == "failed"]
        assert ways == [("there", "check")]
        assert store.used().version == "1"
        # The same at the end of a block.
        with pytest.raises(Enough):
            async with rolling(app, store, image, "2", vendor) as rolled:
                async for event in rolled:
                    if event.step == "refresh":
                        raise Enough
        assert rolled.done() and store.used().version == "1"

    run(work())


def test_commands_are_waited_for(root: Path, vendor: confext.KeyPair, make: Make, programs: None) -> None:
    make({"etc/app.conf": b"a"}, path=root / "run/confexts/app.raw")
    host = confext.Host(root, certificates=vendor.certificate)
    ready = root / "ready"
    os.mkfifo(ready)

    async def work() -> None:
        command = ["/bin/sh", "-c", "cat /etc/app.conf; echo b >&2; exit 3"]
        done = await confext.aio.run(command, host=host, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (3, "a", "b\n")
        ended = ["/bin/sh", "-c", "trap 'echo told >/told; exit' TERM; echo >/ready; read line </ready"]
        task = asyncio.create_task(confext.aio.run(ended, host=host))
        assert await confext.aio.call(ready.read_text) == "\n"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (root / "told").read_text() == "told\n"
        with confext.Stack(host).start(["/bin/sh", "-c", "exit 4"]) as running:
            assert await confext.aio.wait(running) == 4

    run(work())


def test_answers_come_one_after_the_other(root: Path, vendor: confext.KeyPair, make: Make) -> None:
    make({f"etc/{number}": b"a" for number in range(200)}, path=root / "run/confexts/app.raw")
    host = confext.Host(root, certificates=vendor.certificate)

    async def work() -> list[str]:
        return [answer.path async for answer in confext.aio.trace_all(host, planned=True, image="app")]

    assert run(work()) == [answer.path for answer in host.trace_all(planned=True, image="app")]
