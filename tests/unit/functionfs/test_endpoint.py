"""What using an endpoint comes to without a kernel; tests/usb shows the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gadget import BulkIn, BulkOut, Function
from gadget.errors import ClosedError, EndpointBusyError


class Echo(Function):
    rx = BulkOut()
    tx = BulkIn()


def test_before_the_host_has_come_there_is_no_address() -> None:
    assert (Echo().rx.address, Echo().rx.packet_size) == (0, 0)


USES: dict[str, Callable[[Echo], Awaitable[Any]]] = {
    "next": lambda echo: anext(echo.rx),
    "messages": lambda echo: anext(echo.rx.messages()),
    "read": lambda echo: echo.rx.read(1),
    "read_into": lambda echo: echo.rx.read_into(bytearray(1)),
    "write": lambda echo: echo.tx.write(b"x"),
    "write_message": lambda echo: echo.tx.write_message(b"x"),
    "drain": lambda echo: echo.tx.drain(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_an_endpoint_that_nobody_serves_is_disconnected(use: Callable[[Echo], Awaitable[Any]]) -> None:
    async def main(echo: Echo) -> None:
        # Twice: a failure must not leave it looking busy.
        for _ in range(2):
            with pytest.raises(ClosedError, match=r"Echo\.(rx|tx) is not being served"):
                await use(echo)

    asyncio.run(main(Echo()))


def test_counters_need_a_kernel_as_well() -> None:
    with pytest.raises(ClosedError, match=r"Echo\.rx is not being served"):
        _ = Echo().rx.counters


@pytest.mark.parametrize("use", [USES["read"], USES["messages"]], ids=["read", "messages"])
def test_two_tasks_on_one_direction_are_one_too_many(use: Callable[[Echo], Awaitable[Any]]) -> None:
    async def main(echo: Echo) -> None:
        with echo.rx._exclusive(), pytest.raises(EndpointBusyError, match=r"Echo\.rx: another task"):
            await use(echo)
        # The other direction is another matter.
        with echo.rx._exclusive(), pytest.raises(ClosedError):
            await echo.tx.write(b"x")

    asyncio.run(main(Echo()))
