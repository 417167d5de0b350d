"""The part of ``scripts/bench classes`` in the virtual machine: ``python -m benchmarks.classes_guest JSON``."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.clock import ProcessClock
from benchmarks.devices import process
from benchmarks.errors import BenchmarkError
from benchmarks.host import SYSFS, wait_for, wait_gone
from benchmarks.machine import describe_kernel
from benchmarks.programs.serial_port import PRODUCT_IDS, SIZE, VENDOR_ID

FLOOR = "gser"
TERMINALS = {"cp210x": "*:1.0/ttyUSB*", "acm": "*:1.0/tty/ttyACM*", "gser": "*:1.0/ttyUSB*"}
#: The host's drivers that do not know the devices by themselves.
DRIVERS = {"cp210x": "cp210x", "gser": "generic"}
PATIENCE_MS = 30_000


@dataclass(frozen=True)
class Seen:
    """What one slice of time has shown.

    Attributes:
        rate: Bytes a second.
        cpu: The CPU time of the device for each byte, in seconds.
    """

    rate: float
    cpu: float


def prepare_drivers() -> None:
    """Loads the host's drivers, and tells them of the devices."""
    subprocess.run(["modprobe", "--all", "cp210x", "cdc-acm", "usbserial"], check=True)
    for kind, driver in DRIVERS.items():
        ours = f"{VENDOR_ID:04x} {PRODUCT_IDS[kind]:04x}"
        (Path("/sys/bus/usb-serial/drivers") / driver / "new_id").write_text(f"{ours} ff" if kind == "cp210x" else ours)


def find_terminal(serial: str, kind: str) -> Path | None:
    """The host's terminal of the device with this serial number."""
    for file in SYSFS.glob("*/serial"):
        if file.read_text().strip() == serial:
            for found in file.parent.glob(TERMINALS[kind]):
                return Path("/dev", found.name)
    return None


class Port:
    """A device that is served, and the host's end of it, open."""

    def __init__(self, path: Path, mode: str, clock: ProcessClock) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd, termios.TCSANOW)
        self._clock, self._mode = clock, mode

    def slice(self, seconds: float) -> Seen:
        """Moves data for a time."""
        before, begun, count = self._clock.idle(), time.monotonic(), 0
        while time.monotonic() - begun < seconds:
            count += self._read() if self._mode == "in" else self._write()
        if self._mode == "out":
            termios.tcdrain(self.fd)
        took = time.monotonic() - begun
        return Seen(count / took, (self._clock.idle() - before) / count)

    def _wait(self, event: int) -> None:
        poll = select.poll()
        poll.register(self.fd, event)
        if not poll.poll(PATIENCE_MS):
            raise BenchmarkError("a serial port moves no data")

    def _read(self) -> int:
        self._wait(select.POLLIN)
        return len(os.read(self.fd, SIZE))

    def _write(self) -> int:
        self._wait(select.POLLOUT)
        return os.write(self.fd, bytes(SIZE))

    def close(self) -> None:
        """Closes the host's end; what is on its way is dropped."""
        termios.tcflush(self.fd, termios.TCIOFLUSH)
        os.close(self.fd)


@contextmanager
def port(kind: str, mode: str, udc: str, serial: str) -> Iterator[Port]:
    """Serves a device, and opens the host's end."""
    command = [sys.executable, "-m", "benchmarks.programs.serial_port", kind, mode, udc, serial]
    with process(command) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        if not line:
            raise BenchmarkError(f"{kind} did not start")
        wait_for(lambda: find_terminal(serial, kind) is not None, f"the host's terminal of {kind}")
        path = find_terminal(serial, kind)
        assert path is not None
        opened = Port(path, mode, ProcessClock(int(line)))
        try:
            yield opened
        finally:
            opened.close()
    wait_gone(serial)


def rounds(kind: str, mode: str, count: int, seconds: float) -> list[dict[str, Seen]]:
    """Slices of a device, each beside one of the kernel's; by turns, the one or the other first."""
    found = []
    with ExitStack() as stack:
        own = stack.enter_context(port(kind, mode, "dummy_udc.0", f"own-{kind}-{mode}"))
        floor = stack.enter_context(port(FLOOR, mode, "dummy_udc.1", f"floor-{kind}-{mode}"))
        for each in (own, floor):
            each.slice(seconds / 2)  # Both are warm then.
        for number in range(count):
            if number % 2:
                floor_seen, own_seen = floor.slice(seconds), own.slice(seconds)
            else:
                own_seen, floor_seen = own.slice(seconds), floor.slice(seconds)
            found.append({"own": own_seen, "floor": floor_seen})
    return found


def main() -> int:
    """Measures what was asked for; returns an exit status."""
    order = json.loads(sys.argv[1])
    prepare_drivers()
    results = {"machine": {**order["machine"], **describe_kernel()}, "command": order["command"], "cells": []}
    for kind in order["devices"]:
        for mode in order["modes"]:
            seen = rounds(kind, mode, order["rounds"], order["slice"])
            plain = [{side: asdict(each) for side, each in pair.items()} for pair in seen]
            results["cells"].append({"device": kind, "mode": mode, "rounds": plain})
            Path(order["output"]).write_text(json.dumps(results, indent=1) + "\n")
            print(f"{kind} {mode}: measured", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
