"""Parity: a damaged image becomes a new one that is as it was, or is told what is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import confext
import pytest
from conftest import Make

BLOCK = 4096


def spoil(image: Path, output: Path, blocks: range) -> int:
    """Write a copy with damaged blocks of data and return where the data starts."""
    with confext.Image.open(image) as opened:
        start = opened.partitions[0].offset
    content = bytearray(image.read_bytes())
    for block in blocks:
        content[start + block * BLOCK : start + (block + 1) * BLOCK] = bytes([0xA5]) * BLOCK
    output.write_bytes(content)
    return start


def test_a_damaged_image_becomes_what_it_was(make: Make, tmp_path: Path) -> None:
    image = make({"etc/app.data": bytes(range(256)) * 500})
    fec, damaged, new = tmp_path / "app.fec", tmp_path / "damaged.raw", tmp_path / "new.raw"
    parity = confext.fec(image, output=fec, roots=3)
    assert (parity.roots, parity.size) == (3, fec.stat().st_size)
    start = spoil(image, damaged, range(2, 5))
    repair = confext.repair(damaged, fec=fec, output=new, roots=3)
    assert repair.whole and not repair.unrepairable
    assert [block.offset for block in repair.repaired] == [start + block * BLOCK for block in range(2, 5)]
    assert repair.repaired[0] == repair.repaired[0] and repair.repaired[0].area == "data"
    assert new.read_bytes() == image.read_bytes()
    with pytest.raises(confext.FileLookupError) as there:
        confext.repair(damaged, fec=fec, output=new, roots=3)
    assert there.value.code == "output-exists" and "new.raw" in str(there.value)
    assert new.read_bytes() == image.read_bytes()


def test_what_is_lost_is_told(make: Make, tmp_path: Path) -> None:
    image = make({"etc/app.data": bytes(range(256)) * 500})
    fec, damaged, new = tmp_path / "app.fec", tmp_path / "damaged.raw", tmp_path / "new.raw"
    confext.fec(image, output=fec)
    spoil(image, damaged, range(2, 5))
    repair = confext.repair(damaged, fec=fec, output=new)
    assert not repair.whole and not new.exists()
    assert [block.block for block in repair.unrepairable] == [2, 3, 4]
    with pytest.raises(confext.CorruptError) as short:
        confext.repair(damaged, fec=fec, output=new, roots=5)
    assert short.value.code == "fec-area"
    with pytest.raises(ValueError, match="expected 2 to 24"):
        confext.fec(image, output=fec, roots=25)
    with pytest.raises(confext.UnverifiedError):
        confext.fec(damaged, output=fec.with_name("other.fec"))


def test_both_tell_how_far_they_are(make: Make, tmp_path: Path) -> None:
    image = make({"etc/app.data": bytes(range(256)) * 5000})
    fec, damaged = tmp_path / "app.fec", tmp_path / "damaged.raw"
    place = tmp_path / "place"
    place.mkdir()
    confext.fec(image, output=fec)
    spoil(image, damaged, range(2, 4))
    works: list[Callable[[Callable[[int, int], object]], object]] = [
        lambda tell: confext.fec(image, output=place / "out", progress=tell),
        lambda tell: confext.repair(damaged, fec=fec, output=place / "out", progress=tell),
    ]
    for work in works:
        told: list[tuple[int, int]] = []
        work(lambda done, total, told=told: told.append((done, total)))  # type: ignore[misc]
        total = told[0][1]
        assert total > image.stat().st_size // 2 and {total} == {total for _, total in told}
        done = [done for done, _ in told]
        assert done == sorted(done) and (done[0], done[-1]) == (0, total) and len(set(done)) > 2
        (place / "out").unlink()
        for last in range(len(told)):

            calls: list[int] = []

            def enough(done: int, _: int, last: int = last, calls: list[int] = calls) -> None:
                calls.append(done)
                if len(calls) > last:
                    raise Enough(done)

            with pytest.raises(Enough) as ended:
                work(enough)
            assert ended.value.args == (told[last][0],)
            assert list(place.iterdir()) == []


class Enough(Exception):
    """Raised by a callback."""
