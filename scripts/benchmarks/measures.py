"""What is read from a slice: a measure is one number of it, and whether more of it is better. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.host import Slice


@dataclass(frozen=True)
class Measure:
    """One number of a slice.

    Attributes:
        key: Its short name.
        title: For people.
        unit: Of the number times ``scale``.
        scale: What to multiply the number with for its unit.
        more_is_better: Or less.
        read: Takes it from a slice; None if it is not known.
    """

    key: str
    title: str
    unit: str
    scale: float
    more_is_better: bool
    read: Callable[[Slice], float | None]


def _throughput(seen: Slice) -> float:
    return seen.transfers * seen.size / seen.seconds


def _rate(seen: Slice) -> float:
    return seen.transfers / seen.seconds


def _latency(seen: Slice) -> float:
    return seen.latency


def _cpu_per_transfer(seen: Slice) -> float | None:
    return None if seen.device_cpu is None else seen.device_cpu / seen.total


THROUGHPUT = Measure("throughput", "throughput", "MB/s", 1e-6, True, _throughput)
# Both sides of a ratio move transfers of one size, so it is that of the CPU time per byte as well.
CPU = Measure("cpu", "CPU per byte", "us a transfer", 1e6, False, _cpu_per_transfer)
ROUND_TRIP = Measure("round trip", "round trip", "us", 1e6, False, _latency)
REQUESTS = Measure("requests", "requests per second", "1/s", 1, True, _rate)
CPU_REQUEST = Measure("cpu", "CPU per request", "us", 1e6, False, _cpu_per_transfer)
OPERATIONS = Measure("operations", "operations per second", "k/s", 1e-3, True, _rate)
CPU_OPERATION = Measure("cpu", "CPU per operation", "us", 1e6, False, _cpu_per_transfer)

#: What is measured of reads from a file, in each case.
READS = (CPU_OPERATION, OPERATIONS)

#: What is measured in each mode.
MEASURES: dict[str, Sequence[Measure]] = {
    "in": (THROUGHPUT, CPU),
    "out": (THROUGHPUT, CPU),
    "echo": (ROUND_TRIP, CPU),
    "stream": (THROUGHPUT, CPU),
    "control": (REQUESTS, CPU_REQUEST),
}
