"""`confext.run`: a command that sees extensions merged, and nobody else does."""

from __future__ import annotations

import functools
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Literal, TypeAlias

    from ._confext import Host, Running, Stack

    _Path: TypeAlias = str | os.PathLike[str]
    _Class: TypeAlias = Literal["confext", "sysext"]

#: How long a command has between being told to end and being killed, in seconds.
_GRACE = 5.0
#: How long nothing is looked at while a command runs, in seconds.
_SLICE = 0.05


class How:
    """How a command is waited for."""

    def __init__(
        self,
        capture_output: bool,
        text: bool,
        check: bool,
        timeout: float | None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self.capture_output = capture_output
        self.text = text
        self.check = check
        self.timeout = timeout
        self.stop = stop or (lambda: False)


def run(
    arguments: Sequence[_Path],
    *,
    host: Host | None = None,
    class_: _Class = "confext",
    capture_output: bool = False,
    text: bool = False,
    check: bool = False,
    timeout: float | None = None,
    cwd: _Path | None = None,
    env: Mapping[str, str] | None = None,
    service: str | None = None,
    live: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> subprocess.CompletedProcess[Any]:
    """Run a command that sees the extensions of a host merged, and nobody else does; wait for it.

    Without `host`, those of the running system. With `service` those that this unit lists, over the root directory that it has:
    what the service would see if it were started now; `live` asks the running service manager instead of reading files. The other arguments, the result, `subprocess.CalledProcessError` with
    `check` and `subprocess.TimeoutExpired` after `timeout` seconds are those of `subprocess.run`. When the wait ends by an
    exception, the command is killed. `progress` is as for `Stack`. Needs no root: `Stack.manner` says how it is done. Raises what `Stack` raises.
    """
    stack = functools.partial(assemble, host, class_, service, live, progress)
    return start(arguments, (stack, cwd, env), How(capture_output, text, check, timeout))


def assemble(
    host: Host | None,
    class_: _Class,
    service: str | None,
    live: bool,
    progress: Callable[[int, int], object] | None,
) -> Stack:
    """The stack that a command sees."""
    from . import _confext

    return _confext.Stack(host or _confext.Host(), class_, service=service, live=live, progress=progress)


def start(
    arguments: Sequence[_Path],
    what: tuple[Callable[[], Stack], _Path | None, Mapping[str, str] | None],
    how: How,
) -> subprocess.CompletedProcess[Any]:
    """The same, with somebody who can end it."""
    import subprocess

    assembled, cwd, env = what
    pipe = subprocess.PIPE if how.capture_output else None
    stack = assembled()
    deadline = None if how.timeout is None else time.monotonic() + how.timeout
    with stack.start(list(arguments), stdout=pipe, stderr=pipe, cwd=cwd, env=env) as running:
        collected = _Collected(running, how)
        code = _attend(running, deadline, how, collected)
        output, errors = collected.finish()
    if code is None:
        raise subprocess.TimeoutExpired(running.args, how.timeout or 0.0, output, errors)
    completed = subprocess.CompletedProcess(running.args, code, output, errors)
    if how.check:
        completed.check_returncode()
    return completed


def wait(running: Running, timeout: float | None, stop: Callable[[], bool]) -> int:
    """Wait for a command that goes on when the wait ends."""
    import subprocess

    deadline = None if timeout is None else time.monotonic() + timeout
    while not stop():
        try:
            return running.wait(_SLICE)
        except subprocess.TimeoutExpired:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(running.args, timeout or 0.0) from None
    return -1


def _attend(running: Running, deadline: float | None, how: How, collected: _Collected) -> int | None:
    """How the command ended; `None` when it took too long, and was killed."""
    import subprocess

    told: float | None = None
    while True:
        collected.read(_SLICE)
        try:
            # Nothing is read from a command that prints nothing here.
            return running.wait(0.0 if collected.reads() else _SLICE)
        except subprocess.TimeoutExpired:
            pass
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            running.kill()
            running.wait()
            return None
        if told is None and how.stop():
            told = now
            running.terminate()
        elif told is not None and now >= told + _GRACE:
            running.kill()


class _Collected:
    """What a command prints, read while it runs."""

    def __init__(self, running: Running, how: How) -> None:
        import selectors

        self._how = how
        self._selector = selectors.DefaultSelector()
        self._parts: list[list[bytes]] = [[], []]
        for stream, parts in zip((running.stdout, running.stderr), self._parts, strict=True):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                self._selector.register(stream.fileno(), selectors.EVENT_READ, parts)

    def reads(self) -> bool:
        """Whether there is a stream that has not ended."""
        return bool(self._selector.get_map())

    def read(self, most: float) -> None:
        """Read what is there; wait for it so many seconds at most."""
        if not self.reads():
            return
        for key, _ in self._selector.select(most):
            content = os.read(key.fd, 1 << 16)
            if content:
                key.data.append(content)
            else:
                self._selector.unregister(key.fd)

    def finish(self) -> tuple[Any, Any]:
        """All of it. What a child of the command that lives longer prints is not waited for."""
        try:
            while self.reads() and self._selector.select(0):
                self.read(0)
        finally:
            self._selector.close()
        if not self._how.capture_output:
            return None, None
        output, errors = (b"".join(parts) for parts in self._parts)
        return (output.decode(), errors.decode()) if self._how.text else (output, errors)
