#!/usr/bin/python
# The module `confext_service`: a version of an image is used by a service, or what was used before is used again
from __future__ import annotations

DOCUMENTATION = r"""
---
module: confext_service
short_description: Roll a version of an extension image out to a service
description:
  - Publishes an image into the store of a service, has the service see and read it, checks the service, and calls the version good.
  - Where one of these fails, what was used before is used again, and the module fails; the service never stops.
  - A version that is used already, with the same bytes, is left alone.
version_added: 0.1.0
author:
  - The confext project (@confext)
options:
  unit:
    description: The unit, like V(nginx). It has to be active.
    type: str
    required: true
  image:
    description: The image, on the host.
    type: path
    required: true
  store:
    description: The directory C(NAME.raw.v) that C(ExtensionImages=) of the unit lists.
    type: path
    required: true
  version:
    description: The version; else that of the file name, C(NAME_VERSION.raw).
    type: str
  check:
    description:
      - Commands for C(sh) that have to end with 0 when the service runs with the version.
      - A check that cannot fail proves nothing; have one look at something that the version changes.
    type: list
    elements: str
    default: []
  check_inside:
    description: Run the checks in the mount namespace of the service, where they see the files that it sees.
    type: bool
    default: false
  check_timeout:
    description: How many seconds a check may take.
    type: int
    default: 30
  refresh:
    description: Who has the service see the version - its C(manager), or the command itself (V(direct)).
    type: str
    choices: [manager, direct]
    default: manager
  reload:
    description: How the service is told to read it.
    type: str
    choices: [job, signal, none]
    default: job
  settle:
    description: How many seconds the service has to live on after V(reload=signal).
    type: int
    default: 0
  tries:
    description: How often the version may be tried, where a rollout is interrupted.
    type: int
    default: 3
  keep:
    description: How many versions stay in the store; else all.
    type: int
extends_documentation_fragment:
  - confext.confext.common
attributes:
  check_mode:
    support: full
    description: The image is verified, and the plan returned. An image that would be refused fails in check mode, too.
  diff_mode:
    support: full
    description: The version, and the files that are different, by name, attributes and digest.
"""

EXAMPLES = r"""
- name: nginx runs with version 2 of its configuration, or as it did before
  confext.confext.confext_service:
    unit: nginx
    image: /var/cache/images/nginx_2.raw
    store: /var/lib/confexts/nginx.raw.v
    certificates:
      - /etc/verity.d/vendor.crt
    check:
      - nginx -t -q
    check_inside: true
    keep: 3
"""

RETURN = r"""
plan:
  description: What is to be done. Empty when nothing is.
  returned: success
  type: list
  elements: str
version:
  description: The version that the service runs. In check mode the one that it would.
  returned: success
  type: str
previous:
  description: The version that was used before, if there was one.
  returned: always
  type: str
runs:
  description: What the service runs - V(new), V(previous) or V(unknown).
  returned: after a rollout
  type: str
steps:
  description: The steps that ended, each with C(way), C(step), C(state) and C(seconds).
  returned: after a rollout
  type: list
  elements: dict
code:
  description: The stable code of what failed.
  returned: failure
  type: str
hint:
  description: What to do about it.
  returned: failure
  type: str
"""

import filecmp
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.confext.confext.plugins.module_utils.command import COMMON, Confext

ARGUMENTS = {
    "unit": {"type": "str", "required": True},
    "image": {"type": "path", "required": True},
    "store": {"type": "path", "required": True},
    "version": {"type": "str"},
    "check": {"type": "list", "elements": "str", "default": []},
    "check_inside": {"type": "bool", "default": False},
    "check_timeout": {"type": "int", "default": 30},
    "refresh": {"type": "str", "choices": ["manager", "direct"], "default": "manager"},
    "reload": {"type": "str", "choices": ["job", "signal", "none"], "default": "job"},
    "settle": {"type": "int", "default": 0},
    "tries": {"type": "int", "default": 3},
    "keep": {"type": "int"},
    **COMMON,
}


def version_of(module):
    """The version that is meant."""
    if module.params["version"] is not None:
        return module.params["version"]
    name, mark, version = os.path.basename(module.params["image"]).removesuffix(".raw").rpartition("_")
    if not mark or not name:
        module.fail_json(msg="image: found %s, expected NAME_VERSION.raw, or a version" % module.params["image"])
    return version


def used(confext, store):
    """The version that is used, if there is one."""
    versions = confext.ask("store", "list", store)["versions"]
    return versions[0] if versions else None


def difference(confext, before, version):
    """What a diff shows: the version, and the files."""
    params = confext.module.params
    lines = confext.differences(before["path"], params["image"]) if before else None
    lines = lines or {"before": [], "after": []}
    heads = {"before": "version %s" % (before["version"] if before else "none"), "after": "version %s" % version}
    sides = {side: "".join(line + "\n" for line in [heads[side], *lines[side]]) for side in heads}
    return {"before_header": params["unit"], "after_header": params["unit"], **sides}


def plan(params, version):
    """The steps, for people."""
    return [
        "publish version %s to %s" % (version, params["store"]),
        "refresh %s by %s" % (params["unit"], "its manager" if params["refresh"] == "manager" else "confext"),
        "reload %s: %s" % (params["unit"], params["reload"]),
        *("check: %s" % check for check in params["check"]),
        *(["keep the best %d versions" % params["keep"]] if params["keep"] is not None else []),
    ]


def roll(confext, version):
    """Roll out. Returns the result, and a list of what was not done; fails when the version does not run."""
    params = confext.module.params
    arguments = ["rollout", params["unit"], params["image"], "--store", params["store"], "--version", version]
    for name in ("refresh", "reload", "settle", "tries", "check_timeout", "keep"):
        if params[name] is not None:
            arguments += ["--" + name.replace("_", "-"), str(params[name])]
    for check in params["check"]:
        arguments += ["--check", check]
    if params["check_inside"]:
        arguments.append("--check-inside")
    status, documents = confext.call(*arguments, *confext.trust())
    last = documents[-1]
    fields = ("way", "step", "state", "seconds")
    ended = [one for one in documents if one.get("state") in ("done", "failed")]
    steps = [{field: one[field] for field in fields} for one in ended]
    if "outcome" not in last:
        confext.fail(last, status, steps=steps)
    outcome = last["outcome"]
    not_done = ["%s: [%s] %s" % (one["step"], one["code"], one["message"]) for one in outcome["not_done"]]
    result = {"runs": outcome["runs"], "steps": steps, "not_done": not_done}
    if outcome["runs"] != "new":
        why = outcome["failure"] or {}
        text = "%s: [%s] %s: %s; it runs what is %s" % (
            why.get("step"), why.get("code"), why.get("message"), why.get("hint"), outcome["runs"],
        )  # fmt: skip
        before = (outcome["previous"] or {}).get("version")
        confext.module.fail_json(msg=text, code=why.get("code"), hint=why.get("hint"), rc=status, previous=before, **result)
    return result


def main():
    """The module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    confext, params = Confext(module), module.params
    version = version_of(module)
    before = used(confext, params["store"])
    result = {"changed": True, "version": version, "previous": before["version"] if before else None}
    # An image that would be refused is refused in check mode, too, and when its version is used already.
    confext.ask("verify", params["image"], *confext.trust())
    same = before is not None and before["version"] == version and before["tries"] is None
    if same and filecmp.cmp(before["path"], params["image"], shallow=False):
        module.exit_json(**{**result, "changed": False, "plan": []})
    result["plan"] = plan(params, version)
    if module._diff:
        result["diff"] = difference(confext, before, version)
    if not module.check_mode:
        result.update(roll(confext, version))
        for one in result.pop("not_done"):
            module.warn("not done: " + one)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
