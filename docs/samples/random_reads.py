"""Reads blocks of a file at random places, 32 at a time; prints how many a second."""

import os
import random
import sys
import time

from gadget.aio import Batch, Pieces

BLOCK, DEPTH = 4096, 32


def sample(path: str, count: int) -> int:
    """Reads so many blocks; returns the bytes."""
    file = os.open(path, os.O_RDONLY | os.O_DIRECT)
    blocks = os.fstat(file).st_size // BLOCK
    offsets = [random.randrange(blocks) * BLOCK for _ in range(count)]
    with Pieces(DEPTH, BLOCK) as pieces, Batch(file, pieces.views) as batch:
        started = min(DEPTH, count)
        ended = batch.turn(offsets[:started])
        while batch.in_flight or started < count:
            batch.check()  # raises what went wrong with one of them
            # Here, batch.ended[:ended] are the numbers of the pieces that have been read.
            ended = batch.turn(offsets[started : started + ended])
            started = min(count, started + ended)
    os.close(file)
    return batch.moved


if __name__ == "__main__":
    begin = time.monotonic()
    done = sample(sys.argv[1], 100_000) // BLOCK
    print(f"{done / (time.monotonic() - begin):.0f} a second")
