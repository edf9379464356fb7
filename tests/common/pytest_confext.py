"""Fixtures that the Python tests of several directories share: keys, and a mount namespace for what needs root."""

from __future__ import annotations

import ctypes
import os

import confext
import pytest

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


@pytest.fixture(scope="session")
def vendor() -> confext.KeyPair:
    """The key whose signatures count."""
    return confext.generate_key("vendor")


@pytest.fixture(scope="session")
def stranger() -> confext.KeyPair:
    """A key nobody knows."""
    return confext.generate_key("stranger")


@pytest.fixture(scope="session")
def as_root() -> None:
    """What needs root is skipped without it, unless nothing may be missing."""
    if os.geteuid() != 0:
        if os.environ.get("CONFEXT_TEST_REQUIRE") == "1":
            pytest.fail("needs root")
        pytest.skip("needs root")


@pytest.fixture(scope="session")
def namespace(as_root: None) -> None:
    """A mount namespace for this process, so that no test can change the machine."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "no mount namespace")
