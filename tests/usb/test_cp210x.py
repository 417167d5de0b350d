"""The CP210x in Python, and Linux's driver of the real one, which knows nothing of this package."""

from __future__ import annotations

import array
import fcntl
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import serial

from gadget import Gadget
from gadget.classes.acm import AcmPort
from gadget.classes.cp210x import Cp210x
from gadget.classes.cp210x_parts import PartNumber
from gadget.classes.cp210x_values import LineError, Parity, StopBits
from gadget.errors import HostNotReadingError
from gadget.testing import Faults, ServedGadget, wait_for
from tests.conftest import Soak
from tests.usb.serial_ports import EVERY_BYTE, MIB, PRODUCT, VENDOR, beside, bind_cp210x, digest, node, noise, opened
from tests.usb.terminals import load

pytestmark = pytest.mark.usb

Serve = Callable[..., ServedGadget]

#: What a close must stay below: a chip that never says that it is empty makes it thirty seconds.
PROMPT = 15.0


class Port(Cp210x):
    pass


@pytest.fixture
def port() -> Port:
    return Port()


@pytest.fixture
def served(serve: Serve, port: Port) -> ServedGadget:
    bind_cp210x()
    return serve(gadget(port))


@pytest.fixture
def tty(served: ServedGadget) -> Path:
    return node(served, "*:1.0/ttyUSB*")


def gadget(*functions: Cp210x | AcmPort, name: str = "serial") -> Gadget:
    return Gadget(*functions, name=name, vendor_id=VENDOR, product_id=PRODUCT)


def set_input_flags(host: serial.Serial, flags: int) -> None:
    settings = termios.tcgetattr(host.fileno())
    settings[0] = settings[0] & ~(termios.INPCK | termios.PARMRK | termios.IGNPAR) | flags
    termios.tcsetattr(host.fileno(), termios.TCSANOW, settings)


@pytest.mark.usb(speed=["full", "high", "super"])
def test_every_byte_passes_both_ways(served: ServedGadget, port: Port, tty: Path) -> None:
    """Of any length: what is a multiple of a packet is over as well."""
    with opened(tty) as host:
        for size in (1, 64, 256, 512, 1024):
            data = (EVERY_BYTE * 4)[:size]
            host.write(data)
            assert served.call(port.readexactly(size)) == data
            served.call(port.write(data))
            assert host.read(size) == data


def test_a_line_is_what_ends_with_a_line_feed(served: ServedGadget, port: Port, tty: Path) -> None:
    with opened(tty) as host:
        host.write(b"one\ntwo")
        assert served.call(port.readline()) == b"one\n"
        host.write(b"\nrest")
        assert served.call(port.readline()) == b"two\n"
        assert served.call(port.readexactly(2)) == b"re"
        assert served.call(port.read()) == b"st"


# ---- settings and lines ----------------------------------------------------------------------------------------------


def test_the_settings_are_those_of_the_host(served: ServedGadget, port: Port, tty: Path) -> None:
    with opened(tty, baudrate=57600, bytesize=7, parity="E", stopbits=2) as host:
        assert (port.baudrate, str(port.line)) == (57600, "7E2")
        host.baudrate = 31250
        wait_for(lambda: port.baudrate == 38400, "the rate that AN205 has for this one")
        host.parity, host.bytesize = "M", 5
        wait_for(lambda: (port.parity, port.data_bits) == (Parity.MARK, 5), "the new framing")
        host.stopbits = 1
        wait_for(lambda: port.stop_bits is StopBits.ONE, "one stop bit")


@pytest.mark.parametrize(("part", "most"), [(PartNumber.CP2104, 2_000_000), (PartNumber.CP2102N, 3_000_000)])
def test_another_part_has_other_rates(serve: Serve, part: PartNumber, most: int) -> None:
    class Other(Cp210x):
        part_number = part

    bind_cp210x()
    port = Other()
    with opened(node(serve(gadget(port)), "*:1.0/ttyUSB*"), baudrate=31250) as host:
        assert port.baudrate == 31250
        host.baudrate = most
        wait_for(lambda: port.baudrate == most, "its highest rate")


@pytest.mark.parametrize(("version", "has_flow_control"), [((1, 0, 4), False), ((1, 0, 8), True)])
def test_the_driver_goes_by_the_version(serve: Serve, version: tuple[int, int, int], has_flow_control: bool) -> None:
    """A CP2102N up to 1.0.4 has an erratum, for which Linux takes flow control away (``cp210x.c``, CP2102N_E104)."""

    class Cp2102n(Cp210x):
        part_number, firmware_version = PartNumber.CP2102N, version

    bind_cp210x()
    with opened(node(serve(gadget(Cp2102n())), "*:1.0/ttyUSB*"), rtscts=True) as host:
        assert bool(termios.tcgetattr(host.fileno())[2] & termios.CRTSCTS) is has_flow_control


def test_lines_go_both_ways(served: ServedGadget, port: Port, tty: Path) -> None:
    with opened(tty) as host:
        wait_for(lambda: port.dtr and port.rts, "both lines of the host")
        host.dtr = False
        wait_for(lambda: not port.dtr and port.rts, "DTR to fall alone")
        host.dtr, host.rts = True, False
        wait_for(lambda: port.dtr and not port.rts, "RTS to fall")
        assert (host.cts, host.dsr, host.ri, host.cd) == (True, True, False, True)
        served.call(port.set_lines(cts=False, ri=True))
        assert (host.cts, host.dsr, host.ri, host.cd) == (False, True, True, True)
        served.call(port.set_lines(cts=True, dsr=False, ri=False, dcd=False))
        assert (host.cts, host.dsr, host.ri, host.cd) == (True, False, False, False)


def test_who_has_the_port_open_is_known(served: ServedGadget, port: Port, tty: Path) -> None:
    assert not port.is_open
    waiting = served.begin(port.wait_open())
    with opened(tty):
        waiting.result(60)
        assert port.is_open
        waiting = served.begin(port.wait_closed())
    waiting.result(60)
    assert not port.dtr


def test_a_break_goes_both_ways(served: ServedGadget, port: Port, tty: Path) -> None:
    with opened(tty) as host:
        host.break_condition = True
        wait_for(lambda: port.in_break, "the break")
        host.break_condition = False
        wait_for(lambda: not port.in_break, "the end of the break")
        set_input_flags(host, termios.INPCK | termios.PARMRK)
        served.call(port.send_break())
        assert host.read(3) == b"\xff\0\0"


def test_errors_are_told_at_their_place_in_the_stream(served: ServedGadget, port: Port, tty: Path) -> None:
    with opened(tty) as host:
        set_input_flags(host, termios.INPCK | termios.PARMRK)
        wait_for(lambda: port.chip.escape, "events in the stream")
        served.call(port.write(b"a"))
        served.call(port.report(LineError.PARITY, 0x62))
        served.call(port.report(LineError.FRAMING, 0x63))
        served.call(port.report(LineError.QUEUE_OVERRUN))
        served.call(port.write(b"d"))
        assert host.read(8) == b"a\xff\0b\xff\0cd"
        counted = counts(host)
        assert (counted["parity"], counted["frame"], counted["overrun"]) == (1, 1, 1)


def counts(host: serial.Serial) -> dict[str, int]:
    """TIOCGICOUNT, ``struct serial_icounter_struct``."""
    data = array.array("i", [0] * 20)
    fcntl.ioctl(host.fileno(), 0x545D, data)
    names = ("cts", "dsr", "rng", "dcd", "rx", "tx", "frame", "overrun", "parity", "brk", "buf_overrun")
    return dict(zip(names, data, strict=False))


def test_every_byte_passes_with_events_in_the_stream(served: ServedGadget, port: Port, tty: Path) -> None:
    with opened(tty) as host:
        set_input_flags(host, termios.INPCK)
        wait_for(lambda: port.chip.escape, "events in the stream")
        served.call(port.write(EVERY_BYTE))
        served.call(port.set_lines(cts=False))
        served.call(port.write(EVERY_BYTE))
        assert host.read(512) == EVERY_BYTE * 2


# ---- flow control ----------------------------------------------------------------------------------------------------


def test_without_cts_nothing_comes_from_the_host(served: ServedGadget, port: Port, tty: Path) -> None:
    with opened(tty, rtscts=True) as host:
        served.call(port.set_lines(cts=False))
        reading = served.begin(port.readexactly(4))
        host.write(b"held")
        wait_for(lambda: served.call(arrived(port)) == 4, "the data to be in the chip")
        assert not reading.done()
        served.call(port.set_lines(cts=True))
        assert reading.result(60) == b"held"


async def arrived(port: Cp210x) -> int:
    return port.rx.counters.bytes


def test_xoff_stops_the_host_until_xon(served: ServedGadget, port: Port, tty: Path) -> None:
    with opened(tty, xonxoff=True) as host:
        wait_for(lambda: port.chip.flow.replace & 3 == 3, "XON and XOFF both ways")
        served.call(port.write(b"a\x13b"))
        assert host.read(2) == b"ab"
        reading = served.begin(port.readexactly(4))
        host.write(b"held")
        wait_for(lambda: served.call(arrived(port)) == 4, "the data to be in the chip")
        assert not reading.done()
        served.call(port.write(b"\x11"))
        assert reading.result(60) == b"held"


@pytest.mark.parametrize("kind", ["rtscts", "xonxoff"])
def test_a_host_that_does_not_read_asks_for_silence(served: ServedGadget, port: Port, tty: Path, kind: str) -> None:
    data = noise(1, 4 * MIB // 16).replace(b"\x11", b"").replace(b"\x13", b"")
    with opened(tty, **{kind: True}) as host:
        # pyserial raises RTS when it opens the port; only then is it the chip's to move.
        writing = served.begin(port.write(data, timeout=None))
        wait_for(lambda: port.wants_silence, "the host to ask for silence")
        assert port.rts is (kind == "xonxoff")
        assert digest(host.read(len(data))) == digest(data)
        writing.result(60)
        wait_for(lambda: not port.wants_silence and port.rts, "the host to want more")


# ---- load ------------------------------------------------------------------------------------------------------------


def exchange(
    served: ServedGadget, port: Cp210x, tty: Path, size: int, meanwhile: Callable[[serial.Serial], None]
) -> None:
    up, down = noise(1, size), noise(2, size)
    with opened(tty) as host:
        reading, writing = served.begin(port.readexactly(size)), served.begin(port.write(down, timeout=None))
        with beside(host.write, up), beside(meanwhile, host):
            assert digest(host.read(size)) == digest(down)
        assert digest(reading.result(60)) == digest(up)
        writing.result(60)


def test_a_mebibyte_each_way_at_once(served: ServedGadget, port: Port, tty: Path) -> None:
    exchange(served, port, tty, MIB, lambda host: None)


def test_settings_change_under_load(served: ServedGadget, port: Port, tty: Path) -> None:
    seen: set[int] = set()

    def change(host: serial.Serial) -> None:
        for number in range(20):
            host.baudrate = (9600, 115200, 460800)[number % 3]
            host.dtr = bool(number % 2)
            seen.add(port.baudrate)

    exchange(served, port, tty, MIB // 4, change)
    assert seen == {9600, 115200, 460800}


def test_opened_and_closed_again_and_again(served: ServedGadget, port: Port, tty: Path, soak: Soak) -> None:
    for number in range(soak.count(10, 100)):
        with opened(tty) as host:
            host.write(b"%d\n" % number)
            line = served.call(port.readline())
            served.call(port.write(line))
            assert host.readline() == b"%d\n" % number
        wait_for(lambda: not port.is_open, "the port to be closed")


def test_a_close_is_prompt_although_nobody_reads_here(served: ServedGadget, port: Port, tty: Path) -> None:
    with opened(tty) as host:
        host.write(b"to nobody")
        begun = time.monotonic()
    assert time.monotonic() - begun < PROMPT
    # It was on the line already, so it is not lost.
    assert served.call(port.readexactly(9)) == b"to nobody"


def test_a_close_waits_for_who_reads_here(served: ServedGadget, port: Port, tty: Path) -> None:
    data = noise(3, 20_000)
    reading = served.begin(port.readexactly(len(data)))
    with opened(tty) as host:
        host.write(data)
    assert digest(reading.result(60)) == digest(data)


# ---- a host that goes ------------------------------------------------------------------------------------------------


def test_what_is_written_to_a_closed_port_is_not_kept_for_the_next_one(
    served: ServedGadget, port: Port, tty: Path
) -> None:
    with pytest.raises(HostNotReadingError, match="does a program have the port open there"):
        served.call(port.write(b"stale", timeout=0.1))
    with opened(tty) as host:
        writing = served.begin(port.write(noise(4), timeout=None))
        wait_for(lambda: port.chip.is_full, "the writer to wait for the host")
        host.close()
    with pytest.raises(HostNotReadingError, match="closed the port after"):
        writing.result(60)
    with opened(tty) as host:
        served.call(port.write(b"fresh"))
        assert host.read(5) == b"fresh"


def test_unplugged_and_plugged_in_again(served: ServedGadget, port: Port, tty: Path) -> None:
    faults = Faults(served)
    with opened(tty) as host:
        host.write(b"half a li")
        assert served.call(port.read(4)) == b"half"
        faults.unplug()
        wait_for(lambda: not port.is_open, "the port to be closed")
    faults.plug()
    with opened(node(served, "*:1.0/ttyUSB*")) as host:
        host.write(b"line\n")
        assert served.call(port.readline()) == b"line\n"


# ---- several ---------------------------------------------------------------------------------------------------------


def test_two_ports_in_one_gadget(serve: Serve) -> None:
    bind_cp210x()
    ports = (Port(), Port())
    served = serve(gadget(*ports, name="two"))
    nodes = [node(served, f"*:1.{number}/ttyUSB*") for number in (0, 1)]
    with opened(nodes[0], baudrate=9600) as first, opened(nodes[1], baudrate=19200) as second:
        assert [port.baudrate for port in ports] == [9600, 19200]
        first.write(b"first")
        second.write(b"second")
        assert served.call(ports[1].readexactly(6)) == b"second"
        assert served.call(ports[0].readexactly(5)) == b"first"


def test_a_port_beside_the_kernels(serve: Serve) -> None:
    load("cdc-acm")
    bind_cp210x()
    acm, port = AcmPort(), Port()
    served = serve(gadget(acm, port, name="both"))
    with opened(node(served, "*:1.0/tty/ttyACM*")) as first, opened(node(served, "*:1.2/ttyUSB*")) as second:
        first.write(EVERY_BYTE)
        second.write(EVERY_BYTE)
        assert served.call(acm.reader.readexactly(256)) == EVERY_BYTE
        assert served.call(port.readexactly(256)) == EVERY_BYTE
        served.call(acm.writer.write(EVERY_BYTE))
        served.call(port.write(EVERY_BYTE))
        assert first.read(256) == second.read(256) == EVERY_BYTE
