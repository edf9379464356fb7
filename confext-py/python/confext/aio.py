"""The long calls for asyncio: each works on a thread of its own, and the event loop goes on.

    image = await confext.aio.verify("app.confext.raw", certificates="vendor.pem")
    outcome = await confext.aio.rollout("nginx", "nginx_2.raw", store=store, version="2", certificates="vendor.pem")

    async with confext.aio.rolling("nginx", "nginx_2.raw", store=store, …) as rolling:
        async for event in rolling:
            print(event.step, event.state)
        outcome = await rolling

The functions have the names and arguments of those they stand for; of methods the object comes first: `merge(host)`,
`extract(image, "directory")`, `publish(store, "app.raw", …)`; those of `confext.service` begin with `service_`. `call` is for
everything else.

When a task that awaits one is cancelled, the work is ended, and the task goes on when it has ended: nothing works on behind
its back. `verify`, `check`, `damage`, `build`, `sign`, `extract`, `manifest`, `diff` and `publish` end within a moment and leave
nothing. `rollout` leads back first, and `run` tells the command to end. The others are short, or do all or nothing: they are
waited for, and what came of them is lost.

What is passed as `progress` and `events` is called in the event loop; `check`, `refresh` and `reload` of a rollout, and the methods
of its service, may be coroutine functions, which run there, too.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar

from . import _confext, _run

if TYPE_CHECKING:
    import subprocess

    from ._confext import Host, Origin, RolloutEvent, RolloutOutcome

__all__ = [
    "Rolling",
    "apply",
    "build",
    "call",
    "check",
    "damage",
    "diff",
    "doctor",
    "explain",
    "extract",
    "fec",
    "lint",
    "manifest",
    "merge",
    "plan",
    "publish",
    "refresh",
    "repair",
    "report",
    "rolling",
    "rollout",
    "run",
    "service_attach",
    "service_attached",
    "service_detach",
    "service_explain",
    "service_plan",
    "service_refresh",
    "service_show",
    "service_status",
    "service_trace",
    "sign",
    "to_sign",
    "trace",
    "trace_all",
    "unmerge",
    "verify",
    "wait",
]

P = ParamSpec("P")
T = TypeVar("T")


class _Stopped(BaseException):
    """Ends work whose task was cancelled."""


class _Work:
    """What a thread does for a task: how it hears that it is to end, and how it reaches the event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.stopped = threading.Event()
        self.raised: BaseException | None = None
        #: Whether the work knows that it is to end: what comes then is the way back.
        self._heard = False
        self._asked: concurrent.futures.Future[Any] | None = None

    def stop(self) -> None:
        """Have the work end. A coroutine of the caller that it waits for is cancelled."""
        self.stopped.set()
        asked = self._asked
        if asked is not None and not self._heard:
            asked.cancel()

    def is_cancelled(self) -> bool:
        """Asked by the work."""
        self._heard = self._heard or self.stopped.is_set()
        return self._heard

    def progress(self, callback: Callable[[int, int], object] | None) -> Callable[[int, int], object]:
        """What is called on the thread instead of a callback."""

        def progress(done: int, total: int) -> None:
            if self.stopped.is_set():
                raise _Stopped
            if callback is not None:
                self.loop.call_soon_threadsafe(self._call, callback, done, total)

        return progress

    def told(self, callback: Callable[P, object] | None) -> Callable[P, object] | None:
        """The same for what a rollout tells, which is led back and not only ended."""
        if callback is None:
            return None

        def told(*args: P.args, **kwargs: P.kwargs) -> None:
            self.loop.call_soon_threadsafe(self._call, callback, *args)

        return told

    def _call(self, callback: Callable[..., object], *arguments: object) -> None:
        """In the event loop: what is raised ends the work, and is raised in the place of what comes of it."""
        try:
            callback(*arguments)
        except Exception as error:
            self.raised = self.raised or error
            self.stopped.set()

    def asked(self, callback: Any) -> Any:
        """A callback of the caller that may be a coroutine function."""
        if not callable(callback):
            return callback

        def asked(*arguments: object) -> object:
            answer = callback(*arguments)
            if not inspect.isawaitable(answer):
                return answer
            future = asyncio.run_coroutine_threadsafe(_awaited(answer), self.loop)
            self._asked = future
            if self.stopped.is_set() and not self._heard:
                future.cancel()
            try:
                return future.result()
            except concurrent.futures.CancelledError:
                self._heard = True
                raise RuntimeError("cancelled by the caller") from None
            finally:
                self._asked = None

        return asked if _is_coroutine_function(callback) else callback

    async def do(self, function: Callable[[], T]) -> T:
        """Do it on a thread, and wait until it has ended, whatever happens to the task."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                result = context.run(function)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        ended = asyncio.wrap_future(future, loop=self.loop)
        thread = threading.Thread(target=work, name="confext", daemon=True)
        thread.start()
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            self.stop()
            while not ended.done():
                try:
                    await asyncio.wait([ended])
                except asyncio.CancelledError:
                    continue
            # Looked at, so that nobody complains of it.
            ended.exception()
            raise
        finally:
            # It ends with what has ended it here.
            if ended.done():
                thread.join()
        if self.raised is not None:
            ended.exception()
            raise self.raised
        return ended.result()


async def _awaited(answer: Any) -> Any:
    return await answer


def _is_coroutine_function(callback: Any) -> bool:
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(getattr(callback, "__call__", None))


class _Service(Generic[T]):
    """A service of the caller whose methods may be coroutine functions."""

    def __init__(self, work: _Work, service: Any) -> None:
        self.name: str = service.name
        self.refresh = work.asked(service.refresh)
        self.reload = work.asked(service.reload)
        self.check = work.asked(service.check)


async def call(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function on a thread. It cannot be ended: a cancelled task waits for it."""
    return await _Work().do(functools.partial(function, *args, **kwargs))


def _like(function: Callable[..., object], asynchronous: Callable[..., object]) -> None:
    """Name, documentation and arguments are those of the function, of a method with the object first."""
    functools.update_wrapper(asynchronous, function)
    signature = inspect.signature(function)
    first, *others = signature.parameters.values()
    if first.name == "self" and not any(other.kind is other.POSITIONAL_ONLY for other in others):
        first = first.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = signature.replace(parameters=[first, *others])
    setattr(asynchronous, "__signature__", signature)


def _plain(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """For what is short, or does all or nothing."""

    async def asynchronous(*args: P.args, **kwargs: P.kwargs) -> T:
        return await call(function, *args, **kwargs)

    _like(function, asynchronous)
    return asynchronous


def _watched(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """For what calls `progress`, and can be ended by that."""

    async def asynchronous(*args: P.args, **kwargs: P.kwargs) -> T:
        work = _Work()
        named: dict[str, Any] = dict(kwargs)
        named["progress"] = work.progress(named.get("progress"))
        return await work.do(functools.partial(function, *args, **named))

    _like(function, asynchronous)
    return asynchronous


def _rolled_out(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """For rollouts, whose callbacks are many."""

    async def asynchronous(*args: P.args, **kwargs: P.kwargs) -> T:
        work = _Work()
        named: dict[str, Any] = dict(kwargs)
        for name in ("refresh", "reload", "check"):
            if name in named:
                named[name] = work.asked(named[name])
        asked = named.get("cancelled")
        named["cancelled"] = lambda: work.is_cancelled() or bool(asked is not None and asked())
        for name in ("events", "progress"):
            named[name] = work.told(named.get(name))
        service, *others = args
        if not isinstance(service, str):
            service = _Service(work, service)
        untyped: Callable[..., T] = function
        return await work.do(functools.partial(untyped, service, *others, **named))

    _like(function, asynchronous)
    return asynchronous


verify = _watched(_confext.verify)
build = _watched(_confext.build)
sign = _watched(_confext.sign)
check = _watched(_confext.Admitted.check)
damage = _watched(_confext.Admitted.damage)
extract = _watched(_confext.Files.extract)
manifest = _watched(_confext.Files.manifest)
diff = _watched(_confext.Files.diff)
publish = _watched(_confext.Store.publish)
rollout = _rolled_out(_confext.rollout)
to_sign = _plain(_confext.to_sign)
lint = _plain(_confext.lint)
fec = _watched(_confext.fec)
repair = _watched(_confext.repair)
report = _watched(_confext.report)
doctor = _plain(_confext.doctor)
merge = _watched(_confext.Host.merge)
refresh = _watched(_confext.Host.refresh)
unmerge = _plain(_confext.Host.unmerge)
apply = _watched(_confext.Host.apply)
plan = _plain(_confext.Host.plan)
explain = _plain(_confext.Host.explain)
trace = _plain(_confext.Host.trace)
service_attach = _plain(_confext.service_attach)
service_attached = _plain(_confext.service_attached)
service_detach = _plain(_confext.service_detach)
service_plan = _plain(_confext.service_plan)
service_explain = _plain(_confext.service_explain)
service_trace = _plain(_confext.service_trace)
service_refresh = _watched(_confext.service_refresh)
service_show = _plain(_confext.service_show)
service_status = _plain(_confext.service_status)


async def run(
    arguments: Sequence[str | PathLike[str]],
    *,
    host: Host | None = None,
    class_: Literal["confext", "sysext"] = "confext",
    capture_output: bool = False,
    text: bool = False,
    check: bool = False,
    timeout: float | None = None,
    cwd: str | PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    service: str | None = None,
    live: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> subprocess.CompletedProcess[Any]:
    """`confext.run`. When the task is cancelled, the command is told to end, and killed after five seconds."""
    work = _Work()
    how = _run.How(capture_output, text, check, timeout, work.stopped.is_set)
    stack = functools.partial(_run.assemble, host, class_, service, live, work.progress(progress))
    return await work.do(functools.partial(_run.start, arguments, (stack, cwd, env), how))


async def wait(running: _confext.Running, timeout: float | None = None) -> int:
    """`Running.wait`: how a command ended. A cancelled task leaves it alone."""
    work = _Work()
    return await work.do(functools.partial(_run.wait, running, timeout, work.stopped.is_set))


async def trace_all(host: Host, **conditions: Any) -> AsyncIterator[Origin]:
    """`Host.trace_all`: answers, one after the other."""
    answers = await call(host.trace_all, **conditions)
    while batch := await call(list, itertools.islice(answers, 64)):
        for answer in batch:
            yield answer


class Rolling:
    """A rollout that runs. Iterated, it gives its events; awaited, its outcome.

    As a context manager it is awaited at the end; when an exception ends the block, it is led back first.
    """

    def __init__(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._events: asyncio.Queue[RolloutEvent | None] = asyncio.Queue()
        tell = named.pop("events", None)

        def events(event: RolloutEvent) -> None:
            self._events.put_nowait(event)
            if tell is not None:
                tell(event)

        untyped: Callable[..., Coroutine[Any, Any, RolloutOutcome]] = rollout
        self._task = asyncio.ensure_future(untyped(*arguments, **named, events=events))
        self._task.add_done_callback(lambda _: self._events.put_nowait(None))

    def cancel(self) -> None:
        """Have it led back."""
        self._task.cancel()

    def done(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    def __await__(self) -> Generator[Any, None, RolloutOutcome]:
        return self._task.__await__()

    def __aiter__(self) -> Rolling:
        return self

    async def __anext__(self) -> RolloutEvent:
        event = await self._events.get()
        if event is None:
            # Once more for who asks again.
            self._events.put_nowait(None)
            raise StopAsyncIteration
        return event

    async def __aenter__(self) -> Rolling:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self._task
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()


def _rolling(function: Callable[P, object]) -> Callable[P, Rolling]:
    def start(*args: P.args, **kwargs: P.kwargs) -> Rolling:
        return Rolling(args, dict(kwargs))

    _like(function, start)
    return start


#: Starts a rollout in the running event loop; the arguments are those of `confext.rollout`.
rolling = _rolling(_confext.rollout)
