"""Results that come from a pickle or a copy."""

from __future__ import annotations

from typing import Any


def restore(cls: Any, fields: tuple[object, ...]) -> object:
    """The value of a class of this package that has these fields."""
    return cls._restore(fields)
