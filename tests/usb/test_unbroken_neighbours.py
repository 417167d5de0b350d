"""Eight gadgets on eight controllers in one event loop: one has all the bad luck, the others notice nothing."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import pytest

from gadget.testing import BenchController, Faults, Served, wait_for
from gadget.testing.observe import leaks
from tests.conftest import Soak
from tests.usb.sturdy import Sturdy, sturdy_gadget
from tests.usb.traffic import Traffic, echoes

pytestmark = pytest.mark.usb(controllers=8)


class OneOfMany(Served):
    """A gadget that is up in a loop that others share: somebody else begins and ends it."""

    def __init__(self, controller: BenchController, number: int) -> None:
        self.function = Sturdy()
        self.gadget = sturdy_gadget(self.function, name=f"neighbour-{number}")
        super().__init__(controller, self.gadget.name)
        self._tree = self.gadget.path
        self.error: BaseException | None = None

    def _begin(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    async def serve(self, stop: asyncio.Event) -> None:
        """Is up until all of them are to end, or its function fails."""
        try:
            async with self.gadget.up(self.controller.name):
                await stop.wait()
        except Exception as error:
            self.error = error


class Neighbours:
    """All of them, served by one loop in a thread."""

    def __init__(self, controllers: Sequence[BenchController]) -> None:
        self.all = [OneOfMany(controller, number) for number, controller in enumerate(controllers)]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="neighbours")
        self._loop: asyncio.AbstractEventLoop | None = None

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        leaks.watch_loop(self._loop)
        await asyncio.gather(*(one.serve(self._stop) for one in self.all))

    def __enter__(self) -> list[OneOfMany]:
        self._thread.start()
        for one in self.all:
            one.controller.wait_bound()
            one.controller.connection.plug()
        for one in self.all:
            one.wait_configured()
        return self.all

    def __exit__(self, *error: object) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive(), "they do not go down"


@contextmanager
def busy(neighbours: Sequence[OneOfMany], seed: int) -> Iterator[list[Traffic]]:
    """A little traffic for each; at the end of the scope it still flows, for every one of them."""
    with ExitStack() as stack:
        flows = [
            stack.enter_context(Traffic(one, random.Random(seed + number), queued=2, size=600))
            for number, one in enumerate(neighbours)
        ]
        yield flows
        for flow in flows:
            flow.wait_flowing(2)
            assert not flow.ended


def test_faults_on_one(udcs: list[BenchController], soak: Soak) -> None:
    source = soak.random()
    with Neighbours(udcs) as all_of_them:
        unlucky, *others = all_of_them
        faults = Faults(unlucky)
        steps = [faults.reset, faults.rebind, faults.reconfigure, faults.replug]
        with busy(others, soak.seed):
            for number in range(soak.count(len(steps), 200)):
                with Traffic(unlucky, source, queued=2, size=600) as traffic:
                    traffic.wait_flowing(2)
                    traffic.expect_a_break()
                    steps[number % len(steps)]()
                echoes(unlucky, source)
    assert [one.error for one in all_of_them] == [None] * 8


def test_one_goes_down_with_an_error(udcs: list[BenchController], soak: Soak) -> None:
    """Its own, and nobody else's: the others serve on in the same loop."""
    source = soak.random()
    with Neighbours(udcs) as all_of_them:
        unlucky, *others = all_of_them
        with busy(others, soak.seed), Traffic(unlucky, source, queued=2, size=600) as traffic:
            traffic.wait_flowing(2)
            traffic.expect_a_break()
            unlucky.function.sabotage = ZeroDivisionError("on purpose")
            traffic.wait_ended()
            wait_for(lambda: unlucky.error, "it to go down")
            assert not unlucky.gadget.path.exists()
    assert isinstance(unlucky.error, ZeroDivisionError)
    assert [one.error for one in others] == [None] * 7
