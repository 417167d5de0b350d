"""linux_aio: a context and operations as objects."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

import pytest

from gadget.aio import Context, Opcode, Operation, syscalls

from ..conftest import CONTENT

PATIENCE = 20.0


def finish(context: Context, *operations: Operation) -> list[int | None]:
    context.start(*operations)
    context.submit()
    assert context.wait_all(operations, PATIENCE)
    return [operation.result for operation in operations]


def test_a_context_manager_closed_twice(file: int) -> None:
    with Context(1) as context:
        assert not context.closed
        assert finish(context, Operation.fsync(file)) == [0]
    assert context.closed
    context.close()
    assert context.closed


@pytest.mark.parametrize("file", [None, "path", object(), 1.5])
def test_what_has_no_fileno_is_a_type_error(context: Context, file: object) -> None:
    with pytest.raises(TypeError, match="neither a descriptor nor has it fileno"):
        context.read(file, bytearray(1))  # type: ignore[arg-type] # that is what is tested
    assert context.free_slots == 8


def test_poll_on_sockets_with_a_mask_that_changes(context: Context) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        poll = Operation.poll(ours, select.POLLIN | select.POLLOUT)
        assert finish(context, poll) == [select.POLLOUT]
        poll.mask = select.POLLIN
        context.start(poll)
        context.submit()
        assert not context.wait_all([poll], 0.01)
        theirs.send(b"x")
        assert context.wait_all([poll], PATIENCE)
        assert poll.check() & select.POLLIN


def test_fsync_and_fdsync(context: Context, file: int) -> None:
    assert finish(context, Operation.fsync(file), Operation.fdsync(file)) == [0, 0]


def test_reads_and_writes_at_offsets(context: Context, file: int) -> None:
    buffers = [bytearray(16) for _ in range(4)]
    writes = [Operation.write(file, bytes([i]) * 16, 1000 * i) for i in range(4)]
    assert finish(context, *writes) == [16] * 4
    assert finish(context, *(Operation.read(file, b, 1000 * i) for i, b in enumerate(buffers))) == [16] * 4
    assert buffers == [bytes([i]) * 16 for i in range(4)]


def test_another_file_for_the_same_block(context: Context, file: int, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    buffer = bytearray(5)
    read = Operation.read(file, buffer)
    finish(context, read)
    assert buffer == CONTENT[:5]
    with (tmp_path / "other").open("rb") as other:
        read.file = other.fileno()
        finish(context, read)
    assert buffer == b"other"


def test_rwf_hipri(context: Context, file: int) -> None:
    # Without O_DIRECT the flag has no effect; that it is taken is what shows here.
    assert finish(context, Operation.read(file, bytearray(8), flags=os.RWF_HIPRI)) == [8]


def test_a_priority(context: Context, file: int) -> None:
    idle = syscalls.priority(syscalls.PriorityClass.IDLE)
    assert finish(context, Operation.read(file, bytearray(8), priority=idle)) == [8]


def test_several_blocks_in_one_submit(context: Context, file: int) -> None:
    assert finish(context, *(Operation.read(file, bytearray(4), i) for i in range(8))) == [4] * 8
    assert context.report.submits == 1


def test_readv_and_writev(context: Context, file: int) -> None:
    buffers = [bytearray(2), bytearray(3)]
    assert finish(context, Operation.writev(file, [b"ab", b"cde"], 1)) == [5]
    assert finish(context, Operation.readv(file, buffers, 1)) == [5]
    assert buffers == [b"ab", b"cde"]


def test_what_an_operation_does_cannot_be_changed_into_something_else(file: int) -> None:
    """There, the old form of a block becomes unusable; here there is no such form."""
    buffer = bytearray(4)
    read = Operation.read(file, buffer)
    with pytest.raises(AttributeError):
        read.opcode = Opcode.PWRITE  # type: ignore[misc] # that is what is tested
    read.release()
    buffer.clear()
