"""Every public name says what it takes and what it gives: type hints, numpydoc. An example that is there shows something."""

import ast
import dataclasses
import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import FunctionType
from typing import Any, is_typeddict

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc, NumpyDocString  # type: ignore[import-untyped]

from learnkit import CheckpointOptions, RunOptions

PACKAGES = (
    "learnkit",
    "learnkit.collab",
    "learnkit.course",
    "learnkit.datasets",
    "learnkit.runtime",
    "learnkit.serve",
    "learnkit.tabular",
    "learnkit.text",
    "learnkit.vision",
)

NAMES = [(package, name) for package in PACKAGES for name in importlib.import_module(package).__all__]
OBJECTS = {f"{package}.{name}": getattr(importlib.import_module(package), name) for package, name in NAMES}
# A name that two packages share is checked once.
UNIQUE = {id(obj): name for name, obj in reversed(OBJECTS.items())}

# What is re-exported from other libraries is documented there.
FUNCTIONS = sorted(
    name
    for name in UNIQUE.values()
    if inspect.isfunction(OBJECTS[name]) and OBJECTS[name].__module__.startswith("learnkit")
)
CLASSES = sorted(name for name in UNIQUE.values() if inspect.isclass(OBJECTS[name]))
INSTANCES = sorted(name for name, obj in OBJECTS.items() if not inspect.isfunction(obj) and not inspect.isclass(obj))


def arguments(fn: Any) -> list[inspect.Parameter]:
    return [p for name, p in inspect.signature(fn).parameters.items() if name not in ("self", "cls")]


def documented(doc: NumpyDocString, section: str) -> list[str]:
    """Return the names a section explains; `a, b : int` explains two."""
    return [name.strip().lstrip("*") for entry in doc[section] for name in entry.name.split(",")]


def to_explain(fn: Any) -> list[str]:
    """Return the arguments as they are written, the common options as the one they are explained by."""
    return [name for name in inspect.signature(inspect.unwrap(fn)).parameters if name not in ("self", "cls")]


def missing_hints(fn: Any) -> list[str]:
    missing = [p.name for p in arguments(fn) if p.annotation is inspect.Parameter.empty]
    if inspect.signature(fn).return_annotation is inspect.Signature.empty:
        missing.append("return")
    return missing


def arguments_elsewhere(obj: Any, owner: type | None = None) -> set[str]:
    """Return the arguments of the public names that a docstring, above its sections, refers to: See `plots`."""
    text = re.split(r"\n *---", obj.__doc__ or "")[0]
    found: set[str] = set()
    named_there = re.findall(r"[Ss]ee (`[\w.]+`(?: and `[\w.]+`)*)", " ".join(text.split()))
    for name in re.findall(r"`([\w.]+)`", " ".join(named_there)):
        first, _, rest = name.partition(".")
        named = OBJECTS.get(name) or getattr(owner, first, None)
        if named is None:
            named = next((public for key, public in OBJECTS.items() if key.endswith(f".{first}")), None)
            named = getattr(named, rest, None) if rest else named
        if callable(named) and not is_typeddict(named):
            found |= {*to_explain(named.__init__ if inspect.isclass(named) else named)}
    return found


def unexplained(obj: Any, fn: Any, explained: list[str], owner: type | None = None) -> str:
    """Say how what a docstring explains differs from what `fn` takes; what another one explains may be left out."""
    wanted = to_explain(fn)
    elsewhere = arguments_elsewhere(obj, owner)
    needed = [name for name in wanted if name in explained or name not in elsewhere]
    return "" if explained == needed else f"explains {explained}, takes {wanted}"


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class that learnkit wrote, as functions."""
    for base in cls.__mro__:
        if not base.__module__.startswith("learnkit"):
            continue
        for name, member in vars(base).items():
            fn = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            # What a dataclass or a protocol generates has no source of its own.
            if isinstance(fn, FunctionType) and fn.__module__ == base.__module__ and fn.__qualname__.endswith(name):
                yield name, fn


def test_every_package_lists_each_name_once_in_order_and_has_it() -> None:
    for package in PACKAGES:
        names = importlib.import_module(package).__all__
        assert len(set(names)) == len(names)
        assert all(not name.startswith("_") for name in names)
    assert OBJECTS


def problems_of(obj: Any, fn: Any, doc: NumpyDocString, explained: list[str]) -> list[str]:
    """List what the docstring of `obj` lacks for the arguments that `fn` takes."""
    found = [f"no type for {name}" for name in missing_hints(fn)]
    if not "".join(doc["Summary"]).strip():
        found.append("no summary")
    if problem := unexplained(obj, fn, explained):
        found.append(problem)
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_typed_and_documented(name: str) -> None:
    fn = OBJECTS[name]
    doc = FunctionDoc(fn)
    problems = problems_of(fn, fn, doc, documented(doc, "Parameters"))
    gives = inspect.signature(fn).return_annotation not in (None, "None")
    if gives and not (doc["Returns"] or doc["Yields"] or arguments_elsewhere(fn)):
        problems.append("does not say what it returns")
    assert problems == []


@pytest.mark.parametrize("name", CLASSES)
def test_class_is_typed_and_documented(name: str) -> None:
    cls = OBJECTS[name]
    doc = ClassDoc(cls)
    if issubclass(cls, BaseException) and not documented(doc, "Parameters"):
        assert "".join(doc["Summary"]).strip()
        return  # raised by the library, not made by its users
    explained = documented(doc, "Parameters")
    if dataclasses.is_dataclass(cls):  # its fields are both
        explained = explained or ([] if arguments_elsewhere(cls) else documented(doc, "Attributes"))
    elif is_typeddict(cls):  # its keys are arguments of others
        explained = documented(doc, "Attributes")
        inherited = {*RunOptions.__annotations__, *CheckpointOptions.__annotations__}
        assert {*explained} <= cls.__annotations__.keys() <= {*explained, *inherited}
        return
    elif (owner := next(base for base in cls.__mro__ if "__init__" in vars(base))) is not cls and not explained:
        # Made as its parent is: a public one explains it, for another the text names the class that does.
        kin = {other.__name__ for other in OBJECTS.values() if inspect.isclass(other) and issubclass(other, owner)}
        named = any(f"`{name}`" in cls.__doc__ for name in kin - {cls.__name__})
        assert not owner.__module__.startswith("learnkit") or owner in OBJECTS.values() or named
        return
    assert problems_of(cls, cls.__init__, doc, explained) == []


@pytest.mark.parametrize("name", CLASSES)
def test_public_methods_are_typed_and_documented(name: str) -> None:
    problems = []
    for method, fn in members(OBJECTS[name]):
        if method.startswith("_") and method != "__init__":
            continue
        if missing := missing_hints(fn):
            problems.append(f"{fn.__qualname__}: no type for {', '.join(missing)}")
        if method == "__init__":
            continue  # the class explains it
        if not fn.__doc__:
            problems.append(f"{fn.__qualname__}: no docstring")
            continue
        explained = documented(FunctionDoc(fn), "Parameters")
        if explained and (problem := unexplained(fn, fn, explained, OBJECTS[name])):
            problems.append(f"{fn.__qualname__}: {problem}")
    assert problems == []


def test_an_example_shows_what_comes_of_it() -> None:
    """An output or an error, that is; nothing is shown by one that only makes an object, or that does not run."""
    silent = []
    for source in sorted(Path(importlib.import_module("learnkit").__file__ or "").parent.rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text())):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            examples = doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
            shown = [x for x in examples if (x.want or x.exc_msg) and not x.options.get(doctest.SKIP)]
            if examples and not shown:
                silent.append(f"{source.name}: {getattr(node, 'name', 'the module')}")
    assert silent == []


def constants_with_a_docstring(source: Path) -> set[str]:
    """Return the module-level names that are followed by a string which explains them."""
    body = ast.parse(source.read_text()).body
    names = set()
    for node, after in pairwise(body):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("name", INSTANCES)
def test_constant_is_explained_where_it_is_defined(name: str) -> None:
    package, _, short = name.rpartition(".")
    file = Path(importlib.import_module(package).__file__ or "")
    stub = file.with_suffix(".pyi")  # where a package says what comes from where
    tree = ast.parse((stub if stub.exists() else file).read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    origins = [node.module for node in imports if short in {alias.name for alias in node.names}]
    source = importlib.import_module(next(iter(origins), None) or package).__file__ or ""
    assert short in constants_with_a_docstring(Path(source))
