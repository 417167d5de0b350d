"""The devices that the benchmarks measure do what they are measured for: every byte of it, for a moment each."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.build import Programs, build
from benchmarks.errors import BenchmarkError
from benchmarks.host import Host
from benchmarks.programs import ANSWER_BYTES
from benchmarks.rounds import Method, up
from gadget.testing import BenchController

NEEDED = Path("/usr/include/libaio.h").exists() and importlib.util.find_spec("functionfs") and shutil.which("gcc")
pytestmark = [
    pytest.mark.usb(speed="super", timeout=240),
    pytest.mark.skipif(not NEEDED, reason="the benchmarks' own needs: scripts/setup --bench installs them"),
]

METHOD = Method(rounds=1, slice=0.1, ramp=0.01)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return build(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def host(programs: Programs) -> Iterator[Host]:
    with Host(programs.host) as host:
        yield host


@pytest.mark.parametrize("mode", ["in", "out", "stream", "echo", "control"])
@pytest.mark.parametrize("device", ["c", "ours", "peer", "kernel"])
def test_what_is_moved_arrives(device: str, mode: str, host: Host, programs: Programs, udc: BenchController) -> None:
    if (device, mode) == ("kernel", "control"):
        pytest.skip("the kernel's functions answer no such requests")
    with up(device, udc.name, mode, 16384, host, programs) as side:
        seen = side.run(METHOD)
        side.verify()
        assert seen.transfers > 0
        assert (seen.device_cpu is None) == (device == "kernel")
        if device != "kernel":
            assert side.host.answer() == ANSWER_BYTES


def test_the_device_in_c_starts_over_when_the_setting_is_selected_anew(
    host: Host, programs: Programs, udc: BenchController
) -> None:
    with up("c", udc.name, "stream", 1024, host, programs) as side:
        for _ in range(3):
            side.run(METHOD)
            side.host.enable()
        side.run(METHOD)
        side.verify()


def test_wrong_counts_are_noticed(host: Host, programs: Programs, udc: BenchController) -> None:
    with up("c", udc.name, "out", 1024, host, programs) as side:
        side.run(METHOD)
        side.total += 1
        with pytest.raises(BenchmarkError, match="the device says that it received"):
            side.verify()


def test_transfers_that_are_cut_off_are_noticed(host: Host, programs: Programs, udc: BenchController) -> None:
    """The device sends 1024 bytes, and the host has room for 1000."""
    with up("c", udc.name, "in", 1024, host, programs) as side:
        side.size = 1000
        with pytest.raises(BenchmarkError, match="a transfer in"):
            side.run(METHOD)
