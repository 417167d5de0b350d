"""Which function of a gadget gets which control request.

FunctionFS gives a request for an interface or an endpoint to the function that has it. One for the device, or for
"other", goes to the first function linked whose ALL_CTRL_RECIP flag is set (composite.c, composite_setup; f_fs.c,
ffs_func_req_match), whether or not that one knows it. So only one function of a gadget sets the flag, and its ep0
answers for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gadget.errors import ConfigurationError
from gadget.functionfs.function import Function
from gadget.functionfs.handlers import Handler, Request
from gadget.protocol.constants import FunctionFSFlag


@dataclass(frozen=True, slots=True)
class Route:
    """What one function's ep0 answers: its own requests, and with it perhaps those for the device."""

    handlers: dict[Request, Handler]
    flags: FunctionFSFlag


def route(functions: Sequence[Function]) -> list[Route]:
    """Decides it for every function of a gadget, in their order.

    Raises:
        ConfigurationError: Two functions answer the same request for the device, or only one of them also does so
            before the host has selected a configuration.
    """
    handlers = [function._handlers() for function in functions]
    claimants = [at for at, own in enumerate(handlers) if any(request.is_for_the_device for request in own)]
    speaker = claimants[0] if claimants else -1
    routes = []
    for at, own in enumerate(handlers):
        local = {request: handler for request, handler in own.items() if not request.is_for_the_device}
        if at == speaker:
            routes.append(Route(local | _for_the_device(functions, handlers), _speaker_flags(functions, claimants)))
        else:
            routes.append(Route(local, FunctionFSFlag(0)))
    return routes


def _for_the_device(
    functions: Sequence[Function], handlers: Sequence[dict[Request, Handler]]
) -> dict[Request, Handler]:
    found: dict[Request, Handler] = {}
    owners: dict[Request, Function] = {}
    for function, own in zip(functions, handlers, strict=True):
        for request, handler in own.items():
            if not request.is_for_the_device:
                continue
            if request in found:
                if function.device_requests_shared and _is_same(found[request], handler):
                    continue
                both = f"{type(owners[request]).__name__} and {type(function).__name__}"
                message = f"both {both} answer {request}, and the host cannot say which of them it means"
                raise ConfigurationError(f"{message}; address an interface, or use another bRequest")
            found[request], owners[request] = handler, function
    return found


def _is_same(one: Handler, other: Handler) -> bool:
    """Whether two bound methods are one method, of two objects."""
    method = getattr(one, "__func__", None)
    return method is not None and method is getattr(other, "__func__", None)


def _speaker_flags(functions: Sequence[Function], claimants: Sequence[int]) -> FunctionFSFlag:
    early = {functions[at].answers_unconfigured for at in claimants}
    if len(early) > 1:
        names = ", ".join(type(functions[at]).__name__ for at in claimants)
        raise ConfigurationError(
            f"{names} answer requests for the device, and one of them has to answer for all: "
            "answers_unconfigured has to be the same in each"
        )
    return FunctionFSFlag.ALL_CTRL_RECIP | (FunctionFSFlag.CONFIG0_SETUP if early == {True} else FunctionFSFlag(0))
