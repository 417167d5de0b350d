"""The kernel's way of choosing endpoints, against what was measured on its controllers."""

from __future__ import annotations

import pytest

from gadget.errors import UsageError
from gadget.protocol.constants import Direction, TransferType
from gadget.services.boards import BOARDS, Board, HardwareEndpoint, board_of_driver, find_board
from gadget.services.endpoint_budget import Budget, Demand, allocate_endpoints, without_fifo

IN, OUT = Direction.IN, Direction.OUT
BULK, INTERRUPT, ISOCHRONOUS = TransferType.BULK, TransferType.INTERRUPT, TransferType.ISOCHRONOUS


def pairs(count: int) -> list[Demand]:
    return [Demand(str(number), way, BULK, 64) for number in range(count) for way in (OUT, IN)]


def addresses(budget: Budget) -> list[int | None]:
    return [grant.address for grant in budget.grants]


def test_dummy_hcd_gives_four_pairs_with_addresses_of_their_own() -> None:
    budget = allocate_endpoints(BOARDS["dummy_hcd"], pairs(4))
    assert addresses(budget) == [0x02, 0x81, 0x07, 0x86, 0x0C, 0x8B, 0x01, 0x82]
    assert not budget.refused
    assert not budget.repeated


def test_dummy_hcd_gives_a_fifth_pair_an_address_that_is_taken() -> None:
    assert 0x81 in allocate_endpoints(BOARDS["dummy_hcd"], pairs(5)).repeated


def test_dummy_hcd_has_no_isochronous_endpoints() -> None:
    budget = allocate_endpoints(BOARDS["dummy_hcd"], [Demand("sound", IN, ISOCHRONOUS, 192)])
    assert [grant.demand.function for grant in budget.refused] == ["sound"]
    assert addresses(budget) == [None]


def test_an_interrupt_endpoint_takes_what_comes_first_bulk_or_not() -> None:
    budget = allocate_endpoints(BOARDS["dummy_hcd"], [Demand("hid", IN, INTERRUPT, 8)])
    assert [grant.endpoint for grant in budget.grants] == ["ep1in-bulk"]


@pytest.mark.parametrize(("board", "count"), [("raspberrypi", 7), ("allwinner-h3", 4), ("allwinner", 5)])
def test_boards_with_pairs(board: str, count: int) -> None:
    enough = allocate_endpoints(BOARDS[board], pairs(count))
    assert (enough.refused, enough.left) == ((), ())
    assert [grant.demand.function for grant in allocate_endpoints(BOARDS[board], pairs(count + 1)).refused] == [
        str(count),
        str(count),
    ]


def test_an_endpoint_that_is_too_small_is_passed_over() -> None:
    fifteen = [Demand("out", OUT, INTERRUPT, 128)] * 13
    refused = allocate_endpoints(BOARDS["beaglebone"], fifteen).refused
    assert len(refused) == 1, "nine of 512 bytes and the three that go both ways"


def test_an_endpoint_of_both_directions_is_used_for_one() -> None:
    board = Board("b", "b", (), BOARDS["usb3380"].maximum_speed, (HardwareEndpoint("ep-a"),), "here")
    budget = allocate_endpoints(board, pairs(1))
    assert addresses(budget) == [0x01, None]


def test_boards_are_found_by_name_and_by_driver() -> None:
    assert find_board("raspberrypi") is board_of_driver("dwc2")
    assert board_of_driver(None) is None
    assert board_of_driver("unheard-of") is None
    with pytest.raises(UsageError, match="raspberrypi, beaglebone"):
        find_board("abacus")


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_every_board_says_where_it_is_from(board: Board) -> None:
    assert ".c" in board.source or ".dts" in board.source
    assert board.endpoints


def test_transmit_fifos() -> None:
    """Five of 2048 bytes and two of 1024, each for one endpoint; those of the other direction need none."""
    board, bulk = BOARDS["raspberrypi"], Demand("bulk", IN, BULK, 64, 512)
    assert without_fifo(board, [bulk] * 7 + [Demand("out", OUT, BULK, 64, 4096)]) == []
    camera = Demand("camera", IN, ISOCHRONOUS, 0, 2048)
    assert without_fifo(board, [bulk] * 2 + [camera] * 5) == []
    assert without_fifo(board, [camera] * 6 + [bulk]) == [camera]
    large = Demand("camera", IN, ISOCHRONOUS, 0, 3072)
    assert without_fifo(board, [large, bulk]) == [large]
    assert without_fifo(BOARDS["dummy_hcd"], [large]) == []


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_fifos_have_a_source(board: Board) -> None:
    assert bool(board.transmit_fifos) == (".c" in board.fifo_source)
