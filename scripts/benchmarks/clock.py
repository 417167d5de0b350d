"""The CPU time of another process, all its threads together, in nanoseconds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from benchmarks.errors import BenchmarkError

#: How long a process has to use no CPU to count as idle, and how long it is waited for.
STILL, PATIENCE = 0.003, 5.0


class Clock(Protocol):
    """Says how much CPU time a device has used."""

    def now(self) -> float:
        """So far, in seconds."""

    def idle(self) -> float:
        """The same, once it uses no more."""


def cpu_clock(pid: int) -> int:
    """The clock of a process's CPU time, for ``time.clock_gettime_ns``.

    Linux makes the number of the process's, inverted, and of the kind of clock (``include/linux/posix-timers.h``,
    MAKE_PROCESS_CPUCLOCK with CPUCLOCK_SCHED, which is 2); clock_getcpuclockid(3) does just this.
    """
    return (~pid << 3) | 2


def cpu_time(pid: int) -> float:
    """The CPU time that a process has used by now, in seconds."""
    return time.clock_gettime_ns(cpu_clock(pid)) / 1e9


def idle_cpu_time(pid: int) -> float:
    """The CPU time that a process has used, in seconds, once it uses no more and wants no more.

    Raises:
        BenchmarkError: It goes on: what it does now would be counted with what it does next.
    """
    deadline = time.monotonic() + PATIENCE
    before = cpu_time(pid)
    while True:
        time.sleep(STILL)  # Nothing tells that a process rests.
        now = cpu_time(pid)
        if now == before and not _wants_cpu(pid):
            return now
        if time.monotonic() > deadline:
            raise BenchmarkError(f"process {pid} still uses the CPU {PATIENCE:g} s after it has had anything to do")
        before = now


def _wants_cpu(pid: int) -> bool:
    """Whether a thread of it runs, or would if a processor were free (proc(5), state R)."""
    return any(_state(task) == "R" for task in Path(f"/proc/{pid}/task").iterdir())


def _state(task: Path) -> str:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has ended meanwhile


class ProcessClock:
    """The CPU time of one process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def now(self) -> float:
        """What it has used so far, in seconds."""
        return cpu_time(self._pid)

    def idle(self) -> float:
        """The same, once it uses no more."""
        return idle_cpu_time(self._pid)
