"""Both commands, the one that is built here and the one that the wheel installs, say the same of this machine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any


def said(*command: object) -> dict[str, Any]:
    done = subprocess.run([*map(str, command), "doctor", "--json"], check=True, capture_output=True)
    document: dict[str, Any] = json.loads(done.stdout)
    for item in document["items"]:
        if item["id"] == "clock":
            # It has the time of day.
            del item["why"]
    return document


def test_doctors_agree(programs: Path, python: Path) -> None:
    assert said(programs / "confext") == said(python, "-m", "confext")
