"""Reports: a page about a host, the same for the same host and time."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import confext
import pytest
from conftest import Make


@pytest.fixture
def host(tmp_path: Path, make: Make, vendor: confext.KeyPair) -> confext.Host:
    """A root directory that does not run, with one extension and one that is refused."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=demo\n")
    (root / "etc/app.conf").write_text("of the host\n")
    (root / "run/confexts").mkdir(parents=True)
    (root / "run/confexts/empty.raw").touch()
    make({"etc/app.conf": b"x", "etc/</script>": b""}, path=root / "run/confexts/app.raw")
    return confext.Host(root, certificates=vendor.certificate)


def test_the_page_is_text_and_the_same_for_the_same_time(host: confext.Host) -> None:
    page = confext.report(host, time=0)
    assert page == confext.report(host, time=datetime(1970, 1, 1, tzinfo=timezone.utc))
    for part in ("What a merge would give", "made 1970-01-01T00:00:00Z", "CN=vendor", "image-empty"):
        assert part in page, part
    assert page.count("</script>") == 2
    assert "made 19" not in confext.report(host)


def test_what_is_shown_can_be_chosen(host: confext.Host) -> None:
    assert "No extension is part of a stack" in confext.report(host, ["sysext"], time=0)
    page = confext.report(host, ["confext"], planned=True, time=0, files=2, host_files=0)
    assert "4 more paths of extensions" in page and "1 more paths that only the host has" in page
    with pytest.raises(ValueError, match="class_: found 'x'"):
        confext.report(host, ["x"])  # type: ignore[list-item]
    with pytest.raises(OverflowError):
        confext.report(host, files=-1)


def test_what_is_merged_is_shown_with_what_a_refresh_would_change(root: Path, make: Make, vendor: confext.KeyPair) -> None:
    image = root / "run/confexts/app.raw"
    make({"etc/own.conf": b"of the extension"}, path=image)
    host = confext.Host(root, certificates=vendor.certificate, mutable="ephemeral")
    host.merge()
    (root / "etc/written").write_text("x")
    page = confext.report(host, time=0)
    assert "What is merged" in page and "checked when it was merged" in page
    assert "What a refresh would change" not in page and "written since" in page
    make({"etc/own.conf": b"another"}, path=image)
    page = confext.report(host, time=0)
    assert "What a refresh would change" in page and "would be another one: its root-hash differs" in page
    assert "What a merge would give" in confext.report(host, planned=True)
    host.unmerge()
    assert "What a merge would give" in confext.report(host)


class Enough(Exception):
    """Raised by a callback."""


def test_a_report_tells_how_far_it_is(host: confext.Host) -> None:
    told: list[tuple[int, int]] = []
    page = confext.report(host, time=0, progress=lambda done, total: told.append((done, total)))
    assert page == confext.report(host, time=0)
    total = told[0][1]
    assert told == sorted(told) and told[-1] == (total, total) and {total} == {total for _, total in told}

    def enough(done: int, total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        confext.report(host, progress=enough)


def test_a_walk_tells_how_far_it_is(host: confext.Host) -> None:
    told: list[tuple[int, int]] = []
    plain = list(host.trace_all(planned=True))
    seen = list(host.trace_all(planned=True, progress=lambda done, total: told.append((done, total))))
    assert seen == plain
    total = told[0][1]
    assert told == sorted(set(told)) and told[-1] == (total, total) and len(told) > 3
    # Also where nothing is wanted of all that is looked at.
    told.clear()
    progress = lambda done, total: told.append((done, total))  # noqa: E731
    assert list(host.trace_all(planned=True, unverified=True, progress=progress)) == [] and told[-1] == (total, total)

    def enough(done: int, total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        list(host.trace_all(planned=True, progress=enough))
