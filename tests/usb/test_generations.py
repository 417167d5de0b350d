"""What a function sees of its life, how its transfers end, and what keeps two generations apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

import pytest
import usb.core

from gadget import (
    BulkIn,
    BulkOut,
    ClosedError,
    DisabledError,
    EventType,
    Function,
    Gadget,
    GadgetError,
    LinkState,
    ProtocolError,
    SupersededError,
    UnboundError,
    UsageError,
)
from gadget.testing import BenchController, Faults, ServedGadget, wait_for
from tests.usb.devices import do

pytestmark = pytest.mark.usb(controller=["dummy_hcd", "usbip-vudc"])

every_speed = pytest.mark.usb(speed=["full", "high", "super"])

BIND, UNBIND, ENABLE, DISABLE = EventType.BIND, EventType.UNBIND, EventType.ENABLE, EventType.DISABLE
TIMEOUT_MS = 10_000


class Witness(Function):
    """Waits for data that never comes, and writes down what happens to it."""

    rx = BulkOut()
    tx = BulkIn(transfer_size=4096, depth=4)

    def __init__(self) -> None:
        self.events: list[EventType] = []
        self.ended: list[type[BaseException]] = []

    async def run(self) -> None:
        try:
            await anext(self.rx)
        except BaseException as error:
            self.ended.append(type(error))
            raise

    def on_event(self, event: EventType) -> None:
        self.events.append(event)


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture
def served(serve: Callable[..., ServedGadget], witness: Witness) -> ServedGadget:
    return serve(Gadget(witness, remote_wakeup=True))


@every_speed
def test_a_transfer_fails_with_the_reason(served: ServedGadget, witness: Witness, usb_device: Any) -> None:
    """Disabled, superseded, unbound, and closed by this program."""
    usb_device.set_interface_altsetting(0, 0)
    served.wait_generation(2)
    usb_device.ctrl_transfer(0x00, 9, 0, 0)  # SET_CONFIGURATION(0): libusb would remember another one
    served.call(witness.wait_link(LinkState.BOUND))
    usb_device.ctrl_transfer(0x00, 9, 1, 0)
    served.wait_generation(3)
    served.call(do(served.gadget.unbind))
    served.call(witness.wait_link(LinkState.UNBOUND))
    served.controller.connection.unplug()
    served.call(do(lambda: served.gadget.bind(served.controller.name)))
    served.controller.connection.plug()
    served.wait_generation(4)
    served.stop()
    assert witness.ended == [SupersededError, DisabledError, UnboundError, ClosedError]
    # Leaving the bus may look like a suspended one at first.
    assert [event for event in witness.events if event not in (EventType.SUSPEND, EventType.RESUME)] == [
        *(BIND, ENABLE, DISABLE, ENABLE, DISABLE, ENABLE, DISABLE, UNBIND),
        *(BIND, ENABLE, DISABLE, UNBIND),
    ]


def test_what_is_used_afterwards_says_so_too(served: ServedGadget, witness: Witness, usb_device: Any) -> None:
    usb_device.ctrl_transfer(0x00, 9, 0, 0)
    served.call(witness.wait_link(LinkState.BOUND))
    for use in (lambda: witness.tx.write(b"x"), lambda: anext(witness.rx), witness.tx.drain, witness.tx.halt):
        with pytest.raises(DisabledError, match=r"Witness\.[rt]x: the host reset or unplugged the device"):
            served.call(use())
    served.stop()
    with pytest.raises(ClosedError, match="its gadget is not up"):
        asyncio.run(witness.tx.write(b"x"))


def test_a_cancelled_task_is_cancelled_and_nothing_else_is(served: ServedGadget, witness: Witness) -> None:
    async def cancelled() -> bool:
        task = asyncio.create_task(witness.tx.write(bytes(1 << 20)))
        while not witness.tx.counters.in_flight:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        return task.cancelled()

    assert served.call(cancelled())
    assert not witness.ended


@every_speed
def test_what_an_old_generation_writes_never_reaches_a_new_one(
    served: ServedGadget, witness: Witness, usb_device: Any
) -> None:
    """Even while nobody has read yet that there is a new one: the loop stands still until the old one writes."""

    async def write_too_late() -> None:
        usb_device.set_interface_altsetting(0, 0)
        await witness.tx.write(b"old" * 1000)

    for generation in (2, 3, 4):
        with pytest.raises(SupersededError):
            served.call(write_too_late())
        served.wait_generation(generation)
        served.call(witness.tx.write(b"new" * 1000))
        assert bytes(usb_device.read(witness.tx.address, 4096, TIMEOUT_MS)) == b"new" * 1000
        served.call(witness.tx.drain())
    assert witness.tx.counters.transfers == 3


class Late(Function):
    """Reads from its second generation on."""

    rx = BulkOut(transfer_size=4096, depth=4)

    def __init__(self) -> None:
        self.arrived: list[bytes] = []

    async def run(self) -> None:
        if self.generation > 1:
            async for data in self.rx:
                self.arrived.append(bytes(data))


def test_an_old_generation_never_takes_what_a_new_one_is_sent(serve: Callable[..., ServedGadget]) -> None:
    """It has a backlog, and would put buffers in flight again, while nobody has read yet that there is a new one."""
    function = Late()
    served = serve(Gadget(function))
    with served.pyusb() as device, ThreadPoolExecutor(1) as host:
        for _ in range(4):
            device.write(function.rx.address, b"old" * 1365, TIMEOUT_MS)

        async def read_too_late() -> Future[int]:
            assert len(await anext(function.rx)) == 4095
            device.set_interface_altsetting(0, 0)
            for _ in range(3):
                await anext(function.rx)
            sent = host.submit(device.write, function.rx.address, b"new", TIMEOUT_MS)
            wait([sent], timeout=0.3)  # the host has its chance while the loop stands still
            return sent

        assert served.call(read_too_late()).result(30) == 3
        wait_for(lambda: function.arrived, "the data to arrive")
        assert function.arrived == [b"new"]


@pytest.mark.usb(controllers=2)
def test_bound_to_another_controller_and_back(
    serve: Callable[..., ServedGadget], witness: Witness, udcs: list[BenchController]
) -> None:
    served = serve(Gadget(witness), udc=udcs[0])
    here = udcs[0]
    for generation, there in enumerate((udcs[1], udcs[0], udcs[0]), start=2):
        served.call(do(served.gadget.unbind))
        here.connection.unplug()
        with pytest.raises(ClosedError, match="bound to no controller"):
            _ = served.gadget.controller
        served.call(do(lambda there=there: served.gadget.bind(there.name)))  # type: ignore[misc]
        there.connection.plug()
        served.wait_generation(generation)
        assert served.gadget.controller.name == there.name
        assert there.sysfs.gadget == served.name
        here = there


@pytest.mark.usb(controllers=2)
def test_what_is_bound_or_served_already(
    served: ServedGadget, witness: Witness, serve: Callable[..., ServedGadget], udcs: list[BenchController]
) -> None:
    with pytest.raises(UsageError, match=rf"is bound to {served.controller.name} already: unbind\(\) it first"):
        served.call(do(lambda: served.gadget.bind(udcs[1].name)))
    with pytest.raises(UsageError, match="this Witness is served by another gadget already"):
        serve(Gadget(witness, name="second"), udc=udcs[1])
    assert served.call(witness.wait_link(LinkState.ENABLED)) is LinkState.ENABLED
    assert udcs[1].sysfs.holder is None


@pytest.mark.usb(speed=["full", "high"], needs="suspend")
def test_transfers_survive_suspend(served: ServedGadget, witness: Witness, faults: Faults) -> None:
    data = bytes(range(256)) * 32
    served.call(witness.tx.write(data))
    faults.suspend()
    served.call(witness.wait_link(LinkState.SUSPENDED))
    assert "the host sleeps, or the cable was pulled" in str(served.gadget.link)
    assert served.gadget.link.may_be_unplugged
    faults.resume()
    served.call(witness.wait_link(LinkState.ENABLED))
    assert str(served.gadget.link).startswith("enabled: ")
    with served.pyusb() as device:
        assert bytes(device.read(witness.tx.address, len(data), TIMEOUT_MS)) == data
    assert witness.events == [BIND, ENABLE, EventType.SUSPEND, EventType.RESUME]
    assert not witness.ended


@pytest.mark.usb(speed="high", needs="remote wakeup")
def test_the_device_wakes_a_host_that_allows_it(served: ServedGadget, witness: Witness, faults: Faults) -> None:
    with served.pyusb() as device:
        device.ctrl_transfer(0x00, 3, 1, 0)  # SET_FEATURE(DEVICE_REMOTE_WAKEUP)
    faults.suspend()
    served.call(witness.wait_link(LinkState.SUSPENDED))
    served.call(served.gadget.wake_host())
    assert witness.events[2:4] == [EventType.SUSPEND, EventType.RESUME]


@pytest.mark.usb(speed="high", needs="suspend")
def test_a_host_that_does_not_allow_it_sleeps_on(served: ServedGadget, witness: Witness, faults: Faults) -> None:
    with pytest.raises(UsageError, match="has no host to wake: it is enabled"):
        served.call(served.gadget.wake_host())
    faults.suspend()
    served.call(witness.wait_link(LinkState.SUSPENDED))
    with pytest.raises(ProtocolError, match=r"has not allowed remote wake-up, or dummy_udc\.\d cannot"):
        served.call(served.gadget.wake_host(timeout=0.3))


@pytest.mark.usb(speed="high")
def test_who_did_not_declare_it_cannot_wake_the_host(serve: Callable[..., ServedGadget]) -> None:
    served = serve(Gadget(Witness()))
    with pytest.raises(UsageError, match="remote_wakeup=True"):
        served.call(served.gadget.wake_host())


class Touchy(Witness):
    def on_event(self, event: EventType) -> None:
        if event is DISABLE:
            raise ZeroDivisionError("on purpose")


def test_what_a_hook_raises_takes_the_gadget_down(serve: Callable[..., ServedGadget]) -> None:
    served = serve(Gadget(Touchy()))
    with served.pyusb() as device, suppress(usb.core.USBError):  # the device may be gone before the host has its answer
        device.ctrl_transfer(0x00, 9, 0, 0)
    served.wait_over()
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        served.stop()


class Several(Function):
    """A task for each direction, in a group, as one would write it."""

    rx = BulkOut()
    tx = BulkIn()

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.work("rx", self.rx.read(1)))
            group.create_task(self.work("tx", self.tx.write(bytes(10 << 20))))

    async def work(self, name: str, what: Any) -> None:
        try:
            await what
        except GadgetError as error:
            self.ended.append(f"{name} {type(error).__name__}")
            raise


def test_every_task_that_waits_is_told(serve: Callable[..., ServedGadget]) -> None:
    function = Several()
    served = serve(Gadget(function))
    wait_for(lambda: function.tx.counters.in_flight > 0, "data to be in flight")
    served.call(do(served.gadget.unbind))
    served.call(function.wait_link(LinkState.UNBOUND))
    assert sorted(function.ended) == ["rx UnboundError", "tx UnboundError"]
