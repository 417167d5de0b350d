"""Copies a file past the page cache: several pieces at once are read, and written as soon as they are there.

python examples/aio_copy/copy_file.py SOURCE TARGET

Each piece has a read and a write that share its buffer. They are prepared once; what is left to do for a piece is to
set an offset and to start it.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from gadget.aio import Context, Operation, Pieces, direct_alignment


@dataclass
class Piece:
    """A buffer, and the two operations that it is used by in turn."""

    read: Operation
    write: Operation

    def release(self) -> None:
        """Lets go of the buffer, unless the kernel still has it."""
        for operation in (self.read, self.write):
            if not operation.in_flight:
                operation.release()


def copy(source: Path, target: Path, *, depth: int = 8, size: int = 1 << 18) -> int:
    """Copies ``depth`` pieces of ``size`` bytes at a time; returns the length of the file."""
    reader = os.open(source, os.O_RDONLY | os.O_DIRECT)
    writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DIRECT, 0o644)
    try:
        length = os.fstat(reader).st_size
        with Pieces(depth, size) as buffers:
            pieces = [Piece(Operation.read(reader, view), Operation.write(writer, view)) for view in buffers.views]
            try:
                with Context(depth) as context:
                    _copy(context, pieces, length, size, direct_alignment(writer).offset)
            finally:
                for piece in pieces:
                    piece.release()
        os.truncate(writer, length)  # the last write was as long as O_DIRECT wants it
        os.fsync(writer)
        return length
    finally:
        os.close(reader)
        os.close(writer)


def _copy(context: Context, pieces: list[Piece], length: int, size: int, alignment: int) -> None:
    offsets = iter(range(0, length, size))
    for piece in pieces:
        piece.read.user_data = piece.write.user_data = piece
        _start(context, piece, next(offsets, None))
    while context.in_flight:
        context.submit()
        for ended in context.wait():
            assert isinstance(ended.user_data, Piece)
            piece = ended.user_data
            if ended is piece.read:
                # At its end, the file is shorter than what O_DIRECT can write.
                piece.write.length = -(-ended.check() // alignment) * alignment
                piece.write.offset = piece.read.offset
                context.start(piece.write)
            elif ended.check() < piece.write.length:
                raise OSError(f"only {ended.check()} bytes were written at {piece.write.offset}: is the disk full?")
            else:
                _start(context, piece, next(offsets, None))


def _start(context: Context, piece: Piece, offset: int | None) -> None:
    if offset is not None:
        piece.read.offset = offset
        context.start(piece.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    print(f"{copy(arguments.source, arguments.target)} bytes")
