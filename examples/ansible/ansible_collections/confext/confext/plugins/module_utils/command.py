# Calls the command `confext` and reads its JSON
from __future__ import annotations

import json

#: Options that both modules have, as in the documentation fragment.
COMMON = {
    "certificates": {"type": "list", "elements": "path", "default": []},
    "policy": {"type": "str", "default": "signed"},
    "executable": {"type": "str", "default": "confext"},
}


class Confext:
    """The command, as a module is told to call it."""

    def __init__(self, module):
        self.module = module
        self.path = module.get_bin_path(module.params["executable"], required=True)

    def trust(self):
        """The arguments that say whose signatures count, and what is asked of an image."""
        given = [part for path in self.module.params["certificates"] for part in ("--certificate", path)]
        return given + ["--policy", self.module.params["policy"]]

    def call(self, *arguments):
        """Exit status and documents; of all verbs but rollout it is one document."""
        command = [self.path, *arguments, "--json"]
        status, out, err = self.module.run_command(command)
        documents, decoder = [], json.JSONDecoder()
        text = out.strip()
        while text:
            try:
                document, end = decoder.raw_decode(text)
            except ValueError:
                self.module.fail_json(msg="%s: no JSON: %s%s" % (" ".join(command), out, err), rc=status)
            documents.append(document)
            text = text[end:].lstrip()
        if not documents:
            self.module.fail_json(msg="%s: %s" % (" ".join(command), err), rc=status)
        return status, documents

    def ask(self, *arguments, accept=(0,)):
        """One document of a call that succeeds, else the module fails with what the command says."""
        status, documents = self.call(*arguments)
        if status not in accept or "error" in documents[-1]:
            self.fail(documents[-1], status)
        return documents[-1]

    def fail(self, document, status, **more):
        """Fail with code, message and advice of the command."""
        error = document.get("error") or {}
        code, message, hint = error.get("code"), error.get("message"), error.get("hint")
        self.module.fail_json(msg="[%s] %s: %s" % (code, message, hint), code=code, hint=hint, rc=status, **more)

    def differences(self, before, after):
        """The lines of a diff between the files of two images; none where one of them cannot be read any more."""
        status, documents = self.call("diff", before, after, *self.trust())
        if status not in (0, 1) or "error" in documents[-1]:
            return None
        lines = {"before": [], "after": []}
        for one in documents[-1]["differences"]:
            for side in lines:
                line = describe(one, side)
                if line is not None:
                    lines[side].append(line)
        return lines


def describe(difference, side):
    """What is said of a path before or after, or nothing: names and digests, never what files contain."""
    path, change = difference["path"], difference["change"]
    if change == "changed":
        fields = ("%s=%s" % (field["field"], field.get(side)) for field in difference["fields"])
        return "%s %s" % (path, " ".join(fields))
    if (change == "added") != (side == "after"):
        return None
    entry = difference.get("entry", {})
    return "%s %s mode=%o size=%s" % (path, entry.get("file_type"), entry.get("mode", 0), entry.get("size_bytes"))
