"""The device written with this package, on uvloop instead of asyncio's own loop: ``on_uvloop.py UDC MODE SIZE ...``."""

import uvloop

from benchmarks.programs import ours

if __name__ == "__main__":
    uvloop.run(ours.served(ours.make))
