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
from benchmarks.devices import DEVICES, Order, Serve, process
from benchmarks.host import Host, find, wait_for, wait_gone
from benchmarks.imports import measure_imports
from benchmarks.machine import describe_kernel
from benchmarks.rounds import QUEUE

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
#: How long a device is used until it has touched all its buffers.
USED_SECONDS = 0.3


def start_once() -> dict[str, float]:
    """Starts the echo example, and tells how long each part took, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder) / "marks"
        begun = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.programs.started", marks, ECHO, "--udc", UDC]
        with process([str(part) for part in command]):
            wait_for(lambda: find(ECHO_SERIAL) is not None, "the host to configure the echo example", POLL)
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


def measure_one(order: Order, serve: Serve, serial: str, host: Host) -> dict[str, int]:
    """What a device has in memory before the host has moved anything, and when it has used all its buffers."""
    with serve(order) as pid, host.device(serial) as opened:
        assert pid is not None
        idle_cpu_time(pid)
        at_rest = memory(pid)
        opened.run("stream", order.size, QUEUE, 0, USED_SECONDS)
        idle_cpu_time(pid)
        used = memory(pid)
    wait_gone(serial)
    return {**at_rest, "RSS when used": used["RSS"], "private when used": used["private"]}


def several(pairs: int) -> Serve:
    """Serves an echo device with so many pairs of endpoints."""

    @contextmanager
    def serve(order: Order) -> Iterator[int]:
        arguments = [order.mode, order.size, order.depth, pairs, order.serial, order.udc]
        command = [sys.executable, "-m", "benchmarks.programs.several", *map(str, arguments)]
        with process(command) as running:
            yield running.pid

    return serve


def measure_memory(programs: Programs, host: Host) -> dict[str, dict[str, int]]:
    """What devices at rest have in memory, and what they have after use."""
    found = {}
    for depth, pairs in RESTING:
        order = Order(UDC, "echo", TRANSFER_SIZE, f"rest-{depth}-{pairs}", programs, depth)
        title = f"gadget, depth {depth}, pairs of endpoints {pairs}"
        found[title] = measure_one(order, several(pairs), f"{order.serial}-0", host)
    for name in ("c", "peer"):
        order = Order(UDC, "echo", TRANSFER_SIZE, f"rest-{name}", programs)
        title = f"{DEVICES[name].title}, depth 16, pairs of endpoints 1"
        found[title] = measure_one(order, DEVICES[name].serve, order.serial, host)
    found["an interpreter with asyncio"] = measure_interpreter()
    return found


def measure_interpreter() -> dict[str, int]:
    """What an interpreter has in memory that has only imported asyncio, for comparison."""
    code = "import asyncio, sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as idle:
        assert idle.stdout is not None
        idle.stdout.readline()
        found = memory(idle.pid)
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
    with Host(programs.host) as host:
        found = measure_memory(programs, host)
    results = {"starts": starts, "imports": measure_imports(order["rounds"]), "memory": found}
    Path(order["output"]).write_text(json.dumps({**results, "machine": describe_kernel()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
