"""What a host is asked for: configuration files, where writes go, what can be run, how long to wait, whom to tell, and why."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import confext
import pytest
from conftest import Make


@pytest.fixture
def app(root: Path, make: Make) -> Any:
    """Put a version of the extension `app` where the host finds it."""

    def put(version: int) -> Path:
        return make({"etc/app.conf": f"{version}\n".encode()}, path=root / f"run/confexts/app.raw.v/app_{version}.raw")

    put(1)
    return put


@pytest.fixture
def trusting(vendor: confext.KeyPair, root: Path) -> Any:
    """The host under conditions."""

    def trusting(**conditions: Any) -> confext.Host:
        return confext.Host(root, certificates=vendor.certificate, **conditions)

    return trusting


def status(host: confext.Host) -> confext.Status:
    (found,) = host.status()
    return found


def test_a_plan_says_what_comes_stays_and_goes(root: Path, app: Any, trusting: Any) -> None:
    host = trusting()

    def fates() -> list[tuple[str, str, str | None]]:
        return [(one.name, one.change, one.test) for one in host.plan().layer_changes]

    assert fates() == [("app", "added", None)]
    host.merge()
    assert fates() == [("app", "kept", "root-hash")]
    app(2)
    assert fates() == [("app", "replaced", "root-hash")]
    shutil.rmtree(root / "run/confexts/app.raw.v")
    assert fates() == [("app", "removed", None)]
    host.unmerge()
    assert fates() == []


def test_a_plan_and_a_status_say_where_writes_go(root: Path, app: Any, trusting: Any) -> None:
    for mode, writes, path in [
        ("no", "nowhere", None),
        ("import", "nowhere", None),
        ("yes", "directory", "var/lib/extensions.mutable/etc"),
        ("ephemeral-import", "memory", None),
    ]:
        host = trusting(mutable=mode)
        planned = host.plan().hierarchies[0].mutable
        assert (planned.mode, planned.writes, planned.path) == (mode, writes, path)
        assert (planned.imported is None) == (mode != "ephemeral-import")
        host.merge()
        assert status(host).mutable == planned
        assert host.unmerge().left_behind == ()
    assert status(host).mutable is None
    (root / "var/lib/extensions.mutable/etc").chmod(0o777)
    refusal = trusting(mutable="auto").plan().refusal
    assert refusal is not None and (refusal.name, refusal.code) == (None, "mutable-mode")


def test_the_configuration_of_the_host_counts_where_it_is_read(root: Path, app: Any, trusting: Any) -> None:
    configuration = root / "etc/systemd/confext.conf"
    addition = root / "usr/lib/systemd/confext.conf.d/10-a.conf"
    addition.parent.mkdir(parents=True)
    configuration.parent.mkdir(parents=True)
    configuration.write_text("[ConfExt]\nMutable=yes\nImagePolicy=root=signed+absent\n")
    addition.write_text("[ConfExt]\nMutable=ephemeral\n")

    host = trusting()
    found = host.settings()
    assert found.class_ == "confext" and found.mutable is not None and found.policy is not None
    assert (found.mutable.value, found.mutable.place) == ("ephemeral", "/usr/lib/systemd/confext.conf.d/10-a.conf:2")
    assert (found.policy.value, found.policy.place) == ("root=signed+absent", "/etc/systemd/confext.conf:3")
    assert found.files == ("/etc/systemd/confext.conf", "/usr/lib/systemd/confext.conf.d/10-a.conf")
    assert host.settings("sysext").files == ()

    def mode(host: confext.Host) -> str:
        return host.plan().hierarchies[0].mutable.mode

    reading = trusting(read_settings=True)
    assert (mode(host), mode(reading)) == ("no", "ephemeral")
    assert mode(trusting(read_settings=True, mutable="import")) == "import"
    merged = reading.apply("refresh")
    assert [one.outcome for one in merged] == ["nothing", "merged"]
    found_status = status(reading)
    assert found_status.policy == "root=signed+absent"
    assert found_status.mutable is not None and found_status.mutable.writes == "memory"
    assert reading.refresh().outcome == "unchanged"
    kinds = [change.kind for change in trusting(read_settings=True, policy="signed").refresh().because]
    assert kinds == ["policy"]

    # What is not known refuses all of it, but takes nothing away from who wants to be rid of it.
    addition.write_text("[ConfExt]\nMutable=perhaps\n")
    for attempt in (reading.refresh, reading.plan, host.settings):
        with pytest.raises(confext.Error) as caught:
            attempt()
        assert caught.value.code == "settings-mutable"
    assert reading.unmerge().outcome == "unmerged"
    host.merge()
    assert reading.apply("unmerge")[1].outcome == "unmerged"


def test_noexec_is_a_choice(root: Path, app: Any, trusting: Any) -> None:
    for noexec, execution, expected in [(None, "by-class", True), (True, "forbidden", True), (False, "allowed", False)]:
        host = trusting(noexec=noexec)
        host.merge()
        assert bool(os.statvfs(root / "etc").f_flag & os.ST_NOEXEC) == expected
        assert (status(host).execution, status(host).doubts) == (execution, ())
        if not expected:
            (change,) = trusting().refresh().because
            assert (change.kind, change.found, change.expected) == ("execution", "allowed", "by-class")
        host.unmerge()


def test_who_keeps_a_file_open_is_named(root: Path, app: Any, trusting: Any) -> None:
    host = trusting(mutable="yes", busy_wait=0)
    host.merge()
    with (root / "etc/written").open("w"):
        for change in (host.unmerge, lambda: host.refresh(force=True)):
            with pytest.raises(confext.ConflictError) as caught:
                change()
            assert caught.value.code == "stack-busy"
            assert f"written open for writing in process {os.getpid()}" in str(caught.value)
    host.unmerge()


def test_a_refresh_has_no_gap_where_there_is_another_way(app: Any, trusting: Any) -> None:
    host = trusting(exchange="gap-allowed")
    assert host.merge().gaps == ()
    app(2)
    refreshed = host.refresh()
    assert (refreshed.outcome, refreshed.gaps) == ("refreshed", ())
    host.unmerge()


@pytest.fixture
def machine(needs_root: None) -> Iterator[None]:
    """The root of this machine, on which nobody answers for the service manager."""
    subprocess.run(["mount", "-t", "tmpfs", "confext-test", "/run"], check=True)
    yield
    subprocess.run(["umount", "/run"], check=True)


def test_the_manager_of_this_machine_is_told(machine: None) -> None:
    release = Path("/run/confexts/app/etc/extension-release.d/extension-release.app")
    release.parent.mkdir(parents=True)
    release.write_text("ID=_any\nEXTENSION_RESTART_UNITS=confext-test.service\n")
    config = Path("/run/confexts/app/etc/confext-test.conf")
    config.write_text("1\n")
    host = confext.Host(policy="unprotected")
    for change in (host.merge, host.refresh, host.unmerge):
        config.write_text(f"{change}\n")
        report = change(reload=True)
        assert report.told is not None and report.told.failure is not None
        assert (report.told.actions, report.told.failure[0]) == ((), "manager-unreachable")
        # What was merged stays, and what was unmerged is gone.
        assert Path("/etc/confext-test.conf").exists() == (report.outcome != "unmerged")
        assert report.after.manager.restart == ("confext-test.service",)
    reports = host.apply("merge", ["confext"], reload=True)
    assert reports[0].told is not None
    assert host.refresh(reload=True).told is None, "nothing has changed"
    assert host.unmerge().told is None, "nobody asked for it"


def test_the_manager_is_not_told_of_other_roots(root: Path, app: Any, trusting: Any) -> None:
    release = root / "run/confexts/tree/etc/extension-release.d/extension-release.tree"
    release.parent.mkdir(parents=True)
    release.write_text("ID=_any\nEXTENSION_RESTART_UNITS=confext-test.service\n")
    host = trusting(policy="unprotected")
    report = host.merge(reload=True)
    assert (report.told, report.after.manager.restart) == (None, ("confext-test.service",))
    assert host.unmerge(reload=True).told is None


def test_every_reason_is_explained(root: Path, app: Any, trusting: Any, vendor: confext.KeyPair) -> None:
    def build(name: str, release: str, entries: dict[str, bytes]) -> None:
        confext.build(
            name,
            source=entries,
            output=root / f"run/confexts/{name}.raw",
            release={"ID": release},
            key=vendor.key,
            certificate=vendor.certificate,
            allow=["brings-certificates"],
        )

    build("vetoed", "_any", {"etc/verity.d/x.crt": b"x"})
    build("foreign", "other", {"etc/x": b""})
    (root / "run/confexts/off").mkdir()
    (root / "run/confexts/broken.raw").write_bytes(b"")
    (root / "run/confexts/app.txt").write_bytes(b"")
    host = trusting(on_bad="skip")

    def explained(name: str) -> confext.Explained:
        found = host.explain(name)
        assert (found.name, found.verdict) == (name, "used" if name == "app" else "not-used")
        first: confext.Explained = found.entries[0]
        return first

    app_place = explained("app").place
    assert app_place is not None and (app_place.position, app_place.hierarchies) == (1, ("etc",))
    vetoed = explained("vetoed")
    assert (vetoed.reason, [veto.code for veto in vetoed.vetoes]) == ("vetoed", ["brings-certificates"])
    foreign = explained("foreign")
    assert (foreign.reason, foreign.field) == ("other-host", "ID")
    assert foreign.fault is not None and (foreign.fault.found, foreign.fault.code) == ('ID="other"', "host-os")
    assert explained("off").reason == "masked"
    broken = explained("broken")
    assert broken.reason == "refused" and broken.fault is not None and broken.fault.code == "image-empty"
    assert host.explain("none").verdict == "unknown"
    # The same bad one stops all others where nothing is left out.
    strict = trusting().explain("app")
    assert strict.verdict == "refused" and strict.refusal is not None and strict.refusal.code == "image-empty"
    assert [one.name for one in host.explain("ap").near] == ["app"]
    assert host.explain("app").class_ == "confext" and host.explain("app", "sysext").verdict == "unknown"


def test_the_iterator_of_a_trace_has_a_type(app: Any, trusting: Any) -> None:
    host = trusting()
    host.merge()
    answers = host.trace_all(image="app")
    assert isinstance(answers, confext.Origins) and iter(answers) is answers
    assert next(answers).path == "/etc"
    host.unmerge()


def test_conditions_that_are_none_are_told_at_once(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"busy_wait": -1}, ValueError, "busy_wait"),
        ({"exchange": "fast"}, ValueError, "exchange: found 'fast', expected 'gapless' or 'gap-allowed'"),
        ({"noexec": "yes"}, TypeError, "noexec"),
        ({"mutable": "on"}, ValueError, "mutable"),
    ]
    for conditions, error, text in cases:
        with pytest.raises(error, match=text):
            confext.Host(tmp_path, **conditions)
