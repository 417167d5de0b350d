"""linux-aio, by its own interface: a block is used again for the next read."""

from collections.abc import Iterator, Sequence
from ctypes import addressof, c_char

from linux_aio import AIOContext, ReadBlock

from benchmarks.programs.reads import BLOCK, wrong

#: What O_DIRECT asks of an address, on disks with blocks of 512 or 4096 bytes.
ALIGNMENT = 4096


def aligned() -> bytearray:
    """A bytearray for a block, at an address that O_DIRECT can use.

    The package takes no other kind of buffer to read into. Bytes taken off the front of one move its beginning.
    """
    buffer = bytearray(BLOCK + ALIGNMENT)
    del buffer[: -addressof(c_char.from_buffer(buffer)) % ALIGNMENT]
    del buffer[BLOCK:]
    return buffer


class LinuxAio:
    """``AIOContext.submit`` and ``get_events``."""

    def __init__(self, fd: int, depth: int, offsets: Iterator[int]) -> None:
        self._depth, self._offsets = depth, offsets
        self._buffers = [aligned() for _ in range(depth)]
        self._context = AIOContext(depth)
        self._blocks = [ReadBlock(fd, buffer) for buffer in self._buffers]

    def run(self, count: int) -> None:
        context, offsets, depth = self._context, self._offsets, self._depth
        batch = self._blocks[:count]
        for block in batch:
            block.offset = next(offsets)
        left, flying = count - len(batch), 0
        while batch or flying:
            if batch:
                flying += context.submit(*batch)
            done = context.get_events(1, depth)
            flying -= len(done)
            batch = []
            for event in done:
                if (result := event.response) != BLOCK:
                    raise wrong(result)
                batch.append(event.aio_block)
            del batch[left:]
            left -= len(batch)
            for block in batch:
                block.offset = next(offsets)

    def blocks(self) -> Sequence[bytearray]:
        return self._buffers

    def close(self) -> None:
        self._context.close()
