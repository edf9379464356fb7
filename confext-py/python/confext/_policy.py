"""The states of a partition that a rule of a policy can allow."""

from __future__ import annotations

import enum


class Use(str, enum.Enum):
    """A state of a partition that a rule of a policy can allow. It is equal to its word.

    The order is by how much is let in: `Use.UNPROTECTED` is the smallest, what is not used at all the largest.
    """

    #: Used without any protection.
    UNPROTECTED = "unprotected"
    #: Used, encrypted (LUKS).
    ENCRYPTED = "encrypted"
    #: Used, encrypted and authenticated (LUKS with integrity).
    ENCRYPTED_WITH_INTEGRITY = "encryptedwithintegrity"
    #: Used under a hash tree.
    VERITY = "verity"
    #: Used under a hash tree whose root hash a trusted key signed.
    SIGNED = "signed"
    #: There, but not used.
    UNUSED = "unused"
    #: Not there.
    ABSENT = "absent"

    def __new__(cls, value: str) -> Use:
        use = str.__new__(cls, value)
        use._value_ = value
        return use

    def __str__(self) -> str:
        return str(self._value_)

    # Not those of the words, which would put `absent` before `signed`.

    def __lt__(self, other: str) -> bool:
        return _rank(self) < _rank(other)

    def __le__(self, other: str) -> bool:
        return _rank(self) <= _rank(other)

    def __gt__(self, other: str) -> bool:
        return _rank(self) > _rank(other)

    def __ge__(self, other: str) -> bool:
        return _rank(self) >= _rank(other)


def _rank(word: str) -> int:
    return list(Use).index(Use(word))
