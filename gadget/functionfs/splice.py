"""Data from endpoint to endpoint, or between an endpoint and a file, without Python in between."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Coroutine, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from gadget.aio.operation import File
from gadget.aio.splice import OwnFile, RunningSplice
from gadget.errors import DISCONNECTED, NotDrainedError, UsageError, transfer_error
from gadget.functionfs.ending import Ending
from gadget.functionfs.endpoint import Endpoint
from gadget.functionfs.in_endpoint import InEndpoint
from gadget.functionfs.out_endpoint import OutEndpoint

#: How long a thread may take to end that was asked to, in seconds. Only a regular file can make it take long.
END_TIMEOUT: Final = 2.0


def splice(source: OutEndpoint | File, target: InEndpoint | File, *, count: int | None = None) -> Splice:
    """Moves data from ``source`` to ``target``, in a thread of the extension.

    ``await splice(...)`` returns the number of bytes that were moved when the source ends, or ``count`` is reached.
    What it returns can be made a task, and tells how far it has come.

    Args:
        source: An OUT endpoint, or a file: a file object or descriptor of a regular file, a pipe, a stream socket, or
            a device that is open with O_NONBLOCK.
        target: An IN endpoint, or a file. One of the two is an endpoint.
        count: How many bytes to move; without end by default.

    Raises:
        UsageError: Neither side is an endpoint, one is of the wrong direction; when awaited, also that the transfers of
            two endpoints are not of sizes that fit, or that a file could block for ever.
        DisconnectedError: This generation has ended. Its subclass says how.
        TransferError: The controller reported an error for a transfer of one of the endpoints.
        EndpointBusyError: Another task uses one of the endpoints.
        NotDrainedError: Its thread does not end, since a regular file takes too long.
        ClosedError: The gadget is not up.
        OSError: The file's own, with its name where it has one; none of this package's.
    """
    return Splice(source, target, count)


class Splice(Coroutine[Any, Any, int]):
    """What :func:`splice` returns: a coroutine that tells how far it has come.

    It begins when it is awaited, or made a task, and returns the number of bytes that were moved.
    """

    def __init__(self, source: OutEndpoint | File, target: InEndpoint | File, count: int | None = None) -> None:
        if isinstance(source, InEndpoint) or isinstance(target, OutEndpoint):
            raise UsageError("a splice moves data from an OUT endpoint or a file to an IN endpoint or a file")
        if not isinstance(source, OutEndpoint) and not isinstance(target, InEndpoint):
            raise UsageError("one side of a splice must be an endpoint; for two files there is os.splice()")
        if count is not None and count < 0:
            raise UsageError(f"count = {count}: a number of bytes")
        self._source, self._target, self._count = source, target, count
        self._endpoints: list[Endpoint] = [side for side in (source, target) if isinstance(side, Endpoint)]
        self._coroutine: Coroutine[Any, Any, int] | None = None
        self._running: RunningSplice | None = None

    @property
    def moved(self) -> int:
        """Bytes that were passed on: for an IN endpoint, that the kernel has a copy of them."""
        return self._running.state.bytes if self._running else 0

    @property
    def transfers(self) -> int:
        """Transfers of the endpoint, or of the source if both sides are one."""
        return self._running.state.transfers if self._running else 0

    def __await__(self) -> Generator[Any, Any, int]:
        if self._coroutine is not None:
            raise UsageError("this splice was awaited before: make another")
        self._coroutine = self._run()
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """What a task does with a coroutine; await it instead."""
        if self._coroutine is None:
            self._coroutine = self._run()
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """What a task does with a coroutine that is cancelled."""
        if self._coroutine is None:
            self._coroutine = self._run()
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """Ends it without waiting for its thread, if it was begun."""
        if self._coroutine is not None:
            self._coroutine.close()

    async def _run(self) -> int:
        self._check()
        endings = {endpoint: endpoint._ending for endpoint in self._endpoints}
        with ExitStack() as stack:
            for endpoint in self._endpoints:
                stack.enter_context(endpoint._exclusive())
            first = self._first()
            running = self._running = stack.enter_context(self._started(first))
            cancelled = await self._ended(running)
            if isinstance(self._source, OutEndpoint) and not endings[self._source].is_known:
                _keep_rest(self._source, running, first)
        if running.state.error:
            await self._fail(running, endings, cancelled)
        if cancelled:
            raise asyncio.CancelledError
        return self.moved

    def _check(self) -> None:
        for endpoint in self._endpoints:
            endpoint._serving()
        if isinstance(source := self._source, OutEndpoint) and isinstance(target := self._target, InEndpoint):
            if source._composite is not target._composite:
                raise UsageError(f"{source.name} and {target.name} are of two gadgets: put a pipe between them")
            if source.transfer_size > target.transfer_size:
                sizes = f"{source.transfer_size} and {target.transfer_size} bytes"
                message = f"{source.name} and {target.name} have transfers of {sizes}"
                raise UsageError(f"{message}: those of the IN endpoint must be at least as long to pass each on as one")

    def _first(self) -> bytes:
        """What read() has left of a transfer comes first."""
        if not isinstance(self._source, OutEndpoint):
            return b""
        self._source._borrow()
        return bytes(self._source._rest)

    @contextmanager
    def _started(self, first: bytes) -> Iterator[RunningSplice]:
        context = self._endpoints[0]._composite.context
        eventfd = context._take_eventfd()
        try:
            source = self._source._reading() if isinstance(self._source, OutEndpoint) else OwnFile.of(self._source)
            target = (
                self._target._writing()
                if isinstance(self._target, InEndpoint)
                else OwnFile.of(self._target, writing=True)
            )
            running = RunningSplice(source, target, eventfd, first, self._count)
        except BaseException:
            context._give_eventfd(eventfd)
            raise
        for endpoint in self._endpoints:
            endpoint._splice = running
            if isinstance(endpoint, InEndpoint):
                endpoint._bell.listen()  # for what was written before and fills it
        if isinstance(self._source, OutEndpoint):
            self._source._rest = memoryview(b"")
        try:
            yield running
        finally:
            if running.close():
                context._give_eventfd(eventfd)
            else:
                context._abandon(running)

    async def _ended(self, running: RunningSplice) -> bool:
        """Waits until the thread has ended, and says whether the task was cancelled meanwhile.

        Raises:
            NotDrainedError: It was asked to end, and did not in time.
        """
        cancelled, deadline = False, None
        endings = [endpoint._ending for endpoint in self._endpoints]
        while not running.ended:
            if deadline is None and (cancelled or any(ending.is_known for ending in endings)):
                deadline = asyncio.get_running_loop().time() + END_TIMEOUT
            try:
                async with asyncio.timeout_at(deadline):
                    await self._endpoints[0]._changed
            except asyncio.CancelledError:
                cancelled = True
                running.stop()
            except TimeoutError:
                names = " and ".join(endpoint.name for endpoint in self._endpoints)
                message = f"a splice of {names} did not end within {END_TIMEOUT} s; its file does not answer"
                raise NotDrainedError(errno.ETIMEDOUT, f"{message}, and its buffers stay allocated") from None
        return cancelled

    async def _fail(self, running: RunningSplice, endings: Mapping[Endpoint, Ending], cancelled: bool) -> None:
        """Raises what ended it, told apart by the side that it happened on."""
        code, side = running.state.error, self._source if running.state.at_source else self._target
        if isinstance(side, Endpoint) and code in DISCONNECTED:
            await _disconnect(endings[side], side.name, cancelled)
        if cancelled:
            return
        if isinstance(side, Endpoint):
            raise transfer_error(code, side.name)
        raise OSError(code, os.strerror(code), getattr(side, "name", None))


async def _disconnect(ending: Ending, name: str, cancelled: bool) -> None:
    """Ends as any other transfer does: with the reason; the function's task is cancelled just after that.

    The thread takes a moment to end, in which the task may have been cancelled already.
    """
    if cancelled and not ending.is_known:
        return
    task = asyncio.current_task()
    if cancelled and task is not None:
        task.uncancel()
        task.cancel()
    raise await ending.error(name)


def _keep_rest(source: OutEndpoint, running: RunningSplice, first: bytes) -> None:
    """What was received and not passed on is for the next reader."""
    state = running.state
    source._rest = memoryview(first)[state.bytes :]
    if not source._rest and state.rest:
        end = state.offset + state.rest
        source._rest = source._reading().lent(state.piece, state.offset, end)
        source._hand_over(end, is_whole=False)
