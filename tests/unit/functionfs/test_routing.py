from __future__ import annotations

import pytest

from gadget import Function, Gadget, Recipient, Setup, vendor_in
from gadget.errors import ConfigurationError
from gadget.functionfs.handlers import Handlers, Request
from gadget.functionfs.routing import route
from gadget.protocol.constants import Direction, FunctionFSFlag, RequestType

NOTHING = FunctionFSFlag(0)


class Plain(Function):
    @vendor_in(1)
    async def own(self, setup: Setup) -> bytes:
        return b""


class Device(Function):
    @vendor_in(1, recipient=Recipient.DEVICE)
    async def serial(self, setup: Setup) -> bytes:
        return b""

    @vendor_in(1)
    async def own(self, setup: Setup) -> bytes:
        return b""


class Other(Function):
    @vendor_in(2, recipient=Recipient.OTHER)
    async def port(self, setup: Setup) -> bytes:
        return b""


def vendor(recipient: Recipient, request: int) -> Request:
    return Request(Direction.IN, RequestType.VENDOR, recipient, request)


def test_nobody_speaks_for_the_device_unless_asked_to() -> None:
    functions = [Plain(), Plain()]
    for function, routed in zip(functions, route(functions), strict=True):
        assert routed.flags == NOTHING
        assert routed.handlers == function._handlers()


def test_the_first_that_can_speaks_for_all() -> None:
    plain, device, other = Plain(), Device(), Other()
    functions = [plain, device, other]
    routes = route(functions)
    assert [routed.flags for routed in routes] == [
        NOTHING,
        FunctionFSFlag.ALL_CTRL_RECIP,
        NOTHING,
    ]
    speaker = routes[1].handlers
    assert speaker[vendor(Recipient.DEVICE, 1)] == device.serial
    assert speaker[vendor(Recipient.OTHER, 2)] == other.port
    # What is for an interface stays with the function that has it.
    assert [routed.handlers.get(vendor(Recipient.INTERFACE, 1)) for routed in routes] == [plain.own, device.own, None]
    assert vendor(Recipient.OTHER, 2) not in routes[2].handlers


def test_requests_before_the_configuration_are_answered_only_where_that_is_wanted() -> None:
    class Early(Device):
        answers_unconfigured = True

    assert route([Early(), Plain()])[0].flags == FunctionFSFlag.ALL_CTRL_RECIP | FunctionFSFlag.CONFIG0_SETUP
    with pytest.raises(ConfigurationError, match="Early, Other answer requests for the device"):
        Gadget(Early(), Other())


def test_two_functions_for_one_request_are_refused_when_the_gadget_is_made() -> None:
    with pytest.raises(ConfigurationError, match="both Device and Device answer"):
        Gadget(Device(), Device())


def test_a_handler_for_one_interface_comes_before_one_for_all() -> None:
    function = Plain()
    handlers = {vendor(Recipient.INTERFACE, 1): function.own}

    async def second(setup: Setup) -> bytes:
        return b""

    handlers[Request(Direction.IN, RequestType.VENDOR, Recipient.INTERFACE, 1, interface=1)] = second
    assert Handlers(handlers).find(Setup(0xC1, 1, 0, 0, 8)) == function.own
    assert Handlers(handlers).find(Setup(0xC1, 1, 0, 1, 8)) == second
    assert Handlers(handlers).find(Setup(0xC1, 9, 0, 1, 8)) is None


def test_functions_that_share_a_request_answer_it_with_the_very_same_handler() -> None:
    class Shared(Device):
        device_requests_shared = True

    class Different(Shared):
        @vendor_in(1, recipient=Recipient.DEVICE)
        async def about(self, setup: Setup) -> bytes:
            return b"different"

    first, second = Shared(), Shared()
    handlers = route([first, second])[0].handlers
    (handler,) = (handler for request, handler in handlers.items() if request.is_for_the_device)
    assert getattr(handler, "__self__", None) is first
    with pytest.raises(ConfigurationError, match="both Shared and Different answer"):
        route([Shared(), Different()])
