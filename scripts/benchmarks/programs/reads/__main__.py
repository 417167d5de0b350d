"""Reads as it is told: ``python -m benchmarks.programs.reads MODULE:CLASS FILE cached|direct DEPTH OFFSETS``.

Commands come on stdin, as to ``programs/reads.c``: ``run COUNT`` reads so many blocks, ``check COUNT`` looks afterwards
whether the buffers have what the last reads asked for. The answer is a line ``ok``, or the program ends, saying why.
"""

import importlib
import os
import sys
from array import array
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from benchmarks.programs.reads import BLOCK, Reader

WORD = 8


def read_offsets(path: str) -> Sequence[int]:
    """The numbers in a file."""
    found = array("Q")
    found.frombytes(Path(path).read_bytes())
    return found.tolist()


def number_in(block: bytes | bytearray | memoryview) -> int:
    """The number that a block is full of."""
    data = bytes(block)
    if len(data) != BLOCK or data != data[:WORD] * (BLOCK // WORD):
        raise ValueError("a buffer has parts of two blocks, or not a whole one")
    return int.from_bytes(data[:WORD], sys.byteorder)


def check(reader: Reader, asked: Sequence[int]) -> None:
    """Reads a block into each buffer: together they have to have just what was asked for."""
    for block in reader.blocks():
        if isinstance(block, memoryview | bytearray):
            block[:] = b"\xff" * BLOCK
    reader.run(len(asked))
    if sorted(map(number_in, reader.blocks())) != sorted(offset // BLOCK for offset in asked):
        raise ValueError("the buffers have other blocks than those that were asked for")


def main() -> None:
    """Does what stdin says until it ends."""
    name, file, mode, depth, path = sys.argv[1:]
    module, _, kind = name.partition(":")
    offsets = read_offsets(path)
    fd = os.open(file, os.O_RDONLY | (os.O_DIRECT if mode == "direct" else 0))
    reader: Reader = getattr(importlib.import_module(f"{__package__}.{module}"), kind)(fd, int(depth), cycle(offsets))
    done = 0
    for line in sys.stdin:
        command, count = line.split()
        reader.run(int(count))
        done += int(count)
        if command == "check":
            check(reader, [offsets[(done + place) % len(offsets)] for place in range(int(depth))])
            done += int(depth)
        print("ok", flush=True)
    reader.close()


if __name__ == "__main__":
    main()
