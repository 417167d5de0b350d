"""The part of ``scripts/bench scale`` in the virtual machine: ``python -m benchmarks.scale_guest JSON``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.clock import ProcessClock
from benchmarks.devices import process
from benchmarks.guest import summary
from benchmarks.host import Host, HostSide, wait_gone
from benchmarks.machine import describe_kernel
from benchmarks.measures import CPU
from benchmarks.points import AXES, MOST_GADGETS, Point, name, parse, point
from benchmarks.results import Results, Round
from benchmarks.rounds import DEVICE_CPU, HOST_CPU, Method, Side, by_turns, device_mode, keep_on, measure, serials
from benchmarks.targets import FLAT_AXES

#: The point where all axes begin is measured twice, each with a controller of its own.
BASES = 2
UDCS = [f"dummy_udc.{number}" for number in range(BASES + MOST_GADGETS)]
#: usbfs lends at most so many megabytes to all transfers together, 16 by default; 0 is no limit.
USBFS_MEMORY = Path("/sys/module/usbcore/parameters/usbfs_memory_mb")


class Points:
    """Measures processes with this package, each beside the one where all axes begin."""

    def __init__(self, host: Host, base: Point) -> None:
        self._host = host
        self._base = base

    @contextmanager
    def up(self, chosen: Point, udcs: list[str], mode: str) -> Iterator[Side]:
        """A process that serves, its devices opened by the host."""
        serial = f"scale-{next(serials)}"
        own = [f"{serial}-{number}" for number in range(chosen.gadgets)]
        numbers = [device_mode(mode), chosen.transfer_size, chosen.depth, chosen.pairs]
        arguments = [*map(str, numbers), serial, *udcs[: chosen.gadgets]]
        with (
            process([sys.executable, "-m", "benchmarks.programs.several", *arguments]) as running,
            ExitStack() as stack,
        ):
            sides = [stack.enter_context(self._host.device(each)) for each in own]
            keep_on(running.pid, DEVICE_CPU)
            yield Side(HostSide.together(sides), ProcessClock(running.pid), mode, chosen.size)
        for each in own:
            wait_gone(each)

    def block(self, name: str, mode: str, size: int, method: Method, number: int) -> Iterator[Round]:
        """Beside two processes of the first point, whose transfers may be of another size than these."""
        chosen = point(*parse(name), self._base)
        with (
            self.up(chosen, UDCS[BASES:], mode) as other,
            self.up(self._base, UDCS[:1], mode) as base,
            self.up(self._base, UDCS[1:BASES], mode) as control,
        ):
            yield from by_turns(other, base, control, method)


def main() -> int:
    """Measures all points of the axes that were asked for; returns an exit status."""
    order = json.loads(sys.argv[1])
    USBFS_MEMORY.write_text("0")
    method, base = Method(order["rounds"], order["slice"]), Point(size=order["size"])
    results = Results({**order["machine"], **describe_kernel()}, order["command"])
    todo = [(axis, value) for axis in order["axes"] for value in AXES[axis]]
    with Host(Path(order["host"])) as host:
        keep_on(host.pid, HOST_CPU)
        bench = Points(host, base)
        for number, (axis, value) in enumerate(todo, 1):
            judged = [CPU] if axis in FLAT_AXES else []
            cell = measure(name(axis, value), order["mode"], point(axis, value, base).size, method, bench, judged)
            results.cells.append(cell)
            results.save(Path(order["output"]))
            print(f"[{number}/{len(todo)}] {axis} {value}: {summary(cell)}", flush=True)
    return int(any(cell.error for cell in results.cells))


if __name__ == "__main__":
    sys.exit(main())
