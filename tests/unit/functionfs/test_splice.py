"""What is refused before anything runs; the rest is in tests/usb/test_splice.py and tests/kernel/test_splice.py."""

from __future__ import annotations

import asyncio

import pytest

from gadget import BulkIn, BulkOut, ClosedError, Function, Splice, UsageError, splice


class Pair(Function):
    rx = BulkOut()
    tx = BulkIn()


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_the_wrong_way(pair: Pair) -> None:
    with pytest.raises(UsageError, match="from an OUT endpoint or a file to an IN endpoint or a file"):
        splice(pair.tx, pair.rx)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="from an OUT endpoint"):
        splice(0, pair.rx)  # type: ignore[arg-type]


def test_two_files() -> None:
    with pytest.raises(UsageError, match=r"os\.splice"):
        splice(0, 1)


def test_a_count_is_a_number_of_bytes(pair: Pair) -> None:
    with pytest.raises(UsageError, match="count = -1"):
        splice(pair.rx, 1, count=-1)


def test_a_gadget_that_is_not_up(pair: Pair) -> None:
    async def move(moving: Splice) -> int:
        return await moving

    unused = splice(pair.rx, pair.tx)
    unused.close()
    for moving in (splice(pair.rx, pair.tx), splice(pair.rx, 1), splice(0, pair.tx)):
        with pytest.raises(ClosedError, match=r"Pair\.[rt]x is not being served"):
            asyncio.run(move(moving))
        assert (moving.moved, moving.transfers) == (0, 0)
