"""Hosts: list, plan, merge, trace, refresh, unmerge and run, below a root directory of the test."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import confext
import pytest
from conftest import Make


@pytest.fixture
def host(root: Path, vendor: confext.KeyPair) -> confext.Host:
    return confext.Host(root, certificates=vendor.certificate)


@pytest.fixture
def put(root: Path, make: Make) -> Any:
    """Put a version of the extension `app` where the host finds it."""

    def put(version: int, **entries: bytes) -> Path:
        source = {"etc/app.conf": f"version = {version}\n".encode(), **{f"etc/{k}": v for k, v in entries.items()}}
        return make(source, path=root / f"run/confexts/app.raw.v/app_{version}.raw")

    return put


def test_the_whole_story(root: Path, host: confext.Host, put: Any, vendor: confext.KeyPair) -> None:
    config = root / "etc/app.conf"
    put(1)

    listed = host.list().extensions
    assert [(one.layer.name, one.layer.version, one.merged) for one in listed] == [("app", "1", "no")]
    plan = host.plan()
    assert (plan.vetoes, plan.refused) == ((), ())
    change = plan.hierarchies[0].changes[0]
    assert (change.path, change.effect) == ("app.conf", "added")
    assert not config.exists(), "a plan changes nothing"

    both = host.apply("refresh")
    assert [(one.class_, one.outcome) for one in both] == [("sysext", "nothing"), ("confext", "merged")]
    assert host.apply("unmerge", ["confext"])[0].outcome == "unmerged"
    with pytest.raises(confext.ConflictError):
        host.apply("merge", ["confext", "confext"])
    with pytest.raises(ValueError, match="verb: found 'reload'"):
        host.apply("reload")  # type: ignore[arg-type]
    planned = host.trace("/etc/app.conf", planned=True)
    assert (planned.view, planned.answer, planned.kind) == ("planned", "layer", "regular")
    assert planned.source is not None and planned.source.known_from == "plan"
    assert planned.source.evidence.signer is not None

    report = host.merge()
    assert (report.outcome, report.hierarchies) == ("merged", ("etc",))
    attached = report.layers[0].attached
    assert attached is not None and attached.asked == "auto"
    assert attached.reads in ("dm-verity", "sealed-memory")
    assert (attached.verity is None) == (attached.reads == "sealed-memory") == (attached.because == "no-dm-verity")
    assert set(report.propagated) <= set(report.hierarchies)
    assert config.read_text() == "version = 1\n"
    assert (root / "etc/own.conf").read_text() == "own\n"
    with pytest.raises(confext.ConflictError) as caught:
        host.merge()
    assert caught.value.code == "already-merged"

    origin = host.trace("/etc/app.conf")
    assert (origin.answer, origin.hierarchy, origin.kind) == ("layer", "etc", "regular")
    assert origin.source is not None and origin.source.evidence.signer is not None
    assert origin.source.image == "/run/confexts/app.raw.v/app_1.raw"
    assert origin.source.evidence.signer.fingerprint == vendor.fingerprint
    assert origin.source.partition is not None and origin.source.partition.designator == "root"
    assert (origin.view, origin.source.known_from, origin.source.confirmed_by) == ("live", "record", "root-hash")
    assert host.trace("/etc/app.conf", content=True) == origin
    traced = {one.path: one for one in host.trace_all()}
    assert traced["/etc/app.conf"] == origin
    of_signer = [one.path for one in host.trace_all(signer=vendor.fingerprint) if one.kind == "regular"]
    assert "/etc/app.conf" in of_signer and "/etc/own.conf" not in of_signer
    assert of_signer == [one.path for one in host.trace_all(image="app") if one.kind == "regular"]
    assert list(host.trace_all(unverified=True)) == []
    next(host.trace_all())  # the rest is not made
    with pytest.raises(ValueError):
        host.trace_all(image="app", unverified=True)
    assert host.trace("etc/own.conf").answer == "base"
    assert host.trace("run").answer == "not-merged"
    assert host.trace("etc/none").answer == "absent"

    (status,) = host.status()
    assert (status.hierarchy, status.state, status.extensions, status.doubts) == ("etc", "merged", ("app",), ())
    assert status.layers == report.layers

    unchanged = host.refresh()
    assert (unchanged.outcome, unchanged.because) == ("unchanged", ())
    assert unchanged.decided_by[0].test == "root-hash"
    put(2)
    refreshed = host.refresh()
    assert [(change.kind, change.name, change.test) for change in refreshed.because] == [
        ("replaced", "app", "root-hash")
    ]
    assert config.read_text() == "version = 2\n"
    assert [change.kind for change in host.refresh(force=True).because] == ["asked"]

    assert host.unmerge().outcome == "unmerged"
    assert not config.exists()
    assert host.unmerge().outcome == "nothing"
    assert host.status()[0].state == "bare"


def test_what_is_the_same_is_told_by_identity_or_by_content(root: Path) -> None:
    tree = root / "run/confexts/tree"
    release = tree / "etc/extension-release.d/extension-release.tree"
    release.parent.mkdir(parents=True)
    release.write_text("ID=_any\n")
    config = tree / "etc/tree.conf"
    config.write_text("1234\n")

    def because(host: confext.Host) -> list[tuple[str, str | None]]:
        return [(change.kind, change.test) for change in host.refresh().because]

    host = confext.Host(root, policy="unprotected", detect="content")
    assert host.merge().layers[0].identity == "content"
    os.utime(config, (1, 1))
    assert because(host) == []
    config.write_text("1235\n")
    os.utime(config, (1, 1))
    assert because(host) == [("replaced", "content")]
    assert because(confext.Host(root, policy="unprotected")) == [("replaced", "directory")]
    os.utime(config, (2, 2))
    assert because(confext.Host(root, policy="unprotected")) == [("replaced", "directory")]
    host.unmerge()
    wrong: Any = "times"
    with pytest.raises(ValueError, match="detect"):
        confext.Host(root, detect=wrong)


def test_what_is_merged_can_be_written_to(root: Path, host: confext.Host, put: Any, vendor: confext.KeyPair) -> None:
    put("a")
    for mode in ("yes", "auto"):
        writable = confext.Host(root, certificates=vendor.certificate, mutable=mode)
        writable.merge()
        (root / "etc/written").write_text(mode)
        writable.unmerge()
        assert not (root / "etc/written").exists()
        assert (root / "var/lib/extensions.mutable/etc/written").read_text() == mode
    ephemeral = confext.Host(root, certificates=vendor.certificate, mutable="ephemeral")
    ephemeral.merge()
    (root / "etc/other").write_text("")
    (change,) = host.refresh().because
    assert (change.kind, change.found, change.expected) == ("mutability", "ephemeral", "no")
    host.unmerge()
    wrong: Any = "enabled"
    with pytest.raises(ValueError, match="mutable"):
        confext.Host(root, mutable=wrong)


def test_a_reader_never_misses_a_file(root: Path, host: confext.Host, put: Any) -> None:
    """Also shows that other threads run during a refresh."""
    put(1)
    host.merge()
    stop, seen, missed = threading.Event(), set(), []

    def poll() -> None:
        while not stop.is_set():
            try:
                seen.add((root / "etc/app.conf").read_text())
            except OSError as error:
                missed.append(error)

    reader = threading.Thread(target=poll)
    reader.start()
    try:
        for version in range(2, 12):
            put(version)
            assert host.refresh().outcome == "refreshed"
    finally:
        stop.set()
        reader.join()
        host.unmerge()
    assert missed == []
    assert len(seen) > 1


def put_other(root: Path, key: confext.KeyPair) -> None:
    confext.build(
        "other",
        source={"etc/other": b""},
        output=root / "run/confexts/other.raw",
        release={"ID": "_any"},
        key=key.key,
        certificate=key.certificate,
    )


def test_the_first_bad_extension_stops_a_merge(
    root: Path, host: confext.Host, put: Any, stranger: confext.KeyPair
) -> None:
    put(1)
    put_other(root, stranger)
    with pytest.raises(confext.UnverifiedError) as caught:
        host.merge()
    assert (caught.value.code, caught.value.image) == ("unknown-signer", "/run/confexts/other.raw")
    assert host.status()[0].state == "bare"


def test_a_bad_extension_can_be_left_out(
    root: Path, put: Any, vendor: confext.KeyPair, stranger: confext.KeyPair
) -> None:
    put(1)
    put_other(root, stranger)
    host = confext.Host(root, certificates=[vendor.certificate], on_bad="skip")
    report = host.merge()
    assert [layer.name for layer in report.layers] == ["app"]
    assert [(one.name, one.severity, one.code) for one in report.refused] == [("other", "refused", "unknown-signer")]
    host.unmerge()


def test_the_certificates_of_the_host_count_by_default(root: Path, put: Any, vendor: confext.KeyPair) -> None:
    put(1)
    host = confext.Host(root)
    with pytest.raises(confext.UnverifiedError) as caught:
        host.merge()
    assert caught.value.code == "no-certificates"
    (root / "etc/verity.d").mkdir()
    (root / "etc/verity.d/vendor.crt").write_bytes(vendor.certificate)
    assert host.merge().layers[0].evidence.kind == "signed"
    host.unmerge()


def test_an_extension_for_another_host_is_left_alone(root: Path, host: confext.Host, vendor: confext.KeyPair) -> None:
    confext.build(
        "app",
        source={"etc/a": b""},
        output=root / "run/confexts/app.raw.v/app_1.raw",
        release={"ID": "other"},
        key=vendor.key,
        certificate=vendor.certificate,
    )
    report = host.merge()
    assert report.outcome == "nothing"
    assert [(one.name, one.severity) for one in report.refused] == [("app", "ignored")]
    forced = confext.Host(root, certificates=vendor.certificate, host_match=False)
    assert forced.merge().outcome == "merged"
    forced.unmerge()


def test_a_veto_stops_a_merge_unless_allowed(
    root: Path, host: confext.Host, put: Any, vendor: confext.KeyPair
) -> None:
    put(1, **{"verity.d/evil.crt": b"x"})
    assert host.plan().vetoes[0].code == "brings-certificates"
    with pytest.raises(confext.ConflictError) as caught:
        host.merge()
    assert caught.value.code == "brings-certificates"
    allowing = confext.Host(root, certificates=vendor.certificate, allow=["brings-certificates"])
    assert allowing.merge().outcome == "merged"
    allowing.unmerge()


def test_a_command_sees_what_nobody_else_sees(root: Path, host: confext.Host, put: Any, programs: None) -> None:
    put(1)
    command: list[str | Path] = [Path("/bin/sh"), "-c", "cat /etc/app.conf; echo $WHO >&2; exit 3"]
    with confext.Stack(host) as stack:
        assert [layer.name for layer in stack.layers] == ["app"]
        assert stack.plan.hierarchies[0].path == "etc"
        done = stack.run(command, capture_output=True, env={"PATH": "/bin", "WHO": "me"})
        assert isinstance(done, subprocess.CompletedProcess)
        assert done.args == [str(argument) for argument in command]
        assert (done.returncode, done.stdout, done.stderr) == (3, b"version = 1\n", b"me\n")
        with pytest.raises(ValueError, match="run or closed"):
            stack.run(command)
    assert not (root / "etc/app.conf").exists()


def test_a_running_command_is_given_another_stack(host: confext.Host, put: Any, programs: None) -> None:
    put(1)
    stack = confext.Stack(host)
    assert (stack.manner, stack.manner_reason) == ("mounts", None)
    script = "while read -r line; do cat /etc/app.conf; done; exit 4"
    with stack.start(["/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None and running.stdout is not None and running.stderr is None
        assert running.args[0] == "/bin/sh" and Path(f"/proc/{running.pid}").exists()

        def ask() -> bytes:
            assert running.stdin is not None and running.stdout is not None
            running.stdin.write(b"\n")
            running.stdin.flush()
            return running.stdout.readline()

        assert ask() == b"version = 1\n"
        assert running.poll() is None and running.returncode is None
        put(2)
        new = confext.Stack(host)
        running.refresh(new)
        assert ask() == b"version = 2\n"
        with pytest.raises(ValueError, match="run or closed"):
            running.refresh(new)
    assert running.wait() == running.returncode == 4
    with pytest.raises(confext.ConflictError) as caught:
        running.refresh(confext.Stack(host))
    assert caught.value.code == "not-running"


def test_a_running_command_is_waited_for_and_ended(host: confext.Host, put: Any, programs: None) -> None:
    put(1)
    sleep = ["/bin/sleep", "1000"]
    running = confext.Stack(host).start(sleep)
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(timeout=0.01)
    running.terminate()
    assert running.wait() == -signal.SIGTERM
    running.kill()
    with pytest.raises(ZeroDivisionError), confext.Stack(host).start(sleep) as running:
        raise ZeroDivisionError
    assert running.returncode == -signal.SIGKILL
    # An interrupt ends the wait, and the command with it.
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        confext.Stack(host).run(sleep)
    done = confext.Stack(host).start(
        ["/bin/sh", "-c", "echo out; echo err >&2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.stdout is not None
    assert (done.stdout.read(), done.wait()) == (b"out\nerr\n", 0)
    with pytest.raises(TypeError, match="subprocess.PIPE"):
        confext.Stack(host).start(sleep, stdin="here")  # type: ignore[arg-type]


def test_how_a_command_ends_is_told_as_subprocess_does(host: confext.Host, put: Any, programs: None) -> None:
    put(1)
    with confext.Stack(host) as stack, pytest.raises(FileNotFoundError) as caught:
        stack.run(["/no/such/program"])
    assert caught.value.filename == "/no/such/program"
    killed = confext.Stack(host).run(["/bin/sh", "-c", "kill -9 $$"])
    assert killed.returncode == -9
    assert killed.stdout is None
    with pytest.raises(ValueError, match="expected a program"):
        confext.Stack(host).run([])
    # One that is never run leaves nothing either.
    confext.Stack(host)


def test_bad_conditions_are_told_at_once(tmp_path: Path, vendor: confext.KeyPair) -> None:
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"policy": "junk"}, confext.Error, "policy|rule"),
        ({"certificates": b"junk"}, confext.CorruptError, "certificate"),
        ({"certificates": 5}, TypeError, "certificates"),
        ({"on_bad": "ignore"}, ValueError, "on_bad: found 'ignore', expected 'refuse' or 'skip'"),
        ({"attach": "loop"}, ValueError, "attach: found 'loop'"),
        ({"allow": ["everything"]}, ValueError, 'allow: found "everything"'),
        ({"lock_wait": -1}, ValueError, "lock_wait"),
    ]
    for options, error, text in cases:
        with pytest.raises(error, match=text):
            confext.Host(tmp_path, **options)
    with pytest.raises(ValueError, match="class_"):
        confext.Host(tmp_path).list("portable")  # type: ignore[arg-type]


def test_a_host_can_be_looked_at_without_root(tmp_path: Path, make: Make, vendor: confext.KeyPair) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/run/confexts").mkdir(parents=True)
    (tmp_path / "root/etc/os-release").write_text("ID=demo\n")
    make({"etc/a": b""}, path=tmp_path / "root/run/confexts/app.raw")
    host = confext.Host(tmp_path / "root", certificates=vendor.certificate)
    assert host.root == os.path.realpath(tmp_path / "root")
    assert str(host.policy).startswith("root=signed")
    assert [one.layer.evidence.kind for one in host.list().extensions] == ["signed"]
    assert [change.path for change in host.plan().hierarchies[0].changes] == ["a", *RELEASE]
    assert host.status()[0].state == "bare"


RELEASE = ["extension-release.d", "extension-release.d/extension-release.app"]


def test_explain(root: Path, host: confext.Host, put: Any, vendor: confext.KeyPair) -> None:
    put(1)
    put(2)
    (root / "var/lib/confexts/app.raw").parent.mkdir(parents=True, exist_ok=True)
    (root / "var/lib/confexts/app.raw").write_bytes(b"")
    found = host.explain("app")
    used, shadowed = found.entries
    assert (found.verdict, found.refusal, found.near) == ("used", None, ())
    assert (used.reason, used.version, used.kind) == ("used", "2", "raw")
    assert used.place is not None and (used.place.position, used.place.of, used.place.merged) == (1, 1, "no")
    assert used.place.evidence.signer is not None
    assert used.place.evidence.signer.fingerprint == vendor.fingerprint
    assert [fault.code for fault in used.passed_over] == ["version-outranked"]
    assert (shadowed.reason, shadowed.by) == ("shadowed", "/run/confexts/app.raw.v")
    assert [(one.path, one.state) for one in found.searched][:2] == [
        ("/run/confexts", "listed"),
        ("/var/lib/confexts", "listed"),
    ]
    assert host.explain("apq").near == host.explain("aqp").near != ()
    nobody = confext.Host(root, certificates=(), on_bad="skip", require=["app"])
    explained = nobody.explain("app")
    assert explained.verdict == "not-used" and explained.refusal is not None
    fault = explained.entries[0].fault
    assert explained.entries[0].reason == "refused" and fault is not None and fault.found is not None
    with pytest.raises(confext.Error) as caught:
        nobody.merge()
    assert caught.value.code == fault.code == explained.refusal.code
    with pytest.raises(ValueError, match="allow: "):
        confext.Host(root, allow=["app:layer-unreadable"])


def test_run_is_as_that_of_subprocess(root: Path, host: confext.Host, put: Any, programs: None) -> None:
    put(1)
    script = "cat /etc/app.conf; echo $WHO >&2; exit 3"
    done = confext.run(["/bin/sh", "-c", script], host=host, capture_output=True, env={"WHO": "me"})
    assert (done.returncode, done.stdout, done.stderr) == (3, b"version = 1\n", b"me\n")
    done = confext.run(["/bin/sh", "-c", script], host=host, capture_output=True, text=True, cwd="/")
    assert done.stdout == "version = 1\n" and done.args == ["/bin/sh", "-c", script]
    many = confext.run(["/bin/sh", "-c", "seq 100000"], host=host, capture_output=True)
    assert many.stdout.endswith(b"\n100000\n") and len(many.stdout) == 588895
    assert confext.run(["/bin/true"], host=host).stdout is None
    with pytest.raises(subprocess.CalledProcessError) as failed:
        confext.run(["/bin/sh", "-c", "exit 5"], host=host, check=True)
    assert failed.value.returncode == 5
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        confext.run(["/bin/sh", "-c", "echo a; exec sleep 600"], host=host, timeout=0.5, capture_output=True)
    assert (expired.value.output, expired.value.timeout) == (b"a\n", 0.5)
    with pytest.raises(confext.Error):
        confext.run(["/bin/none"], host=host)
    with pytest.raises(TypeError):
        confext.run(["/bin/true"], host=host, shell=True)  # type: ignore[call-arg]


def test_who_waits_for_a_copy_hears_how_far_it_is_and_may_end_it(
    root: Path, make: Make, vendor: confext.KeyPair
) -> None:
    for name in ("one", "two"):
        make({f"etc/{name}": b"x" * (1 << 20)}, path=root / f"run/confexts/{name}.raw", name=name)
    host = confext.Host(root, certificates=vendor.certificate, attach="sealed-memory")

    def enough(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for call in (host.merge, host.refresh, lambda progress: confext.Stack(host, progress=progress)):
        with pytest.raises(KeyboardInterrupt):
            call(progress=enough)
        assert host.status()[0].state == "bare"
    told: list[tuple[int, int]] = []
    host.merge(progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told) and told[-1][0] == told[-1][1] > 2 << 20
    assert {total for _, total in told} == {told[-1][1]}
    host.unmerge()
