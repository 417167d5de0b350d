"""Measures one competitor beside the device in C: slices by turns, both up at the same time on two controllers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from benchmarks.build import Programs
from benchmarks.clock import Clock, ProcessClock
from benchmarks.devices import DEPTH, DEVICES, FLOOR, Order
from benchmarks.errors import FAILURES, BenchmarkError, told
from benchmarks.host import Host, HostSide, Slice, wait_gone
from benchmarks.results import Cell, Round

#: Transfers that the host keeps queued, each way.
QUEUE = 8
UDCS = ("dummy_udc.0", "dummy_udc.1")
#: What a control request moves; ``size`` of a cell of this mode.
CONTROL_SIZE = 16
#: The endpoints are there while control requests are measured, and endpoints take no less.
LEAST_SIZE = 1024
#: How often a device is asked what it has moved before its answer counts as wrong: it may have to catch up.
ASKED = 100

serials = itertools.count(1)


@dataclass(frozen=True)
class Method:
    """How it is measured.

    Attributes:
        rounds: Pairs of slices in a cell.
        slice: Seconds of each.
        ramp: Seconds before each that don't count.
        queue: Transfers that the host keeps queued, each way.
    """

    rounds: int
    slice: float
    ramp: float = 0.05
    queue: int = QUEUE


@dataclass
class Side:
    """A device that is up, and its host."""

    host: HostSide
    clock: Clock | None
    mode: str
    size: int
    total: int = 0

    def run(self, method: Method) -> Slice:
        """One slice, with the CPU time that the device has used for it: it is idle before and after."""
        before = self.clock.now() if self.clock is not None else 0
        seen = self.host.run(self.mode, self.size, method.queue, method.ramp, method.slice)
        self.total += seen.total
        if self.clock is None:
            return seen
        return replace(seen, device_cpu=self.clock.idle() - before)

    def verify(self) -> None:
        """Compares what the device has counted with what the host has, once the device has heard of all of it.

        Raises:
            BenchmarkError: They differ.
        """
        if self.clock is None:
            return
        for _ in range(ASKED):
            counts = self.host.counts()
            if wrong := wrong_counts(self.mode, self.total * self.size, *counts, slack=DEPTH * self.size):
                continue
            return
        raise BenchmarkError(wrong)


def wrong_counts(mode: str, moved: int, received: int, sent: int, slack: int) -> str:
    """What is wrong if a device has not received and sent what the host has moved; empty if it has.

    Args:
        mode: What they did.
        moved: Bytes that the host has moved (one way, of an echo).
        received: Bytes that the device says it has received.
        sent: Bytes that it says it has sent.
        slack: By how much a source may be ahead of the host.
    """
    expected_received = moved if mode in ("out", "echo", "stream") else 0
    expected_sent = moved if mode in ("in", "echo", "stream") else 0
    ahead = slack if mode == "in" else 0
    if received == expected_received and expected_sent <= sent <= expected_sent + ahead:
        return ""
    return f"{mode}: the host has moved {moved} bytes; the device says that it received {received} and sent {sent}"


class Bench(Protocol):
    """Where devices are served, and how their slices take turns."""

    def rounds(self, name: str, mode: str, size: int, method: Method) -> Iterator[Round]:
        """Measures a competitor beside the device in C.

        Raises:
            BenchmarkError: It can't be measured.
        """


class TwoControllers:
    """Two controllers of this machine, and so two devices that are up at the same time.

    Args:
        host: The host program.
        programs: What was compiled.
    """

    def __init__(self, host: Host, programs: Programs) -> None:
        self._host = host
        self._programs = programs

    @contextmanager
    def up(self, name: str, udc: str, mode: str, size: int) -> Iterator[Side]:
        """A device that is served, and opened by the host; when it ends, the host has seen it go."""
        order = Order(udc, device_mode(mode), device_size(mode, size), f"bench-{next(serials)}", self._programs)
        with DEVICES[name].serve(order) as pid, self._host.device(order.serial) as opened:
            yield Side(opened, None if pid is None else ProcessClock(pid), mode, size)
        wait_gone(order.serial)

    def rounds(self, name: str, mode: str, size: int, method: Method) -> Iterator[Round]:
        """Each half of them with processes of its own, and with the controllers swapped."""
        for half, udcs in enumerate((UDCS, UDCS[::-1])):
            count = (method.rounds + 1 - half) // 2
            below = DEVICES[name].floor
            with self.up(name, udcs[0], mode, size) as competitor, self.up(below, udcs[1], mode, size) as floor:
                yield from alternate(competitor, floor, count, method, swapped=bool(half))


def alternate(competitor: Side, floor: Side, count: int, method: Method, swapped: bool) -> Iterator[Round]:
    """Slices by turns, and so does who comes first."""
    sides = (competitor, floor)
    for side in sides:
        side.run(method)  # The first one finds nothing in any cache.
    for number in range(count):
        floor_first = bool(number % 2)
        seen = {index: sides[index].run(method) for index in ((1, 0) if floor_first else (0, 1))}
        yield Round(seen[0], seen[1], floor_first, swapped)
    for side in sides:
        side.verify()


def device_mode(mode: str) -> str:
    """What a device does while the host measures in this mode."""
    return "echo" if mode == "stream" else mode


def device_size(mode: str, size: int) -> int:
    """How long its transfers are."""
    return LEAST_SIZE if mode == "control" else size


def measure(name: str, mode: str, size: int, method: Method, bench: Bench) -> Cell:
    """One cell; what went wrong in it is kept with what was seen before that."""
    rounds: list[Round] = []
    try:
        rounds.extend(bench.rounds(name, mode, size, method))
    except FAILURES as error:
        return Cell(name, mode, size, rounds, told(error))
    return Cell(name, mode, size, rounds)


def cells(devices: Sequence[str], modes: Sequence[str], sizes: Sequence[int]) -> list[tuple[str, str, int]]:
    """What is to be measured: devices, modes and sizes, one after the other; the device in C is always the first."""
    names = dict.fromkeys((FLOOR, *devices))
    return [
        (name, mode, size)
        for mode in modes
        for size in ((CONTROL_SIZE,) if mode == "control" else sizes)
        for name in names
        if mode in DEVICES[name].modes
    ]
