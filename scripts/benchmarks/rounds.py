"""Measures one competitor beside two of the device in C: slices by turns, all up at the same time.

The two say what a difference means: what they differ by, one from the other, is not the competitor's.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from benchmarks.build import Programs
from benchmarks.clock import Clock, ProcessClock
from benchmarks.devices import DEPTH, DEVICES, FLOOR, Order
from benchmarks.errors import FAILURES, BenchmarkError, told
from benchmarks.host import Host, HostSide, Slice, wait_gone
from benchmarks.measures import Measure
from benchmarks.report import is_quiet
from benchmarks.results import Cell, Round

#: Transfers that the host keeps queued, each way.
QUEUE = 8
UDCS = ("dummy_udc.0", "dummy_udc.1", "dummy_udc.2")
#: Where there are two processors, the devices have one and the host's program the other, as on two machines.
DEVICE_CPU, HOST_CPU = 1, 0
#: How many times processes are started, at least: two of the same differ, for as long as they run.
LEAST_BLOCKS = 2
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
        rounds: Rounds in a cell, at most; a round is a slice of each.
        slice: Seconds of each.
        ramp: Seconds before each that don't count.
        queue: Transfers that the host keeps queued, each way.
        block: Rounds with the same processes; then all are started anew, on one another's controllers.
    """

    rounds: int
    slice: float
    ramp: float = 0.05
    queue: int = QUEUE
    block: int = 10


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

    def block(self, name: str, mode: str, size: int, method: Method, number: int) -> Iterator[Round]:
        """Measures a competitor beside two of its floor, with processes of their own.

        Raises:
            BenchmarkError: It can't be measured.
        """


class ThreeControllers:
    """Three controllers of this machine, and so three devices that are up at the same time.

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
            if pid is not None:
                keep_on(pid, DEVICE_CPU)
            yield Side(opened, None if pid is None else ProcessClock(pid), mode, size)
        wait_gone(order.serial)

    def block(self, name: str, mode: str, size: int, method: Method, number: int) -> Iterator[Round]:
        """Each block has the controllers in another order."""
        below, udcs = DEVICES[name].floor, [UDCS[(number + place) % len(UDCS)] for place in range(len(UDCS))]
        keep_on(self._host.pid, HOST_CPU)
        with (
            self.up(name, udcs[0], mode, size) as competitor,
            self.up(below, udcs[1], mode, size) as floor,
            self.up(below, udcs[2], mode, size) as control,
        ):
            yield from by_turns(competitor, floor, control, method)


def keep_on(pid: int, cpu: int) -> None:
    """Keeps a process, with all its threads, on one processor; where there is one only, it is there already."""
    if (os.cpu_count() or 1) > 1:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {cpu})


def by_turns(competitor: Side, floor: Side, control: Side, method: Method) -> Iterator[Round]:
    """The rounds of a block: the competitor between the two, so that what drifts is the same before and after it."""
    for side in (competitor, floor, control):
        side.run(method)  # The first one finds nothing in any cache.
    for number in range(min(method.block, method.rounds)):
        order = [floor, competitor, control][:: -1 if number % 2 else 1]
        seen = {id(side): side.run(method) for side in order}
        yield Round(seen[id(competitor)], seen[id(floor)], seen[id(control)])
    for side in (competitor, floor, control):
        side.verify()


def device_mode(mode: str) -> str:
    """What a device does while the host measures in this mode."""
    return "echo" if mode == "stream" else mode


def device_size(mode: str, size: int) -> int:
    """How long its transfers are."""
    return LEAST_SIZE if mode == "control" else size


def measure(
    name: str, mode: str, size: int, method: Method, bench: Bench, judged: Sequence[Measure] = (), floor: str = FLOOR
) -> Cell:
    """One cell: blocks until the two floors differ by so little that it can be judged, or there are enough rounds.

    Args:
        name: The competitor.
        mode: What it is to do.
        size: Bytes of a transfer.
        method: How it is measured.
        bench: Where.
        judged: What of it is to reach a target.
        floor: What it is measured beside.

    Returns:
        What was seen; what went wrong in it is kept with what was seen before that.
    """
    rounds: list[Round] = []
    for number in itertools.count():
        try:
            left = replace(method, rounds=method.rounds - len(rounds))
            rounds.extend(bench.block(name, mode, size, left, number))
        except FAILURES as error:
            return Cell(name, mode, size, rounds, told(error), floor)
        cell = Cell(name, mode, size, rounds, floor=floor)
        if len(rounds) >= method.rounds or (number + 1 >= LEAST_BLOCKS and is_quiet(cell, judged)):
            return cell
    raise AssertionError("counting has no end")


def cells(devices: Sequence[str], modes: Sequence[str], sizes: Sequence[int]) -> list[tuple[str, str, int]]:
    """What is to be measured: devices, modes and sizes, one after the other."""
    return [
        (name, mode, size)
        for mode in modes
        for size in ((CONTROL_SIZE,) if mode == "control" else sizes)
        for name in devices
        if mode in DEVICES[name].modes
    ]
