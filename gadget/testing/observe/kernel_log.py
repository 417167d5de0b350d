"""The kernel's log since a moment (``Documentation/ABI/testing/dev-kmsg``)."""

from __future__ import annotations

import errno
import os
import re
import select
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from gadget.errors import ClosedError, KernelError, NotPermittedError, UsageError
from gadget.testing.waiting import PATIENCE, StillWaitingError
from gadget.vm.errors import TROUBLE

KERNEL_LOG = Path("/dev/kmsg")

#: How many lines a report of trouble may have: one with two stacks fits, such as KASAN's or lockdep's.
REPORT_LINES = 120

#: How the report of a warning or an oops ends (``print_oops_end_marker`` in ``kernel/panic.c``).
_REPORT_END = "---[ end "

#: CONSOLE_EXT_LOG_MAX of ``include/linux/printk.h``; the kernel refuses to read into less than the record needs.
_RECORD_SIZE = 8192

_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Line:
    """One message of the kernel's, or of a program that writes to ``/dev/kmsg``.

    Attributes:
        level: 0, an emergency, to 7, for debugging (``include/linux/kern_levels.h``).
        sequence: Its number since the kernel started.
        time: Seconds since the kernel started, in steps of a microsecond.
        text: What it says; rarely, more than one line.
    """

    level: int
    sequence: int
    time: float
    text: str

    def __post_init__(self) -> None:
        if not 0 <= self.level <= 7:
            raise UsageError(f"level = {self.level}: there are 0 to 7")
        if self.sequence < 0:
            raise UsageError(f"sequence = {self.sequence}: it counts from 0")

    def __str__(self) -> str:
        return f"[{self.time:12.6f}] {self.text}"


def parse_record(record: bytes) -> Line:
    """Reads one record: prefix, message, and the dictionary behind it, which is left out.

    Raises:
        UsageError: It is no record.
    """
    # A newline within the message is escaped, so the first one ends it; the lines of the dictionary follow,
    # each begun by a blank.
    prefix, semicolon, message = record.partition(b"\n")[0].partition(b";")
    try:
        # More fields than these may be added, says the ABI. The level stands in the lowest three bits (syslog(2)).
        priority, sequence, microseconds = (int(field) for field in prefix.split(b",")[:3])
    except ValueError as error:
        raise UsageError(f"this is no record of the kernel's log: {record[:80]!r}") from error
    if not semicolon:
        raise UsageError(f"this record of the kernel's log has no message: {record[:80]!r}")
    text = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), message).decode(errors="replace")
    return Line(priority & 7, sequence, microseconds / 1e6, text)


def find_trouble(lines: Sequence[Line]) -> str | None:
    """The first report of trouble (see :data:`gadget.vm.errors.TROUBLE`) with what follows it; None if there is none.

    A report ends with the kernel's own mark of an end, or is cut after :data:`REPORT_LINES` lines.
    """
    begin = next((number for number, line in enumerate(lines) if TROUBLE.search(line.text)), None)
    if begin is None:
        return None
    report = lines[begin : begin + REPORT_LINES]
    last = next((number for number, line in enumerate(report) if _REPORT_END in line.text), len(report) - 1)
    return "\n".join(str(line) for line in report[: last + 1])


class KernelLog:
    """The kernel's log since :meth:`mark`, which creating it does, too.

    Raises:
        NotPermittedError: This user may not read it.
        KernelError: It cannot be read, as in most containers.
    """

    def __init__(self, path: Path = KERNEL_LOG) -> None:
        self._descriptor: int | None = _open(path)
        try:
            self.mark()
        except BaseException:
            self.close()
            raise

    def mark(self) -> None:
        """Forgets all lines up to now."""
        os.lseek(self._fileno(), 0, os.SEEK_END)
        self._lines: list[Line] = []
        #: Where in them lines are missing, and how many.
        self._gaps: list[tuple[int, int]] = []
        self._overwritten = False

    def lines(self) -> list[Line]:
        """The lines since the mark, but those that :attr:`lost` counts."""
        while (record := self._read()) is not None:
            self._append(parse_record(record))
        return list(self._lines)

    @property
    def lost(self) -> int:
        """How many lines the kernel has overwritten before they were read.

        It may be more if the first ones after the mark were among them: nobody knows how many those were.
        """
        self.lines()
        return sum(count for _, count in self._gaps)

    @property
    def text(self) -> str:
        """The lines since the mark with their times, one a line; it says where lines are missing."""
        lines = [str(line) for line in self.lines()]
        for position, count in reversed(self._gaps):
            lines.insert(position, f"[{count} or more lines were overwritten before they could be read]")
        return "\n".join(lines)

    def trouble(self) -> str | None:
        """The first report of trouble since the mark, with the lines that follow it; None if there is none."""
        return find_trouble(self.lines())

    def wait_for(self, pattern: str | re.Pattern[str], timeout: float = PATIENCE) -> Line:
        """Waits for a line in which a regular expression is found, and returns the first since the mark.

        Raises:
            StillWaitingError: It did not come in time.
        """
        expression = re.compile(pattern)
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            for line in self.lines():
                if expression.search(line.text):
                    return line
            if left <= 0:
                raise StillWaitingError(f"waited {timeout:g} s for {expression.pattern!r} in the kernel's log")
            poll = select.poll()
            poll.register(self._fileno(), select.POLLIN)
            poll.poll(left * 1000)

    def close(self) -> None:
        """Ends it. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> KernelLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def _fileno(self) -> int:
        if self._descriptor is None:
            raise ClosedError("this log is closed")
        return self._descriptor

    def _read(self) -> bytes | None:
        """The next record, None if there is none yet."""
        while True:
            try:
                return os.read(self._fileno(), _RECORD_SIZE) or None
            except BlockingIOError:
                return None
            except BrokenPipeError:
                # What was to be read is overwritten. The next read goes on with the oldest that is left.
                self._overwritten = True

    def _append(self, line: Line) -> None:
        if self._overwritten:
            missing = line.sequence - self._lines[-1].sequence - 1 if self._lines else 1
            self._gaps.append((len(self._lines), missing))
            self._overwritten = False
        self._lines.append(line)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        code = error.errno or errno.EACCES
        advice = "reading the kernel's log takes root, or sysctl kernel.dmesg_restrict=0; run it as root (sudo)"
        raise NotPermittedError(code, advice, str(path)) from error
    except OSError as error:
        code = error.errno or errno.EIO
        advice = f"the kernel's log cannot be read here ({os.strerror(code)}); in a container, pass /dev/kmsg to it"
        raise KernelError(code, advice, str(path)) from error
