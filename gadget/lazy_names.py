"""Names of a package that are imported when they are first used: on a board, every module takes its time (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """What a package has as ``__getattr__`` and ``__dir__``.

    Args:
        package: Its ``__name__``.
        homes: The modules below it, each with the names that are to be found there, separated by blanks.
    """
    home_of = {name: module for module, names in homes.items() for name in names.split()}
    namespace = vars(sys.modules[package])

    def find(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = namespace[name] = getattr(import_module(f"{package}.{home_of[name]}"), name)
        return value

    def names() -> list[str]:
        return sorted({*namespace, *home_of})

    return find, names
