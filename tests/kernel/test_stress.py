"""Everything at once: threads, batches, asyncio, cancelling and forking at random; every byte is checked.

Afterwards nothing may be missing: no descriptor, no slot, nothing of fs.aio-nr, no memory.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import mmap
import os
import random
import select
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gadget.aio import AsyncContext, Batch, Context, Operation, Pieces, undrained
from gadget.errors import NotDrainedError
from gadget.testing.waiting import wait_for

#: What the file has at each of its 8-byte words: the number of the word.
WORDS = 1 << 17
REGION = 1 << 16
#: What O_DIRECT takes everywhere.
BLOCK = mmap.PAGESIZE
PATIENCE = 60.0


def content(offset: int, length: int) -> bytes:
    first, last = offset // 8, (offset + length) // 8 + 1
    return b"".join(number.to_bytes(8) for number in range(first, last))[offset % 8 :][:length]


def block(randomly: Random) -> int:
    """The offset of one, in the file of words."""
    return randomly.randrange(WORDS * 8 // BLOCK) * BLOCK


def opened_direct(*paths: Path) -> list[int]:
    """None, where the file system has no O_DIRECT: the others have their work all the same."""
    try:
        return [os.open(path, os.O_RDWR | os.O_DIRECT) for path in paths]
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return []


class Random(random.Random):
    """What one worker is told to do.

    Attributes:
        region: The first byte of what is this worker's alone of the file that is written to.
    """

    region: int


class Stress:
    """Workers on a few files until the time is over.

    Attributes:
        operations: How many have been checked.
        errors: What went wrong.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        (folder / "words").write_bytes(content(0, WORDS * 8))
        self.words = os.open(folder / "words", os.O_RDONLY)
        self.scratch = os.open(folder / "scratch", os.O_RDWR | os.O_CREAT)
        self.direct = opened_direct(folder / "words", folder / "scratch")
        self.seed, self.operations = seed, 0
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.context = Context(64)

    def run(self, seconds: float) -> None:
        works: list[Callable[[Random], int]] = [self.threads, self.threads, self.batches, self.loop, self.forks]
        works += [self.closed_in_vain, self.dropped]
        if self.direct:
            works += [self.direct_context, self.direct_batches, self.direct_loop]
        threads = [threading.Thread(target=self._work, args=(n, work)) for n, work in enumerate(works)]
        for thread in threads:
            thread.start()
        self._stop.wait(seconds)
        self._stop.set()
        for thread in threads:
            thread.join()

    def _work(self, number: int, work: Callable[[Random], int]) -> None:
        randomly = Random(f"{self.seed} {number}")
        randomly.region = number * REGION
        try:
            while not self._stop.is_set():
                checked = work(randomly)
                with self._lock:
                    self.operations += checked
        except BaseException as error:
            self.errors.append(error)
            self._stop.set()

    def threads(self, randomly: Random) -> int:
        """Reads, writes and polls in a context that several threads share; some are cancelled."""
        reads = [self._read(randomly) for _ in range(randomly.randrange(1, 12))]
        at, data = randomly.region + randomly.randrange(REGION - 999), randomly.randbytes(randomly.randrange(1, 999))
        write, back = Operation.write(self.scratch, data, at), bytearray(len(data))
        reader, writer = os.pipe()
        polls = [Operation.poll(reader, select.POLLIN) for _ in range(2)]
        started = [operation for operation, _, _ in reads] + [write, *polls]
        self._start(started)
        if randomly.random() < 0.5:
            self.context.cancel(polls[0])
        os.write(writer, b"x")
        assert self.context.wait_all(started, PATIENCE)
        os.close(reader)
        os.close(writer)
        for operation, buffer, offset in reads:
            if operation.result != -errno.ECANCELED:
                assert buffer[: operation.check()] == content(offset, len(buffer))[: operation.check()]
        assert write.check() == len(data)
        again = Operation.read(self.scratch, back, at)
        self._start([again])
        assert self.context.wait_all([again], PATIENCE)
        assert back == data
        return len(started) + 1

    def _read(self, randomly: Random) -> tuple[Operation, bytearray, int]:
        buffer, offset = bytearray(randomly.randrange(1, 5000)), randomly.randrange(WORDS * 8)
        return Operation.read(self.words, buffer, offset), buffer, offset

    def _start(self, operations: list[Operation]) -> None:
        while True:
            try:
                self.context.start(*operations)
            except BlockingIOError:
                self.context.wait(0.001)
            else:
                self.context.submit()
                return

    def batches(self, randomly: Random) -> int:
        """A batch, opened and closed again; in the end with reads that nobody has asked about."""
        return self._turns(self.words, [bytearray(64) for _ in range(16)], lambda: randomly.randrange(WORDS * 8 - 64))

    def _turns(self, file: int, buffers: Sequence[bytearray | memoryview], offset: Callable[[], int]) -> int:
        with Batch(file, buffers) as batch:
            offsets = {number: offset() for number in range(len(buffers))}
            count, checked = batch.turn(list(offsets.values()), at_least=len(buffers)), 0
            for at_least in [*range(1, len(buffers) + 1)] * 3:
                batch.check()
                ended, checked = list(batch.ended[:count]), checked + count
                for number in ended:
                    assert bytes(buffers[number]) == content(offsets[number], len(buffers[number]))
                    offsets[number] = offset()
                count = batch.turn([offsets[number] for number in ended], at_least)
            batch.turn([0] * min(count, 3), at_least=0)
        return checked

    def loop(self, randomly: Random) -> int:
        """Tasks on few slots, some of which are cancelled at once, or later, or closed in the middle."""

        async def one(aio: AsyncContext, seed: int) -> int:
            mine = random.Random(seed)
            for _ in range(10):
                buffer, offset = bytearray(mine.randrange(1, 300)), mine.randrange(WORDS * 8)
                count = await aio.read(self.words, buffer, offset)
                assert buffer[:count] == content(offset, len(buffer))[:count]
            return 10

        async def main() -> int:
            reader, writer = os.pipe()
            async with AsyncContext(3) as aio:
                tasks = [asyncio.create_task(one(aio, randomly.getrandbits(64))) for _ in range(20)]
                polls = [asyncio.create_task(aio.poll(reader, select.POLLIN)) for _ in range(2)]
                for _ in range(randomly.randrange(5)):
                    await asyncio.sleep(0)
                victims = randomly.sample(tasks, 5) + polls
                for victim in victims:
                    victim.cancel()
                results = await asyncio.gather(*tasks, *polls, return_exceptions=True)
                assert {type(result) for result in results} <= {int, asyncio.CancelledError}
                while aio.context.in_flight:
                    await asyncio.sleep(0)
                assert aio.context.free_slots == 3
            os.close(reader)
            os.close(writer)
            return sum(result for result in results if isinstance(result, int))

        return asyncio.run(main())

    def direct_context(self, randomly: Random) -> int:
        """Reads past the page cache, which are in flight for a while: started again and again, and some asked back."""
        told: list[None] = []
        with Pieces(8, BLOCK) as pieces:
            reads = [Operation.readv(self.direct[0], [view]) for view in pieces.views[:4]]
            reads += [Operation.read(self.direct[0], view) for view in pieces.views[4:]]
            for read in reads:
                read.callback = lambda _: told.append(None)
            for _ in range(10):
                self._read_blocks(reads, pieces, randomly)
            self._write_and_read(pieces, randomly)
            # Another thread that has fetched them may not have come to that yet.
            wait_for(lambda: len(told) == 80, "every callback to be called")
            assert sum(read.release() for read in reads) <= 80 * BLOCK
        return 82

    def _read_blocks(self, reads: list[Operation], pieces: Pieces, randomly: Random) -> None:
        for read in reads:
            read.offset = block(randomly)
        self._start(reads)
        self.context.cancel(randomly.choice(reads))
        assert self.context.wait_all(reads, PATIENCE)
        for read, view in zip(reads, pieces.views, strict=True):
            assert read.result == -errno.ECANCELED or view[: read.check()] == content(read.offset, BLOCK)

    def _write_and_read(self, pieces: Pieces, randomly: Random) -> None:
        pieces.views[0][:], pieces.views[1][:] = randomly.randbytes(BLOCK), randomly.randbytes(BLOCK)
        write = Operation.writev(self.direct[1], pieces.views[:2], randomly.region)
        read = Operation.readv(self.direct[1], pieces.views[2:4], randomly.region)
        for operation in (write, read):
            self._start([operation])
            assert self.context.wait_all([operation], PATIENCE)
            assert operation.check() == operation.release() == 2 * BLOCK
        assert pieces.views[2:4] == pieces.views[:2]

    def direct_batches(self, randomly: Random) -> int:
        """As batches, but some of what nobody has asked about is in flight when it is closed."""
        with Pieces(8, BLOCK) as pieces:
            return self._turns(self.direct[0], pieces.views, lambda: block(randomly))

    def direct_loop(self, randomly: Random) -> int:
        """Tasks that are cancelled, while the kernel does not give back what they wait for."""

        async def main(views: tuple[memoryview, ...]) -> int:
            offsets = [block(randomly) for _ in views]
            async with AsyncContext(3) as aio:
                reads = [aio.read(self.direct[0], view, offset) for view, offset in zip(views, offsets, strict=True)]
                tasks = [asyncio.create_task(read) for read in reads]
                for _ in range(randomly.randrange(3)):
                    await asyncio.sleep(0)
                for victim in randomly.sample(tasks, 2):
                    victim.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert {type(result) for result in results} <= {int, asyncio.CancelledError}
            for view, offset, result in zip(views, offsets, results, strict=True):
                assert result != BLOCK or view == content(offset, BLOCK)
            return results.count(BLOCK)

        with Pieces(8, BLOCK) as pieces:
            return asyncio.run(main(pieces.views))

    def closed_in_vain(self, randomly: Random) -> int:
        """A context that is closed in vain, for io_submit sleeps over a read of an empty pipe; and then is closed."""
        reader, writer = os.pipe()
        context, first, second = Context(4), bytearray(8), bytearray(1)
        context.read(self.words, first)
        context.read(reader, second)
        submitter = threading.Thread(target=context.submit)
        submitter.start()
        assert context.wait(PATIENCE), "both were taken by one io_submit, in order"
        with pytest.raises(NotDrainedError):
            context.close(randomly.random() / 100)
        assert context in undrained()
        os.write(writer, b"x")
        submitter.join()
        context.close(PATIENCE)
        assert bytes(first + second) == content(0, 8) + b"x"
        os.close(reader)
        os.close(writer)
        return 2

    def dropped(self, randomly: Random) -> int:
        """Contexts that nobody has any more while polls are in flight, some of which have ended by then."""
        reader, writer = os.pipe()
        context = Context(8)
        for events in (select.POLLIN, select.POLLIN, select.POLLPRI):
            context.poll(reader, events)
        context.submit()
        if randomly.random() < 0.5:
            os.write(writer, b"x")
        del context
        os.close(reader)
        os.close(writer)
        return 3

    def forks(self, randomly: Random) -> int:
        """A child, which has no part in anything."""
        child = os.fork()
        if child == 0:
            # Other threads had locks when this process was forked, so it does next to nothing.
            os._exit(0 if self.context.closed and not undrained() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        self._stop.wait(randomly.random() / 10)
        return 0

    def close(self) -> None:
        assert (self.context.free_slots, self.context.in_flight, self.context._pending) == (64, 0, {})
        self.context.close()
        gc.collect()  # what was dropped is in cycles with its operations
        wait_for(lambda: not undrained(), "what was dropped to be given back", 20.0)
        for file in (self.words, self.scratch, *self.direct):
            os.close(file)


DROPS = pytest.mark.filterwarnings("ignore:.* was not closed:ResourceWarning")


def resident() -> int:
    """The memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def stress(folder: Path, seconds: float) -> Stress:
    run = Stress(folder, seed=random.randrange(1 << 32))
    run.run(seconds / 3)  # until everything is allocated that is ever needed
    before = resident()
    run._stop.clear()
    if not run.errors:
        run.run(seconds * 2 / 3)
    assert run.errors == [], f"seed {run.seed}"
    grown = resident() - before
    run.close()
    assert grown < 8 << 20, f"{grown >> 10} KiB more than after the first third"
    print(f"{run.operations} operations in {seconds} s, {grown >> 10} KiB grown, seed {run.seed}")
    return run


def aio_nr() -> int:
    return int(Path("/proc/sys/fs/aio-nr").read_text())


@DROPS
def test_for_a_moment(tmp_path: Path) -> None:
    assert stress(tmp_path, 3.0).operations > 1000
    assert undrained() == ()


@DROPS
@pytest.mark.stress
def test_for_minutes(tmp_path: Path) -> None:
    before, start = aio_nr(), time.monotonic()
    assert stress(tmp_path, 180.0).operations > 2_000_000
    assert undrained() == ()
    # Others on this machine may have contexts of their own.
    while aio_nr() > before:
        assert time.monotonic() - start < 180.0 + PATIENCE
