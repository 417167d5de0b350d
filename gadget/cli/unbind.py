"""``gadget unbind GADGET``: takes a gadget off its controller."""

from __future__ import annotations

import argparse

from gadget.cli.arguments import add_gadget
from gadget.services.existing import ExistingGadget


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "unbind",
        help="take a gadget off its controller",
        description="Takes gadgets off their controllers: for the host, they are unplugged. Their trees stay.",
    )
    add_gadget(parser, several=True)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Unbinds them."""
    for found in [ExistingGadget(name) for name in options.gadget]:
        controller = found.attribute("UDC")
        found.unbind()
        print(f"{found.name} was bound to {controller}" if controller else f"{found.name} was bound to nothing")
    return 0
