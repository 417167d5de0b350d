"""One function's life: what the host does to it, and the task that serves each generation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import count
from types import TracebackType

from gadget.errors import ClosedError, DisconnectedError, GadgetError, OutOfEndpointsError
from gadget.functionfs.composite import Composite
from gadget.functionfs.ending import Ending
from gadget.functionfs.endpoint import Endpoint
from gadget.functionfs.function import Function
from gadget.protocol.constants import EventType
from gadget.protocol.lifecycle import ENDINGS

log = logging.getLogger("gadget")

#: How often a function that does not end when its generation does is complained about, in seconds.
PATIENCE = 5.0
#: How often a function is asked to end at the teardown, before it is left behind.
ATTEMPTS = 2


class Generations:
    """Runs the function once per generation, and reports when it fails."""

    def __init__(self, function: Function, endpoints: Sequence[Endpoint], composite: Composite) -> None:
        self._function = function
        self._name = type(function).__name__
        self._endpoints = endpoints
        self._composite = composite
        self._task: asyncio.Task[None] | None = None
        self._ending = Ending()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # ---- what ep0 reports --------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """What was held back while ep0 had news that nobody had read can be submitted: the generation goes on."""
        for endpoint in self._endpoints:
            endpoint._resume()

    def foresee(self, event: EventType) -> None:
        """An event was read, and :meth:`report` will be called with it: what it ends has ended from here on."""
        if event in ENDINGS:
            self._stop(ENDINGS[event])

    async def report(self, event: EventType) -> None:
        """Takes an event from ep0."""
        link = self._function._link
        for seen in link.infer(event):
            log.debug("%s: %s", self._name, seen.name)
            if seen is EventType.DISABLE:
                await self.end(ENDINGS[event])
            works = seen is EventType.ENABLE and self._begin()
            link.tell(seen)
            try:
                self._function.on_event(seen)
            except Exception as error:
                self.fail(error)
            if works:
                self._task = asyncio.create_task(self._run())

    def _begin(self) -> bool:
        """Starts the endpoints; False if that is no use, or not any more."""
        self._ending = Ending()
        try:
            for endpoint in self._endpoints:
                endpoint._start(self._ending)
            self._composite.claim(self._endpoints)
        except OutOfEndpointsError as error:
            self.fail(error)
        except OSError as error:
            # The host has already gone on: the kernel disabled the endpoints, and its event is on the way.
            log.debug("%s: a generation ended before it began: %s", self._name, error)
        else:
            return True
        return False

    async def _run(self) -> None:
        task = asyncio.current_task()
        try:
            await self._run_function()
        except asyncio.CancelledError as error:
            if task is None or task.cancelling():
                raise
            # A task that it waited for was cancelled: asyncio would take that for the end of this one, and say nothing.
            failure = GadgetError(f"{self._name}.run ended with CancelledError, and it was not cancelled")
            failure.__cause__ = error
            self.fail(failure)

    async def _run_function(self) -> None:
        try:
            await self._function.run()
        except* DisconnectedError as errors:
            log.debug("%s: %s", self._name, errors.exceptions)
        except* ClosedError as errors:
            if not self._composite.closing:
                self.fail(_bare(errors))
        except* Exception as errors:
            self.fail(_bare(errors))

    # ---- how it ends -------------------------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """Makes the gadget go down with this error; the first one counts."""
        if not self._failure.done():
            self._failure.set_exception(error)

    async def failed(self) -> None:
        """Waits until the function fails, and raises its error. Cancelling it leaves the failure to come alone."""
        await asyncio.shield(self._failure)

    def check(self) -> None:
        """Raises the function's error if it has failed."""
        if self._failure.done():
            self._failure.result()

    def settle(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """At the end of the scope: raises a failure that nobody has raised, or logs it where something else failed."""
        failure = self._failure.exception() if self._failure.done() else None
        self._failure.cancel()
        if failure is None or failure is error:
            return
        if error is None:
            raise failure
        log.error("%s failed, too", self._name, exc_info=failure)

    def _stop(self, reason: type[GadgetError]) -> None:
        self._ending.set(reason)
        for endpoint in self._endpoints:
            endpoint._stop()
        self._composite.release(self._endpoints)

    async def end(self, reason: type[GadgetError], attempts: int | None = None) -> None:
        """Ends the generation: its transfers fail with the reason, then the function's task is cancelled.

        Args:
            reason: Why.
            attempts: How often to try to end a task that ignores it; without end by default.

        Raises:
            GadgetError: The task still runs.
        """
        self._stop(reason)
        # A task that waits for a transfer gets the reason in the next round of the loop; cancelled now, it would not.
        await asyncio.sleep(0)
        if not await self._end_task(attempts):
            raise GadgetError(f"{self._name}.run ignores that it is cancelled; it was left running")

    async def close(self) -> None:
        """Ends what there is, since this program takes the gadget down; for the function, it is unbound.

        Raises:
            GadgetError: The function's task ignores that it is cancelled, and was left behind.
        """
        try:
            await self.end(ClosedError, ATTEMPTS)
        finally:
            await self.report(EventType.UNBIND)
            self._function._link.close(self._name)

    async def _end_task(self, attempts: int | None) -> bool:
        for attempt in count(1):
            if self._task is None:
                break
            self._task.cancel()
            if (await asyncio.wait({self._task}, timeout=PATIENCE))[0]:
                self._task = None
                break
            log.warning("%s.run does not end although its generation has", self._name)
            if attempt == attempts:
                self._task = None
                return False
        return True


def _bare(errors: ExceptionGroup[Exception]) -> Exception:
    """What came bare is bare again; so is the only error of a group, which says as much without it."""
    return errors.exceptions[0] if len(errors.exceptions) == 1 else errors
