"""Public names are loaded when they are first used, from one list that type checkers read too."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "learnkit"
PACKAGES = (
    "learnkit",
    "learnkit.collab",
    "learnkit.runtime",
    "learnkit.serve",
    "learnkit.tabular",
    "learnkit.text",
    "learnkit.vision",
)


def folder(package: str) -> Path:
    return PACKAGE.parent / Path(*package.split("."))


def listed(package: str) -> list[tuple[str, str]]:
    """Return module and name of everything in a package's stub."""
    tree = ast.parse((folder(package) / "__init__.pyi").read_text())
    found = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [(str(node.module), alias.asname or alias.name) for node in found for alias in node.names]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_is_there_after_its_submodule_was_imported(package: str) -> None:
    """Importing a submodule sets an attribute of its package, which must not hide a public name."""
    code = f"""
import importlib, {package}
for module, name in {listed(package)!r}:
    own = importlib.import_module(module)
    assert getattr({package}, name) is getattr(own, name), name
    assert name in {package}.__all__ or name == "__version__", name
    assert name in dir({package})
print(len({package}.__all__))
"""
    assert int(run(code)) > 1


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_that_of_a_submodule(package: str) -> None:
    submodules = {path.stem for path in folder(package).iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not submodules & {name for _, name in listed(package)}


def test_importing_the_packages_loads_nothing_else() -> None:
    code = f"""
import sys, {", ".join(PACKAGES)}
print(sorted({{"torch", "numpy", "pandas", "PIL", "matplotlib"}} & set(sys.modules)))
"""
    assert run(code) == "[]"


def test_submodules_are_attributes_and_unknown_names_are_not() -> None:
    code = """
import learnkit
print(learnkit.vision.ConvLearner.__name__, learnkit.train.optim.adamw.__name__)
try:
    learnkit.learner
except AttributeError as error:
    print(error)
"""
    assert run(code) == "ConvLearner adamw\nmodule 'learnkit' has no attribute 'learner'"


def test_a_star_imports_all_of_it() -> None:
    assert run("from learnkit.collab import *; print(CollabLearner.__name__)") == "CollabLearner"
