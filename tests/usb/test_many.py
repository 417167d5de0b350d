"""Several gadgets in one process, and controllers that run out of endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import pytest

from gadget import BulkIn, BulkOut, Function, Gadget, InterruptIn, InterruptOut, OutOfEndpointsError
from gadget.testing import BenchController, ServedGadget
from tests.usb.devices import Echo, echo_gadget
from tests.usb.test_echo import round_trip

pytestmark = pytest.mark.usb

DATA = bytes(range(256)) * 100


@pytest.mark.usb(controllers=8)
def test_eight_gadgets_on_eight_controllers_in_one_loop(udcs: list[BenchController]) -> None:
    """All up at once, each used by the host at the same time as the others."""
    echoes = [Echo() for _ in udcs]

    def talk(udc: BenchController, echo: Echo) -> bytes:
        with udc.wait_configured().pyusb() as device:
            return round_trip(echo, device, DATA)

    async def main() -> list[bytes]:
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            for number, (udc, echo) in enumerate(zip(udcs, echoes, strict=True)):
                gadget = await stack.enter_async_context(echo_gadget(echo, name=f"eight-{number}").up(udc.name))
                assert gadget.controller.name == udc.name
                udc.connection.plug()
            with ThreadPoolExecutor(len(udcs)) as pool:
                return await asyncio.gather(
                    *(loop.run_in_executor(pool, talk, *pair) for pair in zip(udcs, echoes, strict=True))
                )

    assert asyncio.run(main()) == [DATA] * 8
    assert all(udc.sysfs.holder is None for udc in udcs)


class Pairs(Function):
    """What dummy_hcd has of bulk endpoints."""

    rx1, tx1 = BulkOut(), BulkIn()
    rx2, tx2 = BulkOut(), BulkIn()
    rx3, tx3 = BulkOut(), BulkIn()
    rx4, tx4 = BulkOut(), BulkIn()


class ThreeInterrupts(Pairs):
    event1 = InterruptIn(interval=0.01)
    event2 = InterruptIn(interval=0.01)
    event3 = InterruptIn(interval=0.01)


class FourInterrupts(ThreeInterrupts):
    event4 = InterruptIn(interval=0.01)


class InterruptOutToo(Pairs):
    command = InterruptOut(interval=0.01)


@pytest.mark.usb(controller="dummy_hcd")
def test_four_pairs_and_three_interrupts_are_what_dummy_hcd_has(serve: Callable[..., ServedGadget]) -> None:
    served = serve(Gadget(ThreeInterrupts()))
    addresses = [endpoint.address for endpoint in served.function._endpoints()]
    assert len(set(addresses)) == len(addresses) == 11


@pytest.mark.usb(controller="dummy_hcd")
@pytest.mark.parametrize("function", [FourInterrupts, InterruptOutToo])
def test_an_address_that_is_given_twice_is_explained(
    serve: Callable[..., ServedGadget], function: type[Function]
) -> None:
    name = function.__name__
    with pytest.raises(
        OutOfEndpointsError, match=rf"gave address 0x.. to both {name}\.\w+ and {name}\.\w+: it has too"
    ):
        serve(Gadget(function()))
