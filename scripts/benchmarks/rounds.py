"""Measures one competitor beside the device in C: slices by turns, both up at the same time on two controllers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from benchmarks.build import Programs
from benchmarks.clock import cpu_time, idle_cpu_time
from benchmarks.devices import DEPTH, DEVICES, FLOOR, Order, served
from benchmarks.errors import BenchmarkError
from benchmarks.host import Host, HostSide, Slice
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

_serials = itertools.count(1)


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
    pid: int | None
    mode: str
    size: int
    total: int = 0

    def run(self, method: Method) -> Slice:
        """One slice, with the CPU time that the device has used for it: it is idle before and after."""
        before = cpu_time(self.pid) if self.pid is not None else 0
        seen = self.host.run(self.mode, self.size, method.queue, method.ramp, method.slice)
        self.total += seen.total
        if self.pid is None:
            return seen
        return replace(seen, device_cpu=idle_cpu_time(self.pid) - before)

    def verify(self) -> None:
        """Compares what the device has counted with what the host has, once the device has heard of all of it.

        Raises:
            BenchmarkError: They differ.
        """
        if self.pid is None:
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


@contextmanager
def up(name: str, udc: str, mode: str, size: int, host: Host, programs: Programs) -> Iterator[Side]:
    """A device that is served, and opened by the host."""
    size_of_transfers = LEAST_SIZE if mode == "control" else size
    order = Order(udc, "echo" if mode == "stream" else mode, size_of_transfers, f"bench-{next(_serials)}", programs)
    with served(name, order) as pid, host.device(order.serial) as opened:
        yield Side(opened, pid, mode, size)


def measure(name: str, mode: str, size: int, method: Method, host: Host, programs: Programs) -> Cell:
    """One cell; each half of its rounds with processes of its own, and with the controllers swapped."""
    rounds: list[Round] = []
    try:
        for half, udcs in enumerate((UDCS, UDCS[::-1])):
            count = (method.rounds + 1 - half) // 2
            with ExitStack() as stack:
                pair = [
                    stack.enter_context(up(device, udc, mode, size, host, programs))
                    for device, udc in zip((name, FLOOR), udcs, strict=True)
                ]
                rounds += _alternate(pair, count, method, swapped=bool(half))
    except BenchmarkError as error:
        return Cell(name, mode, size, rounds, "; ".join([str(error), *getattr(error, "__notes__", [])]))
    return Cell(name, mode, size, rounds)


def _alternate(pair: Sequence[Side], count: int, method: Method, swapped: bool) -> list[Round]:
    for side in pair:
        side.run(method)  # The first one finds nothing in any cache.
    rounds = []
    for number in range(count):
        floor_first = bool(number % 2)
        order = (1, 0) if floor_first else (0, 1)
        seen = {index: pair[index].run(method) for index in order}
        rounds.append(Round(seen[0], seen[1], floor_first, swapped))
    for side in pair:
        side.verify()
    return rounds


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
