"""The same where Python does not look at the data: ``spliced.py UDC MODE SIZE DEPTH SERIAL``."""

import asyncio
from pathlib import Path

from benchmarks.programs import ours
from gadget import BulkIn, BulkOut, Function, splice


def make(mode: str, size: int, depth: int) -> type[Function]:
    """The device for one mode, with transfers of this size."""

    class Spliced(ours.make("control", size, depth)):  # type: ignore[misc]  # a base that is made, not named
        rx: BulkOut
        tx: BulkIn

        async def run(self) -> None:
            if mode == "in":
                with Path("/dev/zero").open("rb", buffering=0) as zeros:
                    await splice(zeros, self.tx)
            elif mode == "out":
                with Path("/dev/null").open("wb", buffering=0) as nowhere:
                    await splice(self.rx, nowhere)
            elif mode == "echo":
                await splice(self.rx, self.tx)

    return Spliced


if __name__ == "__main__":
    asyncio.run(ours.served(make))
