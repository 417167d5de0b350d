"""``gadget run FILE[:NAME]``: serves a gadget on this machine's USB device controller."""

from __future__ import annotations

import argparse
import asyncio

from gadget.cli.arguments import add_udc, completed
from gadget.device import Gadget
from gadget.loader import load


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "run",
        help="serve a gadget until Ctrl-C",
        description="Serves the gadget in FILE until Ctrl-C or SIGTERM, and leaves nothing behind. Needs root.",
    )
    text = "a Python file, and the name of the Gadget or Function in it"
    completed(parser.add_argument("file", metavar="FILE[:NAME]", help=text), "file")
    add_udc(parser)
    parser.add_argument("--wait", action="store_true", help="wait for the controller to be there and free")
    parser.add_argument("--reload", action="store_true", help="start anew when the file, or one beside it, changes")
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Serves it."""
    if options.reload:
        from gadget.cli.reload import serve_anew

        return serve_anew(options)
    gadget = load(options.file)
    asyncio.run(_serve(gadget, options.udc, options.wait))
    return 0


async def _serve(gadget: Gadget, udc: str | None, wait: bool) -> None:
    if wait:
        from gadget.configfs.udc_state import wait_controller

        udc = (await wait_controller(udc)).name
    await gadget.serve(udc, _announce)


def _announce(gadget: Gadget) -> None:
    controller, model = gadget.controller, gadget.model
    speed = controller.current_speed.maximum if controller.current_speed else "unknown speed"
    identity = f"{model.vendor_id:04x}:{model.product_id:04x}"
    print(f"{gadget.name}: configured by the host on {controller.name}, {identity}, {speed}", flush=True)
