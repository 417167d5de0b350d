"""What starts an operation may be interrupted at any moment, by what a signal's handler raises.

The operation is with the kernel then, and held with its buffer until it has ended; or it is not. And whoever waits for
it hears of its end, whichever thread has started it, and however late that thread knows.
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from gadget.aio import AsyncContext, Context, Operation

#: How long anything may take that should take no time.
PATIENCE = 10.0


class InterruptedByTestError(Exception):
    """What the handler raises."""


@contextmanager
def alarm(source: random.Random) -> Iterator[None]:
    """Interrupts what is done meanwhile, within 60 us; once, if it is still at it then."""
    armed = True

    def handle(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise InterruptedByTestError

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, source.uniform(2e-6, 6e-5), 0.01)
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class InterruptedOnce:
    """In the place of a method, that is interrupted when it begins, the first time."""

    def __init__(self, method: Callable[..., object]) -> None:
        self._method, self._calls = method, 0

    def __call__(self, *args: object) -> object:
        self._calls += 1
        if self._calls == 1:
            raise InterruptedByTestError
        return self._method(*args)


@pytest.mark.parametrize("how", ["run", "start"])
def test_by_a_signal(how: str, context: Context, pipe: tuple[int, int]) -> None:
    source, interrupted = random.Random(1), 0
    # What Python itself loses: a descriptor, if a signal comes when the call that makes it returns. It is made here.
    context.wait_all([context.poll(pipe[0], select.POLLIN)], 0.01)
    context.cancel_all()
    assert context.wait(PATIENCE)
    for _ in range(400):
        operations = [Operation.poll(pipe[0], select.POLLIN) for _ in range(3)]
        try:
            with alarm(source):
                if how == "run":
                    context.run(operations[0])
                else:
                    context.start(*operations)
        except InterruptedByTestError:
            interrupted += 1
        held = list(context._pending.values())
        assert context.in_flight == len(held)
        assert all(operation.in_flight for operation in held)
        if how == "start":
            assert [operation for operation in operations if operation.in_flight] == held
        context.cancel_all()
        while context._pending:  # a poll is given back by a work queue
            assert context.wait(PATIENCE)
        assert (context._pending, context.free_slots) == ({}, 8)
    assert interrupted > 10


@pytest.fixture
def nobody_has_its_ticket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that is queued is interrupted then."""
    interrupted = InterruptedOnce(Operation._begin)
    monkeypatch.setattr(Operation, "_begin", lambda *args: interrupted(*args))


@pytest.mark.usefixtures("nobody_has_its_ticket")
def test_a_read_with_its_buffer(context: Context, pipe: tuple[int, int]) -> None:
    buffer = bytearray(4)
    with pytest.raises(InterruptedByTestError):
        context.read(pipe[0], buffer)
    assert context.in_flight == 1
    with pytest.raises(BufferError):
        buffer.append(0)
    os.write(pipe[1], b"abcd")
    context.submit()
    (read,) = context.wait(PATIENCE)
    assert (read.result, bytes(buffer)) == (4, b"abcd")
    buffer.append(0)


@pytest.mark.usefixtures("nobody_has_its_ticket")
def test_all_are_started_or_none(context: Context, pipe: tuple[int, int]) -> None:
    polls = [Operation.poll(pipe[0], select.POLLIN) for _ in range(2)]
    with pytest.raises(InterruptedByTestError):
        context.start(*polls)
    assert not any(poll.in_flight for poll in polls)
    assert (context.in_flight, context.free_slots) == (0, 8)
    context.start(*polls)
    assert context.cancel_all() == 2


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("prepared", [False, True])
def test_under_asyncio(prepared: bool, together: bool, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted when the kernel has it: alone, or together with others of its file."""
    buffer = bytearray(1)

    async def main() -> None:
        async with AsyncContext(8) as context:
            os.set_blocking(pipe[0], True)
            if together:
                context._slow.add(pipe[0])
            poll = Operation.poll(pipe[0], select.POLLIN)
            monkeypatch.setattr(context.context, "_adopt", InterruptedOnce(context.context._adopt))
            with pytest.raises(InterruptedByTestError):
                await (context.run(poll) if prepared else context.poll(pipe[0], select.POLLIN))
            assert poll.in_flight == prepared
            assert context.context.in_flight == len(context.context._pending) == 1
            os.write(pipe[1], b"x")
            async with asyncio.timeout(PATIENCE):
                while context.context._pending:
                    await asyncio.sleep(0.01)
            if prepared:
                assert poll.check() & select.POLLIN
            assert await context.read(pipe[0], buffer) == 1

    asyncio.run(main())
    buffer.append(0)


class Late(Operation):
    """One whose thread takes its time to say that it has ended."""

    def _finish(self, result: int, result2: int) -> None:
        time.sleep(0.3)  # Longer than who waits takes to have looked, and to sleep again.
        super()._finish(result, result2)


def test_who_waits_for_what_another_thread_runs(context: Context, file: int) -> None:
    """The kernel has rung before the result is known, and rings no more."""
    read = Late.read(file, bytearray(100))
    waiting = threading.Thread(target=wait_for, args=(context, read))
    waiting.start()
    assert context.run(read) == 100
    waiting.join(PATIENCE)
    assert not waiting.is_alive()


def wait_for(context: Context, operation: Operation) -> None:
    while not operation.in_flight and not operation.done:
        time.sleep(0.001)  # Nothing tells another thread of a start.
    context.wait_all([operation])


def test_who_waits_for_what_was_reaped_before_it_was_known(
    context: Context, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    poll, adopt = Operation.poll(pipe[0], select.POLLIN), context._adopt
    waiting = threading.Thread(target=context.wait_all, args=([poll],))

    def adopt_late(operation: Operation, ticket: int) -> None:
        waiting.start()
        while not context._sleepers.asleep:
            time.sleep(0.001)  # Nothing tells of a sleeper.
        time.sleep(0.1)  # asleep, and not about to be
        os.write(pipe[1], b"x")
        assert select.select([context], [], [], PATIENCE)[0]
        context.reap()
        time.sleep(0.1)  # Longer than who waits takes to have found nothing, and to sleep again.
        adopt(operation, ticket)

    monkeypatch.setattr(context, "_adopt", adopt_late)
    assert context.run(poll) & select.POLLIN
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
