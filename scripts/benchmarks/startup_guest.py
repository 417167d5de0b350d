"""The part of ``scripts/bench startup`` that needs a controller: ``python -m benchmarks.startup_guest JSON``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.build import Programs
from benchmarks.clock import idle_cpu_time
from benchmarks.devices import DEVICES, Order, process
from benchmarks.host import find, wait_configured, wait_gone
from benchmarks.imports import measure_imports
from benchmarks.machine import describe_kernel

UDC = "dummy_udc.0"
ECHO = Path(__file__).parent.parent / "examples/echo/device.py"
ECHO_SERIAL = "0001"
POLL = 0.001

#: Of each start, the part that ends with a mark of ``programs/started.py``, or with the host's having configured it.
PARTS = {
    "begun": "interpreter",
    "configfs": "imports, and the device's file",
    "descriptors": "configfs, mounting",
    "binding": "descriptors, endpoints",
    "bound": "binding",
    "configured": "enumeration by the host",
}
#: Depth and pairs of endpoints of an echo device at rest.
RESTING = ((16, 1), (16, 2), (16, 4), (1, 1), (64, 1))
TRANSFER_SIZE = 16384


def start_once() -> dict[str, float]:
    """Starts the echo example, and tells how long each part took, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder) / "marks"
        begun = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.programs.started", marks, ECHO, "--udc", UDC]
        with process([str(part) for part in command]):
            while find(ECHO_SERIAL) is None:
                time.sleep(POLL)
            seen = {"configured": time.monotonic()}
        seen |= json.loads(marks.read_text())
    wait_gone(ECHO_SERIAL)
    ends = [begun, *(seen[mark] for mark in PARTS)]
    return {part: end - start for part, start, end in zip(PARTS.values(), ends, ends[1:], strict=False)}


def memory(pid: int) -> dict[str, int]:
    """What a process has in memory, in KiB: all of it, and what it has for itself alone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split()[0].rstrip(":"): int(line.split()[1]) for line in lines}
    return {"RSS": sizes["Rss"], "private": sizes["Private_Clean"] + sizes["Private_Dirty"]}


@contextmanager
def resting(depth: int, pairs: int) -> Iterator[int]:
    """An echo device at rest, of so many endpoints."""
    serial = f"rest-{depth}-{pairs}"
    arguments = ["echo", str(TRANSFER_SIZE), str(depth), str(pairs), serial, UDC]
    with process([sys.executable, "-m", "benchmarks.programs.several", *arguments]) as running:
        wait_configured(f"{serial}-0")
        idle_cpu_time(running.pid)
        yield running.pid
    wait_gone(f"{serial}-0")


def measure_memory(programs: Programs) -> dict[str, dict[str, int]]:
    """What devices at rest have in memory."""
    found = {}
    for depth, pairs in RESTING:
        with resting(depth, pairs) as pid:
            found[f"gadget, depth {depth}, pairs of endpoints {pairs}"] = memory(pid)
    for name in ("c", "peer"):
        order = Order(UDC, "echo", TRANSFER_SIZE, f"rest-{name}", programs)
        with DEVICES[name].serve(order) as found_pid:
            assert found_pid is not None
            wait_configured(order.serial)
            idle_cpu_time(found_pid)
            found[f"{DEVICES[name].title}, depth 16, pairs of endpoints 1"] = memory(found_pid)
        wait_gone(order.serial)
    code = "import asyncio, os; asyncio.get_event_loop_policy().new_event_loop(); print(); import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as idle:
        assert idle.stdout is not None
        idle.stdout.readline()
        found["an interpreter with asyncio"] = memory(idle.pid)
        idle.communicate()
    return found


def main() -> None:
    """Measures everything, and writes it to a file."""
    order = json.loads(sys.argv[1])
    programs = Programs(Path(order["device"]), Path(order["host"]))
    starts = []
    for number in range(order["rounds"] + 1):
        seen = start_once()
        if number:  # The first one reads files that are in no cache yet.
            starts.append(seen)
            print(f"start {number}/{order['rounds']}: {sum(seen.values()):.2f} s", flush=True)
    results = {"starts": starts, "imports": measure_imports(order["rounds"]), "memory": measure_memory(programs)}
    Path(order["output"]).write_text(json.dumps({**results, "machine": describe_kernel()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
