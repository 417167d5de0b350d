"""The control requests of an ep0, one at a time: from the SETUP to the end of its last stage.

A request whose handler need not wait, of a host that behaves, is served within the call that begins it. The loop asks
for the end of a data stage no earlier than it has a use for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from gadget.aio import Caller
from gadget.functionfs.data_stages import DataStages
from gadget.functionfs.handler_task import HandlerTask
from gadget.functionfs.handlers import Handler, Handlers, Request
from gadget.functionfs.unhandled import Unhandled
from gadget.protocol.constants import Direction, Recipient
from gadget.protocol.control import Action, ControlMachine, ControlState, Handle, Read, Refuse, Withdraw, Write
from gadget.protocol.functionfs_format import Setup

log = logging.getLogger("gadget")
_TOLD = "control request: %s"

#: For how long a handler may decide about a request of which nobody knows whether the host still waits, in seconds.
IN_DOUBT = 1.0

# For every request again: to ask an Enum costs more than to compare.
DIRECTION_IN, ENDPOINT, RECIPIENT = int(Direction.IN), int(Recipient.ENDPOINT), 0x1F
IDLE, DECIDING = ControlState.IDLE, ControlState.DECIDING


class ControlRequests:
    """Those of one ep0.

    Args:
        caller: Makes the calls that block.
        fd: ep0.
        handlers: The bound handler for each request.
        as_sent: Turns the wIndex that FunctionFS reports back into what the host has sent.
        ended: Called when a handler has ended, since what came meanwhile may have its turn.
        failed: Called with what a handler's task was ended by, which is a defect of this package.
    """

    def __init__(
        self,
        caller: Caller,
        fd: int,
        handlers: Mapping[Request, Handler],
        as_sent: Callable[[Setup], Setup],
        ended: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._stages = DataStages(caller, fd)
        self._handlers = Handlers(handlers)
        self._unhandled = Unhandled()
        self._as_sent = as_sent
        self._ended = ended
        self._machine = ControlMachine()
        self._handler: Handler | None = None
        self._task = HandlerTask(self._handled, failed)

    # ---- where the one that is served stands -------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether the next one can begin."""
        return self._machine.state is IDLE

    @property
    def deciding(self) -> bool:
        """Whether its handler decides, and the kernel holds the host meanwhile."""
        return self._machine.state is DECIDING

    @property
    def transferring(self) -> bool:
        """Whether a stage is under way, or its result was not taken: :meth:`end_stage` does."""
        return self._stages.busy

    @property
    def wants_data(self) -> bool:
        """Whether a handler waits for what the host is sending."""
        return self._machine.state is ControlState.TRANSFERRING and self._machine.takes_data

    @property
    def lets_read(self) -> bool:
        """Whether a read of ep0 is one of events, and neither an answer (f_fs.c, ffs_ep0_read) nor behind one."""
        return not (self._stages.busy or self._machine.state is DECIDING)

    def fileno(self) -> int:
        """An eventfd: it rings when a stage is over that :meth:`end_stage` did not find so."""
        return self._stages.fileno()

    # ---- the short way -----------------------------------------------------------------------------------------------

    def serve_at_once(self, setup: Setup) -> bool:
        """The short way: where neither the handler nor the host makes anybody wait, the machine need not be told.

        As soon as somebody does, it is brought to where the request stands, and all goes on as on the long way.

        Returns:
            Whether the request is over.
        """
        handler = self._handlers.find(setup)
        is_in = setup.request_type >= DIRECTION_IN
        if handler is None or not (is_in or setup.length <= self._stages.longest_at_once):
            self.begin(setup)
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

    # ---- the long way ------------------------------------------------------------------------------------------------

    def begin(self, setup: Setup) -> None:
        """Begins to serve it; the one before is over."""
        self._handler = self._handlers.find(setup)
        setup = self._as_sent(setup)
        if self._handler is None:
            self._unhandled.tell(setup)
        else:
            log.debug(_TOLD, setup)
        self._perform(self._machine.request(setup, known=self._handler is not None))

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
        self._ended()

    def end_stage(self) -> bool:
        """Whether the data or status stage is over; if so, what follows it has begun."""
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

    # ---- one that is over before its time ----------------------------------------------------------------------------

    def withdraw(self) -> None:
        """Nobody waits for the answer any more that is being decided, if one is."""
        if self._machine.state is DECIDING and isinstance(self._machine.superseded(), Withdraw):
            self._task.abandon()

    def is_withdrawn(self) -> bool | None:
        """Whether the host has given up the one that is being decided; None: of one without data, nobody can know.

        Then its handler has to decide soon, or it is refused.
        """
        setup = self._machine.setup
        assert setup is not None
        if not setup.length:
            asyncio.get_running_loop().call_later(IN_DOUBT, self._end_doubt, setup)
            return None
        return self._stages.is_withdrawn()

    def _end_doubt(self, setup: Setup) -> None:
        """Refuses what has not been answered; if it was given up already, nobody is refused, and all goes on."""
        if self._machine.state is DECIDING and self._machine.setup is setup:
            self._task.abandon()
            self._handled(None)

    # ---- their life --------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Starts the task of the handlers, so that it is there for the first one."""
        self._task.prepare()

    def trust(self) -> None:
        """There is a new generation, and perhaps a host that takes no time over stages."""
        self._stages.trust()

    async def stop(self) -> None:
        """Cancels a handler that looks at data for which nobody has a use any more, and waits for its end."""
        if self._machine.state is ControlState.HANDLING:
            await self._task.stop(self._machine.setup)
            if self._machine.state is ControlState.HANDLING:
                self._machine.answered(b"")

    async def end(self) -> None:
        """Ends the handlers, and waits for those that were abandoned."""
        await self.stop()
        await self._task.close()

    async def close(self, timeout: float) -> None:
        """Ends the thread of the stages, after the one that is under way.

        Raises:
            NotDrainedError: It did not end within ``timeout`` seconds.
        """
        await self._stages.close(timeout)
