"""What ``create`` and ``import`` share: a gadget of kernel functions is made, and stays when the command has ended."""

from __future__ import annotations

import argparse

from gadget.cli.arguments import add_udc
from gadget.configfs.apply import USB_GADGET_ROOT, apply, ensure_configfs, revert
from gadget.configfs.model import GadgetModel
from gadget.configfs.plan import plan, undo
from gadget.errors import UsageError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where it is bound, if at all."""
    add_udc(parser)
    parser.add_argument("--no-bind", action="store_true", help="make it, and bind it to no controller")
    parser.add_argument("--wait", action="store_true", help="wait for the controller to be there and free")
    parser.add_argument("--dry-run", "-n", action="store_true", help="only say what would be done in configfs")


def make(model: GadgetModel, options: argparse.Namespace) -> int:
    """Makes it; what fails half-way leaves nothing behind."""
    steps = plan(model)
    if options.dry_run:
        for step in steps:
            print(step)
        return 0
    if not options.no_bind and any(name.startswith("ffs.") for name in model.instances):
        raise UsageError("a FunctionFS can only be bound once its program has written its descriptors: --no-bind")
    ensure_configfs()
    from gadget.cli.bind import free_controller

    name = None if options.no_bind else free_controller(options.udc, options.wait)
    apply(steps)
    if name is not None:
        try:
            _bind(model.name, name)
        except BaseException:
            revert(undo(steps))
            raise
    print(f"made {model.name}" + (f", bound to {name}" if name else f": gadget bind {model.name} shows it to a host"))
    return 0


def _bind(name: str, controller: str) -> None:
    from gadget.configfs.udc import bind

    bind(USB_GADGET_ROOT / name, controller)
