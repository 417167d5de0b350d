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
from benchmarks.points import AXES, MOST_GADGETS, Point, name, parse, point
from benchmarks.results import Results, Round
from benchmarks.rounds import Method, Side, alternate, device_mode, measure, serials

#: The point where all axes begin has a controller of its own.
BASE_UDCS = ["dummy_udc.0"]
OTHER_UDCS = [f"dummy_udc.{number}" for number in range(1, 1 + MOST_GADGETS)]
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
            yield Side(HostSide.together(sides), ProcessClock(running.pid), mode, chosen.size)
        for each in own:
            wait_gone(each)

    def rounds(self, name: str, mode: str, size: int, method: Method) -> Iterator[Round]:
        """Each half of them with processes of its own."""
        chosen = point(*parse(name), self._base)
        for half in range(2):
            with self.up(chosen, OTHER_UDCS, mode) as other, self.up(self._base, BASE_UDCS, mode) as base:
                yield from alternate(other, base, (method.rounds + 1 - half) // 2, method, swapped=False)


def main() -> int:
    """Measures all points of the axes that were asked for; returns an exit status."""
    order = json.loads(sys.argv[1])
    USBFS_MEMORY.write_text("0")
    method, base = Method(order["rounds"], order["slice"]), Point(size=order["size"])
    results = Results({**order["machine"], **describe_kernel()}, order["command"])
    todo = [(axis, value) for axis in order["axes"] for value in AXES[axis]]
    with Host(Path(order["host"])) as host:
        bench = Points(host, base)
        for number, (axis, value) in enumerate(todo, 1):
            cell = measure(name(axis, value), order["mode"], point(axis, value, base).size, method, bench)
            results.cells.append(cell)
            results.save(Path(order["output"]))
            print(f"[{number}/{len(todo)}] {axis} {value}: {summary(cell)}", flush=True)
    return int(any(cell.error for cell in results.cells))


if __name__ == "__main__":
    sys.exit(main())
