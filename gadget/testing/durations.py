"""``--gadget-durations``: where the time goes, from the command to the first test and from one test to the next."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gadget.testing.marker import is_usb


class Durations:
    """The plugin. It only watches, so it is always there."""

    def __init__(self) -> None:
        self._last = _process_start()
        self.parts: list[tuple[str, float]] = []
        self.first_test: float | None = None
        self.gaps: list[float] = []
        self.afterwards: list[tuple[str, float]] = []
        self._usb: set[str] = set()
        self._call_ended: float | None = None
        self._began = self._last
        self._arrived = False

    def reached(self, what: str, *, last: bool = False) -> None:
        """Notes the end of a part on the way to the first test."""
        if self._arrived:
            return  # This is another boot, after a guest was lost.
        now = time.time()
        self.parts.append((what, now - self._last))
        self._last, self._arrived = now, last

    @contextmanager
    def part(self, what: str) -> Iterator[None]:
        """Takes the time of a part after the last test."""
        begin = time.time()
        yield
        self.afterwards.append((what, time.time() - begin))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Notes which tests count."""
        self._usb = {item.nodeid for item in session.items if is_usb(item)}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes the time between the end of a test's own code and the beginning of the next one's."""
        if report.nodeid not in self._usb or not report.start:
            self._call_ended = None  # What is between them then is another test, or the loss of a guest.
        elif report.when == "call":
            if self.first_test is None:
                self.first_test = time.time() - report.duration - self._began
            if self._call_ended is not None:
                self.gaps.append(report.start - self._call_ended)
            self._call_ended = report.stop

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints them, if asked to."""
        if not terminalreporter.config.getoption("--gadget-durations"):
            return
        terminalreporter.section("gadget durations")
        for line in self.lines():
            terminalreporter.write_line(line)

    def lines(self) -> list[str]:
        """The table."""
        table = [f"{seconds:7.2f} s  {what}" for what, seconds in self.parts]
        if self.first_test is not None:
            table.append(f"{self.first_test:7.2f} s  from the command to the first test marked usb")
        if self.gaps:
            table.append(
                f"{statistics.median(self.gaps):7.2f} s  from one test to the next, median of {len(self.gaps)} "
                f"(least {min(self.gaps):.2f} s, most {max(self.gaps):.2f} s)"
            )
        table += [f"{seconds:7.2f} s  {what}" for what, seconds in self.afterwards]
        return table or ["no test marked usb has run"]


def _process_start() -> float:
    """When this process started, in seconds since the epoch: field 22 of /proc/self/stat, see proc(5)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    with Path("/proc/uptime").open() as file:
        uptime = float(file.read().split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")
