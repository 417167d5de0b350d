"""What a process uses, as the kernel counts it: what must not grow, however often a device is reset."""

# Read often, in a guest that is emulated; see leaks.py.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from gadget.errors import UsageError

#: What the memory of a process may move by without a leak, in KiB: pages of an allocator's pools, a thread's stack.
SLACK_KIB = 512


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses at one moment.

    Attributes:
        memory_kib: Its resident memory (VmRSS of proc(5)), in KiB.
        descriptors: How many file descriptors it has open.
        threads: How many threads it has.
        aio_rings: How many AIO contexts it has.
    """

    memory_kib: int
    descriptors: int
    threads: int
    aio_rings: int

    @property
    def counted(self) -> tuple[int, int, int]:
        """What is the same before and after, to the last one: descriptors, threads, AIO contexts."""
        return self.descriptors, self.threads, self.aio_rings


def usage_of(pid: int) -> Usage:
    """What a process uses now."""
    folder = f"/proc/{pid}"
    with open(f"{folder}/status", encoding="utf-8", errors="replace") as file:
        status = dict(line.split(":", 1) for line in file if ":" in line)
    with open(f"{folder}/maps", encoding="utf-8", errors="replace") as file:
        rings = file.read().count("[aio]")
    return Usage(
        memory_kib=int(status["VmRSS"].split()[0]),
        # The one that lists the folder is among them if the process looks at itself.
        descriptors=len(os.listdir(f"{folder}/fd")) - (pid == os.getpid()),
        threads=int(status["Threads"]),
        aio_rings=rings,
    )


def growth_kib(samples: Sequence[Usage]) -> float:
    """By how much the resident memory has grown, in KiB, over one third of the samples.

    The first third is not looked at: that is where caches fill and pools find their size. Of the second and the last,
    the medians are compared, so that one sample taken at an unlucky moment decides nothing. What is lost with each
    repetition thus shows if a third of them lose more than memory moves by anyway (``SLACK_KIB``): the more
    repetitions, the smaller the leak that is found.

    Raises:
        UsageError: There are less than six.
    """
    if len(samples) < 6:
        raise UsageError(f"{len(samples)} samples: it takes six or more to tell growth from a beginning")
    third = len(samples) // 3
    middle, last = samples[-2 * third : -third], samples[-third:]
    return median(one.memory_kib for one in last) - median(one.memory_kib for one in middle)


def check_steady(samples: Sequence[Usage], slack_kib: int = SLACK_KIB) -> None:
    """Checks that a process uses no more at the end than before; the first third of the samples is its beginning.

    Args:
        samples: In their order, all taken in the same situation.
        slack_kib: What its memory may grow by all the same.

    Raises:
        AssertionError: Something has grown, and what.
    """
    settled = samples[-2 * (len(samples) // 3)]
    before, after = settled.counted, samples[-1].counted
    if any(now > then for now, then in zip(after, before, strict=True)):
        names = ("descriptors", "threads", "AIO contexts")
        grown = [f"{then} {name}, then {now}" for name, then, now in zip(names, before, after, strict=True)]
        raise AssertionError(f"the process holds on to what it has opened: {'; '.join(grown)}")
    if (grown_by := growth_kib(samples)) > slack_kib:
        each = grown_by * 1024 / (len(samples) // 3)
        raise AssertionError(
            f"its memory has grown by {grown_by:g} KiB, {each:.0f} bytes each time: "
            f"{', '.join(str(one.memory_kib) for one in samples)} KiB"
        )
