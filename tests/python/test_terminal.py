"""The command on a terminal: colours, and how far long work is. Whoever reads a pipe, a file or JSON sees nothing of either."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import tty
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import confext
import pytest
from conftest import Make

COLOUR = re.compile("\x1b\\[[0-9;]*m")


class Reader:
    """What a process writes, to a pipe or to a terminal."""

    def __init__(self, terminal: bool, columns: int = 0) -> None:
        self.ours, self.theirs = os.openpty() if terminal else os.pipe()
        if terminal:
            fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
            # As it was written: without carriage returns of the terminal's own.
            tty.setraw(self.theirs)
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self.ours, 1 << 16)
            except OSError:  # a terminal without another end
                return
            if not part:
                return
            self._parts.append(part)

    def end(self) -> str:
        """All of it, when the process has ended."""
        os.close(self.theirs)
        self._thread.join()
        os.close(self.ours)
        return b"".join(self._parts).decode()


def run(*arguments: object, terminal: str = "", **environment: str) -> tuple[int, str, str]:
    """Run the command. `terminal` names those of `out` and `err` that are one, `both` that they are the same."""
    return run_on(arguments, terminal, environment=environment)


def run_on(
    arguments: Sequence[object],
    terminal: str,
    columns: int = 0,
    out: int | None = None,
    environment: Mapping[str, str] = {},
    before: Callable[[], None] | None = None,
) -> tuple[int, str, str]:
    """The same on a terminal that is so wide, or with its answer to a file; the process calls `before` first."""
    both = terminal == "both"
    answer, err = Reader(both or "out" in terminal, columns), Reader("err" in terminal, columns)
    kept = {name: value for name, value in os.environ.items() if "COLOR" not in name and name != "CI"}
    try:
        done = subprocess.run(
            [Path(sys.executable).with_name("confext"), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=answer.theirs if out is None else out,
            stderr=answer.theirs if both else err.theirs,
            env={**kept, "TERM": "xterm", **environment},
            preexec_fn=before,
        )
    finally:
        said = (answer.end(), err.end())
    return (done.returncode, *said)


@pytest.fixture
def calls(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> dict[str, list[object]]:
    """Calls that have something to colour."""
    root = tmp_path / "root"
    for directory in ("etc/verity.d", "run/confexts"):
        (root / directory).mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=demo\n")
    (root / "etc/verity.d/vendor.crt").write_bytes(vendor.certificate)
    image = make({"etc/app.conf": b"hello\n"}, path=root / "run/confexts/app.raw")
    other = make({"etc/app.conf": b"other\n"}, path=tmp_path / "app_2.raw")
    (root / "run/confexts/empty.raw").write_bytes(b"")
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/set-id").write_text("")
    (tmp_path / "tree/etc/set-id").chmod(0o4755)
    at = ["--root", root]
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / "app.service").write_text("[Service]\nExecStart=/bin/app\nExtensionImages=-/var/lib/app.raw\n")
    store = tmp_path / "app.raw.v"
    store.mkdir()
    for name in ("app_1.raw", "app_2+3-0.raw", "app_3+0-3.raw"):
        (store / name).write_bytes(other.read_bytes())
    return {
        "ls": ["ls", *at, "--long", "--recursive", image],
        "inspect": ["inspect", image],
        "store": ["store", "list", store],
        "pick": ["pick", "--suffix", ".raw", store],
        "show": ["service", "show", *at, "app"],
        "trace": ["trace", *at, "--planned", "--all"],
        "rules": ["policy", "show", "root=signed"],
        "verify": ["verify", *at, image],
        "list": ["list", *at],
        "explain": ["explain", *at, "app"],
        "plan": ["plan", *at],
        "diff": ["diff", *at, image, other],
        "lint": ["lint", "--class", "confext", tmp_path / "tree"],
        "doctor": ["doctor", *at],
        "trust": ["trust", *at, image],
        "policy": ["policy", "lint", "root=signed+unprotected"],
    }


SAME = ["diff", "lint", "policy", "verify"]
# What has rows, with their header on a terminal and with what is in them.
ROWS = {
    "doctor": ("STATE ITEM WHY", ["mount-calls", "clock"]),
    "explain": ("STATE DIRECTORY", ["/run/confexts", "/var/lib/confexts"]),
    "inspect": ("PARTITION DESIGNATOR FOR START SIZE HOLDS LABEL", ["root-verity-sig", "erofs"]),
    "list": ("NAME CHECKED SIGNED BY MERGED FROM ROOT HASH", ["CN=vendor", "/run/confexts/app.raw"]),
    "ls": ("TYPE MODE USER GROUP SIZE CHANGED NAME", ["0644", "etc/app.conf"]),
    "pick": ("PATH TYPE VERSION LEFT MADE", ["app_2+3-0.raw"]),
    "plan": ("CHANGE PATH BY", ["etc/app.conf", "added"]),
    "rules": ("PARTITION RULE", ["root-verity-sig", "ignore"]),
    "show": ("WHAT VALUE", ["/var/lib/app.raw, left out where it is missing"]),
    "store": ("VERSION LEFT MADE FILE", ["app_1.raw", "app_3+0-3.raw"]),
    "trace": ("ANSWER PATH EXTENSIONS", ["/etc/app.conf", "layer"]),
    "trust": ("WHAT NAME STATE", ["/etc/verity.d/vendor.crt", "accepted by"]),
}  # fmt: skip


def width(line: str) -> int:
    """How many columns it has."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


@pytest.mark.parametrize("columns", [250, 76])
@pytest.mark.parametrize("name", ROWS)
def test_a_terminal_has_columns_under_a_header(name: str, columns: int, calls: dict[str, list[object]]) -> None:
    header, words = ROWS[name]
    status, piped, _ = run(*calls[name])
    again, shown, _ = run_on(calls[name], "out", columns)
    assert again == status and piped and "\x1b" not in piped and "…" not in piped
    plain = COLOUR.sub("", shown)
    lines = [re.sub(" +", " ", line) for line in plain.splitlines()]
    assert header in lines and header not in [re.sub(" +", " ", line) for line in piped.splitlines()], plain
    at = lines.index(header)
    bold = "\x1b[1m" + header.split()[0]
    assert bold in shown.splitlines()[at]
    assert not [line for line in plain.splitlines() if line.endswith(" ")]
    assert all(line.count("\x1b[0m") * 2 == line.count("\x1b[") for line in shown.splitlines())
    # A pipe has every word, and so has a terminal that is wide enough.
    assert all(word in piped for word in words) or name in ("show", "trust")
    if columns > 200:
        assert all(word in plain for word in words), plain
    # Names in a last column are never broken; all else is.
    if name not in ("ls", "inspect"):
        rows = plain.splitlines()[at:]
        long = [line for line in rows if width(line) > columns and not line.startswith("next step")]
        assert not long, plain


def test_a_digest_is_whole_in_a_pipe_and_names_are_never_obeyed(
    calls: dict[str, list[object]], make: Make, tmp_path: Path
) -> None:
    piped, narrow = run(*calls["list"])[1], run_on(calls["list"], "out", 76)[1]
    digest = re.search("[0-9a-f]{64}", piped)
    assert digest and digest[0] in run_on(calls["list"], "out", 250)[1]
    assert digest[0] not in narrow and re.search("[0-9a-f]{8,63}…", narrow)
    image = make({"etc/\x1b[31mred": b"", "etc/界界": b"", "etc/new\nline": b""}, path=tmp_path / "names.raw")
    call = [*calls["ls"][:-1], image]
    assert "\x1b" not in run_on(call, "out", 40, environment={"NO_COLOR": "1"})[1]
    shown = COLOUR.sub("", run_on(call, "out", 40)[1])
    assert r"etc/\u{1b}[31mred" in shown and r"etc/new\nline" in shown and "etc/界界" in shown
    rows = [line for line in shown.splitlines()[1:]]
    assert len({line.index("1970") for line in rows}) == 1


@pytest.mark.parametrize("name", SAME)
def test_a_terminal_shows_the_same_with_colours(name: str, calls: dict[str, list[object]]) -> None:
    assert sorted(calls) == sorted([*SAME, *ROWS])
    call = calls[name]
    status, piped, _ = run(*call)
    assert piped and "\x1b" not in piped
    again, shown, _ = run(*call, terminal="out err")
    assert (again, clock(COLOUR.sub("", shown))) == (status, clock(piped))
    assert COLOUR.search(shown), shown
    # Every colour ends where its line does, or what follows has it, too.
    assert all(line.count("\x1b[0m") * 2 == line.count("\x1b[") for line in shown.splitlines())
    for document in (run("--json", *call, terminal="out err"), run("--json", *call, CLICOLOR_FORCE="1")):
        assert document[0] == status and document[2] == "" and "\x1b" not in document[1]
        json.loads(document[1])


def clock(text: str) -> str:
    """Without the time of day."""
    return re.sub(r"\d\d:\d\d:\d\d", "", text)


@pytest.mark.parametrize("said", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"CLICOLOR": "0"}])
def test_the_environment_decides(said: dict[str, str], calls: dict[str, list[object]]) -> None:
    call = calls["list"]
    plain = run(*call)[1]
    shown = run(*call, terminal="out err")[1]
    # Rows have their columns without colours, too.
    assert run(*call, terminal="out err", **said)[1] == COLOUR.sub("", shown) != shown
    assert run(*call, terminal="err")[1] == plain
    forced = run(*call, CLICOLOR_FORCE="1")[1]
    assert forced != plain and COLOUR.sub("", forced) == plain
    # Who wants none gets none.
    assert run(*call, CLICOLOR_FORCE="1", NO_COLOR="1")[1] == plain


def test_errors_have_a_colour_where_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for call in (["inspect", tmp_path / "empty"], ["inspect"]):
        status, _, piped = run(*call, terminal="out")
        assert status in (1, 2) and "error" in piped and "\x1b" not in piped
        again, _, shown = run(*call, terminal="err")
        assert again == status and COLOUR.search(shown) and COLOUR.sub("", shown) == piped


def long_work(place: Path, vendor: confext.KeyPair, make: Make) -> dict[str, tuple[str, list[object]]]:
    """Verbs with the word that says what they do."""
    image = make({"etc/app.conf": b"a" * 3_000_000}, path=place / "app_1.raw")
    for name in ("root", "tree/etc", "app.raw.v"):
        (place / name).mkdir(parents=True)
    (place / "tree/etc/app.conf").write_bytes(b"a" * 3_000_000)
    certificate, key = place / "vendor.crt", place / "vendor.key"
    certificate.write_bytes(vendor.certificate)
    key.write_bytes(vendor.key)
    admitted = confext.verify(image, certificates=certificate)
    (place / "manifest").write_bytes(admitted.manifest().to_json())
    gate = ["--root", place / "root", "--certificate", certificate]
    pair = ["--key", key, "--certificate", certificate]
    new = ["build", "--class", "confext", "--name", "new", "--source", place / "tree", "--release", "ID=_any"]
    root = place / "traced"
    for directory in ("etc", "run/confexts"):
        (root / directory).mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=demo\n")
    (root / "run/confexts/app.raw").write_bytes(image.read_bytes())
    confext.fec(image, output=place / "app.fec")
    traced = ["--root", root, "--class", "confext", "--certificate", certificate]
    return {
        "build": ("building", [*new, "--output", place / "new.raw", "--replace", *pair]),
        "sign": ("signing", ["sign", image, "--output", place / "signed.raw", *pair]),
        "verify": ("checking", ["verify", *gate, image]),
        "manifest": ("reading", ["manifest", *gate, image]),
        "manifest --check": ("reading", ["manifest", *gate, "--check", place / "manifest", image]),
        "diff": ("comparing", ["diff", *gate, image, image]),
        "extract": ("extracting", ["extract", *gate, "--replace", image, place / "out"]),
        "store publish": (
            "publishing", ["store", "publish", *gate, "--version", "1", image, place / "app.raw.v"],
        ),
        "fec": ("encoding", ["fec", image, "--output", place / "out.fec"]),
        "repair": ("repairing", ["repair", image, "--fec", place / "app.fec", "--output", place / "repaired.raw"]),
        "report": ("tracing", ["report", *traced, "--output", place / "page.html"]),
    }  # fmt: skip


WORK = [
    "build", "diff", "extract", "fec", "manifest", "manifest --check", "repair", "report", "sign", "store publish", "verify",
]  # fmt: skip
# What is written anew by each call.
WRITTEN = ["signed.raw", "out.fec", "repaired.raw"]


@pytest.mark.parametrize("name", WORK)
def test_long_work_says_how_far_it_is(name: str, tmp_path: Path, vendor: confext.KeyPair, make: Make) -> None:
    calls = long_work(tmp_path, vendor, make)
    assert sorted(calls) == WORK
    word, call = calls[name]

    def again(*arguments: object, terminal: str, **environment: str) -> tuple[str, str]:
        for name in WRITTEN:
            (tmp_path / name).unlink(missing_ok=True)
        status, out, err = run(*arguments, terminal=terminal, **environment)
        assert status == 0, err
        return out, err

    out, err = again(*call, terminal="err")
    assert "\x1b" not in out
    # Nothing of it is left when the answer is there.
    assert err.startswith("\r") and err.endswith("\r\x1b[K")
    shown = lines(err)
    steps = [re.fullmatch(rf"{word} +\[(#*) *\] +(\d+) %", line) for line in shown]
    percents = [int(step[2]) for step in steps if step]
    # How much there is to read is about right, where files are read.
    assert len(percents) == len(shown) and percents == sorted(set(percents)) and 99 <= percents[-1] <= 100
    assert [len(step[1]) for step in steps if step] == [percent * 24 // 100 for percent in percents]
    assert all(len(line) < 60 for line in shown)
    # Without colours, too.
    assert again(*call, terminal="out err", NO_COLOR="1")[1].startswith(f"\r{word}")
    for arguments, terminal, term in (
        (call, "out", "xterm"),
        (call, "out err", "dumb"),
        (["--quiet", *call], "out err", "xterm"),
        (["--json", *call], "out err", "xterm"),
    ):
        assert again(*arguments, terminal=terminal, TERM=term)[1] == ""


def lines(err: str) -> list[str]:
    """What was shown, one after the other in the same line, without what removed it at the end."""
    shown = err.removesuffix("\r\x1b[K").split("\r")[1:]
    assert all(line.endswith("\x1b[K") for line in shown)
    return [line.removesuffix("\x1b[K") for line in shown]


@pytest.mark.parametrize(
    ("columns", "form"),
    [
        (200, r"checking   \[(#| ){24}\] {1,3}\d+ %"),
        (44, r"checking   \[(#| ){24}\] {1,3}\d+ %"),
        (30, r"checking   \[(#| ){10}\] {1,3}\d+ %"),
        (20, r"checking {1,3}\d+ %"),
        (10, r" {0,2}\d+ %"),
        (5, None),
    ],
)
def test_a_narrow_terminal_gets_one_line_or_none(
    columns: int, form: str | None, tmp_path: Path, vendor: confext.KeyPair, make: Make
) -> None:
    _, call = long_work(tmp_path, vendor, make)["verify"]
    status, _, err = run_on(call, "err", columns)
    assert status == 0
    if form is None:
        assert err == ""
        return
    shown = lines(err)
    assert shown and all(re.fullmatch(form, line) and len(line) < columns for line in shown), shown


def test_what_prints_meanwhile_shows_how_far_it_is_between_its_lines(
    tmp_path: Path, vendor: confext.KeyPair, make: Make
) -> None:
    _, (_, *traced) = long_work(tmp_path, vendor, make)["report"]
    for number in range(300):
        (tmp_path / f"traced/etc/host-{number}").touch()
    call = ["trace", "--planned", *traced[:-2]]
    _, plain, err = run(*call, "--image", "app")
    assert "/etc/app.conf" in plain and err == ""
    # Both on one terminal, as it is for people: each line of the answer stands alone.
    status, shown, _ = run(*call, "--image", "app", terminal="both")
    assert status == 0 and re.search(r"\rtracing +\[#* *\] +\d+ %", shown)
    assert re.sub(r"\r[^\r\n]*\x1b\[K", "", shown) == run(*call, "--image", "app", terminal="out")[1]
    # To a file: nothing stands between.
    with (tmp_path / "answer").open("w+") as answer:
        _, _, err = run_on([*call, "--all"], "err", out=answer.fileno())
        percents = [int(line.split()[-2]) for line in lines(err)]
        assert percents == sorted(set(percents)) and percents[-1] == 100
        assert "\x1b" not in (tmp_path / "answer").read_text()
    # Who reads a pipe may write to the same terminal.
    assert run(*call, "--all", terminal="err")[2] == ""


def test_work_that_fails_leaves_only_its_error(tmp_path: Path, vendor: confext.KeyPair, make: Make) -> None:
    _, call = long_work(tmp_path, vendor, make)["verify"]
    image = Path(str(call[-1]))
    content = bytearray(image.read_bytes())
    at = content.index(b"a" * 4096)
    content[at + 5000] ^= 1
    image.write_bytes(content)
    status, _, err = run(*call, terminal="err")
    bar, error = err.split("\r\x1b[K")
    assert status == 1 and bar.startswith("\rchecking") and COLOUR.sub("", error).startswith("error[")


def test_a_merge_says_how_far_the_copies_are(root: Path, make: Make, vendor: confext.KeyPair) -> None:
    make({"etc/one": b"x" * (8 << 20)}, path=root / "run/confexts/one.raw", name="one")
    (root / "etc/verity.d").mkdir()
    (root / "etc/verity.d/vendor.crt").write_bytes(vendor.certificate)
    for terminal in ("err", "out"):
        status, _, err = run("merge", "--root", root, "--attach", "sealed-memory", terminal=terminal)
        assert status == 0 and ("copying    [" in err) == err.endswith("\r\x1b[K") == (terminal == "err"), err
        assert run("unmerge", "--root", root)[0] == 0


def test_an_interrupt_ends_a_run_before_its_images_are_copied(root: Path, make: Make, vendor: confext.KeyPair) -> None:
    make({"etc/one": b"x" * (8 << 20)}, path=root / "run/confexts/one.raw", name="one")
    (root / "etc/verity.d").mkdir()
    (root / "etc/verity.d/vendor.crt").write_bytes(vendor.certificate)

    def interrupted() -> None:
        # It waits until somebody wants to know of it.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        os.kill(os.getpid(), signal.SIGINT)

    call = ["run", "--root", root, "--attach", "sealed-memory", "--", "/usr/bin/true"]
    status, _, err = run_on(call, "err", before=interrupted)
    assert (status, err) == (128 + signal.SIGINT, "")
