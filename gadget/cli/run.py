"""``gadget run FILE[:NAME]``: serves a gadget on this machine's USB device controller."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import sys
import traceback
from pathlib import Path
from types import ModuleType

from gadget.device import Gadget
from gadget.errors import UsageError
from gadget.functionfs.function import Function


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "run",
        help="serve a gadget until Ctrl-C",
        description="Serves the gadget in FILE until Ctrl-C or SIGTERM, and leaves nothing behind. Needs root.",
    )
    parser.add_argument(
        "file", metavar="FILE[:NAME]", help="a Python file, and the name of the Gadget or Function in it"
    )
    parser.add_argument("--udc", metavar="NAME", help="the controller, as in /sys/class/udc; the first free one")
    parser.add_argument("--verbose", "-v", action="store_true", help="log every event and control transfer")
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Serves it."""
    if options.verbose:
        logging.getLogger("gadget").setLevel(logging.DEBUG)
    gadget = load(options.file)
    asyncio.run(gadget.serve(options.udc, _announce))
    return 0


def _announce(gadget: Gadget) -> None:
    controller, model = gadget.controller, gadget.model
    speed = controller.current_speed.maximum if controller.current_speed else "unknown speed"
    identity = f"{model.vendor_id:04x}:{model.product_id:04x}"
    print(f"{gadget.name}: configured by the host on {controller.name}, {identity}, {speed}", flush=True)


def load(target: str) -> Gadget:
    """Finds the gadget that FILE[:NAME] means.

    Without a name it is the only Gadget in the file, or else the only Function defined there.

    Raises:
        UsageError: There is no such file or name, or the choice is not clear; the message lists what there is.
    """
    file, _, name = target.partition(":")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"there is no file {file!r}; usage: gadget run FILE[:NAME]")
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
