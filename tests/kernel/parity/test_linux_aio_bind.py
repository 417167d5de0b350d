"""linux_aio_bind: the header and its system calls, one to one."""

from __future__ import annotations

import errno
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gadget.aio import Opcode, syscalls
from gadget.aio._aio import ffi
from gadget.aio.syscalls import RWF, Command, Flag, Iocb, IoEvent, PriorityClass

from ..conftest import CONTENT


@pytest.fixture
def raw() -> Iterator[int]:
    context = syscalls.io_setup(8)
    yield context
    syscalls.io_destroy(context)


def run(context: int, *iocbs: Iocb) -> list[IoEvent]:
    assert syscalls.io_submit(context, iocbs) == len(iocbs)
    events = syscalls.io_getevents(context, len(iocbs), len(iocbs), 10.0)
    return sorted(events, key=lambda event: event.data)


# ---- contexts --------------------------------------------------------------------------------------------------------


def test_set_up_returns_a_context_that_is_not_zero(raw: int) -> None:
    assert raw != 0


def test_more_than_the_machine_has_is_eagain() -> None:
    limit = int(Path("/proc/sys/fs/aio-max-nr").read_text())
    with pytest.raises(OSError, match=r"io_setup: .*aio-max-nr.*sysctl") as caught:
        syscalls.io_setup(limit + 1)
    assert caught.value.errno == errno.EAGAIN


def test_destroying_twice_is_einval() -> None:
    context = syscalls.io_setup(1)
    syscalls.io_destroy(context)
    with pytest.raises(OSError, match="io_destroy: there is no such context") as caught:
        syscalls.io_destroy(context)
    assert caught.value.errno == errno.EINVAL


def test_a_context_that_is_not_zero_at_set_up_is_einval(raw: int) -> None:
    with pytest.raises(OSError, match="io_setup: the context is not zero") as caught:
        syscalls.io_setup(1, raw)
    assert caught.value.errno == errno.EINVAL


def test_submitting_to_a_context_that_is_none_is_einval(file: int) -> None:
    with pytest.raises(OSError, match="io_submit: there is no such context") as caught:
        syscalls.io_submit(0, [Iocb(Command.PREAD, file, bytearray(1))])
    assert caught.value.errno == errno.EINVAL


# ---- waiting ---------------------------------------------------------------------------------------------------------


def test_min_nr_of_minus_one_is_einval(raw: int) -> None:
    for get_events in (syscalls.io_getevents, syscalls.io_pgetevents):
        with pytest.raises(OSError, match="min_nr is negative") as caught:
            get_events(raw, -1, 1)
        assert caught.value.errno == errno.EINVAL


def test_submitting_nothing_is_nothing(raw: int) -> None:
    assert syscalls.io_submit(raw, []) == 0


def test_fetching_nothing(raw: int) -> None:
    assert syscalls.io_getevents(raw, 0, 0) == []
    assert syscalls.io_getevents(raw, 0, 8) == []
    assert syscalls.io_pgetevents(raw, 0, 8) == []


def test_a_time_out(raw: int) -> None:
    before = time.monotonic()
    assert syscalls.io_getevents(raw, 1, 1, 0.02) == []
    assert syscalls.io_pgetevents(raw, 1, 1, 0.02) == []
    assert time.monotonic() - before >= 0.04


def test_a_signal_that_the_mask_blocks_comes_afterwards(raw: int) -> None:
    """It is not blocked otherwise, and would end the wait with EINTR."""
    caught: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: caught.append(number))
    started = threading.Event()

    def interrupt() -> None:
        started.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        started.set()
        assert syscalls.io_pgetevents(raw, 1, 1, 0.1, [signal.SIGUSR1]) == []
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert caught == [signal.SIGUSR1]


@pytest.mark.parametrize("number", [0, -1, 65, 129, 2000])
def test_a_mask_with_a_number_that_is_no_signals_is_einval(raw: int, number: int) -> None:
    with pytest.raises(OSError, match="sigmask has a number that is no signal's") as caught:
        syscalls.io_pgetevents(raw, 0, 1, 0.0, [signal.SIGUSR1, number])
    assert caught.value.errno == errno.EINVAL


def test_a_mask_of_all_signals(raw: int) -> None:
    assert syscalls.io_pgetevents(raw, 0, 1, 0.0, range(1, 65)) == []


def test_a_signal_that_the_mask_lets_through_interrupts(raw: int) -> None:
    """It is blocked otherwise, so the mask is what makes the difference."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        with pytest.raises(InterruptedError):
            syscalls.io_pgetevents(raw, 1, 1, 10.0, [])
        assert syscalls.io_getevents(raw, 1, 1, 0.0) == []
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGUSR1, before)


# ---- operations ------------------------------------------------------------------------------------------------------


def test_read(raw: int, file: int) -> None:
    buffer = bytearray(10)
    iocb = Iocb(Command.PREAD, file, buffer, 5, data=7)
    assert run(raw, iocb) == [IoEvent(7, iocb.address, 10, 0)]
    assert buffer == CONTENT[5:15]


def test_read_with_a_priority(raw: int, file: int) -> None:
    buffer = bytearray(10)
    iocb = Iocb(Command.PREAD, file, buffer)
    iocb.pointer.aio_flags = Flag.IOPRIO
    iocb.pointer.aio_reqprio = syscalls.priority(PriorityClass.BEST_EFFORT, 3)
    assert [event.res for event in run(raw, iocb)] == [10]
    iocb.pointer.aio_reqprio = -1  # no such class: so the field is looked at
    with pytest.raises(OSError, match="not well-formed"):
        run(raw, iocb)


def test_a_closed_resfd_is_ebadf(raw: int, file: int) -> None:
    eventfd = os.eventfd(0)
    os.close(eventfd)
    iocb = Iocb(Command.PREAD, file, bytearray(1))
    iocb.pointer.aio_flags, iocb.pointer.aio_resfd = Flag.RESFD, eventfd
    with pytest.raises(OSError, match="resfd") as caught:
        syscalls.io_submit(raw, [iocb])
    assert caught.value.errno == errno.EBADF


def test_a_resfd_rings(raw: int, file: int) -> None:
    eventfd = os.eventfd(0)
    try:
        iocb = Iocb(Command.PREAD, file, bytearray(1))
        iocb.pointer.aio_flags, iocb.pointer.aio_resfd = Flag.RESFD, eventfd
        run(raw, iocb)
        assert os.eventfd_read(eventfd) == 1
    finally:
        os.close(eventfd)


def test_write(raw: int, file: int) -> None:
    assert [event.res for event in run(raw, Iocb(Command.PWRITE, file, b"new", 100))] == [3]
    assert os.pread(file, 5, 99) == CONTENT[99:100] + b"new" + CONTENT[103:104]


def test_readv(raw: int, file: int) -> None:
    iocb, buffers = Iocb(Command.PREADV, file, offset=50), (bytearray(3), bytearray(4), bytearray(5))
    iocb.pin(*buffers)
    assert [event.res for event in run(raw, iocb)] == [12]
    assert b"".join(buffers) == CONTENT[50:62]


def test_writev(raw: int, file: int) -> None:
    iocb = Iocb(Command.PWRITEV, file, offset=8)
    iocb.pin(b"one", b"", b"three")
    assert [event.res for event in run(raw, iocb)] == [8]
    assert os.pread(file, 8, 8) == b"onethree"


def test_fsync_and_fdsync(raw: int, file: int) -> None:
    events = run(raw, Iocb(Command.FSYNC, file), Iocb(Command.FDSYNC, file, data=1))
    assert [event.res for event in events] == [0, 0]


def test_poll_and_cancel(raw: int, pipe: tuple[int, int]) -> None:
    iocb = Iocb(Command.POLL, pipe[0], data=3)
    iocb.pointer.aio_buf = select.POLLIN
    assert syscalls.io_submit(raw, [iocb]) == 1
    assert syscalls.io_getevents(raw, 0, 1) == []
    with pytest.raises(OSError, match="io_cancel") as caught:
        syscalls.io_cancel(raw, iocb)
    assert caught.value.errno == errno.EINPROGRESS
    assert [(event.data, event.res) for event in syscalls.io_getevents(raw, 1, 1, 10.0)] == [(3, 0)]
    with pytest.raises(OSError, match="not in flight") as caught:
        syscalls.io_cancel(raw, iocb)
    assert caught.value.errno == errno.EINVAL


def test_part_of_a_batch_is_taken(raw: int, file: int) -> None:
    iocbs = [Iocb(Command.PREAD, fd, bytearray(1), data=i) for i, fd in enumerate((file, -1, file))]
    assert syscalls.io_submit(raw, iocbs) == 1
    assert [event.data for event in syscalls.io_getevents(raw, 1, 3, 10.0)] == [0]
    with pytest.raises(OSError, match="not open") as caught:
        syscalls.io_submit(raw, iocbs[1:])
    assert caught.value.errno == errno.EBADF


def test_a_result_is_checked() -> None:
    assert IoEvent(0, 0, 5, 0).check() == 5
    with pytest.raises(OSError, match="Input/output") as caught:
        IoEvent(0, 0, -errno.EIO, 0).check()
    assert caught.value.errno == errno.EIO


# ---- the header ------------------------------------------------------------------------------------------------------


def test_sizes_are_the_kernels() -> None:
    assert (ffi.sizeof("struct iocb"), ffi.sizeof("struct io_event")) == (64, 32)


def test_every_name_has_the_kernels_number() -> None:
    """include/uapi/linux/aio_abi.h, fs.h and ioprio.h: this is ABI, and the same everywhere."""
    assert {command.name: command.value for command in Command} == {
        "PREAD": 0,
        "PWRITE": 1,
        "FSYNC": 2,
        "FDSYNC": 3,
        "POLL": 5,
        "NOOP": 6,
        "PREADV": 7,
        "PWRITEV": 8,
    }
    assert {opcode.name: opcode.value for opcode in Opcode} == {c.name: c.value for c in Command}
    assert [flag.value for flag in Flag] == [1, 2]
    assert [flag.value for flag in RWF] == [1 << bit for bit in range(9)]
    assert [kind.value for kind in PriorityClass] == [0, 1, 2, 3]
    assert syscalls.priority(PriorityClass.IDLE, 7) == 3 << 13 | 7


@pytest.mark.parametrize("flag", [RWF.DSYNC, RWF.SYNC, RWF.APPEND])
def test_flags_are_in_their_field(raw: int, file: int, flag: RWF) -> None:
    end = os.fstat(file).st_size
    assert [event.res for event in run(raw, Iocb(Command.PWRITE, file, b"x", 0, rw_flags=flag))] == [1]
    assert os.fstat(file).st_size == end + (flag is RWF.APPEND)


def test_a_flag_that_is_none_is_refused(raw: int, file: int) -> None:
    with pytest.raises(OSError, match="rw_flags") as caught:
        syscalls.io_submit(raw, [Iocb(Command.PWRITE, file, b"x", rw_flags=1 << 30)])
    assert caught.value.errno == errno.EOPNOTSUPP


def test_a_time_out_that_is_negative_is_refused(raw: int) -> None:
    with pytest.raises(OSError, match="None to wait without end"):
        syscalls.io_getevents(raw, 1, 1, -1.0)
