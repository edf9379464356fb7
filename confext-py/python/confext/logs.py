"""What results say, as records of `logging`: what was refused or left out, what is doubtful, and why something was done.

    logging.basicConfig(level=logging.INFO)
    confext.logs.start()
    confext.Host("/").refresh()      # WARNING:confext:/run/confexts/app.raw is not used: … [signer-untrusted]

Nothing is logged unless that is asked for, and then all of it goes to the logger `confext`, or to another one:

- `WARNING`: extensions that are refused, refusals of plans, doubts, gaps, what is left behind, failed steps of a rollout;
- `INFO`: why a stack was replaced, how an image reached the kernel when that is not as asked for, what was published, each
  step of a rollout, findings about an image;
- `DEBUG`: what is ignored as intended, why a stack is unchanged, and every exception of this package.

A record has the object that it is about as `record.confext`, and its stable code, where there is one, as `record.code`. The
library's own work is as fast as without, until there is a result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import _confext

__all__ = ["capture", "start", "stop"]

_logger = logging.getLogger("confext")


def start(logger: logging.Logger | str = "confext") -> None:
    """From now on, log what results say, of all threads."""
    global _logger
    _logger = logging.getLogger(logger) if isinstance(logger, str) else logger
    _confext._log_results(True)


def stop() -> None:
    """Log nothing any more."""
    _confext._log_results(False)


@contextmanager
def capture(logger: logging.Logger | str = "confext") -> Iterator[logging.Logger]:
    """`start`, and `stop` at the end of the block."""
    start(logger)
    try:
        yield _logger
    finally:
        stop()


_Said = tuple[int, str]


def _rejection(one: Any) -> _Said:
    level = logging.WARNING if one.severity == "refused" else logging.DEBUG
    return level, f"{one.path} is not used: {one.message} [{one.code}]"


def _change(one: Any) -> _Said:
    of = f" {one.name}" if one.name else ""
    test = f", by its {one.test}" if one.test else ""
    sides = f": {one.found}, now {one.expected}" if one.found or one.expected else ""
    return logging.INFO, f"replaced because {one.kind}{of}{test}{sides}"


def _attached(one: Any) -> _Said:
    level = logging.DEBUG if one.because == "asked" or one.detail is None else logging.INFO
    detail = f": {one.detail}" if one.detail else ""
    return level, f"an image is read through {one.reads} (asked: {one.asked}), because {one.because}{detail}"


def _event(one: Any) -> _Said:
    of = f" of {one.version}" if one.version else ""
    level = {"started": logging.DEBUG, "done": logging.INFO, "failed": logging.WARNING}[one.state]
    why = f": {one.failure.message} [{one.failure.code}]" if one.failure else ""
    return level, f"rollout, {one.way}: {one.step}{of} {one.state}{why}"


def _finding(one: Any) -> _Said:
    level = logging.WARNING if one.severity == "error" else logging.INFO
    return level, f"{one.path or 'image'}: found {one.found}, expected {one.expected} [{one.code}]"


def _report(one: Any) -> list[_Said]:
    said = [(logging.INFO, f"{one.class_}: {one.outcome}, {len(one.layers)} extensions")]
    said += [(logging.WARNING, f"files were missing for a moment in {gap}") for gap in one.gaps]
    said += [(logging.WARNING, f"left behind: {left}") for left in one.left_behind]
    return said


def _told(one: Any) -> list[_Said]:
    return [(logging.WARNING, "the service manager: " + "; ".join(one.failure))] if one.failure else []


def _attachment(one: Any) -> _Said:
    names = ", ".join(unit.name for unit in one.units)
    if one.attached:
        return logging.INFO, f"attached {one.base.path}: {names}"
    return logging.DEBUG, f"nothing was written: {one.base.path} has {names}"


def _portable(one: Any) -> list[_Said]:
    return [(logging.WARNING, f"{one.base}: only drop-ins of {unit}") for unit in one.incomplete]


#: What each class says; what it is made of is looked at in any case.
_SAYS: dict[str, Callable[[Any], _Said | list[_Said]]] = {
    "Attached": _attached,
    "Change": _change,
    "CoveredDirectory": lambda one: (logging.INFO, f"{one.path} is mounted by {one.key}= ({one.place})"),
    "Decision": lambda one: (logging.DEBUG, f"{one.name} is unchanged, by its {one.test}"),
    "Doubt": lambda one: (logging.WARNING, f"{one.what}: found {one.found}, expected {one.expected}"),
    "DropIn": lambda one: (logging.INFO, f"{one.path}: {one.done}"),
    "Finding": _finding,
    "PortableAttachment": _attachment,
    "PortableService": _portable,
    "Published": lambda one: (logging.INFO, f"published {one.version.path}"),
    "Refusal": lambda one: (logging.WARNING, f"{one.message} [{one.code}]"),
    "Rejection": _rejection,
    "Report": _report,
    "RolloutEvent": _event,
    "RolloutFailure": lambda one: (logging.WARNING, f"{one.way}, {one.step}: {one.message} [{one.code}]"),
    "ServiceReport": lambda one: (logging.INFO, f"process {one.pid} was looked at"),
    "ServiceView": lambda one: (logging.INFO, f"/{one.hierarchy}: {one.outcome}"),
    "Told": _told,
    "Unknown": lambda one: (logging.WARNING, f"{one.layer}: cannot tell: {one.reason} [{one.code}]"),
}


def _tell(result: Any) -> None:
    """Called with every result while that is wanted."""
    if isinstance(result, BaseException):
        _say(logging.DEBUG, str(result), result)
        return
    if isinstance(result, (tuple, list)):
        for one in result:
            _tell(one)
        return
    says = _SAYS.get(type(result).__name__)
    if says is not None:
        said = says(result)
        for level, text in said if isinstance(said, list) else [said]:
            _say(level, text, result)
    if type(result).__name__ != "RolloutEvent":
        for field in getattr(type(result), "__match_args__", ()):
            value = getattr(result, field)
            if isinstance(value, tuple) or hasattr(type(value), "__match_args__"):
                _tell(value)


def _say(level: int, text: str, about: Any) -> None:
    if _logger.isEnabledFor(level):
        _logger.log(level, "%s", text, extra={"confext": about, "code": getattr(about, "code", None)}, stacklevel=3)
