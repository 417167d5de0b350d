"""Serves the echo example on uvloop: ``on_uvloop.py UDC``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from gadget import Gadget
from gadget.loader import load

ECHO = Path(__file__).parents[2] / "examples/echo/device.py"


def told(gadget: Gadget) -> None:
    print("configured on", type(asyncio.get_running_loop()).__module__, flush=True)


if __name__ == "__main__":
    uvloop.run(load(str(ECHO)).serve(sys.argv[1], configured=told))
