"""``scripts/bench usb``: the data path and control requests, beside the same device in C."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
from pathlib import Path

from benchmarks.board import PORT, Connection, OneController, Server
from benchmarks.build import build
from benchmarks.devices import DEVICES, MODES
from benchmarks.errors import BenchmarkError
from benchmarks.guest import run as run_cells
from benchmarks.host import LIBUSB1, Host
from benchmarks.machine import describe_machine
from benchmarks.options import names, numbers
from benchmarks.report import figures, report
from benchmarks.results import Results, load
from benchmarks.rst import images, usb_page
from benchmarks.virtual import in_guest

SIZES = (1024, 16384, 65536)
RESULTS = "usb.json"
#: What the documentation includes.
DOCS = Path("docs/figures")


def _usual() -> list[str]:
    """All but what is there for others to be compared with."""
    return [name for name in DEVICES if all(device.floor != name for device in DEVICES.values())]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--devices", type=names(DEVICES), default=_usual(), help=", ".join(DEVICES))
    parser.add_argument("--modes", type=names(MODES), default=[*MODES], help=", ".join(MODES))
    parser.add_argument("--sizes", type=numbers, default=[*SIZES], help="bytes of a transfer: 1k,16k,64k")
    parser.add_argument("--rounds", type=int, default=40, help="of slices in each cell, at most (%(default)s)")
    parser.add_argument("--slice", type=float, default=0.3, metavar="SECONDS", help="each is this long (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("bench-results"), metavar="DIR", help="(%(default)s)")
    parser.add_argument(
        "--host-program",
        choices=("c", "libusb1"),
        default="c",
        help="what the host's side is written in; libusb1: python-libusb1, for in, out and stream (%(default)s)",
    )
    apart = parser.add_argument_group("on a board, instead of in the virtual machine; both need root")
    apart.add_argument("--udc", metavar="NAME", help="serve the devices on this controller, for --host")
    apart.add_argument(
        "--host", action="store_true", help="measure what --udc serves, from the machine that is its host"
    )
    apart.add_argument("--port", type=int, default=PORT, help="where on 127.0.0.1 --udc listens (%(default)s)")
    parser.add_argument("--docs", action="store_true", help=f"write what the documentation includes, in {DOCS}, too")
    parser.add_argument("--again", action="store_true", help="measure nothing, report what DIR has from the last run")


def run(args: argparse.Namespace) -> int:
    """Measures, in the virtual machine or on a board, and reports here."""
    args.output.mkdir(parents=True, exist_ok=True)
    if args.udc:
        return serve(args)
    status = 0 if args.again else measure(args)
    file = args.output / RESULTS
    if not file.exists():
        raise BenchmarkError(f"nothing was measured: there is no {file}")
    results = load(file)
    print(report(results))
    _write_figures(results, args.output)
    if args.docs:
        _write_figures(results, DOCS)
    return status


def _write_figures(results: Results, folder: Path) -> None:
    from benchmarks.plots import plot_usb  # It takes matplotlib a while to be imported, and the guest needs none of it.

    folder.mkdir(parents=True, exist_ok=True)
    plots = plot_usb(figures(results), folder)
    page = usb_page(results, {name: device.title for name, device in DEVICES.items()})
    (folder / "usb.rst").write_text(f"{page}\n{images(plots)}")
    print(f"written: {folder}/usb.rst, and {len(plots)} plots")


def serve(args: argparse.Namespace) -> int:
    """Serves devices on a controller of this machine until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        Server(args.udc, build(args.output / "programs")).serve_forever(args.port)
    return 0


def measure(args: argparse.Namespace) -> int:
    """Measures everything that was asked for; what was seen is in a file then."""
    programs = build(args.output / "programs")
    file = args.output / RESULTS
    file.unlink(missing_ok=True)
    order = {
        "devices": args.devices,
        "modes": args.modes,
        "sizes": args.sizes,
        "rounds": args.rounds,
        "slice": args.slice,
        "output": str(file),
        "device": str(programs.device),
        "host": str(LIBUSB1 if args.host_program == "libusb1" else programs.host),
        "machine": describe_machine(),
        "command": shlex.join(["scripts/bench", *sys.argv[1:]]),
    }
    if not args.host:
        return in_guest("benchmarks.guest", json.dumps(order), file, controllers=3)
    with Connection(args.port) as connection, Host(Path(order["host"])) as host:
        return run_cells(order, OneController(host, connection))
