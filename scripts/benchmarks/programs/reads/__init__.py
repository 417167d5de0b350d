"""Random reads of 4 KiB in Python, in every way that ``scripts/bench aio`` measures.

Each way is a :class:`Reader`. They run in two interpreters, that of this package and one that has the other packages,
so these modules import nothing but what they measure.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import Protocol

BLOCK = 4096


class Reader(Protocol):
    """Reads blocks of a file, ``depth`` at a time.

    Every way does what a program would that wants its data: it looks at the result of each read, and has the
    block where it can use it.
    """

    def __init__(self, fd: int, depth: int, offsets: Iterator[int]) -> None: ...

    def run(self, count: int) -> None:
        """Reads so many blocks, at the next offsets."""

    def blocks(self) -> Sequence[bytes | bytearray | memoryview]:
        """What was read last into each of its ``depth`` places."""

    def close(self) -> None:
        """Gives back what it has."""


def buffers(depth: int) -> list[memoryview]:
    """So many buffers for a block each, aligned to pages, which O_DIRECT asks for."""
    memory = memoryview(mmap.mmap(-1, depth * BLOCK))
    return [memory[start : start + BLOCK] for start in range(0, depth * BLOCK, BLOCK)]


def wrong(result: int) -> OSError:
    """What is wrong if a read was not one of a whole block."""
    return OSError(-result if result < 0 else 0, f"a read of {BLOCK} bytes had the result {result}")


def shares(count: int, depth: int) -> list[int]:
    """How many of so many reads each of ``depth`` tasks makes."""
    return [count // depth + (number < count % depth) for number in range(depth)]
