#!/usr/bin/python
# The module `confext_image`: an extension image is built, signed, or verified
from __future__ import annotations

DOCUMENTATION = r"""
---
module: confext_image
short_description: Build, sign or verify an extension image
description:
  - Builds a confext or sysext image from a directory, signs one, or verifies one.
  - What is there already and is right is left alone. The same directory, name and times give the same image.
version_added: 0.1.0
author:
  - The confext project (@confext)
options:
  path:
    description: The image.
    type: path
    required: true
  state:
    description:
      - V(verified) checks signature, hash tree and every block, and changes nothing.
      - V(built) has the image be what O(source) is, signed with O(key).
      - V(signed) has an image that is there be signed with O(key); its files stay as they are.
    type: str
    choices: [verified, built, signed]
    default: verified
  source:
    description: The directory with the files. Needed for O(state=built).
    type: path
  name:
    description: The name of the extension; else that of the file, without version and ending.
    type: str
  class:
    description: What it extends.
    type: str
    choices: [confext, sysext]
    default: confext
  release:
    description: Fields of its release file, like V(ID); V(_any) is for every host.
    type: dict
    default: {}
  key:
    description: The private key (PEM). Needed for O(state=built) and O(state=signed).
    type: path
  certificate:
    description: Its certificate (PEM). Needed with O(key).
    type: path
extends_documentation_fragment:
  - confext.confext.common
attributes:
  check_mode:
    support: full
    description: An image is built beside and taken away again, and nothing else is written.
  diff_mode:
    support: full
    description: The files that are different, by name, attributes and digest.
"""

EXAMPLES = r"""
- name: The configuration of nginx is an image that we signed
  confext.confext.confext_image:
    state: built
    path: /srv/images/nginx_2.raw
    source: /srv/nginx
    release:
      ID: _any
      IMAGE_VERSION: "2"
    key: /etc/vendor/vendor.key
    certificate: /etc/vendor/vendor.crt

- name: An image is whole, and one of us signed it
  confext.confext.confext_image:
    path: /srv/images/nginx_2.raw
    certificates:
      - /etc/verity.d/vendor.crt
"""

RETURN = r"""
root_hash:
  description: What the signature vouches for, in hex.
  returned: success, but in check mode only where there is an image
  type: str
signer:
  description: Subject and fingerprint of the certificate whose signature was checked.
  returned: O(state=verified), where a signature was asked for
  type: dict
code:
  description: The stable code of what is wrong.
  returned: failure
  type: str
hint:
  description: What to do about it.
  returned: failure
  type: str
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.confext.confext.plugins.module_utils.command import COMMON, Confext

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["verified", "built", "signed"], "default": "verified"},
    "source": {"type": "path"},
    "name": {"type": "str"},
    "class": {"type": "str", "choices": ["confext", "sysext"], "default": "confext"},
    "release": {"type": "dict", "default": {}},
    "key": {"type": "path", "no_log": False},
    "certificate": {"type": "path"},
    **COMMON,
}


def verified(module, confext):
    """Check it, and say who signed it."""
    said = confext.ask("verify", module.params["path"], *confext.trust())
    evidence = said["evidence"]
    by = evidence.get("by")
    signer = {"subject": by["subject"], "fingerprint": by["fingerprint"]} if by else None
    return {"changed": False, "root_hash": evidence.get("root_hash"), "signer": signer}


def root_hash(confext, path, certificate):
    """The root hash of an image that is whole and signed with this certificate, else none."""
    if not os.path.exists(path):
        return None
    status, documents = confext.call("verify", path, "--certificate", certificate)
    return documents[-1]["evidence"]["root_hash"] if status == 0 else None


def built(module, confext):
    """Build it beside, and put it in place if it is another one."""
    path = module.params["path"]
    name = module.params["name"] or os.path.basename(path).removesuffix(".raw").split("_")[0]
    # On the file system of the image, so that it can be put in place in one step.
    with tempfile.TemporaryDirectory(prefix=".confext-", dir=os.path.dirname(os.path.abspath(path))) as work:
        return built_in(module, confext, os.path.join(work, name + ".raw"), name)


def built_in(module, confext, new, name):
    """The same, with the path of the new image."""
    params, path = module.params, module.params["path"]
    release = ["--release=%s=%s" % item for item in sorted(params["release"].items())]
    made = confext.ask(
        "build", "--class", params["class"], "--name", name, "--source", params["source"], "--output", new,
        "--key", params["key"], "--certificate", params["certificate"], *release,
    )  # fmt: skip
    result = {"changed": root_hash(confext, path, params["certificate"]) != made["root_hash"], "root_hash": made["root_hash"]}
    if result["changed"] and module._diff:
        result["diff"] = difference(confext, path, new, params["certificate"])
    if result["changed"] and not module.check_mode:
        os.replace(new, path)
    return result


def difference(confext, path, new, certificate):
    """What becomes other files."""
    confext.module.params["certificates"] = [certificate, *confext.module.params["certificates"]]
    lines = confext.differences(path, new) if os.path.exists(path) else None
    lines = lines or {"before": [], "after": ["all files of " + os.path.basename(path)]}
    return {side: "".join(line + "\n" for line in lines[side]) for side in ("before", "after")}


def signed(module, confext):
    """Sign it, unless it is."""
    params, path = module.params, module.params["path"]
    known = root_hash(confext, path, params["certificate"])
    if known is not None or module.check_mode:
        return {"changed": known is None, "root_hash": known}
    made = confext.ask("sign", path, "--key", params["key"], "--certificate", params["certificate"])
    return {"changed": True, "root_hash": made["root_hash"]}


def main():
    """The module."""
    needs = [("state", "built", ["source", "key", "certificate"]), ("state", "signed", ["key", "certificate"])]
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, required_if=needs)
    state = {"verified": verified, "built": built, "signed": signed}[module.params["state"]]
    module.exit_json(**state(module, Confext(module)))


if __name__ == "__main__":
    main()
