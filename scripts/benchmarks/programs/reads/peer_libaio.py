"""python-libaio, by its own interface: a block is used again for the next read, which its documentation allows."""

from collections.abc import Iterator, Sequence

from libaio import AIOBLOCK_MODE_READ, AIOBlock, AIOContext

from benchmarks.programs.reads import BLOCK, buffers, wrong


class Libaio:
    """``AIOContext.submit`` and ``getEvents``."""

    def __init__(self, fd: int, depth: int, offsets: Iterator[int]) -> None:
        self._offsets = offsets
        self._buffers = buffers(depth)
        self._context = AIOContext(depth)
        self._blocks = [AIOBlock(AIOBLOCK_MODE_READ, fd, [buffer], 0) for buffer in self._buffers]

    def run(self, count: int) -> None:
        context, offsets = self._context, self._offsets
        batch = self._blocks[:count]
        for block in batch:
            block.offset = next(offsets)
        left, flying = count - len(batch), 0
        while batch or flying:
            if batch:
                flying += context.submit(batch)
            done = context.getEvents(min_nr=1)
            flying -= len(done)
            batch = []
            for block, result, _ in done:
                if result != BLOCK:
                    raise wrong(result)
                batch.append(block)
            del batch[left:]
            left -= len(batch)
            for block in batch:
                block.offset = next(offsets)

    def blocks(self) -> Sequence[memoryview]:
        return self._buffers

    def close(self) -> None:
        self._context.close()
