"""What controllers answer themselves, dummy_hcd among them, so that no kernel feature here shows it: the endpoints are
fakes that answer as f_fs.c does."""

from __future__ import annotations

import asyncio
import errno

import pytest

from gadget import BulkIn, BulkOut, Function, Setup, Stall, StandardRequest
from gadget.aio import Counters, Gate
from gadget.functionfs.ending import Ending
from gadget.functionfs.endpoint import _CLEAR_HALT, Endpoint
from gadget.functionfs.handlers import Handlers
from gadget.functionfs.in_endpoint import InEndpoint
from gadget.functionfs.out_endpoint import OutEndpoint
from gadget.protocol.descriptors import EndpointDescriptor


class FakeStream:
    """Nothing is ever in flight."""

    counters = Counters()

    def withdraw(self) -> int:
        return 0

    def hold(self, held: bool) -> None: ...
    def resume(self) -> None: ...
    def arm(self) -> None: ...


class Halting:
    """An endpoint file that takes halt and clear-halt, and notes them."""

    _stream = FakeStream()

    def _wrong_way(self) -> None:
        raise OSError(errno.EBADMSG, "f_fs.c: halted")

    async def _call(self, call: int) -> int:
        assert call == _CLEAR_HALT
        return 0


class FakeIn(Halting, InEndpoint):  # type: ignore[misc]  # the stream is a fake, too
    ...


class FakeOut(Halting, OutEndpoint):  # type: ignore[misc]
    ...


class Pair(Function):
    rx = BulkOut()
    tx = BulkIn()


def pair(out_address: int, in_address: int) -> Pair:
    """A function whose endpoints got these addresses."""
    function = Pair()
    fakes: dict[str, Endpoint] = {"rx": FakeOut("Pair.rx", 512, 1), "tx": FakeIn("Pair.tx", 512, 1)}
    for (name, fake), address in zip(fakes.items(), (out_address, in_address), strict=True):
        fake.descriptor, fake._ending, fake._gate = EndpointDescriptor(address, 2, 512), Ending(), Gate(-1)
        function.__dict__[name] = fake
    return function


def ask(function: Function, setup: Setup) -> bytes | None:
    async def main() -> bytes | None:
        handler = Handlers(function._handlers()).find(setup)
        assert handler is not None
        return await (handler(setup) if setup.request_type & 0x80 else handler(setup, memoryview(b"")))

    return asyncio.run(main())


def status(index: int) -> Setup:
    return Setup(0x82, StandardRequest.GET_STATUS, 0, index, 2)


def set_halt(index: int) -> Setup:
    return Setup(0x02, StandardRequest.SET_FEATURE, 0, index, 0)


def clear_halt(index: int) -> Setup:
    return Setup(0x02, StandardRequest.CLEAR_FEATURE, 0, index, 0)


def test_the_host_halts_an_endpoint_asks_and_clears_it() -> None:
    function = pair(0x02, 0x81)
    assert ask(function, status(0x81)) == b"\0\0"
    ask(function, set_halt(0x81))
    assert (ask(function, status(0x81)), ask(function, status(0x02))) == (b"\1\0", b"\0\0")
    assert (function.tx.halted, function.tx.halts) == (True, 1)
    ask(function, clear_halt(0x81))
    assert ask(function, status(0x81)) == b"\0\0"
    ask(function, set_halt(0x02))
    assert ask(function, status(0x02)) == b"\1\0"


def test_of_two_endpoints_with_one_number_the_halted_one_is_cleared(caplog: pytest.LogCaptureFixture) -> None:
    function = pair(0x01, 0x81)
    assert ask(function, status(0x81)) == b"\0\0"
    for setup in (set_halt(0x81), clear_halt(0x81)):
        with pytest.raises(Stall):
            ask(function, setup)
    assert caplog.text.count("does not say which of two endpoints") == 2
    asyncio.run(function.tx.halt())
    with pytest.raises(Stall):
        ask(function, status(0x81))
    ask(function, clear_halt(0x01))
    assert not function.tx.halted


@pytest.mark.parametrize(
    "setup",
    [
        status(0x83),
        set_halt(0x83),
        Setup(0x02, StandardRequest.SET_FEATURE, 1, 0x81, 0),
        Setup(0x02, StandardRequest.CLEAR_FEATURE, 0, 0x81, 1),
    ],
)
def test_what_is_not_there_is_stalled(setup: Setup) -> None:
    with pytest.raises(Stall):
        ask(pair(0x02, 0x81), setup)


def test_the_status_of_an_interface_is_zero() -> None:
    assert ask(Pair(), Setup(0x81, StandardRequest.GET_STATUS, 0, 0, 2)) == b"\0\0"


def test_a_function_answers_itself_if_it_wants_to() -> None:
    class Mine(Pair):
        async def interface_status(self, setup: Setup) -> bytes:
            return b"\1\0"

    assert ask(Mine(), Setup(0x81, StandardRequest.GET_STATUS, 0, 0, 2)) == b"\1\0"
