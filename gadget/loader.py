"""Finds the gadget that ``FILE[:NAME]`` means."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from gadget.device import Gadget
from gadget.errors import UsageError
from gadget.functionfs.function import Function


def load(target: str) -> Gadget:
    """Finds the gadget that FILE[:NAME] means.

    Without a name it is the only Gadget in the file, or else the only Function defined there.

    Raises:
        UsageError: There is no such file or name, or the choice is not clear; the message lists what there is.
    """
    file, _, name = target.partition(":")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"there is no file {file!r}")
    module = _import(path)
    if name:
        return _as_gadget(getattr(module, name, None), target)
    gadgets = {key: value for key, value in vars(module).items() if isinstance(value, Gadget)}
    functions = {key: value for key, value in vars(module).items() if _is_own_function(value, module)}
    candidates = gadgets or functions
    if len({id(value) for value in candidates.values()}) != 1:
        found = ", ".join(sorted(gadgets | functions)) or "none"
        raise UsageError(f"{file}: say which one to serve, {file}:NAME; gadgets and functions there: {found}")
    return _as_gadget(next(iter(candidates.values())), target)


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file: its name must end in .py")
    if path.stem == __package__:
        raise UsageError(f"{path} has this package's name and would hide it: call it otherwise")
    module = importlib.util.module_from_spec(spec)
    # As "python FILE" would have it: what lies beside the file can be imported.
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UsageError("".join(traceback.format_exception_only(error)).strip()) from error
    return module


def _is_own_function(value: object, module: ModuleType) -> bool:
    return isinstance(value, type) and issubclass(value, Function) and value.__module__ == module.__name__


def _as_gadget(value: object, target: str) -> Gadget:
    if isinstance(value, Gadget):
        return value
    if isinstance(value, type) and issubclass(value, Function):
        return Gadget(value())
    raise UsageError(f"{target}: there is no Gadget or Function of this name")
