"""``gadget rm GADGET``: removes a gadget, whoever made it."""

from __future__ import annotations

import argparse

from gadget.cli.arguments import add_gadget
from gadget.services.existing import ExistingGadget


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "rm",
        help="remove a gadget",
        description="Removes gadgets with all that is in them, whoever made them. One that a living process of this "
        "package serves is left alone: stop that process.",
    )
    add_gadget(parser, several=True)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Removes them."""
    for found in [ExistingGadget(name) for name in options.gadget]:
        found.remove()
        print(f"removed {found.name}")
    return 0
