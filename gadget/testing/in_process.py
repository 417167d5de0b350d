"""A gadget served in the test's own process, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from gadget.device import Gadget
from gadget.errors import GadgetError
from gadget.functionfs.function import Function
from gadget.testing.controllers import BenchController
from gadget.testing.served import Served
from gadget.testing.waiting import PATIENCE, wait_for

T = TypeVar("T")


class LoopTroubleError(GadgetError):
    """Something went wrong in the device's event loop that nobody waited for, or tasks were left in it."""


class ServedGadget(Served):
    """A gadget of this package; the test can look at its functions, and run code beside them.

    Attributes:
        gadget: The gadget.
        loop: Its event loop, while it is served.
        error: What ended it.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(self, controller: BenchController, gadget: Gadget) -> None:
        super().__init__(controller, gadget.name)
        self.gadget = gadget
        self.error: BaseException | None = None
        self._troubles: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"gadget {gadget.name}")

    def _begin(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self.error = error
        finally:
            self._over.set()

    async def _serve(self) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.loop.set_exception_handler(lambda loop, context: self._troubles.append(_describe(context)))
        try:
            async with self.gadget.up(self.controller.name):
                await self._stop.wait()
        finally:
            left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            self._troubles += [f"a task was left running: {task.get_coro()!r}" for task in left]

    def check(self) -> None:
        """Raises what ended it, if it has ended."""
        if self._over.is_set():
            raise self.error or GadgetError(f"{self.name} is not served any more")

    def _end(self) -> None:
        with suppress(AttributeError, RuntimeError):  # It may not have begun, or have ended by itself.
            self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise GadgetError(f"{self.name} does not go down: after {PATIENCE:g} s its thread still runs")
        if self.error is not None:
            raise self.error
        if self._troubles:
            raise LoopTroubleError(f"in the event loop of {self.name}: {'; '.join(self._troubles)}")

    @property
    def function(self) -> Function:
        """The first of its functions that are written with this package."""
        return self.gadget.own_functions[0]

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float = PATIENCE) -> T:
        """Runs a coroutine in the device's loop, and waits for its result."""
        return self.begin(coroutine).result(timeout)

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Runs a coroutine in the device's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def wait_over(self) -> None:
        """Waits until it has gone down by itself; why, comes out when it is stopped."""
        wait_for(self._over.is_set, f"{self.name} to go down")

    def wait_configured(self) -> Any:
        """Waits until the host has it configured, and every function knows."""
        device = super().wait_configured()
        self.call(self.gadget.wait_configured())
        return device

    def wait_generation(self, number: int) -> None:
        """Waits until every function is in this generation at least."""

        def reached() -> bool:
            self.check()
            return all(function.generation >= number for function in self.gadget.own_functions)

        wait_for(reached, f"generation {number} of {self.name}")


def _describe(context: dict[str, Any]) -> str:
    error = context.get("exception")
    return f"{context['message']} ({error!r})" if error is not None else str(context["message"])
