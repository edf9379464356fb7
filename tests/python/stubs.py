"""The stub, read: which classes there are, which fields they have, and values of the types that it says."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import confext

TEXT = (Path(confext.__file__).parent / "_confext.pyi").read_text(encoding="utf-8")
TREE = ast.parse(TEXT)
CLASSES = {node.name: node for node in TREE.body if isinstance(node, ast.ClassDef)}
FUNCTIONS = {node.name: node for node in TREE.body if isinstance(node, ast.FunctionDef)}
ALIASES = {
    node.target.id: node.value
    for node in TREE.body
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
}


def fields(name: str) -> dict[str, ast.expr]:
    """The fields of a class of results, by their names, with their types."""
    found = {}
    for node in CLASSES[name].body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            annotation = node.annotation
            if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Final":
                found[node.target.id] = annotation.slice
    return found


def is_result(name: str) -> bool:
    """Whether a class is nothing but its fields."""
    return hasattr(getattr(confext, name, None), "_restore") and hasattr(getattr(confext, name), "__match_args__")


def value(annotation: ast.expr, seed: Iterator[int], depth: int = 0) -> Any:
    """A value of this type; another one for another state of `seed`."""
    number = next(seed)
    text = ast.unparse(annotation)
    plain: dict[str, Any] = {
        "int": number % 200,
        "bool": number % 2 == 0,
        "str": f"text {number}",
        "bytes": bytes([number % 256]),
        "None": None,
        "timedelta": timedelta(milliseconds=number),
    }
    if text in plain:
        return plain[text]
    if isinstance(annotation, ast.Name) and annotation.id in ALIASES:
        return value(ALIASES[annotation.id], seed, depth)
    if isinstance(annotation, ast.Name) and annotation.id in CLASSES:
        return example(annotation.id, seed, depth + 1)
    if isinstance(annotation, ast.BinOp):
        sides = list(alternatives(annotation))
        # A value that has one of its own kind ends somewhere.
        chosen = sides[-1] if depth > 3 else sides[number % len(sides)]
        return value(chosen, seed, depth)
    if isinstance(annotation, ast.Subscript):
        outer = ast.unparse(annotation.value)
        inner = annotation.slice
        parts = list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]
        if outer == "Literal":
            return ast.literal_eval(parts[number % len(parts)])
        if outer == "tuple" and ast.unparse(parts[-1]) == "...":
            return tuple(value(parts[0], seed, depth) for _ in range(number % 3))
        if outer == "tuple":
            return tuple(value(part, seed, depth) for part in parts)
        if outer == "dict":
            return {value(parts[0], seed, depth): value(parts[1], seed, depth) for _ in range(number % 3)}
    raise AssertionError(f"no value of type {text} can be made yet")


def alternatives(annotation: ast.expr) -> Iterator[ast.expr]:
    """The sides of `A | B | C`."""
    if isinstance(annotation, ast.BinOp):
        yield from alternatives(annotation.left)
        yield from alternatives(annotation.right)
    else:
        yield annotation


def example(name: str, seed: Iterator[int] | None = None, depth: int = 0) -> Any:
    """A result of this class, with fields of the types that the stub says."""
    numbers = itertools.count() if seed is None else seed
    known = fields(name)
    cls = getattr(confext, name)
    values = [value(known[field], numbers, depth) for field in cls.__match_args__]
    return cls._restore(tuple(values))
