"""Declares which method answers which control request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from gadget.errors import UsageError
from gadget.protocol.constants import Direction, Recipient, RequestType
from gadget.protocol.functionfs_format import Setup

InHandler = Callable[[Any, Setup], Awaitable[bytes]]
OutHandler = Callable[[Any, Setup, memoryview], Awaitable[None]]
_In = TypeVar("_In", bound=InHandler)
_Out = TypeVar("_Out", bound=OutHandler)

_MARK = "_gadget_request"


@dataclass(frozen=True, slots=True)
class Request:
    """Which requests a handler answers: the fields of a SETUP that choose it (USB 2.0, 9.3)."""

    direction: Direction
    type: RequestType
    recipient: Recipient
    request: int

    def __post_init__(self) -> None:
        if not 0 <= self.request <= 255:
            raise UsageError(f"bRequest = {self.request}: it is one byte, 0 to 255 (USB 2.0, 9.3)")

    @classmethod
    def of(cls, setup: Setup) -> Request:
        """Which handler this SETUP wants."""
        return cls(setup.direction, setup.type, setup.recipient, setup.request)


def _mark(request: Request) -> Callable[[Any], Any]:
    def decorate(method: Any) -> Any:
        if not iscoroutinefunction(method):
            raise UsageError(f"{method.__qualname__} answers control requests, so it must be an async def")
        setattr(method, _MARK, request)
        return method

    return decorate


def vendor_in(request: int, recipient: Recipient = Recipient.INTERFACE) -> Callable[[_In], _In]:
    """Marks ``async def method(self, setup) -> bytes`` as the answer to a vendor request with data to the host.

    The answer is cut to the length that the host asked for. Raise ``Stall`` to refuse.

    Args:
        request: bRequest, 0 to 255.
        recipient: Whom the host addresses; this function's interface unless said otherwise. Requests to the device
            reach the first function of the gadget that answers any.
    """
    return _mark(Request(Direction.IN, RequestType.VENDOR, recipient, request))


def vendor_out(request: int, recipient: Recipient = Recipient.INTERFACE) -> Callable[[_Out], _Out]:
    """Marks ``async def method(self, setup, data) -> None`` as the handler of a vendor request from the host.

    Without a data stage (wLength 0) ``data`` is empty and the host waits for the handler, which may raise ``Stall``.
    With one, the kernel acknowledges the data before the handler can see it: a ``Stall`` then comes too late, and is
    logged.

    Args:
        request: bRequest, 0 to 255.
        recipient: Whom the host addresses; this function's interface unless said otherwise.
    """
    return _mark(Request(Direction.OUT, RequestType.VENDOR, recipient, request))


def class_in(request: int, recipient: Recipient = Recipient.INTERFACE) -> Callable[[_In], _In]:
    """As :func:`vendor_in`, for a request of the interface's class."""
    return _mark(Request(Direction.IN, RequestType.CLASS, recipient, request))


def class_out(request: int, recipient: Recipient = Recipient.INTERFACE) -> Callable[[_Out], _Out]:
    """As :func:`vendor_out`, for a request of the interface's class."""
    return _mark(Request(Direction.OUT, RequestType.CLASS, recipient, request))


def collect(function: type) -> dict[Request, str]:
    """The names of a class's handlers by request; those of a subclass win.

    Raises:
        UsageError: Two methods of one class answer the same request.
    """
    found: dict[Request, str] = {}
    for owner in reversed(function.__mro__):
        own: dict[Request, str] = {}
        for name, value in vars(owner).items():
            request = getattr(value, _MARK, None)
            if request is None:
                continue
            if request in own:
                raise UsageError(f"{owner.__name__}.{own[request]} and .{name} both answer {request}")
            own[request] = name
        # A method that is marked anew no longer answers what it was marked for in a base class.
        found = {request: name for request, name in found.items() if name not in own.values()} | own
    return found


def suggestion(setup: Setup) -> str:
    """The handler that one would write for a request that nobody handles."""
    way = "in" if setup.direction == Direction.IN else "out"
    if setup.type not in (RequestType.VENDOR, RequestType.CLASS):
        return f"it is a {setup.type.name.lower()} request, which handlers cannot answer yet"
    signature = "(self, setup) -> bytes" if way == "in" else "(self, setup, data) -> None"
    elsewhere = "" if setup.recipient == Recipient.INTERFACE else f", recipient=Recipient.{setup.recipient.name}"
    return (
        f"to answer it, add:\n    @{setup.type.name.lower()}_{way}(request={setup.request:#04x}{elsewhere})\n"
        f"    async def request_{setup.request:02x}{signature}: ..."
    )
