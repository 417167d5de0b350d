"""Starts a gadget many times, and kills it each time at a random moment: ``starts.py UDC COUNT SEED``.

Each start is a fork of this process, so that it costs no interpreter. The last one is left alone: it has to see the
device configured by the host, and to take everything down.
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import sys
from pathlib import Path

from gadget import BulkIn, BulkOut, Function, Gadget
from gadget.kernel_functions import Acm, Lun, MassStorage

NAME = "killed"


class Echo(Function):
    """Sends back whatever arrives."""

    rx = BulkOut()
    tx = BulkIn()

    async def run(self) -> None:
        async for data in self.rx:
            await self.tx.write(data)


def make() -> Gadget:
    return Gadget(Echo(), Acm(), MassStorage(luns=(Lun(), Lun(ro=True))), name=NAME, product="Killed")


async def serve(udc: str, *, for_ever: bool) -> None:
    async with make().up(udc) as gadget:
        await gadget.wait_configured()
        if for_ever:
            await asyncio.Event().wait()


def start(udc: str) -> int:
    """Starts it in a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(serve(udc, for_ever=True))
        except BaseException as error:
            print(f"a start has failed: {error!r}", flush=True)
        os._exit(1)
    return pid


def kill_at(pid: int, seconds: float) -> None:
    """Kills it after that time; by itself it does not end."""
    end = os.pidfd_open(pid)
    try:
        if select.select([end], [], [], seconds)[0]:
            raise SystemExit("a start has ended by itself")
        signal.pidfd_send_signal(end, signal.SIGKILL)
    finally:
        os.close(end)
        os.waitpid(pid, 0)


def main() -> None:
    udc, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    moments = random.Random(seed)
    for _ in range(count):
        # A start takes a second or two in an emulated machine, and much less elsewhere.
        kill_at(start(udc), moments.expovariate(1.2))
    asyncio.run(serve(udc, for_ever=False))
    left = [path for path in Path("/run/gadget").glob(f"*{NAME}*") if not path.name.startswith(".")]
    if left or Path("/sys/kernel/config/usb_gadget", NAME).exists():
        raise SystemExit(f"left behind: {left}")
    print("done", flush=True)


if __name__ == "__main__":
    main()
