"""The extensions of one service: planned from its unit's files, and seen by a process without a restart."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import confext
import confext.aio
import pytest
from conftest import Make


@pytest.fixture
def host(root: Path, vendor: confext.KeyPair) -> confext.Host:
    return confext.Host(root, certificates=vendor.certificate)


@pytest.fixture
def unit(root: Path, make: Make) -> str:
    """A unit below the root directory with two versions of an image."""
    for version in (1, 2):
        entries = {"etc/app.conf": f"version = {version}\n".encode()}
        make(entries, path=root / f"run/confexts/app.raw.v/app_{version}.raw")
    unit = root / "etc/systemd/system/app.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExtensionImages=/run/confexts/app.raw.v\n")
    return "app.service"


@pytest.fixture
def process(root: Path) -> Iterator[int]:
    """A process with a mount namespace of its own, whose root is the root directory."""
    script = 'exec chroot "$0" sh -c "echo; exec cat"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(root)]
    for name in ("usr", "bin", "lib", "lib64"):
        (root / name).mkdir(exist_ok=True)
        if os.path.lexists(f"/{name}"):
            script = f'mount --rbind "/{name}" "$0/{name}"; ' + script
    command[-2] = script
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert running.stdin is not None and running.stdout is not None
    assert running.stdout.readline() == b"\n", "it did not come up"
    try:
        yield running.pid
    finally:
        running.stdin.close()
        running.wait(10)
        running.stdout.close()


def test_what_a_unit_lists_is_planned_and_explained(host: confext.Host, unit: str) -> None:
    plan = confext.service.plan(host, unit)
    assert plan.refusal is None
    assert [(one.class_, one.hierarchies[0].changes[0].path) for one in plan.plans] == [("confext", "app.conf")]
    assert [one.code for one in plan.refused] == ["version-outranked"]
    listed = confext.service.explain(host, unit).listed
    assert [(one.reason, one.version) for one in listed] == [("used", "2")]
    origin = confext.service.trace(host, unit, "/etc/app.conf")
    assert origin.source is not None
    assert (origin.view, origin.source.image) == ("planned", "/run/confexts/app.raw.v/app_2.raw")
    with pytest.raises(confext.Error) as caught:
        confext.service.plan(host, "none.service")
    assert caught.value.code == "unit-missing"


def test_what_a_unit_mounts_over_its_extensions_is_said(host: confext.Host, root: Path, unit: str) -> None:
    file = root / "etc/systemd/system/app.service"
    file.write_text(f"{file.read_text()}BindPaths=/srv/x:/etc/app.conf\nTemporaryFileSystem=/etc/other /usr/share\n")
    shown = confext.service.show(host, unit).covered
    assert [(one.hierarchy, one.path, one.key) for one in shown] == [
        ("/etc", "/etc/app.conf", "BindPaths"),
        ("/etc", "/etc/other", "TemporaryFileSystem"),
        ("/usr", "/usr/share", "TemporaryFileSystem"),
    ]
    assert shown[0].place == "/etc/systemd/system/app.service:3"
    assert confext.service.plan(host, unit).covered == shown[:1], "those over what changes"
    assert confext.service.explain(host, unit).covered == shown[:2], "those in directories that have extensions"
    assert confext.service.trace(host, unit, "/etc/app.conf").answer == "submount"


def change_of(found: confext.ServicePlan) -> confext.PathChange:
    """What becomes of /etc/app.conf."""
    (change,) = [one for one in found.plans[0].hierarchies[0].changes if one.path == "app.conf"]
    return change


def test_a_unit_in_an_image_is_planned_over_its_files(
    host: confext.Host, root: Path, unit: str, make: Make, tmp_path: Path
) -> None:
    (root / "srv").mkdir()
    release = {"usr/lib/os-release": b"ID=guest\nVERSION_ID=7\n", "etc/app.conf": b"its own\n"}
    make(release, path=root / "srv/os.raw", class_="portable", release=None)
    file = root / "etc/systemd/system/app.service"
    file.write_text(f"{file.read_text()}RootImage=/srv/os.raw\n")
    shown = confext.service.show(host, unit)
    assert (shown.root, shown.root_path) == ("image", "/srv/os.raw")
    change = change_of(confext.service.plan(host, unit))
    assert (change.effect, [one.layer for one in change.shadows]) == ("shadowed", [None])
    assert [one.reason for one in confext.service.explain(host, unit).listed] == ["used"]
    # Over another root there is nothing below.
    (tmp_path / "other/etc").mkdir(parents=True)
    (tmp_path / "other/etc/os-release").write_text("ID=other\n")
    assert change_of(confext.service.plan(host, unit, root=tmp_path / "other")).effect == "added"
    origin = confext.service.trace(host, unit, "/etc/app.conf", root=tmp_path / "other")
    assert origin.source is not None and origin.shadows == ()
    for call in (
        lambda: confext.service.trace(host, unit, "/etc/app.conf"),
        lambda: confext.Stack(host, service=unit),
        lambda: confext.run(["true"], host=host, service=unit),
    ):
        with pytest.raises(confext.CapabilityError) as caught:
            call()
        assert caught.value.code == "missing-capability"
    with pytest.raises(TypeError, match="pid or root"):
        confext.service.trace(host, unit, "/etc/app.conf", pid=1, root="/")
    # Its own policy judges the image.
    make(release, path=root / "srv/os.raw", class_="portable", release=None, unsigned=True)
    with pytest.raises(confext.RefusedError):
        confext.service.plan(host, unit)
    file.write_text(f"{file.read_text()}RootImagePolicy=root=unprotected\n")
    assert confext.service.plan(host, unit).refusal is None


def test_a_command_sees_what_a_service_would(
    host: confext.Host, root: Path, unit: str, make: Make, programs: None
) -> None:
    cat = ["/bin/cat", "/etc/app.conf"]
    assert confext.run(cat, host=host, service="app", capture_output=True).stdout == b"version = 2\n"
    assert asyncio.run(confext.aio.run(cat, host=host, service="app", capture_output=True)).stdout == b"version = 2\n"
    assert not (root / "etc/app.conf").exists()
    with confext.Stack(host, service=unit) as stack:
        assert [layer.version for layer in stack.layers] == ["2"]
        assert (stack.manner, stack.plans) == ("mounts", (stack.plan,))
        done = stack.run(cat, capture_output=True)
        assert done.stdout == b"version = 2\n"

    # Extensions of both classes, over a root of its own; and another stack in the place of the first.
    (root / "srv").mkdir()
    make({"usr/share/tool": b"tool\n"}, path=root / "srv/tool.raw", name="tool", class_="sysext")
    base = root / "srv/base"
    (base / "etc").mkdir(parents=True)
    (base / "etc/os-release").write_text("ID=guest\n")
    (base / "usr").mkdir()
    for name in ("bin", "lib", "lib64"):
        (base / name).symlink_to(f"usr/{name}")
    subprocess.run(["mount", "--bind", "/usr", base / "usr"], check=True)
    try:
        file = root / "etc/systemd/system/both.service"
        images = "ExtensionImages=/run/confexts/app.raw.v/app_1.raw /srv/tool.raw"
        file.write_text(f"[Service]\nRootDirectory=/srv/base\n{images}\n")
        stack = confext.Stack(host, service="both")
        assert [plan.class_ for plan in stack.plans] == ["sysext", "confext"] and stack.plan == stack.plans[1]
        assert [layer.name for layer in stack.layers] == ["tool", "app_1"]
        script = "cat /etc/app.conf /usr/share/tool; grep guest /etc/os-release; read x; cat /etc/app.conf"
        with stack.start(["/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
            assert running.stdin is not None and running.stdout is not None
            lines = [running.stdout.readline() for _ in range(3)]
            assert lines == [b"version = 1\n", b"tool\n", b"ID=guest\n"]
            file.write_text(file.read_text().replace("app_1", "app_2"))
            running.refresh(confext.Stack(host, service="both"))
            running.stdin.write(b"\n")
            running.stdin.flush()
            assert running.stdout.read() == b"version = 2\n"
    finally:
        subprocess.run(["umount", base / "usr"], check=True)

    for arguments in ({"service": "app", "class_": "sysext"}, {"live": True}):
        with pytest.raises(TypeError):
            confext.Stack(host, **arguments)
    (root / "etc/systemd/system/none.service").write_text("[Service]\nExecStart=/bin/true\n")
    with pytest.raises(confext.ConflictError) as caught:
        confext.run(["true"], host=host, service="none")
    assert caught.value.code == "no-extensions"


def test_a_process_sees_a_version_and_then_another(
    root: Path, host: confext.Host, unit: str, process: int, vendor: confext.KeyPair
) -> None:
    def seen() -> str:
        return Path(f"/proc/{process}/root/etc/app.conf").read_text()

    store = Path("/run/confexts/app.raw.v")
    report = confext.service.refresh(host, pid=process, images=[store / "app_1.raw"])
    (view,) = report.hierarchies
    assert (report.pid, view.hierarchy, view.outcome, view.found) == (process, "etc", "merged", "nothing")
    assert "ro" in view.attributes and seen() == "version = 1\n"
    assert not (root / "etc/app.conf").exists(), "nobody else sees it"

    (view,) = confext.service.refresh(host, pid=process, images=[store]).hierarchies
    assert (view.outcome, view.found, seen()) == ("refreshed", "own", "version = 2\n")
    assert [(one.kind, one.name) for one in view.because] == [("removed", "app_1"), ("added", "app")]
    (view,) = confext.service.refresh(host, pid=process, images=[store]).hierarchies
    assert (view.outcome, [one.test for one in view.decided_by]) == ("unchanged", ["root-hash"])
    origin = confext.service.trace(host, unit, "/etc/app.conf", pid=process)
    assert origin.source is not None and origin.source.evidence.signer is not None
    assert (origin.source.known_from, origin.source.evidence.signer.fingerprint) == ("record", vendor.fingerprint)

    strange = confext.Host(root, certificates=[])
    with pytest.raises(confext.Error):
        confext.service.refresh(strange, pid=process, images=[store], force=True)
    assert seen() == "version = 2\n"


def test_what_is_asked_for_is_said(host: confext.Host) -> None:
    for arguments in ({}, {"unit": "a", "pid": 1}, {"pid": 1}):
        with pytest.raises(TypeError):
            confext.service.refresh(host, **arguments)
    with pytest.raises(confext.Error) as caught:
        confext.service.refresh(host, pid=os.getpid(), images=[])
    assert caught.value.code == "process-namespace"


def test_a_drop_in_says_what_show_reads(host: confext.Host, root: Path, unit: str) -> None:
    shown = confext.service.show(host, "app")
    assert (shown.name, shown.root, shown.policy, shown.running) == ("app.service", "host", None, None)
    assert shown.images == (confext.UnitEntry("/run/confexts/app.raw.v"),)
    (line,) = shown.settings
    assert (line.key, line.value, line.line) == ("ExtensionImages", "/run/confexts/app.raw.v", 2)
    assert line.file == "/etc/systemd/system/app.service"

    more = confext.UnitEntry("/opt/more images.raw", may_miss=True, options=[("root", "noexec")])
    written = confext.service.drop_in(
        host,
        "app",
        images=[Path("/run/confexts/other.raw"), more],
        directories=["/srv/tree%n"],
        policy="root=signed",
        refresh_on_reload="no",
    )
    assert (written.unit, written.done) == ("app.service", "new")
    assert (root / written.path.lstrip("/")).read_text().startswith("# Written by confext.\n[Service]\n")
    shown = confext.service.show(host, "app")
    assert [entry.path for entry in shown.images] == [
        "/run/confexts/app.raw.v",
        "/run/confexts/other.raw",
        "/opt/more images.raw",
    ]
    assert shown.images[2] == more
    assert shown.directories == (confext.UnitEntry("/srv/tree%n", "directory"),)
    assert (shown.policy, shown.refresh_on_reload) == ("root=signed", "no")
    assert len(shown.files) == 2 and shown.files[1] == written.path

    # What was read can be written again, and is the same.
    again = confext.service.drop_in(
        host,
        "app",
        images=shown.images[1:],
        directories=shown.directories,
        policy=shown.policy,
        refresh_on_reload=shown.refresh_on_reload,
    )
    assert again.done == "same"
    assert confext.service.remove_drop_in(host, "app") is True
    assert confext.service.remove_drop_in(host, "app") is False
    assert confext.service.show(host, "app").images == (confext.UnitEntry("/run/confexts/app.raw.v"),)
    running = confext.service.drop_in(host, "app", images=["/a.raw"], name="60-a.conf", runtime=True)
    assert running.path == "/run/systemd/system/app.service.d/60-a.conf"


def test_what_no_unit_can_say_is_not_written(host: confext.Host, unit: str) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"directories": ["/two\nlines"]}, "unit-entry"),
        ({"images": ["relative.raw"]}, "unit-entry"),
        ({"name": "no-ending"}, "drop-in-name"),
        ({"refresh_on_reload": "sometimes"}, "unit-setting"),
    ]
    for arguments, code in wrong:
        with pytest.raises(confext.Error) as caught:
            confext.service.drop_in(host, "app", **arguments)
        assert caught.value.code == code
    with pytest.raises(ValueError, match="directory"):
        confext.service.drop_in(host, "app", images=[confext.UnitEntry("/a", "directory")])
    with pytest.raises(ValueError, match="designator"):
        confext.UnitEntry("/a", options=[("attic", "ro")])  # type: ignore[list-item]
    assert confext.service.remove_drop_in(host, "app") is False


def test_the_generator_is_installed_and_removed(host: confext.Host, root: Path) -> None:
    assert confext.service.install_generator(host, "/usr/bin/confext") == "new"
    assert confext.service.install_generator(host, Path("/usr/bin/confext")) == "same"
    assert (root / "etc/systemd/system-generators/confext-generator").stat().st_mode & 0o111
    with pytest.raises(confext.ConflictError):
        confext.service.install_generator(host, "relative")
    assert confext.service.uninstall_generator(host) is True
    assert confext.service.uninstall_generator(host) is False


def test_what_a_process_sees_has_a_status(host: confext.Host, root: Path, unit: str, process: int) -> None:
    before = {mount.hierarchy: mount for mount in confext.service.status(pid=process)}
    assert before["etc"].found == "nothing" and before["etc"].layers is None
    entry = confext.UnitEntry("/run/confexts/app.raw.v")
    assert confext.service.refresh(host, pid=process, images=[entry]).pid == process
    after = {mount.hierarchy: mount for mount in confext.service.status(pid=process)}["etc"]
    assert (after.found, after.below_unchanged) == ("own", True)
    assert after.layers is not None and [layer.version for layer in after.layers] == ["2"]
    assert after.since is not None and after.policy
    with pytest.raises(TypeError):
        confext.service.status()
    confext.service.refresh(host, pid=process, images=[])
