"""Declares which method answers which control request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from gadget.errors import UsageError
from gadget.functionfs.declared_interfaces import Interface
from gadget.protocol.constants import Direction, Recipient, RequestType
from gadget.protocol.functionfs_format import Setup

InHandler = Callable[[Any, Setup], Awaitable[bytes]]
OutHandler = Callable[[Any, Setup, memoryview], Awaitable[None]]
_In = TypeVar("_In", bound=InHandler)
_Out = TypeVar("_Out", bound=OutHandler)

_MARK = "_gadget_request"
#: The bits of bmRequestType that say whom a request is for.
_RECIPIENT = 0x1F
# Every request is compared with these, and to ask an Enum for them costs more.
_INTERFACE, _OTHER, _RESERVED = int(Recipient.INTERFACE), int(Recipient.OTHER), int(Recipient.RESERVED)


@dataclass(frozen=True, slots=True)
class Request:
    """Which requests a handler answers: the fields of a SETUP that choose it (USB 2.0, 9.3).

    ``interface`` is the place of one of the function's interfaces, counted from 0; None stands for all of them.
    """

    direction: Direction
    type: RequestType
    recipient: Recipient
    request: int
    interface: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.request <= 255:
            raise UsageError(f"bRequest = {self.request}: it is one byte, 0 to 255 (USB 2.0, 9.3)")

    @classmethod
    def of(cls, setup: Setup) -> Request:
        """Which handler this SETUP wants, of the function's only interface or of all of them."""
        return cls(setup.direction, setup.type, setup.recipient, setup.request)

    @property
    def is_for_the_device(self) -> bool:
        """Whether it is for no interface or endpoint, so that one function has to speak for the device."""
        return self.recipient not in (Recipient.INTERFACE, Recipient.ENDPOINT)


Handler = Callable[..., Coroutine[Any, Any, bytes | None]]


class Handlers:
    """The handlers of an ep0, to be found by what a SETUP says."""

    def __init__(self, handlers: Mapping[Request, Handler]) -> None:
        self._handlers = {
            (request.direction | request.type | request.recipient, request.request, request.interface): handler
            for request, handler in handlers.items()
        }

    def find(self, setup: Setup) -> Handler | None:
        """The handler for it; one for its interface, by the number that the host has, comes before one for all."""
        request_type, request = setup.request_type, setup.request
        recipient = request_type & _RECIPIENT
        if recipient == _INTERFACE and (one := self._handlers.get((request_type, request, setup.index))):
            return one
        if recipient > _OTHER:
            request_type |= _RESERVED
        return self._handlers.get((request_type, request, None))


@dataclass(frozen=True, slots=True)
class _Mark:
    request: Request
    interface: Interface | None


def _mark(request: Request, interface: Interface | None) -> Callable[[Any], Any]:
    if interface is not None and request.recipient is not Recipient.INTERFACE:
        raise UsageError(f"interface= is for requests to an interface, not for recipient {request.recipient.name}")

    def decorate(method: Any) -> Any:
        if not iscoroutinefunction(method):
            raise UsageError(f"{method.__qualname__} answers control requests, so it must be an async def")
        if hasattr(method, _MARK):
            raise UsageError(f"{method.__qualname__} answers a request already: write a method for each")
        setattr(method, _MARK, _Mark(request, interface))
        return method

    return decorate


def vendor_in(
    request: int, recipient: Recipient = Recipient.INTERFACE, *, interface: Interface | None = None
) -> Callable[[_In], _In]:
    """Marks ``async def method(self, setup) -> bytes`` as the answer to a vendor request with data to the host.

    The answer is cut to the length that the host asked for. Raise ``Stall`` to refuse.

    Args:
        request: bRequest, 0 to 255.
        recipient: Whom the host addresses; this function's interface unless said otherwise. What is for the device, or
            for none of these, is answered by whichever function of the gadget has a handler for it.
        interface: The one of the function's interfaces that is meant, out of several; all of them by default.
    """
    return _mark(Request(Direction.IN, RequestType.VENDOR, recipient, request), interface)


def vendor_out(
    request: int, recipient: Recipient = Recipient.INTERFACE, *, interface: Interface | None = None
) -> Callable[[_Out], _Out]:
    """Marks ``async def method(self, setup, data) -> None`` as the handler of a vendor request from the host.

    Without a data stage (wLength 0) ``data`` is empty and the host waits for the handler, which may raise ``Stall``.
    With one, the kernel acknowledges the data before the handler can see it: a ``Stall`` then comes too late, and is
    logged. If the host sends less than it has announced, the handler is not called.

    Args:
        request: bRequest, 0 to 255.
        recipient: As for :func:`vendor_in`.
        interface: As for :func:`vendor_in`.
    """
    return _mark(Request(Direction.OUT, RequestType.VENDOR, recipient, request), interface)


def class_in(
    request: int, recipient: Recipient = Recipient.INTERFACE, *, interface: Interface | None = None
) -> Callable[[_In], _In]:
    """As :func:`vendor_in`, for a request of the interface's class."""
    return _mark(Request(Direction.IN, RequestType.CLASS, recipient, request), interface)


def class_out(
    request: int, recipient: Recipient = Recipient.INTERFACE, *, interface: Interface | None = None
) -> Callable[[_Out], _Out]:
    """As :func:`vendor_out`, for a request of the interface's class."""
    return _mark(Request(Direction.OUT, RequestType.CLASS, recipient, request), interface)


def standard_in(
    request: int, recipient: Recipient = Recipient.INTERFACE, *, interface: Interface | None = None
) -> Callable[[_In], _In]:
    """As :func:`vendor_in`, for a standard request that the kernel does not answer by itself.

    GET_DESCRIPTOR for an interface is one, as HID uses it. What composite.c answers (composite_setup) never arrives.
    """
    return _mark(Request(Direction.IN, RequestType.STANDARD, recipient, request), interface)


def standard_out(
    request: int, recipient: Recipient = Recipient.INTERFACE, *, interface: Interface | None = None
) -> Callable[[_Out], _Out]:
    """As :func:`vendor_out`, for a standard request that the kernel does not answer by itself."""
    return _mark(Request(Direction.OUT, RequestType.STANDARD, recipient, request), interface)


def collect(function: type, interfaces: Sequence[Interface]) -> dict[Request, str]:
    """The names of a class's handlers by request; those of a subclass win.

    Args:
        function: The class.
        interfaces: Its interfaces, in the order of their numbers.

    Raises:
        UsageError: Two methods of one class answer the same request, or one is for an interface that is not there.
    """
    found: dict[Request, str] = {}
    for owner in reversed(function.__mro__):
        own: dict[Request, str] = {}
        for name, value in vars(owner).items():
            mark = getattr(value, _MARK, None)
            if not isinstance(mark, _Mark) or getattr(function, name) is None:  # None: a subclass dropped it
                continue
            request = _resolved(mark, interfaces, f"{owner.__name__}.{name}")
            if request in own:
                raise UsageError(f"{owner.__name__}.{own[request]} and .{name} both answer {request}")
            own[request] = name
        # A method that is marked anew no longer answers what it was marked for in a base class.
        found = {request: name for request, name in found.items() if name not in own.values()} | own
    return found


def _resolved(mark: _Mark, interfaces: Sequence[Interface], method: str) -> Request:
    if mark.interface is None:
        return mark.request
    for number, interface in enumerate(interfaces):
        if interface is mark.interface:
            return replace(mark.request, interface=number)
    raise UsageError(f"{method} is for an interface that is not declared in this function")


def suggestion(setup: Setup) -> str:
    """The handler that one would write for a request that nobody handles."""
    if setup.type is RequestType.RESERVED:
        return "its type is reserved (USB 2.0, Table 9-2), so nobody can answer it"
    if setup.recipient is Recipient.RESERVED:
        return "its recipient is reserved (USB 2.0, Table 9-2), so nobody can answer it"
    way = "in" if setup.direction == Direction.IN else "out"
    signature = "(self, setup) -> bytes" if way == "in" else "(self, setup, data) -> None"
    elsewhere = "" if setup.recipient == Recipient.INTERFACE else f", recipient=Recipient.{setup.recipient.name}"
    return (
        f"to answer it, add:\n    @{setup.type.name.lower()}_{way}(request={setup.request:#04x}{elsewhere})\n"
        f"    async def request_{setup.request:02x}{signature}: ..."
    )
