"""Everything at once: threads, batches, asyncio, cancelling and forking at random; every byte is checked.

Afterwards nothing may be missing: no descriptor, no slot, nothing of fs.aio-nr, no memory.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gadget.aio import AsyncContext, Batch, Context, Operation, undrained

#: What the file has at each of its 8-byte words: the number of the word.
WORDS = 1 << 17
REGION = 1 << 16
PATIENCE = 60.0


def content(offset: int, length: int) -> bytes:
    first, last = offset // 8, (offset + length) // 8 + 1
    return b"".join(number.to_bytes(8) for number in range(first, last))[offset % 8 :][:length]


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
        self.seed, self.operations = seed, 0
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.context = Context(64)

    def run(self, seconds: float) -> None:
        works: list[Callable[[Random], int]] = [self.threads, self.threads, self.batches, self.loop, self.forks]
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
        buffers = [bytearray(64) for _ in range(16)]
        with Batch(self.words, buffers) as batch:
            offsets = {number: randomly.randrange(WORDS * 8 - 64) for number in range(16)}
            count, turns = batch.turn(list(offsets.values()), at_least=16), 40
            for _ in range(turns):
                batch.check()
                ended = list(batch.ended[:count])
                for number in ended:
                    assert buffers[number] == content(offsets[number], 64)
                    offsets[number] = randomly.randrange(WORDS * 8 - 64)
                count = batch.turn([offsets[number] for number in ended], at_least=randomly.randrange(1, 17))
            batch.turn([0] * min(count, 3), at_least=0)
        return 16 * turns

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
        os.close(self.words)
        os.close(self.scratch)


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


def test_for_a_moment(tmp_path: Path) -> None:
    assert stress(tmp_path, 3.0).operations > 1000
    assert undrained() == ()


@pytest.mark.stress
def test_for_minutes(tmp_path: Path) -> None:
    before, start = aio_nr(), time.monotonic()
    assert stress(tmp_path, 180.0).operations > 1_000_000
    assert undrained() == ()
    # Others on this machine may have contexts of their own.
    while aio_nr() > before:
        assert time.monotonic() - start < 180.0 + PATIENCE
