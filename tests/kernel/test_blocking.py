"""Blocking calls on pipes: a read waits for the writer as long as a test wants it to."""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from gadget.aio import Caller
from gadget.errors import ClosedError, KernelError, UsageError

PATIENCE_MS = 10_000


@pytest.fixture
def caller() -> Iterator[Caller]:
    opened = Caller(64)
    yield opened
    opened.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def rings(caller: Caller, timeout: int = PATIENCE_MS) -> bool:
    poll = select.poll()
    poll.register(caller.fileno(), select.POLLIN)
    return bool(poll.poll(timeout))


def result(caller: Caller) -> bytes:
    while (taken := caller.take()) is None:
        assert rings(caller), "it does not end"
    return taken


def test_a_call_blocks_nobody_and_its_end_is_told(caller: Caller, pipe: tuple[int, int]) -> None:
    caller.read(pipe[0], 64)
    assert (caller.busy, caller.take(), rings(caller, 0)) == (True, None, False)
    os.write(pipe[1], b"data")
    assert rings(caller)
    assert (caller.take(), caller.busy) == (b"data", False)
    assert not rings(caller, 0), "it is told once"


def test_what_nobody_has_asked_for_is_not_told(caller: Caller, pipe: tuple[int, int]) -> None:
    caller.read(pipe[0], 64)
    os.write(pipe[1], b"data")
    assert not rings(caller, 100), "it has ended by now, most likely; whether it has is not what is looked at"
    assert result(caller) == b"data"
    assert not rings(caller, 0)


def test_calls_one_after_the_other(caller: Caller, pipe: tuple[int, int]) -> None:
    for number in range(200):
        data = b"%d" % number
        caller.write(pipe[1], data)
        assert result(caller) == b""
        caller.read(pipe[0], 64)
        assert result(caller) == data


def test_no_bytes(caller: Caller, pipe: tuple[int, int]) -> None:
    caller.write(pipe[1], b"")
    assert result(caller) == b""
    caller.read(pipe[0], 0)
    assert result(caller) == b""


def test_the_data_outlives_its_owner(caller: Caller, pipe: tuple[int, int]) -> None:
    os.write(pipe[1], bytes(65536))  # it is full: the call waits
    caller.write(pipe[1], b"before " + str(os.getpid()).encode())
    gc.collect()
    assert len(os.read(pipe[0], 65536)) == 65536
    assert result(caller) == b""
    assert os.read(pipe[0], 64) == b"before " + str(os.getpid()).encode()


def test_an_error_is_that_of_the_call(caller: Caller, pipe: tuple[int, int], tmp_path: Path) -> None:
    caller.read(pipe[1], 1)
    with pytest.raises(OSError) as raised:
        result(caller)
    assert (raised.value.errno, caller.busy) == (errno.EBADF, False)
    os.set_blocking(pipe[0], False)
    caller.read(pipe[0], 1)
    with pytest.raises(BlockingIOError):  # EAGAIN of the file is not "not yet" of the call
        result(caller)


def test_misuse(caller: Caller, pipe: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="no call"):
        caller.take()
    with pytest.raises(UsageError, match="65 bytes: there is room for 64"):
        caller.read(pipe[0], 65)
    caller.read(pipe[0], 1)
    with pytest.raises(UsageError, match="under way"):
        caller.read(pipe[0], 1)
    with pytest.raises(KernelError, match="not ended"):
        caller.close()
    os.write(pipe[1], b"x")
    assert result(caller) == b"x"


def test_a_signal_ends_no_call(caller: Caller, pipe: tuple[int, int]) -> None:
    """The thread takes none, so a handler in the main thread sees it, and no call ends with EINTR."""
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    try:
        caller.read(pipe[0], 1)
        os.kill(os.getpid(), signal.SIGUSR1)
        os.write(pipe[1], b"x")
        assert result(caller) == b"x"
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]


def test_a_call_that_ends_at_once_wakes_no_thread(caller: Caller, pipe: tuple[int, int]) -> None:
    assert (caller.write(pipe[1], b"data", within=10), caller.busy) == (b"", False)
    assert (caller.read(pipe[0], 64, within=10), caller.busy) == (b"data", False)
    os.set_blocking(pipe[0], False)
    with pytest.raises(BlockingIOError):  # an error is an end
        caller.read(pipe[0], 64, within=10)
    assert (caller.busy, rings(caller, 0)) == (False, False)


def test_one_that_does_not_is_left_to_the_thread(caller: Caller, pipe: tuple[int, int]) -> None:
    for data in (b"one", b"two"):
        began = time.monotonic()
        assert caller.read(pipe[0], 64, within=0.05) is None
        assert time.monotonic() - began >= 0.05
        assert caller.take() is None
        os.write(pipe[1], data)
        assert result(caller) == data


def test_calls_are_tried_in_whichever_thread_makes_them(caller: Caller, pipe: tuple[int, int]) -> None:
    seen: list[tuple[bytes | None, bytes | None]] = []

    def call() -> None:
        ended = caller.read(pipe[0], 64, within=0.05)
        os.write(pipe[1], b"data")
        seen.append((ended, result(caller)))

    call()
    for _ in range(3):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert seen == [(None, b"data")] * 4


def test_nothing_is_tried_where_it_could_not_be_interrupted(caller: Caller, pipe: tuple[int, int]) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMAX - 3})
    try:
        assert caller.read(pipe[0], 64, within=10) is None
        os.write(pipe[1], b"data")
        assert result(caller) == b"data"
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def threads() -> int:
    """Those of callers: that of an earlier test may take a moment to end."""
    names = [path / "comm" for path in Path("/proc/self/task").iterdir()]
    return sum(read_text(name) == "gadget-caller\n" for name in names)


def read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_threads(count: int) -> bool:
    watch = threading.Event()
    return any(threads() == count or watch.wait(0.01) for _ in range(1000))


def test_closing_ends_the_thread(pipe: tuple[int, int]) -> None:
    assert wait_threads(0)
    before, files = 0, len(list(Path("/proc/self/fd").iterdir()))
    caller = Caller(64)
    assert threads() == before + 1
    caller.close()
    caller.close()
    assert wait_threads(before)
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    with pytest.raises(ClosedError):
        caller.read(pipe[0], 1)


def test_one_that_was_forgotten_complains_and_ends_when_its_call_does(pipe: tuple[int, int]) -> None:
    assert wait_threads(before := 0)
    caller = Caller(64)
    caller.read(pipe[0], 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del caller
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert threads() == before + 1, "it did not wait"
    os.write(pipe[1], b"x")
    assert wait_threads(before)


def test_a_forked_child_has_no_part_in_it(caller: Caller, pipe: tuple[int, int]) -> None:
    caller.read(pipe[0], 1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            caller.take()
        except ClosedError:
            caller.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.write(pipe[1], b"x")
    assert result(caller) == b"x"
