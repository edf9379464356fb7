"""The types say what is there: strict mypy over the package, the example and these tests.

That the stub fits the native module is for `mypy.stubtest`, which `tests/run.sh python` calls.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import confext
import confext.aio
import confext.logs
import stubs

HERE = Path(__file__).parent
SHARED = HERE.parent / "common/pytest_confext.py"
#: Those that need nothing but the module.
EXAMPLES = [HERE.parents[1] / "examples" / name for name in ("agent.py", "kms_signer.py", "quickstart.py")]


def test_everything_is_typed(tmp_path: Path) -> None:
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path)]
    for what in (["-p", "confext"], [*map(str, EXAMPLES), str(SHARED), str(HERE)]):
        done = subprocess.run([*mypy, *what], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def public(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith("_")]


def test_everything_says_what_it_is() -> None:
    """At run time, for `help`, and in the stub, for editors."""
    missing = []
    for name in public(confext.__all__):
        thing = getattr(confext, name)
        if not inspect.getdoc(thing):
            missing.append(name)
        if inspect.isclass(thing):
            members = public(vars(thing))
            missing += [f"{name}.{one}" for one in members if callable(getattr(thing, one)) and not inspect.getdoc(getattr(thing, one))]
    for module in (confext.service, confext.aio, confext.logs):
        missing += [f"{module.__name__}.{one}" for one in module.__all__ if not inspect.getdoc(getattr(module, one))]
    for name, function in stubs.FUNCTIONS.items():
        if not ast.get_docstring(function):
            missing.append(f"stub: {name}")
    for name, found in stubs.CLASSES.items():
        # What is not exported is a type that callers make themselves.
        if name.startswith("_"):
            continue
        if not ast.get_docstring(found):
            missing.append(f"stub: {name}")
        for node in found.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not ast.get_docstring(node):
                missing.append(f"stub: {name}.{node.name}")
    assert missing == []


def test_every_field_says_what_it_is() -> None:
    """In the stub: a comment above each, which says the unit of a number that has one."""
    lines = stubs.TEXT.splitlines()
    missing = []
    for name, found in stubs.CLASSES.items():
        for node in found.body:
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).startswith("Final"):
                above = lines[node.lineno - 2].strip()
                if not above.startswith("#:"):
                    missing.append(f"{name}.{ast.unparse(node.target)}")
    assert missing == []


def test_the_package_says_all_that_it_has() -> None:
    assert sorted(confext.__all__) == sorted(set(confext.__all__))
    assert set(confext.__all__) <= set(dir(confext))
    native = set(public(vars(confext._confext)))
    exported = set(confext.__all__) | {name for name in native if name.startswith("service_")} | {"main"}
    assert native <= exported, sorted(native - exported)
