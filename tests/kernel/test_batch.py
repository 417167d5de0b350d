from __future__ import annotations

import errno
import gc
import os
import threading
import warnings
from array import array
from collections.abc import Callable

import pytest

from gadget.aio import Batch, Opcode, Pieces
from gadget.aio._aio import ffi
from gadget.errors import ClosedError, UsageError

from .conftest import CONTENT, HeldFile

PATIENCE = 20.0


def test_those_that_have_ended_first_are_started_first(file: int) -> None:
    with Pieces(4, 512) as pieces, Batch(file, pieces.views) as batch:
        offsets = [512 * number for number in (7, 3, 90, 11)]
        for _ in range(3):
            assert batch.turn(offsets, at_least=4) == 4
            order = list(batch.ended)
            assert sorted(order) == [0, 1, 2, 3]
            assert list(batch.results) == [512] * 4
            for number, offset in zip(order, offsets, strict=True):
                assert pieces.views[number] == CONTENT[offset : offset + 512]
            offsets = [offset + 512 for offset in offsets]
        assert (batch.moved, batch.failed, len(batch)) == (12 * 512, 0, 4)
        batch.check()


@pytest.mark.parametrize("kind", [list, tuple, lambda offsets: array("q", offsets)])
def test_offsets_in_many_forms(file: int, kind: type[list[int]]) -> None:
    with Pieces(2, 16) as pieces, Batch(file, pieces.views) as batch:
        assert batch.turn(kind([32, 64]), at_least=2) == 2
        assert [bytes(view) for view in pieces.views] == [CONTENT[32:48], CONTENT[64:80]]
        assert batch.turn(memoryview(array("q", [0, 16, 999]))[:2], at_least=2) == 2
        assert [bytes(view) for view in pieces.views] == [CONTENT[:16], CONTENT[16:32]]


@pytest.mark.parametrize("offsets", [array("i", [1]), b"12345678", array("d", [1.0]), array("Q", [1])])
def test_offsets_that_are_no_signed_64_bit_integers(file: int, offsets: memoryview) -> None:
    with Batch(file, [bytearray(1)]) as batch:
        with pytest.raises(TypeError, match="signed 64-bit"):
            batch.turn(offsets)
        with pytest.raises(TypeError):
            batch.turn(["1"])  # type: ignore[list-item] # that is what is tested
        with pytest.raises(OverflowError):
            batch.turn([2**63])
        assert batch.in_flight == 0


def test_what_the_kernel_cannot_be_given_leaves_nothing(file: int) -> None:
    memory = bytearray(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(OverflowError):
            Batch(file, [memory], priority=1 << 16)
        gc.collect()
    memory.clear()


def test_writes(file: int) -> None:
    with Batch(file, [b"one", b"two"], Opcode.PWRITE) as batch:
        assert batch.turn([5, 50], at_least=2) == 2
        assert batch.run(100) == 3
    assert os.pread(file, 3, 5) == b"one"
    assert {os.pread(file, 3, 50), os.pread(file, 3, 100)} <= {b"one", b"two"}


def test_one_at_a_time(file: int) -> None:
    buffer = bytearray(10)
    with Batch(file, [buffer]) as batch:
        for offset in (0, 77, 65530):
            assert batch.run(offset) == min(10, 65536 - offset)
            assert buffer[:6] == CONTENT[offset : offset + 6]
        with pytest.raises(OSError, match="Invalid argument"):
            batch.run(-5)
        assert batch.submitting > 0
        assert batch.submits == 4


def test_more_than_are_idle_and_none_is_started(held_file: HeldFile) -> None:
    with held_file.opened() as file, Pieces(2, 4096) as pieces, Batch(file, pieces.views) as batch:
        assert batch.turn([0], at_least=0) == 0
        with pytest.raises(BlockingIOError, match="wait for some first"):
            batch.turn([0, 4096])
        with pytest.raises(BlockingIOError):
            batch.run(0)
        assert batch.in_flight == 1
        held_file.answer(3)
        assert batch.turn([4096], at_least=2) == 2
        assert batch.run(8192) == 4096


def test_a_second_thread_is_refused_and_cancelling_is_not(held_file: HeldFile) -> None:
    with held_file.opened() as file, Pieces(1, 4096) as pieces, Batch(file, pieces.views) as batch:
        turns: list[int] = []
        thread = threading.Thread(target=lambda: turns.append(batch.turn([0])))
        thread.start()
        held_file.wait_asked(1)
        uses: list[Callable[[], object]] = [batch.turn, lambda: batch.turn((), 0, 0.0), lambda: batch.run(0)]
        for use in uses:
            with pytest.raises(UsageError, match="another thread"):
                use()
        assert batch.cancel() == 0, "a read of a file is not given back"
        held_file.answer()
        thread.join()
        assert turns == [1]


def test_what_cannot_be(file: int) -> None:
    for opcode in (Opcode.FSYNC, Opcode.POLL, Opcode.PREADV):
        with pytest.raises(UsageError, match="PREAD or PWRITE"):
            Batch(file, [bytearray(1)], opcode)
    with pytest.raises(TypeError, match="neither a descriptor"):
        Batch("file", [bytearray(1)])  # type: ignore[arg-type] # that is what is tested


def test_closed(file: int) -> None:
    buffer = bytearray(1)
    batch = Batch(file, [buffer])
    with pytest.raises(BufferError):
        buffer.clear()
    batch.close()
    batch.close()
    assert batch.closed
    buffer.clear()
    uses: list[Callable[[], object]] = [batch.turn, lambda: batch.run(0), batch.cancel, lambda: batch.in_flight]
    for use in uses:
        with pytest.raises(ClosedError, match="batch is closed"):
            use()


def test_views_that_are_released_are_written_to_all_the_same(file: int) -> None:
    with Batch(file, [bytearray(1) for _ in range(8)]) as batch:
        batch.results.release()
        batch.ended.release()
        others = [ffi.new(array, 8) for array in ("int64_t[]", "uint32_t[]") for _ in range(100)]
        assert batch.turn(list(range(8)), at_least=8) == 8
        assert not any(any(other) for other in others), "this is memory of somebody else"


def test_closing_waits_for_what_is_in_flight(held_file: HeldFile) -> None:
    with held_file.opened() as file, Pieces(2, 4096) as pieces:
        batch = Batch(file, pieces.views)
        batch.turn([0, 0], at_least=0)
        held_file.wait_asked(1)
        threading.Timer(0.05, held_file.answer, (2,)).start()
        batch.close(PATIENCE)
        assert pieces.views[1][:256] == HeldFile.CONTENT


def test_a_bad_file_is_told_for_each(file: int) -> None:
    with Batch(file, [bytearray(1) for _ in range(3)]) as batch:
        assert batch.turn([0, -1, 1], at_least=3) == 3
        assert batch.failed == 1
        assert sorted(batch.results) == [-errno.EINVAL, 1, 1]
        with pytest.raises(OSError, match="Invalid argument"):
            batch.check()
