"""``gadget bind GADGET``: shows a gadget that is there to the host."""

from __future__ import annotations

import argparse
import asyncio

from gadget.cli.arguments import add_gadget, add_udc
from gadget.configfs.udc import choose
from gadget.errors import UsageError
from gadget.services.existing import ExistingGadget


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "bind",
        help="bind a gadget to a controller",
        description="Binds a gadget that is in configfs to a controller, whoever made it: the host then sees it.",
    )
    add_gadget(parser)
    add_udc(parser)
    parser.add_argument("--wait", action="store_true", help="wait for the controller to be there and free")
    parser.add_argument("--move", action="store_true", help="take it off another controller first")
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Binds it."""
    found = ExistingGadget(options.gadget)
    now = found.controller
    if now is not None and options.udc in (None, now.name):
        print(f"{found.name} is bound to {now.name} already")
        return 0
    if now is not None and not options.move:
        raise UsageError(f"gadget {found.name} is bound to {now.name}: --move takes it from there")
    name = free_controller(options.udc, options.wait)
    if now is not None:
        found.move(name)
    else:
        found.bind(name)
    print(f"{found.name} is bound to {name}")
    return 0


def free_controller(name: str | None, wait: bool) -> str:
    """The name of a controller that is free.

    Args:
        name: Which; the first by default.
        wait: Waits for it, in place of an error.
    """
    if not wait:
        return choose(name).name
    from gadget.configfs.udc_state import wait_controller

    return asyncio.run(wait_controller(name)).name
