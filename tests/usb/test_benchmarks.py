"""The devices that the benchmarks measure do what they are measured for: every byte of it, for a moment each."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.board import Connection, OneController
from benchmarks.build import Programs, build
from benchmarks.devices import DEVICES, PACKAGES
from benchmarks.errors import BenchmarkError
from benchmarks.host import Host
from benchmarks.programs import ANSWER_BYTES
from benchmarks.rounds import Method, ThreeControllers, measure
from gadget.testing import BenchController

NEEDED = Path("/usr/include/libaio.h").exists() and importlib.util.find_spec("functionfs") and shutil.which("gcc")
pytestmark = [
    pytest.mark.usb(speed="super", timeout=240),
    pytest.mark.skipif(not NEEDED, reason="the benchmarks' own needs: scripts/setup --bench installs them"),
]

METHOD = Method(rounds=1, slice=0.1, ramp=0.01, block=1)


#: All echo; those that take little to start do the rest, too.
MOVES = [
    *(("stream", name) for name in DEVICES),
    *((mode, name) for mode in ("in", "out") for name in ("c", "c-files", "kernel", "spliced")),
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return build(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def bench(programs: Programs) -> Iterator[ThreeControllers]:
    with Host(programs.host) as host:
        yield ThreeControllers(host, programs)


@pytest.mark.parametrize(("mode", "device"), MOVES)
def test_what_is_moved_arrives(device: str, mode: str, bench: ThreeControllers, udc: BenchController) -> None:
    with bench.up(device, udc.name, mode, 16384) as side:
        seen = side.run(METHOD)
        side.verify()
        assert seen.transfers > 0
        assert (seen.device_cpu is None) == (device == "kernel")
        if mode == "stream":  # What echoes is asked for round trips, too, and for control requests.
            side.mode = "echo"
            assert side.run(METHOD).latency > 0
            side.verify()
        if device != "kernel":
            assert side.host.answer() == ANSWER_BYTES
            assert side.host.run("control", 1024, 1, METHOD.ramp, METHOD.slice).transfers > 0


def test_the_controller_may_be_on_another_machine(programs: Programs, udc: BenchController, tmp_path: Path) -> None:
    """Each side is a process of its own here, as on two machines: one round of what scripts/bench does there."""
    command = [sys.executable, "-m", "benchmarks", "usb", "--port", "7862", "--output", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGES)}
    board = subprocess.Popen([*command, "--udc", udc.name], stdout=subprocess.PIPE, text=True, env=environment)
    with board:
        assert board.stdout is not None
        assert "7862" in board.stdout.readline()
        with Connection(7862) as connection, Host(programs.host) as host:
            cell = measure("ours", "echo", 1024, METHOD, OneController(host, connection))
        board.send_signal(signal.SIGINT)
    assert not cell.error
    assert [bool(each.competitor.device_cpu) for each in cell.rounds] == [True]
    assert board.returncode == 0


def test_the_device_in_c_starts_over_when_the_setting_is_selected_anew(
    bench: ThreeControllers, udc: BenchController
) -> None:
    with bench.up("c", udc.name, "stream", 1024) as side:
        for _ in range(3):
            side.run(METHOD)
            side.host.enable()
        side.run(METHOD)
        side.verify()


def test_wrong_counts_are_noticed(bench: ThreeControllers, udc: BenchController) -> None:
    with bench.up("c", udc.name, "out", 1024) as side:
        side.run(METHOD)
        side.total += 1
        with pytest.raises(BenchmarkError, match="the device says that it received"):
            side.verify()


def test_transfers_that_are_cut_off_are_noticed(bench: ThreeControllers, udc: BenchController) -> None:
    """The device sends 1024 bytes, and the host has room for 1000."""
    with bench.up("c", udc.name, "in", 1024) as side:
        side.size = 1000
        with pytest.raises(BenchmarkError, match="a transfer in"):
            side.run(METHOD)
