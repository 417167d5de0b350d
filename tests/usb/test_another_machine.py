"""A gadget used from another machine with Debian's usbipd and usbip: the commands of docs/howto/another_machine.rst.

Both machines are this one, and the network between them is its loopback interface.
"""

from __future__ import annotations

import fcntl
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from gadget.testing import BenchController, HostDevice, wait_for
from gadget.testing.usbip.usbip_ports import is_connected

pytestmark = pytest.mark.usb(controller="usbip-vudc", timeout=600)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/howto/another_machine.rst").read_text()
PATIENCE = 60.0
#: What the page calls the machine that serves the gadget is this one, on the port that usbipd has if none is named.
BOARD, PORT = "127.0.0.1", 3240
#: netdevice(7): sets the flags of a network interface; up, and running.
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40


def command_of(line: str) -> list[str]:
    """A command of the page as it is run here: as root, with this environment's gadget."""
    assert f" {line}\n" in PAGE, f"the page does not say: {line}"
    words = [word.replace("BOARD", BOARD) for word in shlex.split(line.removeprefix("sudo "))]
    if words[0] == "gadget":
        return [sys.executable, "-m", *words]
    found = shutil.which(words[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert found is not None, f"there is no {words[0]} on this machine: scripts/setup installs it"
    return [found, *words[1:]]


def run(line: str, **changed: str) -> str:
    """Runs a command of the page to its end, some words of it changed, and returns what it says."""
    command = [changed.get(word.strip("-").partition("=")[0], word) for word in command_of(line)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@contextmanager
def running(line: str) -> Iterator[subprocess.Popen[str]]:
    """A command of the page, until it is ended with SIGTERM."""
    with subprocess.Popen(command_of(line), stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0


def is_listening() -> bool:
    with suppress(OSError), closing(socket.create_connection((BOARD, PORT), 1)):
        return True
    return False


@pytest.fixture
def network() -> None:
    """A guest has no network, and so nobody has brought this interface up."""
    with closing(socket.socket()) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP | IFF_RUNNING))


@pytest.fixture
def usbipd(udc: BenchController, network: None) -> Iterator[None]:
    """The server on the board, which does not mind gadgets that come and go."""
    assert udc.name == "usbip-vudc.0", "the page names this one"
    with running("sudo usbipd --device"):
        wait_for(is_listening, "usbipd to listen")
        yield


def found() -> HostDevice | None:
    """The device, where the other machine's kernel has found and configured it."""
    devices = [HostDevice(file.parent) for file in Path("/sys/bus/usb/devices").glob("*/idVendor")]
    return next((each for each in devices if each.identity == (0x1D6B, 0x0104) and each.configuration), None)


@contextmanager
def attached(udc: BenchController) -> Iterator[HostDevice]:
    """The device is there on the other machine inside this scope: its user attaches and detaches it."""
    assert "usbip-vudc.0" in run("usbip list --remote=BOARD")
    run("sudo usbip attach --remote=BOARD --device=usbip-vudc.0")
    device = wait_for(found, "the device to be there")
    assert device is not None
    yield device
    (port,) = re.findall(r"Port (\d+): <Port in Use>", run("sudo usbip port"))
    run("sudo usbip detach --port=00", port=f"--port={port}")
    wait_for(lambda: found() is None, "the device to go")
    wait_for(lambda: not is_connected(udc.name), "the board to notice")


def assert_echoes(device: HostDevice, data: bytes) -> None:
    with device.pyusb() as opened:
        endpoints = sorted(endpoint.bEndpointAddress for endpoint in opened.get_active_configuration()[(0, 0)])
        opened.write(endpoints[0], data, 10_000)
        assert bytes(opened.read(endpoints[1], len(data) + 1, 10_000)) == data


@contextmanager
def served(udc: BenchController) -> Iterator[subprocess.Popen[str]]:
    with running("sudo gadget run examples/echo/device.py --udc usbip-vudc.0") as process:
        udc.wait_bound()
        yield process


def test_attached_detached_and_attached_again(udc: BenchController, usbipd: None) -> None:
    with served(udc) as board:
        with attached(udc) as device:
            assert board.stdout is not None
            assert board.stdout.readline() == "echo: configured by the host on usbip-vudc.0, 1d6b:0104, high-speed\n"
            assert_echoes(device, bytes(range(256)) * 40 + b".")
        with attached(udc) as device:
            assert_echoes(device, b"again")
    assert udc.sysfs.holder is None


def test_served_again_while_usbipd_runs(udc: BenchController, usbipd: None) -> None:
    for data in (b"first", b"second"):
        with served(udc), attached(udc) as device:
            assert_echoes(device, data)


def test_a_gadget_that_goes_down_is_unplugged(udc: BenchController, usbipd: None) -> None:
    with served(udc):
        run("sudo usbip attach --remote=BOARD --device=usbip-vudc.0")
        wait_for(found, "the device to be there")
    wait_for(lambda: found() is None, "the device to go")
    assert "Port in Use" not in run("sudo usbip port")
