"""One function being served: its FunctionFS instance, from mounted to gone, and its generations."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

from gadget.aio import AsyncContext
from gadget.errors import DisconnectedError, GadgetError, NotDrainedError, OutOfEndpointsError
from gadget.functionfs.control_endpoint import ControlEndpoint
from gadget.functionfs.data_endpoints import Endpoint
from gadget.functionfs.function import Function
from gadget.functionfs.mount import functionfs
from gadget.protocol.constants import EventType, FunctionFSFlag, LanguageId, Recipient, Speed
from gadget.protocol.declaration import function_descriptors, function_strings
from gadget.protocol.functionfs_format import descriptors_blob, strings_blob
from gadget.protocol.lifecycle import Lifecycle

log = logging.getLogger("gadget")

#: How long transfers may take to come back after they were cancelled, in seconds.
DRAIN_TIMEOUT = 2.0
#: How often a function that does not end when its generation does is complained about, in seconds.
PATIENCE = 5.0
#: How often a function is asked to end at the teardown, before it is left behind.
ATTEMPTS = 2


class Generations:
    """Runs the function once per generation, and reports when it fails.

    Attributes:
        enabled: Set while a generation runs.
    """

    def __init__(self, function: Function, endpoints: Sequence[Endpoint], claimed: dict[int, Endpoint]) -> None:
        self._function = function
        self._endpoints = endpoints
        self._claimed = claimed
        self._lifecycle = Lifecycle()
        function.__dict__["_lifecycle"] = self._lifecycle
        self._task: asyncio.Task[None] | None = None
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.enabled = asyncio.Event()

    async def report(self, event: EventType) -> None:
        """Takes an event from ep0."""
        for seen in self._lifecycle.receive(event):
            log.debug("%s: %s", type(self._function).__name__, seen.name)
            if seen is EventType.ENABLE:
                self._begin()
            elif seen is EventType.DISABLE:
                await self.end()

    def _begin(self) -> None:
        try:
            for endpoint in self._endpoints:
                endpoint._start()
        except OSError as error:
            # The host has already gone on: the kernel disabled the endpoints, and its event is on the way.
            log.debug("%s: a generation ended before it began: %s", type(self._function).__name__, error)
            return
        if (clash := self._claim_addresses()) is not None:
            self.fail(clash)
            return
        self.enabled.set()
        self._task = asyncio.create_task(self._run())

    def _claim_addresses(self) -> OutOfEndpointsError | None:
        """Some controllers give one address to two endpoints when they run out of them, and bind all the same."""
        for endpoint in self._endpoints:
            holder = self._claimed.setdefault(endpoint.address, endpoint)
            if holder is not endpoint:
                message = (
                    f"the controller gave address {endpoint.address:#04x} to both {holder.name} and {endpoint.name}"
                )
                return OutOfEndpointsError(errno.ENOSPC, f"{message}: it has too few endpoints; declare fewer of them")
        return None

    def fail(self, error: BaseException) -> None:
        """Makes the gadget go down with this error; the first one counts."""
        if not self._failure.done():
            self._failure.set_exception(error)

    async def _run(self) -> None:
        try:
            await self._function.run()
        except* DisconnectedError as errors:
            log.debug("%s: %s", type(self._function).__name__, errors.exceptions)
        except* Exception as errors:
            # Bare again what came bare; a group of the function's own stays one.
            self.fail(errors.exceptions[0] if len(errors.exceptions) == 1 else errors)

    async def end(self, attempts: int | None = None) -> None:
        """Ends the generation: cancels the function's task, waits for it, takes transfers back.

        Args:
            attempts: How often to try to end a task that ignores it; without end by default.

        Raises:
            GadgetError: The task still runs.
        """
        self.enabled.clear()
        ended = await self._end_task(attempts)
        self._take_back()
        if not ended:
            raise GadgetError(f"{type(self._function).__name__}.run ignores that it is cancelled; it was left running")

    async def _end_task(self, attempts: int | None) -> bool:
        for attempt in count(1):
            if self._task is None:
                break
            self._task.cancel()
            if (await asyncio.wait({self._task}, timeout=PATIENCE))[0]:
                self._task = None
                break
            log.warning("%s.run does not end although its generation has", type(self._function).__name__)
            if attempt == attempts:
                return False
        return True

    def _take_back(self) -> None:
        for endpoint in self._endpoints:
            if self._claimed.get(endpoint.address) is endpoint:
                del self._claimed[endpoint.address]
            endpoint._stop()

    async def failed(self) -> None:
        """Waits until the function fails, and raises its error."""
        await self._failure

    def discard(self) -> None:
        """Nobody asks for the failure any more; a body that fails by itself comes first."""
        if self._failure.done() and not self._failure.cancelled():
            self._failure.exception()
        self._failure.cancel()


@asynccontextmanager
async def served(
    function: Function,
    instance: str,
    folder: Path,
    context: AsyncContext,
    *,
    first_interface: int,
    claimed: dict[int, Endpoint],
) -> AsyncIterator[Generations]:
    """Mounts the instance, describes the function to the kernel and serves it; then takes it all down in order.

    The controller must be unbound before the scope is left, so that the kernel gives the transfers back.

    Args:
        function: What is served.
        instance: The name of its FunctionFS instance, which exists in configfs.
        folder: Where to mount it.
        context: Where the transfers run.
        first_interface: The number of its first interface in the configuration.
        claimed: The gadget's endpoints by address, one dictionary for all its functions.

    Raises:
        KernelError: The kernel refused a step; the ones before it are undone.
    """
    endpoints = function._endpoints()
    async with AsyncExitStack() as stack:
        stack.enter_context(functionfs(instance, folder))
        control = ControlEndpoint(folder, function._handlers())
        stack.push_async_callback(control.close)
        control.describe(*_blobs(function, first_interface, control.eventfd))
        generations = Generations(function, endpoints, claimed)
        stack.callback(generations.discard)
        for number, endpoint in enumerate(endpoints, start=1):
            stack.push_async_callback(_detach, endpoint)
            endpoint._attach(context, folder, number)
        stack.push_async_callback(generations.end, ATTEMPTS)
        server = asyncio.create_task(control.serve(generations.report))
        stack.push_async_callback(_stop, server)
        server.add_done_callback(lambda task: _propagate(task, generations))
        yield generations


def _blobs(function: Function, first_interface: int, eventfd: int) -> tuple[bytes, bytes]:
    interfaces = function.interfaces()
    speeds = (Speed.FULL, Speed.HIGH, Speed.SUPER)
    descriptors = {speed: function_descriptors(interfaces, speed, first_interface) for speed in speeds}
    # Requests to the device or to others reach a function only if it asks for them (f_fs.c, ffs_func_req_match).
    elsewhere = any(request.recipient in (Recipient.DEVICE, Recipient.OTHER) for request in function._requests)
    flags = FunctionFSFlag.ALL_CTRL_RECIP if elsewhere else FunctionFSFlag(0)
    return descriptors_blob(descriptors, flags=flags, eventfd=eventfd), strings_blob(
        {LanguageId.ENGLISH_US: function_strings(interfaces)}
    )


def _propagate(task: asyncio.Task[None], generations: Generations) -> None:
    """An ep0 that cannot be served any more is a failure of the function, not a silence."""
    if not task.cancelled() and (error := task.exception()):
        generations.fail(error)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _detach(endpoint: Endpoint) -> None:
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT):
            await endpoint._drained()
    except TimeoutError:
        counters = endpoint.counters
        message = f"{endpoint.name}: the controller kept {counters.in_flight} transfers for {DRAIN_TIMEOUT} s"
        raise NotDrainedError(errno.ETIMEDOUT, f"{message}; their buffers stay allocated") from None
    endpoint._detach()
