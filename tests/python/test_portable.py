"""Portable services: units that images bring along are put beside those of a host, all of them or none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import confext
import confext.aio
import confext.logs
import pytest
from conftest import Make

RUN = b"[Service]\nExecStart=/usr/bin/app\n"
ATTACHED = "etc/systemd/system.attached"


@pytest.fixture
def host(tmp_path: Path, vendor: confext.KeyPair, make: Make) -> confext.Host:
    """A host with an image of a service, an extension of it, and a profile."""
    root = tmp_path / "root"
    for directory in ("etc", "srv/tree/etc/extension-release.d", "usr/lib/systemd/portable/profile/default"):
        (root / directory).mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=demo\n")
    (root / "usr/lib/systemd/portable/profile/default/service.conf").write_text("[Service]\nPrivateTmp=yes\n")
    units = {f"usr/lib/systemd/system/{name}": RUN for name in ("app.service", "app-x@.service", "other.service")}
    make({"usr/lib/os-release": b"ID=guest\n", **units}, path=root / "srv/app_1.raw", class_="portable", release=None)
    make({"etc/site.conf": b"site\n"}, path=root / "srv/site.raw", name="site")
    (root / "srv/tree/etc/extension-release.d/extension-release.tree").write_text("ID=_any\nCONFEXT_SCOPE=portable\n")
    return confext.Host(root, certificates=vendor.certificate)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root / ATTACHED)) for path in (root / ATTACHED).rglob("*"))


def test_a_service_is_attached_listed_and_detached(host: confext.Host, vendor: confext.KeyPair) -> None:
    root = Path(host.root)
    planned = confext.service.attach(host, "/srv/app_1.raw", extensions=["/srv/site.raw"], dry_run=True)
    assert not planned.attached and files(root) == [] and confext.service.attached(host) == ()
    assert [(unit.name, unit.image) for unit in planned.units] == [
        ("app-x@.service", "/srv/app_1.raw"),
        ("app.service", "/srv/app_1.raw"),
    ]
    assert planned.units[1].path.endswith("usr/lib/systemd/system/app.service")
    assert (planned.base.path, planned.base.leads_to, planned.base.kind) == ("/srv/app_1.raw", "/srv/app_1.raw", "image")
    for part in (planned.base, *planned.extensions):
        assert part.evidence.kind == "signed" and part.evidence.signer is not None
        assert part.evidence.signer.fingerprint == vendor.fingerprint
    assert planned.matches == ("app",) and "=signed" in str(planned.root_policy) and "=signed" in str(planned.extension_policy)
    texts = {file.path: file.text for file in planned.files if file.text is not None}
    links = {file.path: file.link_to for file in planned.files if file.link_to is not None}
    profile = f"/{ATTACHED}/app.service.d/10-profile.conf"
    assert links[profile] == "/usr/lib/systemd/portable/profile/default/service.conf"
    assert f"RootImagePolicy={planned.root_policy}" in texts[f"/{ATTACHED}/app.service.d/20-portable.conf"]

    done = confext.service.attach(host, Path("/srv/app_1.raw"), extensions=[Path("/srv/site.raw")])
    assert done.attached and done.files == planned.files
    for path, text in texts.items():
        assert (root / path.lstrip("/")).read_text() == text
    assert [(root / path.lstrip("/")).is_symlink() for path in links] == [True] * len(links)
    shown = confext.service.show(host, "app")
    assert (shown.root, shown.root_path) == ("image", "/srv/app_1.raw")
    # What is attached is a service as every other.
    assert [one.reason for one in confext.service.explain(host, "app").listed] == ["used"]
    expected = confext.service.attached(host)
    match expected:
        case (
            confext.PortableService(
                "/srv/app_1.raw", ("/srv/site.raw",), False, ("app-x@.service", "app.service"), ()
            ),
        ):
            pass
        case other:
            pytest.fail(repr(other))
    with pytest.raises(confext.ConflictError) as caught:
        confext.service.attach(host, "/srv/app_1.raw")
    assert caught.value.code == "portable-exists"
    (root / ATTACHED / "app.service").unlink()
    (found,) = confext.service.attached(host)
    assert (found.units, found.incomplete) == (("app-x@.service",), ("app.service",))
    assert confext.service.detach(host, "app") == found
    assert files(root) == [] and confext.service.attached(host) == ()
    with pytest.raises(confext.ConflictError) as caught:
        confext.service.detach(host, "app")
    assert caught.value.code == "portable-missing"


def test_which_units_and_for_how_long_is_said(host: confext.Host, vendor: confext.KeyPair) -> None:
    def names(**arguments: object) -> list[str]:
        done = confext.service.attach(host, "/srv/app_1.raw", dry_run=True, **arguments)  # type: ignore[arg-type]
        return [unit.name for unit in done.units]

    assert names(names=["other"]) == ["other.service"]
    assert names(all_units=True) == ["app-x@.service", "app.service", "other.service"]
    with pytest.raises(confext.RefusedError):
        confext.service.attach(host, "/srv/app_1.raw", extensions=["/srv/tree"])
    lenient = confext.Host(host.root, certificates=vendor.certificate, policy="unprotected")
    done = confext.service.attach(
        lenient, "/srv/app_1.raw", extensions=["/srv/tree"], names=["app.service"], profile=None, runtime=True
    )
    assert [part.kind for part in done.extensions] == ["directory"] and done.extension_policy is None
    assert not any(file.path.endswith("10-profile.conf") for file in done.files)
    assert all(file.path.startswith("/run/systemd/system.attached/") for file in done.files)
    (found,) = confext.service.attached(host)
    assert found.runtime and found.units == ("app.service",)
    assert confext.service.detach(host, "/srv/app_1.raw").runtime


def test_an_event_loop_goes_on_meanwhile(host: confext.Host, vendor: confext.KeyPair) -> None:
    async def work() -> None:
        planned = await confext.aio.service_attach(host, "/srv/app_1.raw", profile=None, dry_run=True)
        assert not planned.attached and await confext.aio.service_attached(host) == ()
        done = await confext.aio.service_attach(host, "/srv/app_1.raw", profile=None)
        assert done.attached and done.files == planned.files
        assert await confext.aio.service_attached(host) == confext.service.attached(host) != ()
        # Who is cancelled waits until all of it is done.
        task = asyncio.create_task(confext.aio.service_detach(host, "app"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert files(Path(host.root)) == [] and confext.service.attached(host) == ()
        with pytest.raises(confext.ConflictError):
            await confext.aio.service_detach(host, "app")

    asyncio.run(asyncio.wait_for(work(), 60))


def test_what_was_done_is_logged(host: confext.Host, caplog: pytest.LogCaptureFixture) -> None:
    def told() -> list[tuple[str, str]]:
        said = [(record.levelname, record.message) for record in caplog.records]
        caplog.clear()
        return said

    with caplog.at_level("INFO"), confext.logs.capture():
        confext.service.attach(host, "/srv/app_1.raw", dry_run=True)
        assert told() == []
        confext.service.attach(host, "/srv/app_1.raw")
        assert told() == [("INFO", "attached /srv/app_1.raw: app-x@.service, app.service")]
        (Path(host.root) / ATTACHED / "app.service").unlink()
        confext.service.attached(host)
        assert told() == [("WARNING", "/srv/app_1.raw: only drop-ins of app.service")]


def test_what_cannot_be_attached_leaves_nothing(host: confext.Host, stranger: confext.KeyPair) -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({"names": ["nothing"]}, "portable-units"),
        ({"profile": "strange"}, "portable-profile"),
        ({"image": "srv/app_1.raw"}, "portable-path"),
        ({"image": "/srv/none.raw"}, "extension-missing"),
    ]
    for arguments, code in wrong:
        with pytest.raises(confext.Error) as caught:
            confext.service.attach(host, **{"image": "/srv/app_1.raw", **arguments})  # type: ignore[arg-type]
        assert caught.value.code == code
    with pytest.raises(confext.Error):
        confext.service.attach(confext.Host(host.root, certificates=stranger.certificate), "/srv/app_1.raw")
    told: list[dict[str, object]] = [
        {"names": ["a"], "all_units": True},
        {"names": []},
        {"image": b"/srv/\xff".decode(errors="surrogateescape")},
    ]
    for arguments in told:
        with pytest.raises(ValueError):
            confext.service.attach(host, **{"image": "/srv/app_1.raw", **arguments})  # type: ignore[arg-type]
    assert files(Path(host.root)) == []
