"""Programs that read a file when they are told to: started once, and told through a pipe."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.cases import Case
from benchmarks.clock import cpu_time, idle_cpu_time
from benchmarks.contenders import Contender
from benchmarks.errors import BenchmarkError
from benchmarks.files import Files
from benchmarks.host import Slice
from benchmarks.programs.reads import BLOCK

PACKAGES = Path(__file__).parent.parent
PATIENCE = 60.0
#: A number of reads to begin with, when it is not known yet how many fit in a slice.
FIRST = 64


@dataclass(frozen=True)
class Tools:
    """What contenders run with.

    Attributes:
        reads: The compiled program.
        peers: The interpreter that has the other packages.
        files: What is read.
    """

    reads: Path
    peers: Path
    files: Files

    def command(self, contender: Contender, case: Case) -> list[str]:
        """The program that reads in this way."""
        arguments = [str(self.files.of(case.mode)), case.mode, str(case.depth), str(self.files.offsets)]
        if contender.in_c:
            return [str(self.reads), contender.reader, *arguments]
        python = str(self.peers) if contender.requirement else sys.executable
        return [python, "-m", "benchmarks.programs.reads", contender.reader, *arguments]


class Worker:
    """One of these programs, running.

    Args:
        command: Its command line.
        depth: How many reads it keeps in flight.
    """

    def __init__(self, command: Sequence[str], depth: int) -> None:
        self._depth = depth
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the worker.
        path = os.pathsep.join(filter(None, (str(PACKAGES), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            bufsize=1,
            env={**os.environ, "PYTHONPATH": path},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        # With the end of stdin it would end by itself; nobody waits for what it has still to read.
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def _tell(self, command: str, count: int) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{command} {count}\n")
        except BrokenPipeError:
            raise BenchmarkError(self._reason()) from None
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            raise BenchmarkError(f"no answer to {command} {count} in {PATIENCE:g} s")
        if self._process.stdout.readline() != "ok\n":
            raise BenchmarkError(self._reason())

    def _reason(self) -> str:
        """The last thing that it said: of a traceback, the error."""
        self._process.wait(PATIENCE)
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        return lines[-1] if lines else f"it ended with status {self._process.returncode}"

    def check(self) -> None:
        """Has it read something, and look whether it has got what it asked for.

        Raises:
            BenchmarkError: It has not, or can't read this way.
        """
        self._tell("check", 3 * self._depth + 1)

    def run(self, count: int) -> Slice:
        """Has it read so many blocks.

        Its CPU time is that of all its threads, those included that the kernel makes for its io_uring. It ends with the
        last read; afterwards is waited until the process is idle, so that it disturbs nobody.

        Raises:
            BenchmarkError: It ended.
        """
        pid = self._process.pid
        cpu, began = cpu_time(pid), time.monotonic()
        self._tell("run", count)
        seconds, cpu = time.monotonic() - began, cpu_time(pid) - cpu
        idle_cpu_time(pid)
        return Slice(count, seconds, count, 0.0, 0.0, BLOCK, cpu)

    def fit(self, seconds: float) -> int:
        """How many reads take it about so long; at least enough to fill its depth some times."""
        least = count = max(FIRST, 4 * self._depth)
        while (seen := self.run(count)).seconds < seconds / 4:
            count *= 4
        return max(least, round(count * seconds / seen.seconds))
