"""Results are values: frozen, equal, hashable, shown, matched."""

from __future__ import annotations

import confext
import pytest
from conftest import Make


def test_results_are_values(make: Make, vendor: confext.KeyPair) -> None:
    image = make({"etc/a": b"a"})
    first, second = (confext.verify(image, certificates=vendor.certificate) for _ in range(2))
    assert first.signer == second.signer and first.signer is not None
    assert len({first.evidence, second.evidence}) == 1
    assert first.evidence != first.signer
    with pytest.raises(AttributeError):
        first.signer.subject = "CN=somebody else"  # type: ignore[misc]
    assert repr(first.signer).startswith(
        f"Signer(subject='CN=vendor', fingerprint='{vendor.fingerprint}', not_before="
    )


def test_results_can_be_matched(make: Make, vendor: confext.KeyPair) -> None:
    evidence = confext.verify(make({"etc/a": b"a"}), certificates=vendor.certificate).evidence
    match evidence:
        case confext.Evidence("signed", root_hash, confext.Signer(subject=subject)):
            assert (len(root_hash or ""), subject) == (64, "CN=vendor")
        case _:
            pytest.fail(f"no match: {evidence}")


def test_entries_can_be_compared() -> None:
    assert confext.File(b"a", mode=0o600) == confext.File(b"a", mode=0o600, uid=0)
    assert confext.File(b"a") != confext.File(b"b")
    assert repr(confext.Symlink("x")) == "Symlink(target='x', mode=511, uid=0, gid=0, mtime=None, xattrs={})"


def test_what_only_the_library_makes_cannot_be_made() -> None:
    for made in (confext.Admitted, confext.AdmittedPartition, confext.Files, confext.Image, confext.Evidence, confext.Signer):
        with pytest.raises(TypeError):
            made()
