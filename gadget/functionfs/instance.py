"""One function being served: its FunctionFS instance, from mounted to gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

from gadget.errors import UsageError
from gadget.functionfs.composite import Composite
from gadget.functionfs.control_endpoint import ControlEndpoint
from gadget.functionfs.endpoint import Endpoint
from gadget.functionfs.function import Function
from gadget.functionfs.generations import Generations
from gadget.functionfs.handlers import Handler, Request
from gadget.functionfs.own_descriptors import check_own_descriptors
from gadget.functionfs.routing import Route
from gadget.protocol.constants import FunctionFSFlag, Recipient
from gadget.protocol.functionfs_blobs import descriptors_blob, strings_blob
from gadget.protocol.functionfs_format import Setup
from gadget.protocol.functionfs_rules import strings_needed
from gadget.teardown import CauseFirst

#: How long transfers may take to come back after they were cancelled, in seconds.
DRAIN_TIMEOUT = 2.0


@asynccontextmanager
async def served(
    function: Function,
    folder: Path,
    composite: Composite,
    *,
    first_interface: int,
    route: Route,
    microsoft_os: bool = False,
) -> AsyncIterator[Generations]:
    """Describes the function to the kernel and serves it; then takes it all down in order.

    The controller must be unbound before the scope is left, so that the kernel gives the transfers back.

    Args:
        function: What is served.
        folder: Where its FunctionFS instance is mounted.
        composite: What it shares with the other functions of its gadget.
        first_interface: The number of its first interface in the configuration.
        route: Which requests its ep0 answers.
        microsoft_os: A function of its gadget has Microsoft OS descriptors, so that each has to say which are its own.

    Raises:
        DescriptorError: FunctionFS does not take its descriptors.
        KernelError: The kernel refused a step; the ones before it are undone.
    """
    endpoints = function._endpoints()
    async with CauseFirst() as cause, AsyncExitStack() as stack:
        stack.enter_context(_alone(function))
        handlers = _numbered(route.handlers, first_interface)
        control = ControlEndpoint(folder, handlers, lambda setup: _as_sent(setup, endpoints))
        stack.push_async_callback(control.close)
        control.describe(*_blobs(function, first_interface, route.flags, control.eventfd, microsoft_os))
        generations = Generations(function, endpoints, composite)
        stack.push(generations.settle)
        for number, endpoint in enumerate(endpoints, start=1):
            stack.push(cause.note)
            stack.push_async_callback(endpoint._detach, DRAIN_TIMEOUT)
            endpoint._attach(composite, folder, number, control.gate)
        stack.push_async_callback(generations.close)
        server = asyncio.create_task(control.serve(generations))
        stack.push_async_callback(_stop, server)
        server.add_done_callback(lambda task: _propagate(task, generations))
        yield generations


@contextmanager
def _alone(function: Function) -> Iterator[None]:
    """Its endpoints and its link can be those of one gadget at a time."""
    if function._is_served:
        raise UsageError(f"this {type(function).__name__} is served by another gadget already: make one for each")
    function._is_served = True
    try:
        yield
    finally:
        function._is_served = False


def _numbered(handlers: Mapping[Request, Handler], first_interface: int) -> dict[Request, Handler]:
    """The handlers by the numbers that their interfaces have in the configuration."""
    return {
        request
        if request.interface is None
        else replace(request, interface=first_interface + request.interface): handler
        for request, handler in handlers.items()
    }


def _as_sent(setup: Setup, endpoints: Sequence[Endpoint]) -> Setup:
    """Undoes what FunctionFS does to wIndex (f_fs.c, ffs_func_setup).

    Of an endpoint, it reports the number of the file; of two endpoints that share a number, always the same one. Of an
    interface, it reports the number that our descriptors gave it, which is the one that the host uses; the high byte is
    lost.
    """
    if setup.recipient is Recipient.ENDPOINT and 1 <= setup.index <= len(endpoints):
        return replace(setup, index=endpoints[setup.index - 1].address)
    return setup


def _blobs(
    function: Function, first_interface: int, flags: FunctionFSFlag, eventfd: int, microsoft_os: bool
) -> tuple[bytes, bytes]:
    descriptors = function.descriptors(first_interface)
    check_own_descriptors(function, descriptors, first_interface)
    said = function.microsoft_os if microsoft_os else None
    descriptors_and_flags = descriptors_blob(descriptors, flags=flags, eventfd=eventfd, microsoft_os=said)
    return descriptors_and_flags, strings_blob(function.strings(), strings_needed(descriptors))


def _propagate(task: asyncio.Task[None], generations: Generations) -> None:
    """An ep0 that cannot be served any more is a failure of the function, not a silence."""
    if not task.cancelled() and (error := task.exception()):
        generations.fail(error)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
