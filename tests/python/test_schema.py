"""The schema of the command's JSON, judged by an implementation of JSON Schema that others wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import confext
import jsonschema
import pytest
from conftest import Make

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "confext-core/src/cli/schema.json").read_text(encoding="utf-8")
)


def run(*arguments: object) -> Any:
    command = [sys.executable, "-m", "confext", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True).stdout)


def check(verb: str, document: object) -> None:
    schema = run("schema", *verb.split())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert run("schema") == SCHEMA
    assert SCHEMA["$id"] == "urn:confext:json:1"


@pytest.mark.parametrize("verb", sorted(SCHEMA["$defs"]))
def test_each_definition_stands_by_itself(verb: str) -> None:
    jsonschema.Draft202012Validator.check_schema(run("schema", *verb.split()))


def test_documents_are_what_it_says(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    image, certificate = make({"etc/app.conf": b"hello\n"}), tmp_path / "cert.pem"
    certificate.write_bytes(vendor.certificate)
    trust = ("--certificate", certificate, "--root", tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=demo\n")
    documents = {
        "verify": run("verify", *trust, image),
        "inspect": run("inspect", image),
        "ls": run("ls", "-R", *trust, image),
        "list": run("list", *trust),
        "doctor": run("doctor", "--root", tmp_path),
        "policy show": run("policy", "show", "@sysext"),
        "error": run("inspect", tmp_path / "missing"),
    }
    for verb, document in documents.items():
        check(verb, document)


def test_what_is_unknown_fails() -> None:
    document = run("policy", "show", "signed")
    document["partitions"][0]["new"] = True
    with pytest.raises(jsonschema.ValidationError, match="new"):
        check("policy show", document)
