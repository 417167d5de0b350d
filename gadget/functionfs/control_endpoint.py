"""Carries the actions of :mod:`gadget.protocol.control` to ep0, off the path of the data endpoints.

FunctionFS rings an eventfd for every event (FUNCTIONFS_EVENTFD; safe since Linux 5.16), so the loop never has to ask
ep0 itself, whose readiness says nothing while a request is pending. A data stage blocks in the kernel even with
O_NONBLOCK (f_fs.c, __ffs_ep0_queue_wait), so it runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from gadget.errors import KernelError, MissingModuleError, NotDrainedError, Stall
from gadget.functionfs.handlers import Handler, Request, find_handler, suggestion
from gadget.protocol.constants import Direction, EventType
from gadget.protocol.control import Action, ControlMachine, ControlState, Handle, Read, Refuse, Withdraw, Write
from gadget.protocol.functionfs_format import EVENT_SIZE, Event, Setup, parse_events

log = logging.getLogger("gadget")

#: f_fs.c keeps at most this many events (struct ffs_data, ev.types).
MOST_EVENTS = 4

#: After these, nobody has a use any more for the data that a handler is still looking at.
ENDS_REQUESTS = frozenset({EventType.BIND, EventType.UNBIND, EventType.ENABLE, EventType.DISABLE})

#: How often a handler that does not end when it should is complained about, in seconds.
PATIENCE = 5.0


class Life(Protocol):
    """Whom the events of ep0 concern."""

    def hold(self, held: bool) -> None:
        """There is news that nobody has read, or it has been read."""

    def foresee(self, event: EventType) -> None:
        """This event was read just now; :meth:`report` follows when its turn comes."""

    async def report(self, event: EventType) -> None:
        """This event has its turn."""


class ControlEndpoint:
    """ep0 of one mounted FunctionFS instance.

    Args:
        folder: Where it is mounted.
        handlers: The bound handler for each request.
        as_sent: Turns the wIndex that FunctionFS reports back into what the host has sent.
    """

    def __init__(
        self, folder: Path, handlers: Mapping[Request, Handler], as_sent: Callable[[Setup], Setup] = lambda setup: setup
    ) -> None:
        require_eventfd(os.uname().release)
        self.eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._fd = os.open(folder / "ep0", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            os.close(self.eventfd)
            raise
        self._handlers = handlers
        self._as_sent = as_sent
        self._machine = ControlMachine()
        self._rung = asyncio.Event()
        self._withdrawn: asyncio.Future[None]
        self._deciding: asyncio.Task[bytes | None] | None = None
        self._handling: asyncio.Task[None] | None = None
        self._handlers_left: set[asyncio.Future[bytes | None]] = set()
        self._thread = ThreadPoolExecutor(1, "gadget-ep0")

    def describe(self, descriptors: bytes, strings: bytes) -> None:
        """Writes the descriptors and strings; then the endpoint files exist.

        Raises:
            KernelError: The kernel did not take them, which validation should have foreseen.
        """
        for what, blob in (("descriptors", descriptors), ("strings", strings)):
            try:
                os.write(self._fd, blob)
            except OSError as error:
                message = f"FunctionFS refused the {what}: {error.strerror}; dmesg may say more"
                raise KernelError(error.errno or errno.EINVAL, message) from error

    async def serve(self, life: Life) -> None:
        """Serves control requests and reports every other event, until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.eventfd, self._ring, life)
        try:
            while True:
                await self._rung.wait()
                while events := self._read_events(life):
                    for event in events:
                        if event.setup is not None:
                            await self._request(event.setup)
                            continue
                        if event.type in ENDS_REQUESTS:
                            await self._stop_handling()
                        await life.report(event.type)
        finally:
            loop.remove_reader(self.eventfd)
            await self._stop_handling()
            await self._wait_for_handlers()

    async def _wait_for_handlers(self) -> None:
        """Handlers that were withdrawn end before the endpoints go that they may use."""
        if self._handlers_left:
            _, left = await asyncio.wait(self._handlers_left, timeout=PATIENCE)
            for task in left:
                log.warning("a handler does not end when cancelled, and was left running: %r", task)

    def _ring(self, life: Life) -> None:
        # The eventfd itself keeps transfers from being submitted while it rings; from here on, this does.
        life.hold(True)
        if not self._silence():  # the event was read after the loop had seen the bell and before it called this
            life.hold(self._rung.is_set())
            return
        self._rung.set()
        # Whatever the event is, the kernel has withdrawn the request that is being decided.
        if self._deciding is not None and isinstance(self._machine.superseded(), Withdraw):
            self._deciding.cancel()
            self._withdrawn.set_result(None)

    def _silence(self) -> bool:
        """Whether the bell was ringing."""
        try:
            return os.eventfd_read(self.eventfd) > 0
        except BlockingIOError:
            return False

    def _read_events(self, life: Life) -> list[Event]:
        """Reads what there is. The bell of an event that is read here must not ring later, as if for a newer one.

        An event that comes between the read and the silence after it is not lost: the caller reads until there is
        nothing. Only if it withdraws the request just read, the handler learns of it with the next event, or when its
        answer fails with EIDRM.
        """
        self._rung.clear()
        self._silence()
        events = self._read()
        if events:  # where there were none, a bell that rings by now is for one that is unread
            self._silence()
        for event in events:
            if event.setup is None:
                life.foresee(event.type)
        life.hold(False)
        return events

    def _read(self) -> list[Event]:
        while True:
            try:
                return parse_events(os.read(self._fd, MOST_EVENTS * EVENT_SIZE))
            except BlockingIOError:
                return []
            except OSError as error:
                # EIDRM tells once that a request was withdrawn; the events come with the next read.
                if error.errno != errno.EIDRM:
                    raise

    async def _request(self, setup: Setup) -> None:
        if not await self._handled():
            return
        handler = find_handler(self._handlers, setup)
        setup = self._as_sent(setup)
        if handler is None:
            log.warning("unhandled request, stalled: %s\n%s", setup, suggestion(setup))
        action: Action | None = self._machine.request(setup, known=handler is not None)
        while action is not None:
            action = await self._perform(action, handler)

    async def _handled(self) -> bool:
        """Waits for the handler that has the data of the request before; False if an event has withdrawn this one.

        Only an event that is newer than those just read can have set ``_rung``.
        """
        while self._handling is not None and not self._rung.is_set():
            bell = asyncio.ensure_future(self._rung.wait())
            try:
                await asyncio.wait({self._handling, bell}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                bell.cancel()
        return self._handling is None and not self._rung.is_set()

    async def _perform(self, action: Action, handler: Handler | None) -> Action | None:
        match action:
            case Handle(setup, data) if handler is not None:
                if self._machine.state is ControlState.DECIDING:
                    return await self._decide(setup, handler)
                # For the kernel this request is over: the life of the function goes on while it is looked at.
                self._handling = asyncio.ensure_future(self._handle(setup, data, handler))
                self._handling.add_done_callback(self._handling_over)
            case Write(data):
                return await self._transfer(os.write, data)
            case Read(length):
                return await self._transfer(os.read, length)
            case Refuse(by_writing):
                self._refuse(by_writing)
        return None

    async def _decide(self, setup: Setup, handler: Handler) -> Action | None:
        """Runs the handler whose answer the host waits for; a further event takes the question back."""
        task = self._deciding = asyncio.ensure_future(_call(handler, setup, b""))
        self._handlers_left.add(task)
        task.add_done_callback(self._handlers_left.discard)
        self._withdrawn = asyncio.get_running_loop().create_future()
        either: set[asyncio.Future[bytes | None] | asyncio.Future[None]] = {task, self._withdrawn}
        try:
            # A handler that takes its time to end after it was withdrawn holds nothing up.
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            self._deciding = None
        if self._machine.state is ControlState.IDLE:
            return None
        answer = None if task.cancelled() else task.result()
        return self._machine.refused() if answer is None else self._machine.answered(answer)

    async def _handle(self, setup: Setup, data: bytes, handler: Handler) -> None:
        """Runs the handler of a request whose data the kernel has acknowledged already."""
        if await _call(handler, setup, data) is None:
            log.warning("%s was refused too late: its data is acknowledged already", setup)

    def _handling_over(self, _: asyncio.Task[None]) -> None:
        self._machine.answered(b"")
        self._handling = None

    async def _stop_handling(self) -> None:
        while (task := self._handling) is not None:
            task.cancel()
            await asyncio.wait({task}, timeout=PATIENCE)
            if not task.done():
                log.warning("the handler of %s does not end when cancelled", self._machine.setup)

    async def _transfer(self, call: Callable[..., int | bytes], argument: int | bytes) -> Action | None:
        loop = asyncio.get_running_loop()
        try:
            result = await loop.run_in_executor(self._thread, call, self._fd, argument)
        except OSError as error:
            log.debug("control transfer not completed: %s", error)
            self._machine.failed()
            return None
        return self._machine.transferred(result if isinstance(result, bytes) else b"")

    def _refuse(self, by_writing: bool) -> None:
        try:
            _ = os.write(self._fd, b"") if by_writing else len(os.read(self._fd, 0))
        except OSError as error:
            # EL2HLT is success. EIDRM and ESRCH: the host has moved on by itself.
            if error.errno not in (errno.EL2HLT, errno.EIDRM, errno.ESRCH, errno.ESHUTDOWN):
                raise

    async def close(self, timeout: float = 2.0) -> None:
        """Closes ep0, which unbinds the gadget if it still is bound.

        Raises:
            NotDrainedError: A control transfer did not end within ``timeout`` seconds; ep0 stays open.
        """
        idle = asyncio.get_running_loop().run_in_executor(self._thread, lambda: None)
        _, unfinished = await asyncio.wait({idle}, timeout=timeout)
        self._thread.shutdown(wait=False)
        if unfinished:
            raise NotDrainedError(errno.ETIMEDOUT, f"a control transfer did not end within {timeout} s")
        os.close(self._fd)
        os.close(self.eventfd)


def require_eventfd(release: str) -> None:
    """Refuses a kernel whose FUNCTIONFS_EVENTFD can crash it.

    Args:
        release: As uname(2) gives it, "6.1.0-32-arm64".

    Raises:
        MissingModuleError: It is older than Linux 5.16.
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    if numbers < (5, 16):
        raise MissingModuleError(
            errno.ENOSYS, f"Linux {release} is too old for FunctionFS events; it takes 5.16 or newer"
        )


async def _call(handler: Handler, setup: Setup, data: bytes) -> bytes | None:
    """The handler's answer, b"" from one that has nothing to return, or None when it refuses or fails."""
    try:
        if setup.direction == Direction.OUT:
            await handler(setup, memoryview(data))
            return b""
        answer = await handler(setup)
        if answer is None:
            raise TypeError("it returned None; what it returns is the answer, as bytes")
        return bytes(memoryview(answer))
    except Stall:
        return None
    except Exception:
        late = setup.direction == Direction.OUT and setup.length > 0
        outcome = "too late to refuse its data" if late else "the request is stalled"
        log.exception("the handler of %s failed, %s", setup, outcome)
        return None
