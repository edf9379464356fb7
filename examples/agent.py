#!/usr/bin/env python3
"""An agent that watches a drop directory and rolls images out to services, with a check and a way back.

    agent.py CONFIGURATION.json            until SIGTERM
    agent.py CONFIGURATION.json --once     what is there now, and ends

The configuration says which units there are; what lies in the drop directory cannot change it:

    {
      "drop": "/var/lib/confext-agent",
      "certificates": ["/etc/confext-agent/vendor.crt"],
      "units": {
        "nginx": {
          "store": "/var/lib/confexts/nginx.raw.v",
          "check": ["nginx", "-t", "-q"], "check_inside": true, "reload": "job", "keep": 3
        }
      }
    }

Each unit has a directory of its own below `drop`. An image comes as `NAME_VERSION.raw`: written under a name that starts
with a dot and then renamed, or else it is taken when it has not changed for some seconds. It ends in `done/`, or in
`refused/` with the reason, and each with a record `NAME_VERSION.json`. Of one unit one image is rolled out at a time,
in the order of their times; different units do not wait for each other.

Killed at any point, the next start goes on: an image stays where it is until it is known what the service runs, and the
record is on disk before the image moves. What is nobody's fault but the machine's (a service that does not run, a full
disk) is tried again, and never refuses an image.

Exit status: 0 ended as it was told to; 1 with `--once`: an image was refused, or is still there; 2 the configuration is
wrong; 3 another agent has the drop directory.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import logging
import os
import re
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import confext

log = logging.getLogger("confext.agent")

#: Of the errors that are about the host, those that say that this image will never be right.
FINAL = frozenset({"rollout-outranked", "version-exists", "version-name", "version-tries"})
#: The families of errors that are about the image.
ABOUT_IMAGE = frozenset({"corrupt", "unsupported", "unverified", "refused", "limit"})
IMAGE_NAME = re.compile(r"(?P<name>[^_/]+)_(?P<version>[A-Za-z0-9.~^-]+)\.raw")

Reload = Literal["job", "none", "SIGHUP", "SIGUSR1", "SIGUSR2"]
#: Rolls out, with the arguments of `confext.rollout`.
Rollout = Callable[..., confext.RolloutOutcome]


class ConfigurationError(Exception):
    """The configuration does not say what it has to."""


class Stopped(Exception):
    """The agent is told to end: a rollout that is on its way goes back."""


@dataclass(frozen=True)
class Unit:
    """A service that images are rolled out to."""

    name: str
    #: The `.v` directory that the unit lists in `ExtensionImages=`.
    store: Path
    certificates: tuple[Path, ...]
    check: tuple[str, ...] | None = None
    check_inside: bool = False
    reload: Reload = "job"
    policy: str = "signed"
    tries: int = 3
    keep: int | None = None
    settle: float = 0.0

    @staticmethod
    def parse(name: str, said: object, certificates: tuple[Path, ...]) -> Unit:
        """The unit that a part of the configuration says."""
        if not isinstance(said, dict) or not re.fullmatch(r"[A-Za-z0-9:_.@\\-]+", name) or name.startswith("."):
            raise ConfigurationError(f"units: {name!r} is no unit with settings")
        types: dict[str, type | tuple[type, ...]] = {
            "store": str, "check": list, "check_inside": bool, "reload": str, "policy": str,
            "tries": int, "keep": int, "settle": (int, float),
        }  # fmt: skip
        for key, value in said.items():
            if key not in types or not isinstance(value, types[key]):
                raise ConfigurationError(f"units: {name}: {key}: found {value!r}, which is no setting of a unit")
        settings: dict[str, Any] = dict(said)
        if "store" not in settings:
            raise ConfigurationError(f"units: {name}: store is missing")
        if settings.get("reload", "job") not in ("job", "none", "SIGHUP", "SIGUSR1", "SIGUSR2"):
            raise ConfigurationError(f"units: {name}: reload: found {settings['reload']!r}")
        if "check" in settings:
            if not settings["check"] or not all(isinstance(word, str) for word in settings["check"]):
                raise ConfigurationError(f"units: {name}: check: a command is a list of words")
            settings["check"] = tuple(settings["check"])
        settings["store"] = Path(settings["store"])
        return Unit(name, certificates=certificates, **settings)


@dataclass(frozen=True)
class Configuration:
    """What the agent is told."""

    drop: Path
    units: tuple[Unit, ...]

    @staticmethod
    def read(path: Path) -> Configuration:
        """Read and check the file."""
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path}: {error}") from error
        if not isinstance(said, dict) or set(said) != {"drop", "certificates", "units"}:
            raise ConfigurationError(f"{path}: expected drop, certificates and units, and nothing else")
        drop, units = said["drop"], said["units"]
        if not isinstance(drop, str) or not isinstance(units, dict) or not units:
            raise ConfigurationError(f"{path}: drop is a directory, and units are what has a name")
        if not isinstance(said["certificates"], list) or not all(isinstance(one, str) for one in said["certificates"]):
            raise ConfigurationError(f"{path}: certificates are a list of files")
        certificates = tuple(Path(cast(str, one)) for one in said["certificates"])
        return Configuration(Path(drop), tuple(Unit.parse(name, unit, certificates) for name, unit in units.items()))


@dataclass
class Record:
    """What became of an image: the JSON file beside it."""

    unit: str
    image: str
    version: str | None
    sha256: str
    size: int
    #: `done` or `refused`: the directory it goes to.
    result: Literal["done", "refused"]
    #: What the service runs: `new`, `previous` or `unknown`; `untouched` where nothing was done.
    runs: str = "untouched"
    #: Why, for what is refused: the step, the stable code, what was found, and what to do about it.
    step: str | None = None
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    #: What could not be done besides.
    not_done: list[str] = field(default_factory=list)
    #: When it ended, in seconds since 1970.
    at: float = 0.0


class Shelf:
    """The directory of one unit: images that came, and those that went to `done/` or `refused/`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for place in (directory, directory / "done", directory / "refused"):
            place.mkdir(mode=0o755, exist_ok=True)
            # Of a record that was never finished.
            for left in place.glob(".*.json.new"):
                left.unlink()

    def waiting(self) -> Iterator[os.DirEntry[str]]:
        """What lies there, the oldest first."""
        with os.scandir(self.directory) as entries:
            found = [entry for entry in entries if entry.name[0] != "." and entry.name not in ("done", "refused")]
        times: list[tuple[int, str, os.DirEntry[str]]] = []
        for entry in found:
            try:
                times.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name, entry))
            except FileNotFoundError:  # taken away again
                continue
        for _, _, entry in sorted(times, key=lambda it: it[:2]):
            yield entry

    def unfinished(self, image: Path, sha256: str) -> Record | None:
        """The record of this image, where it was written and the image did not move any more."""
        for result in ("done", "refused"):
            path = self.directory / result / f"{image.stem}.json"
            try:
                record = Record(**json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                continue
            if record.sha256 == sha256 and not (self.directory / result / image.name).exists():
                return record
        return None

    def put_away(self, image: Path, record: Record) -> Path:
        """Write the record and move the image; the record is on disk first."""
        place = self.directory / record.result
        name = image.name
        if (place / name).exists() and self._differs(place / f"{image.stem}.json", record.sha256):
            name = f"{image.stem}.{record.sha256[:12]}{image.suffix}"
        target = (place / name).with_suffix(".json")
        text = json.dumps(vars(record), indent=2, sort_keys=True) + "\n"
        partial = place / f".{target.name}.new"
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(target)
        sync(place)
        try:
            image.rename(place / name)
        except FileNotFoundError:
            log.warning("%s was taken away", image)
        sync(place)
        sync(self.directory)
        return place / name

    @staticmethod
    def _differs(record: Path, sha256: str) -> bool:
        try:
            return bool(json.loads(record.read_text(encoding="utf-8"))["sha256"] != sha256)
        except (OSError, ValueError, KeyError):
            return True


def sync(directory: Path) -> None:
    """Have the names in a directory on disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a regular file; `ValueError` where it is something else."""
    # What is no regular file is not even opened; what is exchanged for a link afterwards is not followed.
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise ValueError("not a regular file")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        sha256, size = hashlib.sha256(), 0
        while block := file.read(1 << 20):
            sha256.update(block)
            size += len(block)
    return sha256.hexdigest(), size


class Keeper(threading.Thread):
    """Rolls out what comes for one unit, one after the other."""

    def __init__(self, unit: Unit, drop: Path, options: Options, stop: threading.Event) -> None:
        super().__init__(name=unit.name)
        self.unit, self.options, self.stop = unit, options, stop
        self.shelf = Shelf(drop / unit.name)
        self.store = confext.Store(unit.store)
        self.refused = 0
        self.left = 0
        self.failure: BaseException | None = None
        #: For what is not taken yet: how it looked, and when it looked so first.
        self._seen: dict[str, tuple[tuple[int, ...], float]] = {}
        #: When to try again what failed for another reason than itself.
        self._again: dict[str, float] = {}

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                waits = self.sweep()
                if self.options.once and not waits:
                    return
                self.stop.wait(min(self.options.interval, 0.1) if self.options.once else self.options.interval)
        except BaseException as error:  # the main thread tells it, and the others end, too
            self.failure = error
            self.stop.set()

    def sweep(self) -> int:
        """Everything that is there, once. Returns how many have to be looked at again."""
        waits = self.left = 0
        names = set()
        for entry in self.shelf.waiting():
            names.add(entry.name)
            if self.stop.is_set():
                return 0
            if not self._is_whole(entry):
                waits += 1
            elif time.monotonic() < self._again.get(entry.name, 0.0):
                self.left += 1
            elif not self.take(Path(entry.path)):
                self._again[entry.name] = time.monotonic() + self.options.retry
                self.left += 1
                # Those behind it must not overtake it.
                break
        self._seen = {name: seen for name, seen in self._seen.items() if name in names}
        return waits

    def _is_whole(self, entry: os.DirEntry[str]) -> bool:
        """Whether nobody writes to it any more, as far as can be seen."""
        try:
            now = os.stat(entry.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        looks = (now.st_ino, now.st_size, now.st_mtime_ns)
        known, since = self._seen.get(entry.name, ((), 0.0))
        if looks != known:
            self._seen[entry.name] = (looks, time.monotonic())
            return self.options.quiet == 0
        return time.monotonic() - since >= self.options.quiet

    def take(self, image: Path) -> bool:
        """One image, to its end. `False`: it has to wait."""
        try:
            sha256, size = digest(image)
        except FileNotFoundError:  # taken away again
            return True
        except OSError as error:
            log.warning("%s: %s waits: %s", self.unit.name, image.name, error)
            return False
        except ValueError as error:
            record = Record(self.unit.name, image.name, None, "", 0, "refused", code="agent-file", at=time.time())
            record.message, record.hint = str(error), "drop the file of an image itself"
            return self._away(image, record)
        if record_before := self.shelf.unfinished(image, sha256):
            log.info("%s: %s: it was %s before the agent ended", self.unit.name, image.name, record_before.result)
            return self._away(image, record_before)
        record = Record(self.unit.name, image.name, None, sha256, size, "refused")
        match = IMAGE_NAME.fullmatch(image.name)
        if match is None or match["name"] != self.store.name:
            record.code, record.message = "agent-name", f"found {image.name}"
            record.hint = f"name it {self.store.name}_VERSION.raw"
            return self._away(image, record)
        record.version = match["version"]
        return self._roll(image, record, match["version"])

    def _roll(self, image: Path, record: Record, version: str) -> bool:
        unit = self.unit
        log.info("%s: version %s begins", unit.name, version)
        try:
            outcome = self.options.rollout(
                unit.name,
                image,
                store=self.store,
                version=version,
                certificates=unit.certificates,
                policy=unit.policy,
                tries=unit.tries,
                keep=unit.keep,
                reload=unit.reload,
                check=unit.check,
                check_inside=unit.check_inside,
                settle=unit.settle,
                events=self._tell,
            )
        except Stopped:
            log.info("%s: version %s went back: the agent ends", unit.name, version)
            return False
        except confext.Error as error:
            if error.family not in ABOUT_IMAGE and error.code not in FINAL:
                log.warning("%s: version %s waits: [%s] %s: %s", unit.name, version, error.code, error, error.hint)
                return False
            record.code, record.message, record.hint = error.code, str(error), error.hint
        else:
            record.runs = outcome.runs
            record.result = "done" if outcome.runs == "new" else "refused"
            if outcome.failure is not None:
                record.step, record.code = outcome.failure.step, outcome.failure.code
                record.message, record.hint = outcome.failure.message, outcome.failure.hint
            record.not_done = [f"{one.step}: [{one.code}] {one.message}" for one in outcome.not_done]
        return self._away(image, record)

    def _tell(self, event: confext.RolloutEvent) -> None:
        level = logging.WARNING if event.state == "failed" else logging.DEBUG
        why = f": [{event.failure.code}] {event.failure.message}" if event.failure else ""
        log.log(level, "%s: %s %s %s%s", self.unit.name, event.way, event.step, event.state, why)
        # Once its check has passed, a version stays.
        early = event.way == "there" and event.state == "started" and event.step not in ("good", "prune")
        if early and self.stop.is_set():
            raise Stopped

    def _away(self, image: Path, record: Record) -> bool:
        record.at = record.at or time.time()
        where = self.shelf.put_away(image, record)
        if record.result == "refused":
            self.refused += 1
            log.error("%s: %s is refused: [%s] %s: %s", record.unit, image.name, record.code, record.message, record.hint)
        else:
            log.info("%s: version %s runs", record.unit, record.version)
        for one in record.not_done:
            log.error("%s: not done: %s", record.unit, one)
        if record.runs == "unknown":
            log.critical("%s: what the service runs is not known", record.unit)
        log.debug("%s is now %s", image, where)
        return True


@dataclass(frozen=True)
class Options:
    """How the agent goes about it."""

    once: bool = False
    #: Seconds between two looks.
    interval: float = 2.0
    #: How long a file must not have changed.
    quiet: float = 2.0
    #: Seconds until what failed for another reason is tried again.
    retry: float = 30.0
    rollout: Rollout = confext.rollout


def run(configuration: Configuration, options: Options) -> int:
    """Run the agent. Returns its exit status."""
    configuration.drop.mkdir(parents=True, exist_ok=True)
    # Kept until the end of the process, however it ends.
    lock = os.open(configuration.drop / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.error("another agent has %s", configuration.drop)
        os.close(lock)
        return 3
    stop = threading.Event()

    def end(number: int, _frame: object) -> None:
        log.info("%s: what is under way goes back", signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    keepers = [Keeper(unit, configuration.drop, options, stop) for unit in configuration.units]
    for keeper in keepers:
        keeper.start()
    for keeper in keepers:
        keeper.join()
    os.close(lock)
    for keeper in keepers:
        if keeper.failure is not None:
            raise keeper.failure
    return int(options.once and any(keeper.refused or keeper.left for keeper in keepers))


def main(arguments: list[str], rollout: Rollout = confext.rollout) -> int:
    """The command."""
    about, details = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configuration", type=Path)
    parser.add_argument("--once", action="store_true", help="end when nothing is left that can be done now")
    parser.add_argument("--interval", type=float, default=2.0, metavar="SECONDS", help="between two looks [2]")
    parser.add_argument("--quiet", type=float, default=2.0, metavar="SECONDS", help="a file must not change for [2]")
    parser.add_argument("--retry", type=float, default=30.0, metavar="SECONDS", help="until the next attempt [30]")
    parser.add_argument("--verbose", action="store_true", help="tell each step")
    given = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if given.verbose else logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    options = Options(given.once, given.interval, given.quiet, given.retry, rollout)
    try:
        return run(Configuration.read(given.configuration), options)
    except (ConfigurationError, confext.Error) as error:
        log.error("%s", error)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
