"""``gadget run FILE[:NAME]``: serves a gadget on this machine's USB device controller."""

from __future__ import annotations

import argparse
import asyncio
import logging

from gadget.device import Gadget
from gadget.loader import load


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
