"""The events of ep0, in their order, off the path of the data endpoints.

FunctionFS rings an eventfd for every event (FUNCTIONFS_EVENTFD; safe since Linux 5.16), so the loop never has to ask
ep0 itself, whose readiness says nothing while a request is pending. What is a request goes to
:mod:`gadget.functionfs.control_requests`, most times within that one wake-up; everything else concerns the function.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from gadget.aio import Caller, Gate
from gadget.errors import KernelError
from gadget.functionfs.control_requests import ControlRequests
from gadget.functionfs.data_stages import MOST_DATA
from gadget.functionfs.handlers import Handler, Request
from gadget.functionfs.mount import require_eventfd
from gadget.protocol.constants import EventType
from gadget.protocol.functionfs_format import EVENT_SIZE, Event, Setup, only_setup, parse_events

#: f_fs.c keeps at most this many events (struct ffs_data, ev.types).
MOST_EVENTS = 4

#: After these, nobody has a use any more for the data that a handler is still looking at.
ENDS_REQUESTS = frozenset({EventType.BIND, EventType.UNBIND, EventType.ENABLE, EventType.DISABLE})


class Life(Protocol):
    """Whom the events of ep0 concern."""

    def foresee(self, event: EventType) -> None:
        """This event was read just now; :meth:`report` follows when its turn comes."""

    async def report(self, event: EventType) -> None:
        """This event has its turn."""

    def resume(self) -> None:
        """Transfers were kept from being submitted while there was news that nobody had read; they no longer are."""


class ControlEndpoint:
    """ep0 of one mounted FunctionFS instance.

    Args:
        folder: Where it is mounted.
        handlers: The bound handler for each request.
        as_sent: Turns the wIndex that FunctionFS reports back into what the host has sent.

    Attributes:
        eventfd: What FunctionFS rings.
        gate: Closed while there are events that nobody has read: the generation may be over.
    """

    def __init__(
        self, folder: Path, handlers: Mapping[Request, Handler], as_sent: Callable[[Setup], Setup] = lambda setup: setup
    ) -> None:
        require_eventfd(os.uname().release)
        caller = Caller(MOST_DATA)
        self.eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._fd = os.open(folder / "ep0", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            os.close(self.eventfd)
            caller.close()
            raise
        self.gate = Gate(self.eventfd)
        self._requests = ControlRequests(caller, self._fd, handlers, as_sent, self._go_on, self._fail)
        self._rings = 0  # how often it rang for what was not read yet
        self._events: deque[Event] = deque()  # read, and to have their turn
        self._reporting: EventType | None = None
        self._news = asyncio.Event()
        self._failure: BaseException | None = None
        self._life: Life

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

    # ---- the task: what is no request has its turn here, since it may take its time ---------------------------------

    async def serve(self, life: Life) -> None:
        """Serves control requests and reports every other event, until cancelled."""
        loop = asyncio.get_running_loop()
        self._life = life
        self._requests.prepare()
        loop.add_reader(self.eventfd, self._ring)
        loop.add_reader(self._requests.fileno(), self._stage_ended)
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                if self._failure is not None:
                    raise self._failure
                if (event := self._reporting) is not None:
                    if event in ENDS_REQUESTS:
                        await self._requests.stop()
                    if event is EventType.ENABLE:
                        self._requests.trust()
                    await life.report(event)
                    self._reporting = None
                    self._go_on()
        finally:
            loop.remove_reader(self.eventfd)
            loop.remove_reader(self._requests.fileno())
            await self._requests.end()

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._news.set()

    # ---- the event loop's callbacks ----------------------------------------------------------------------------------

    def _ring(self) -> None:
        try:
            # The eventfd itself keeps transfers from being submitted while it rings; from here on, the gate does.
            self.gate.hold()
            if self._can_read():  # as most times; what has rung is counted when it is read
                data = self._read()
                rings = self.gate.silence()
                setup = only_setup(data) if rings == 1 and not self._rings else None
                if setup is not None and self._requests.idle:
                    self._open_gate()
                    if self._requests.serve_at_once(setup):
                        return
                else:
                    self._take_in(data, rings)
                self._go_on()
            else:
                self._overtaken()
        except Exception as error:
            self._fail(error)

    def _overtaken(self) -> None:
        """It may have rung for an event that cannot be read yet."""
        if rings := self.gate.silence():
            self._rings += rings
            # Whatever the event is, the kernel has withdrawn the request that is being decided, and any that waits.
            self._requests.withdraw()
            if self._events:
                self._events = deque(event for event in self._events if event.setup is None)
        self._go_on()
        if not self._rings:
            self._open_gate()

    def _stage_ended(self) -> None:
        try:
            self._go_on()
        except Exception as error:
            self._fail(error)

    def _can_read(self) -> bool:
        """Whether to read events now: nothing comes before them."""
        return not self._events and self._reporting is None and self._requests.lets_read

    def _open_gate(self) -> None:
        if self.gate.release():
            self._life.resume()

    def _go_on(self) -> None:
        """Does what there is to do, as far as it can be done now. Whatever ends later calls this again."""
        while self._reporting is None and (self._events or self._rings or self._requests.wants_data):
            if self._requests.transferring:
                if not self._requests.end_stage():
                    return  # its eventfd rings when it is over
            elif not self._events:
                if self._requests.deciding and not self._has_withdrawn():
                    return
                self._read_events()
            elif (setup := self._events[0].setup) is None:
                self._reporting = self._events.popleft().type
                self._news.set()
            elif self._requests.idle:
                self._events.popleft()
                self._requests.begin(setup)
            else:
                return  # the handler has the data of the request before, or is being asked

    def _has_withdrawn(self) -> bool:
        """Whether the request that is being decided was over before its handler began, and was withdrawn.

        It rang twice and there was one event: either the host has given up an earlier request that nobody had read, or
        it has done so with this one, right after it was read.
        """
        match self._requests.is_withdrawn():
            case True:
                self._requests.withdraw()
                return True
            case False:
                self._rings = 0
                self._open_gate()
        return False

    def _read_events(self) -> None:
        """Reads what there is.

        Every event rings once, while it is stored (f_fs.c, __ffs_event_add), so what rings after the read is for an
        event that has come since, unless it rang no more often than there were events: then this is called again.
        """
        self._take_in(self._read(), self.gate.silence())

    def _take_in(self, data: bytes, rings: int) -> None:
        """Notes what was read, and how often it has rung up to then."""
        events = parse_events(data)
        self._rings = rings if self._rings + rings > len(events) else 0
        self._events.extend(events)
        # Last, since tasks go on within this: one may be a handler that ends, and what it calls comes back to here.
        for event in events:
            if event.setup is None:
                self._life.foresee(event.type)
        if not self._rings:
            self._open_gate()

    def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._fd, MOST_EVENTS * EVENT_SIZE)
            except BlockingIOError:
                return b""
            except OSError as error:
                # EIDRM tells once that a request was withdrawn; the events come with the next read.
                if error.errno != errno.EIDRM:
                    raise

    async def close(self, timeout: float = 2.0) -> None:
        """Closes ep0, which unbinds the gadget if it still is bound.

        Raises:
            NotDrainedError: A control transfer did not end within ``timeout`` seconds; ep0 stays open.
        """
        await self._requests.close(timeout)
        os.close(self._fd)
        os.close(self.eventfd)
