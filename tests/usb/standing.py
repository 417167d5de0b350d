"""How a served device stands, by its own account and by the kernel's: what must be the same after every fault."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gadget.testing import Served, ServedChild, wait_for
from gadget.testing.observe.usage import Usage, check_steady
from gadget.testing.usbfs import ControlRequest
from gadget.testing.waiting import StillWaitingError
from tests.usb.sturdy import STANDING
from tests.usb.traffic import HEADER, Traffic, ask, checked, echoes


@dataclass(frozen=True)
class Standing:
    """How the device of ``sturdy.py`` says that it stands.

    Attributes:
        tasks: Tasks in its event loop.
        rx_in_flight: OUT transfers that the kernel has; half of them may be lent to the function, or wait for others.
        rx_stale: How many of them are of a generation that has ended.
        tx_in_flight: IN transfers that the host has not read.
        tx_stale: How many of them are of a generation that has ended.
    """

    tasks: int
    rx_in_flight: int
    rx_stale: int
    tx_in_flight: int
    tx_stale: int

    @classmethod
    def of(cls, served: Served) -> Standing:
        """Asks the device, by a control request."""
        answer = ask(served, ControlRequest(0xC1, 9, length=STANDING.size))
        return cls(*STANDING.unpack(checked(answer)))

    def check(self, now: Standing) -> None:
        """It holds on to nothing, and has lost nothing of what it receives with."""
        assert self.is_like(now), f"{now}, and it was {self}"

    def is_like(self, now: Standing) -> bool:
        """Whether :meth:`check` has nothing to say."""
        holds_nothing = (now.tasks, now.rx_stale, now.tx_in_flight, now.tx_stale) == (self.tasks, 0, 0, 0)
        return holds_nothing and now.rx_in_flight * 2 >= self.rx_in_flight


def where_it_waits(served: Served) -> str:
    """Where in the kernel the threads of its process wait, and the last that it has said: for a device that hangs."""
    tasks = Path(f"/proc/{served.pid}/task").iterdir() if served.pid else ()
    stacks = [f"{task.name}: {' < '.join((task / 'stack').read_text().split()[1::2][:6])}" for task in tasks]
    said = served.output[-1000:] if isinstance(served, ServedChild) else ""
    return "\n".join([*stacks, said])


class Before:
    """How a device was; :meth:`check` says whether it is so again.

    Args:
        served: What is served: the device of ``sturdy.py``.
        source: What is sent to it.
    """

    def __init__(self, served: Served, source: random.Random) -> None:
        self._served, self._source = served, source
        echoes(served, source)
        # What is made when it is first needed, a thread for long data stages for example, is there from now on.
        for request in (ControlRequest(0x41, 2, length=1024), ControlRequest(0xC1, 3, length=1024)):
            checked(ask(served, request))
        self._standing, self._usage = Standing.of(served), served.usage().counted

    def check(self, traffic: Traffic | None = None, taken: int = 0) -> None:
        """It echoes, holds on to nothing, and sends nothing of a generation that has ended.

        Args:
            traffic: What was in flight when the fault came.
            taken: How many of its messages the device had taken then.
        """
        came = echoes(self._served, self._source)
        if traffic is not None:
            for tag, number in (HEADER.unpack_from(data) for data in came if len(data) >= HEADER.size):
                assert tag != traffic.tag or number >= taken, f"message {number} was written before the fault"
        self._wait_returned()
        self._standing.check(Standing.of(self._served))
        assert self._served.usage().counted == self._usage

    def _wait_returned(self) -> None:
        """What the host has read comes back by a work queue of the kernel, a moment later (``f_fs.c``, io_data)."""
        with suppress(StillWaitingError):  # Then the check says what is not as it was.
            wait_for(lambda: self._standing.is_like(Standing.of(self._served)), "every transfer to be given back", 5)


class Steady:
    """What the process that serves a device uses, repetition by repetition."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._samples: list[Usage] = []

    def sample(self) -> None:
        self._samples.append(self._served.usage())

    def check(self) -> None:
        print("KiB:", *(one.memory_kib for one in self._samples))
        check_steady(self._samples)
