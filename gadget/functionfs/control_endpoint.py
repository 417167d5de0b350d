"""Carries the actions of :mod:`gadget.protocol.control` to ep0, off the path of the data endpoints.

FunctionFS rings an eventfd for every event (FUNCTIONFS_EVENTFD; safe since Linux 5.16), so the loop never has to ask
ep0 itself, whose readiness says nothing while a request is pending. A request whose handler need not wait is served
within that one wake-up. The loop asks for the end of a data stage no earlier than it has a use for it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from gadget.aio import Caller, Gate
from gadget.errors import KernelError
from gadget.functionfs.data_stages import MOST_DATA, DataStages
from gadget.functionfs.handler_task import HandlerTask
from gadget.functionfs.handlers import Handler, Handlers, Request
from gadget.functionfs.mount import require_eventfd
from gadget.functionfs.unhandled import Unhandled
from gadget.protocol.constants import Direction, EventType, Recipient
from gadget.protocol.control import Action, ControlMachine, ControlState, Handle, Read, Refuse, Withdraw, Write
from gadget.protocol.functionfs_format import EVENT_SIZE, Event, Setup, only_setup, parse_events

log = logging.getLogger("gadget")
_TOLD = "control request: %s"

#: f_fs.c keeps at most this many events (struct ffs_data, ev.types).
MOST_EVENTS = 4

#: After these, nobody has a use any more for the data that a handler is still looking at.
ENDS_REQUESTS = frozenset({EventType.BIND, EventType.UNBIND, EventType.ENABLE, EventType.DISABLE})

#: For how long a handler may decide about a request of which nobody knows whether the host still waits, in seconds.
IN_DOUBT = 1.0

# For every request again: to ask an Enum costs more than to compare.
DIRECTION_IN, ENDPOINT, RECIPIENT = int(Direction.IN), int(Recipient.ENDPOINT), 0x1F
IDLE, DECIDING = ControlState.IDLE, ControlState.DECIDING


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
        self._stages = DataStages(caller, self._fd)
        self.gate = Gate(self.eventfd)
        self._handlers = Handlers(handlers)
        self._unhandled = Unhandled()
        self._as_sent = as_sent
        self._machine = ControlMachine()
        self._rings = 0  # how often it rang for what was not read yet
        self._events: deque[Event] = deque()  # read, and to have their turn
        self._reporting: EventType | None = None
        self._news = asyncio.Event()
        self._failure: BaseException | None = None
        self._handler: Handler | None = None
        self._task = HandlerTask(self._handled, self._fail)
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
        self._task.prepare()
        loop.add_reader(self.eventfd, self._ring)
        loop.add_reader(self._stages.fileno(), self._stage_ended)
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                if self._failure is not None:
                    raise self._failure
                if (event := self._reporting) is not None:
                    if event in ENDS_REQUESTS:
                        await self._stop_handling()
                    if event is EventType.ENABLE:
                        self._stages.trust()
                    await life.report(event)
                    self._reporting = None
                    self._go_on()
        finally:
            loop.remove_reader(self.eventfd)
            loop.remove_reader(self._stages.fileno())
            await self._stop_handling()
            await self._task.close()

    async def _stop_handling(self) -> None:
        if self._machine.state is ControlState.HANDLING:
            await self._task.stop(self._machine.setup)
            if self._machine.state is ControlState.HANDLING:
                self._machine.answered(b"")

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
                if setup is not None and self._machine.state is IDLE:
                    self._open_gate()
                    if self._serve_at_once(setup):
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
            self._withdraw()
            if self._events:
                self._events = deque(event for event in self._events if event.setup is None)
        self._go_on()
        if not self._rings:
            self._open_gate()

    def _withdraw(self) -> None:
        """Nobody waits for the answer any more that is being decided."""
        if self._machine.state is DECIDING and isinstance(self._machine.superseded(), Withdraw):
            self._task.abandon()

    def _is_withdrawn(self, setup: Setup) -> bool:
        """Whether a request was over before its handler began, which therefore waits for nobody.

        It rang twice and there was one event: either the host has given up an earlier request that nobody had read, or
        it has done so with this one, right after it was read. Of a request without data the kernel does not tell which.
        """
        if not setup.length:
            asyncio.get_running_loop().call_later(IN_DOUBT, self._end_doubt, setup)
            return False
        if self._stages.is_withdrawn():
            return True
        self._rings = 0
        self._open_gate()
        return False

    def _end_doubt(self, setup: Setup) -> None:
        """Refuses what has not been answered; if it was given up already, nobody is refused, and all goes on."""
        if self._machine.state is DECIDING and self._machine.setup is setup:
            self._task.abandon()
            self._handled(None)

    def _stage_ended(self) -> None:
        try:
            self._go_on()
        except Exception as error:
            self._fail(error)

    def _can_read(self) -> bool:
        """Whether to read events now: nothing comes before them, and it is no answer (f_fs.c, ffs_ep0_read)."""
        return not (self._stages.busy or self._events or self._reporting is not None or self._machine.state is DECIDING)

    def _open_gate(self) -> None:
        if self.gate.release():
            self._life.resume()

    def _go_on(self) -> None:
        """Does what there is to do, as far as it can be done now. Whatever ends later calls this again."""
        while self._reporting is None and (self._events or self._rings or self._wants_data()):
            if self._stages.busy:
                if not self._end_stage():
                    return  # the caller's eventfd rings when it is over
            elif not self._events:
                if self._machine.state is DECIDING:
                    if self._machine.setup is None or not self._is_withdrawn(self._machine.setup):
                        return
                    self._withdraw()
                self._read_events()
            elif (setup := self._events[0].setup) is None:
                self._reporting = self._events.popleft().type
                self._news.set()
            elif self._machine.state is ControlState.IDLE:
                self._events.popleft()
                self._request(setup)
            else:
                return  # the handler has the data of the request before, or is being asked

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

    # ---- requests ----------------------------------------------------------------------------------------------------

    def _request(self, setup: Setup) -> None:
        self._handler = self._handlers.find(setup)
        setup = self._as_sent(setup)
        if self._handler is None:
            self._unhandled.tell(setup)
        else:
            log.debug(_TOLD, setup)
        self._perform(self._machine.request(setup, known=self._handler is not None))

    def _serve_at_once(self, setup: Setup) -> bool:
        """The short way: where neither the handler nor the host makes anybody wait, the machine need not be told.

        As soon as somebody does, it is brought to where the request stands, and all goes on as on the long way.

        Returns:
            Whether the request is over.
        """
        handler = self._handlers.find(setup)
        is_in = setup.request_type >= DIRECTION_IN
        if handler is None or not (is_in or setup.length <= self._stages.longest_at_once):
            self._request(setup)
            return False
        self._handler = handler
        if setup.request_type & RECIPIENT == ENDPOINT:
            setup = self._as_sent(setup)
        log.debug(_TOLD, setup)
        try:
            if setup.length and not is_in:
                return self._take_at_once(handler, setup)
            return self._answer_at_once(handler, setup, is_in)
        except OSError as error:
            log.debug("control transfer not completed: %s", error)
            return True

    def _take_at_once(self, handler: Handler, setup: Setup) -> bool:
        data = self._stages.read(setup.length)
        if data is None:
            self._machine.request(setup, known=True)
            return False
        ended, answer = self._task.attempt(handler, setup, data)
        if ended and answer is not None:
            return True
        self._machine.request(setup, known=True)
        self._machine.transferred(data)
        if ended:
            self._handled(None)
        return False

    def _answer_at_once(self, handler: Handler, setup: Setup, is_in: bool) -> bool:
        ended, answer = self._task.attempt(handler, setup, b"")
        if not ended or answer is None:
            self._machine.request(setup, known=True)
            if ended:
                self._handled(None)
            return False
        if (self._stages.write(answer[: setup.length]) if is_in else self._stages.read(0)) is not None:
            return True
        self._machine.request(setup, known=True)
        self._machine.answered(answer)
        return False

    def _perform(self, action: Action | None) -> None:
        match action:
            case None:
                pass
            case Handle(setup, data) if self._handler is not None:
                self._task.start(self._handler, setup, data)
            case Write() | Read():
                self._begin_stage(action)
            case Refuse(by_writing):
                self._stages.refuse(by_writing=by_writing)

    def _begin_stage(self, stage: Write | Read) -> None:
        try:
            data = self._stages.write(stage.data) if isinstance(stage, Write) else self._stages.read(stage.length)
        except OSError as error:
            self._stage_failed(error)
            return
        if data is not None:
            self._perform(self._machine.transferred(data))

    def _handled(self, answer: bytes | None) -> None:
        """A handler has ended."""
        if self._machine.state is ControlState.HANDLING and answer is None:
            log.warning("%s was refused too late: its data is acknowledged already", self._machine.setup)
        self._perform(self._machine.refused() if answer is None else self._machine.answered(answer))
        self._go_on()

    def _wants_data(self) -> bool:
        """Whether a handler waits for what the host is sending."""
        return self._machine.state is ControlState.TRANSFERRING and self._machine.takes_data

    def _end_stage(self) -> bool:
        """Whether the data or status stage is over."""
        try:
            data = self._stages.take()
        except OSError as error:
            self._stage_failed(error)
            return True
        if data is None:
            return False
        self._perform(self._machine.transferred(data))
        return True

    def _stage_failed(self, error: OSError) -> None:
        log.debug("control transfer not completed: %s", error)
        self._machine.failed()

    async def close(self, timeout: float = 2.0) -> None:
        """Closes ep0, which unbinds the gadget if it still is bound.

        Raises:
            NotDrainedError: A control transfer did not end within ``timeout`` seconds; ep0 stays open.
        """
        await self._stages.close(timeout)
        os.close(self._fd)
        os.close(self.eventfd)
