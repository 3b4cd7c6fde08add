"""The direction of imports, and what an import costs."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "learnkit"
LAYERS = ("core", "runtime", "data", "store", "export", "train")
APPLICATIONS = ("vision", "tabular", "text", "collab")
SERVING = ("serve",)  # works where there is no torch
# What each layer may import besides itself; the modules at the top (`__init__`, `demo`, ...) may import anything.
ALLOWED = {layer: set(LAYERS[:i]) for i, layer in enumerate(LAYERS)} | {app: set(LAYERS) for app in APPLICATIONS}
ALLOWED["serve"] = {"core", "runtime"}

HEAVY = ("pandas", "sklearn", "matplotlib", "PIL", "torchvision", "tqdm", "safetensors", "scipy", "timm", "spacy")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(module: Path) -> str:
    """Return the layer or application a file belongs to: its folder, or its own name at the top."""
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(module: Path, *, at_load_only: bool = False, in_functions_only: bool = False) -> list[tuple[int, str]]:
    """Return line and dotted name of everything a file imports, by default also in functions and for type checking."""
    tree = ast.parse(module.read_text())
    nodes: Iterable[ast.AST] = tree.body if at_load_only else ast.walk(tree)
    if in_functions_only:
        functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        nodes = (node for function in functions for node in ast.walk(function))
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relative to itself"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def test_layers_import_only_what_is_below_them() -> None:
    wrong = []
    for module in modules():
        part = part_of(module)
        if part not in ALLOWED:
            continue
        for line, name in imported(module):
            pieces = name.split(".")
            if pieces[0] != "learnkit" or pieces[1] == "__version__":
                continue
            if pieces[1] not in ALLOWED[part] | {part}:
                wrong.append(f"{module.relative_to(PACKAGE.parent)}:{line} imports {name}")
    assert wrong == []


def test_only_the_top_imports_the_names_that_everything_is_exported_under() -> None:
    """`from learnkit import Learner` inside the library would be a cycle that works by luck."""
    names = {"__version__", *(part_of(module) for module in modules())}
    wrong = [
        f"{module.relative_to(PACKAGE.parent)}:{line} imports {name}"
        for module in modules()
        if part_of(module) in ALLOWED
        for line, name in imported(module)
        if name.startswith("learnkit.") and name.split(".")[1] not in names
    ]
    assert wrong == []


def test_no_module_needs_itself() -> None:
    """No circle of imports, not even for types or inside functions: each file can be read after those it imports."""
    names = {".".join(module.relative_to(PACKAGE.parent).with_suffix("").parts): module for module in modules()}
    names = {name.removesuffix(".__init__"): module for name, module in names.items()}
    needs = {name: {x for _, x in imported(module)} for name, module in names.items()}
    # `from learnkit.train.loop import fit` names a module and what is in it; `from learnkit.train import loop` a module.
    needs = {
        name: {x if x in names else x.rpartition(".")[0] for x in found} & {*names} for name, found in needs.items()
    }
    try:
        list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_only_heavy_packages_are_imported_inside_functions() -> None:
    """And no module of the library: what imports another says so at its top."""
    wrong = [
        f"{module.relative_to(PACKAGE.parent)}:{line} imports {name} inside a function"
        for module in modules()
        for line, name in imported(module, in_functions_only=True)
        if not name.startswith((*HEAVY, "torch.utils.tensorboard"))
    ]
    assert wrong == []


def test_core_loads_torch_and_numpy_only() -> None:
    allowed = {"torch", "numpy", "learnkit"} | set(sys.stdlib_module_names)
    wrong = [
        f"{module.name}:{line} imports {name}"
        for module in modules()
        if part_of(module) == "core"
        for line, name in imported(module, at_load_only=True)
        if name.split(".")[0] not in allowed
    ]
    assert wrong == []


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_learnkit_pulls_in_torch_and_numpy_only() -> None:
    # torch itself may bring some of these, where they are installed; that is not learnkit's doing.
    code = f"""
import sys, torch
before = set(sys.modules)
import learnkit
print(sorted(set({HEAVY!r}) & (set(sys.modules) - before)))
"""
    assert run(code) == "[]"


def test_the_runtime_needs_neither_torch_nor_pandas() -> None:
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["torch", "pandas", "torchvision", "sklearn", "spacy"]))  # not installed
import learnkit.runtime
from learnkit.runtime import load, RuntimeModel
print(sorted(name for name in {HEAVY!r} if sys.modules.get(name)))
"""
    assert run(code) == "['PIL']"


def test_applications_import_without_the_optional_packages() -> None:
    there = [app for app in APPLICATIONS if (PACKAGE / app / "__init__.py").exists()]
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["spacy", "timm", "tensorboard", "onnx", "onnxruntime", "fastai"]))  # not installed
import {", ".join(f"learnkit.{app}" for app in there)}
print("fine")
"""
    assert "vision" in there
    assert run(code) == "fine"


@pytest.mark.parametrize("folder", [*LAYERS, *APPLICATIONS, *SERVING])
def test_the_readme_names_every_file_of_a_folder(folder: str) -> None:
    lines = (PACKAGE.parent / "README.md").read_text().splitlines()
    words = {word for line in lines if line.startswith(f"| `learnkit/{folder}") for word in re.findall(r"\w+", line)}
    files = {file.stem for file in (PACKAGE / folder).glob("*.py")} - {"__init__"}
    assert files <= words


if __name__ == "__main__":  # python tests/test_imports.py: the picture of imports in words
    test_no_module_needs_itself()
    inside = [
        (f"{module.relative_to(PACKAGE.parent)}:{line}", name)
        for module in modules()
        for line, name in imported(module, in_functions_only=True)
    ]
    print(f"{len(modules())} files, no circle; imported inside functions, none of learnkit among them:")
    for place, name in inside:
        print(f"  {place:48} {name}")
