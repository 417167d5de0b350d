"""What is measured: each device is one entry in :data:`DEVICES`."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.build import Programs
from benchmarks.errors import BenchmarkError
from benchmarks.host import wait_for
from benchmarks.tree import functionfs_tree, kernel_function, remove_left
from gadget.configfs.udc import bind

#: Transfers in flight on the device, each way.
DEPTH = 16
#: Where this package lies, for the programs of it.
PACKAGES = Path(__file__).parent.parent
MODES = ("in", "out", "echo", "stream", "control")


@dataclass(frozen=True)
class Order:
    """What is to be served.

    Attributes:
        udc: The controller.
        mode: What the device is to do: ``in``, ``out``, ``echo`` or ``control``.
        size: Bytes of a transfer.
        serial: The serial number that it is to have.
        programs: What was compiled.
        depth: Transfers in flight each way.
    """

    udc: str
    mode: str
    size: int
    serial: str
    programs: Programs
    depth: int = DEPTH


#: Serves for the length of a ``with`` block, which has the process, or None where the kernel serves.
Serve = Callable[[Order], AbstractContextManager[int | None]]


#: The attributes of one of the kernel's functions.
Attributes = Callable[[Order], dict[str, int]]


@dataclass(frozen=True)
class Device:
    """Something to measure.

    Attributes:
        title: What the report calls it.
        serve: How it is served.
        modes: What it can do.
        floor: The device in C that it is compared with.
    """

    title: str
    serve: Serve
    modes: tuple[str, ...] = MODES
    floor: str = "c"


@contextmanager
def process(command: Sequence[str | Path]) -> Iterator[subprocess.Popen[str]]:
    """A program that runs for the length of a ``with`` block; what it says on stderr is told if it fails.

    Raises:
        BenchmarkError: It ended by itself, or does not end when told to.
    """
    with tempfile.TemporaryFile("w+") as log:
        path = os.pathsep.join(filter(None, (str(PACKAGES), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path}
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)

        def said() -> str:
            log.seek(0)
            state = "runs" if running.poll() is None else f"has ended with status {running.returncode}"
            return f"{shlex.join(map(str, command))} {state}, and said: {log.read().strip() or 'nothing'}"

        try:
            yield running
            if running.poll() is not None:
                raise BenchmarkError("a device ended by itself")
        except BenchmarkError as error:
            error.add_note(said())
            raise
        finally:
            running.send_signal(signal.SIGTERM)
            try:
                running.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                running.kill()
                running.communicate()


def _in_c(*options: str) -> Serve:
    @contextmanager
    def serve(order: Order) -> Iterator[int]:
        with functionfs_tree("c", order.udc, order.serial) as (tree, folder):
            command = [order.programs.device, folder, order.mode, str(order.size), str(order.depth), *options]
            with process([str(part) for part in command]) as running:
                assert running.stdout is not None
                if running.stdout.readline() != "ready\n":
                    raise BenchmarkError("the device in C did not start")
                bind(tree, order.udc)
                yield running.pid

    return serve


def _program(module: str) -> Serve:
    @contextmanager
    def serve(order: Order) -> Iterator[int]:
        arguments = [order.udc, order.mode, str(order.size), str(order.depth), order.serial]
        with process([sys.executable, "-m", module, *arguments]) as running:

            def configured() -> bool:
                if running.poll() is not None:
                    raise BenchmarkError(f"{module} ended with status {running.returncode}")
                return (Path("/sys/class/udc") / order.udc / "state").read_text() == "configured\n"

            wait_for(configured, f"{module} to be configured by the host")
            yield running.pid

    return serve


@contextmanager
def _serve_peer(order: Order) -> Iterator[int | None]:
    try:
        with _program("benchmarks.programs.peer")(order) as pid:
            yield pid
    finally:
        remove_left(f"bench-peer-{order.udc}", f"peer-{order.udc.replace('.', '-')}")


def _kernel(functions: Mapping[str, tuple[str, Attributes]]) -> Serve:
    @contextmanager
    def serve(order: Order) -> Iterator[None]:
        family, attributes = functions[order.mode]
        with kernel_function(family, order.udc, order.serial, attributes(order)) as tree:
            bind(tree, order.udc)
            yield None

    return serve


def _source_sink(order: Order) -> dict[str, int]:
    """With pattern 2 it neither fills nor checks the data, as the others do neither (f_sourcesink.c)."""
    return {"pattern": 2, "bulk_buflen": order.size, "bulk_qlen": order.depth}


def _loopback(order: Order) -> dict[str, int]:
    return {"bulk_buflen": order.size, "qlen": order.depth}


_SOURCE_SINK: tuple[str, Attributes] = ("SourceSink", _source_sink)
_LOOPBACK: tuple[str, Attributes] = ("Loopback", _loopback)

_MOVES = ("in", "out", "echo", "stream")

#: What every other one is compared with, unless it says otherwise.
FLOOR = "c"
DEVICES = {
    FLOOR: Device("C, libaio", _in_c()),
    "c-files": Device("C, libaio, from and to files", _in_c("files"), _MOVES),
    "ours": Device("gadget", _program("benchmarks.programs.ours")),
    "ours-uvloop": Device("gadget, on uvloop", _program("benchmarks.programs.on_uvloop")),
    "spliced": Device("gadget, spliced", _program("benchmarks.programs.spliced"), _MOVES, floor="c-files"),
    "peer": Device("python-functionfs 0.9.2", _serve_peer),
    "kernel": Device(
        "the kernel's SourceSink and Loopback",
        _kernel({"in": _SOURCE_SINK, "out": _SOURCE_SINK, "echo": _LOOPBACK}),
        _MOVES,
    ),
}
