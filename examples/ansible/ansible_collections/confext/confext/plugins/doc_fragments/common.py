# Documentation that both modules share
from __future__ import annotations


class ModuleDocFragment:
    """Options that both modules have."""

    DOCUMENTATION = r"""
options:
  certificates:
    description:
      - Files with the certificates whose signatures count, on the host.
      - With an empty list no signature is checked, and O(policy) has to do with less.
    type: list
    elements: path
    default: []
  policy:
    description:
      - What is asked of an image, in the words of systemd.image-policy(7), or V(signed), V(verity), V(unprotected).
    type: str
    default: signed
  executable:
    description:
      - The command C(confext), by name or path.
    type: str
    default: confext
requirements:
  - the command C(confext) on the host
"""
