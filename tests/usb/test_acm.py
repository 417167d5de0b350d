"""A program beside the kernel's ACM function; its judge is cdc-acm."""

from __future__ import annotations

import termios
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from gadget import Gadget
from gadget.classes.acm import AcmPort
from gadget.classes.terminal import TerminalFile
from gadget.errors import DisconnectedError, HostNotReadingError
from gadget.kernel_functions import Acm
from gadget.testing import Faults, ServedGadget, wait_for
from tests.conftest import Soak
from tests.usb.serial_ports import EVERY_BYTE, MIB, PRODUCT, VENDOR, beside, digest, node, noise, opened
from tests.usb.terminals import load

pytestmark = pytest.mark.usb

Serve = Callable[..., ServedGadget]


class Port(AcmPort):
    """Says how often it was started, and what has ended it."""

    runs = 0
    ended: BaseException | None = None

    async def run(self) -> None:
        self.runs += 1
        try:
            await super().run()
        except BaseException as error:
            self.ended = error
            raise


@pytest.fixture
def port() -> Port:
    return Port()


@pytest.fixture
def served(serve: Serve, port: Port) -> ServedGadget:
    load("cdc-acm")
    return serve(Gadget(port, name="acm", vendor_id=VENDOR, product_id=PRODUCT))


@pytest.fixture
def tty(served: ServedGadget) -> Path:
    return node(served, "*:1.0/tty/ttyACM*")


@pytest.mark.usb(speed=["full", "super"])
def test_every_byte_passes_both_ways(served: ServedGadget, port: Port, tty: Path) -> None:
    """From the first byte on: nothing is echoed before the terminal is raw."""
    with opened(tty) as host:
        for size in (1, 64, 1024):
            data = (EVERY_BYTE * 4)[:size]
            host.write(data)
            assert served.call(port.reader.readexactly(size)) == data
            served.call(port.writer.write(data))
            assert host.read(size) == data
        host.write(EVERY_BYTE)
        assert served.call(port.reader.readexactly(256)) == EVERY_BYTE


def test_carrier_and_break(served: ServedGadget, port: Port, tty: Path) -> None:
    with opened(tty) as host:
        wait_for(lambda: host.cd and host.dsr, "the carrier")
        settings = termios.tcgetattr(host.fileno())
        settings[0] |= termios.PARMRK
        termios.tcsetattr(host.fileno(), termios.TCSANOW, settings)
        served.call(port.stream.send_break(0.01))
        assert host.read(3) == b"\xff\0\0"


def test_a_mebibyte_each_way_at_once_while_settings_change(served: ServedGadget, port: Port, tty: Path) -> None:
    up, down = noise(1), noise(2)
    with opened(tty) as host:

        def change() -> None:
            for number in range(20):
                host.baudrate = (9600, 115200, 460800)[number % 3]

        reading = served.begin(port.reader.readexactly(MIB))
        writing = served.begin(port.writer.write(down, timeout=None))
        with beside(host.write, up), beside(change):
            assert digest(host.read(MIB)) == digest(down)
        assert digest(reading.result(60)) == digest(up)
        writing.result(60)
        served.call(port.writer.drain())


def test_opened_and_closed_again_and_again(served: ServedGadget, port: Port, tty: Path, soak: Soak) -> None:
    for number in range(soak.count(10, 100)):
        with opened(tty) as host:
            host.write(b"%d\n" % number)
            line = served.call(port.reader.readline())
            served.call(port.writer.write(line))
            assert host.readline() == b"%d\n" % number
    assert port.runs == 1


def test_a_write_to_nobody_is_an_error_in_time(served: ServedGadget, port: Port, tty: Path) -> None:
    with pytest.raises(HostNotReadingError, match="did not take"):
        served.call(port.writer.write(noise(3), timeout=1))
    with pytest.raises(HostNotReadingError, match="did not take"):
        served.call(port.writer.drain(timeout=0.1))


END = b"\nthe end\n"


def test_a_host_that_closes_the_port_in_mid_write_may_open_it_again(
    served: ServedGadget, port: Port, tty: Path
) -> None:
    """The kernel does not say that it was closed: the write goes on with who opens it next."""
    with opened(tty) as host:
        writing = served.begin(port.writer.write(noise(5), timeout=None))
        assert len(host.read(1000)) == 1000
    with opened(tty, timeout=1) as host:
        # How much is lost between the two is the host's affair.
        wait_for(lambda: [host.read(1 << 16), writing.done()][1], "all of it to be written")
        writing.result()
        served.call(port.writer.write(END))
        # Not read_until, which asks for each byte by itself: there may be a good many.
        last = deque[int](maxlen=len(END))

        def is_over() -> bool:
            last.extend(host.read(1 << 16))
            return bytes(last) == END

        wait_for(is_over, "the end")


def test_a_host_that_goes_ends_reads_and_writes_and_may_come_back(served: ServedGadget, port: Port, tty: Path) -> None:
    faults = Faults(served)
    reading = served.begin(port.reader.readline())
    wait_for(lambda: port.runs == 1, "the program to be started")
    with opened(tty) as host:
        host.write(b"half a li")
        writing = served.begin(port.writer.write(noise(4), timeout=None))
        faults.unplug()
        for waiting in (reading, writing):
            with pytest.raises(DisconnectedError, match="the host has gone"):
                waiting.result(60)
    wait_for(lambda: port.ended is not None, "the program to be ended")
    faults.plug()
    wait_for(lambda: port.runs == 2, "the program to be started again")
    with opened(node(served, "*:1.0/tty/ttyACM*")) as host:
        host.write(b"line\n")
        assert served.call(port.reader.readline()) == b"line\n"
        served.call(port.writer.write(b"back\n"))
        assert host.readline() == b"back\n"


def test_a_program_that_fails_takes_the_gadget_down(serve: Serve) -> None:
    class Broken(AcmPort):
        async def run(self) -> None:
            await self.reader.readline()
            raise ZeroDivisionError

    load("cdc-acm")
    served = serve(Gadget(Broken(), name="broken", vendor_id=VENDOR, product_id=PRODUCT))
    with opened(node(served, "*:1.0/tty/ttyACM*")) as host:
        host.write(b"\n")
        served.wait_over()
    with pytest.raises(ZeroDivisionError):
        served.stop()


def test_a_plain_file_that_blocks(serve: Serve) -> None:
    """For programs without an event loop, or of another process."""
    load("cdc-acm")
    acm = Acm()
    served = serve(Gadget(acm, name="file", vendor_id=VENDOR, product_id=PRODUCT))
    with TerminalFile(acm.terminal, timeout=60) as file:
        file.wait_host()
        with opened(node(served, "*:1.0/tty/ttyACM*")) as host:
            host.write(EVERY_BYTE)
            data = b""
            while len(data) < 256:
                data += file.read()
            assert data == EVERY_BYTE
            file.write(EVERY_BYTE)
            assert host.read(256) == EVERY_BYTE
            file.timeout = 0.1
            assert file.read() == b""
        with pytest.raises(HostNotReadingError):
            file.write(noise(1))
        file.timeout = 60
        served.unbind()
        with pytest.raises(DisconnectedError):
            file.read()
        rebinding = threading.Thread(target=served.bind)
        rebinding.start()
        file.wait_host()
        rebinding.join()
        with opened(node(served, "*:1.0/tty/ttyACM*")) as host:
            file.write(b"back")
            assert host.read(4) == b"back"


def test_two_ports_in_one_gadget(serve: Serve) -> None:
    load("cdc-acm")
    ports = (Port(), Port())
    served = serve(Gadget(*ports, name="two", vendor_id=VENDOR, product_id=PRODUCT))
    nodes = [node(served, f"*:1.{number}/tty/ttyACM*") for number in (0, 2)]
    with opened(nodes[0]) as first, opened(nodes[1]) as second:
        first.write(b"first")
        second.write(b"second")
        assert served.call(ports[1].reader.readexactly(6)) == b"second"
        assert served.call(ports[0].reader.readexactly(5)) == b"first"
