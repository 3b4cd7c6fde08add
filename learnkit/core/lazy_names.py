"""The public names of a package, each loaded when it is first used.

They are listed once, in the package's `__init__.pyi`, which type checkers and editors read. So `import learnkit` costs nothing
to speak of, and what needs no torch can be used where there is none.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from learnkit.core.old_names import old_package_names

__all__ = ["lazy_names"]


def lazy_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package, from the stub beside its `__init__.py` (PEP 562).

    A name of fastai 0.7 that the package has not says what replaced it.
    """
    stub = ast.parse(pkgutil.get_data(package, "__init__.pyi") or b"")
    where: dict[str, tuple[str, str]] = {}
    public: list[str] = []
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            where |= {alias.asname or alias.name: (str(node.module), alias.name) for alias in node.names}
        elif isinstance(node, ast.Assign):
            public = ast.literal_eval(node.value)  # its only assignment is __all__
    gone = old_package_names(package)

    def load(name: str) -> Any:
        if name not in where:
            if not name.startswith("_") and find_spec(f"{package}.{name}") is not None:
                return importlib.import_module(f"{package}.{name}")  # `learnkit.vision` after `import learnkit`
            gone(name)
        module, own = where[name]
        value = getattr(importlib.import_module(module), own)
        setattr(sys.modules[package], name, value)  # the next time it is found at once
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *public})

    return load, names, public
