"""The cable between usbip-vudc and vhci-hcd: real unplugs, and faults that the host's side can see."""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import socket
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import usb1

from gadget import BulkIn, BulkOut, DisconnectedError, Function, Gadget, LinkState, Setup, Speed, vendor_in, vendor_out
from gadget.configfs.udc import bind, unbind
from gadget.errors import (
    ClosedError,
    ControllerBusyError,
    KernelError,
    MissingModuleError,
    ProtocolError,
    UsageError,
)
from gadget.testing import BenchController, ServedGadget, wait_for
from gadget.testing.observe.leaks import settle, snapshot
from gadget.testing.usbip.cable import Cable, _Link
from gadget.testing.usbip.usbip_ports import HOST, connect_device, is_connected
from gadget.testing.usbip.usbip_protocol import HEADER_SIZE, MAX_TRANSFER, Answer, AnswerDecoder, Submit

pytestmark = pytest.mark.usb(controller="usbip-vudc")

TIMEOUT_MS = 10_000
PATIENCE = 30.0
#: Long enough for anything to happen that is not held up, short enough to wait for.
SOON_MS = 300
VERSION, STORE = 1, 2
#: GET_DESCRIPTOR of the device (USB 2.0, 9.4.3).
GET_DEVICE = bytes.fromhex("8006000100001200")
CONFIGFS = Path("/sys/kernel/config/usb_gadget")


class Talk(Function):
    """Does nothing by itself but answer requests: the tests use its endpoints."""

    rx = BulkOut(transfer_size=4096, depth=4)
    tx = BulkIn(transfer_size=4096, depth=4)

    def __init__(self) -> None:
        self.stored: list[bytes] = []

    @vendor_in(request=VERSION)
    async def version(self, setup: Setup) -> bytes:
        return b"version 1.0"

    @vendor_out(request=STORE)
    async def store(self, setup: Setup, data: memoryview) -> None:
        self.stored.append(bytes(data))


def ports_in_use() -> list[str]:
    lines = [line for path in HOST.glob("status*") for line in path.read_text().splitlines()]
    return [line for line in lines if line.split()[0] in ("hs", "ss") and line.split()[2] != "004"]


@pytest.fixture
def cable(udc: BenchController) -> Iterator[Cable]:
    """The cable of the test's controller, of which nothing is left afterwards: no thread, no port."""
    assert isinstance(udc.connection, Cable)
    yield udc.connection
    udc.connection.unplug()
    assert not udc.connection.plugged
    assert "cable" not in [thread.name for thread in threading.enumerate()]
    assert ports_in_use() == []


@pytest.fixture
def talk() -> Talk:
    return Talk()


@pytest.fixture
def served(cable: Cable, serve: Callable[..., ServedGadget], talk: Talk) -> ServedGadget:
    return serve(Gadget(talk, name="on-cable"))


def path_of(cable: Cable) -> Path:
    path = wait_for(cable.device_path, "the host to see the device")
    assert path is not None
    return path


def attribute(cable: Cable, name: str) -> str:
    return (path_of(cable) / name).read_text().strip()


def node_of(cable: Cable) -> Path:
    """The file through which programs use the device."""
    return Path(f"/dev/bus/usb/{int(attribute(cable, 'busnum')):03}/{int(attribute(cable, 'devnum')):03}")


@contextmanager
def opened(cable: Cable) -> Iterator[usb1.USBDeviceHandle]:
    """The device through libusb1, found by its place on the bus, its first interface claimed."""
    place = int(attribute(cable, "busnum")), int(attribute(cable, "devnum"))
    with usb1.USBContext() as context:
        devices = context.getDeviceIterator(skip_on_error=True)
        (device,) = [each for each in devices if (each.getBusNumber(), each.getDeviceAddress()) == place]
        with closing(device.open()) as handle:
            handle.claimInterface(0)
            yield handle
            with suppress(usb1.USBErrorNoDevice):
                handle.releaseInterface(0)


@pytest.fixture
def host(served: ServedGadget, cable: Cable) -> Iterator[usb1.USBDeviceHandle]:
    with opened(cable) as handle:
        yield handle


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    """For what the host does at the same time."""
    with ThreadPoolExecutor() as pool:
        yield pool


async def receive(talk: Talk) -> bytes:
    return bytes(await anext(talk.rx))


def send(served: ServedGadget, talk: Talk, data: bytes) -> None:
    served.call(talk.tx.write(data))


def version(host: usb1.USBDeviceHandle, timeout: int = TIMEOUT_MS) -> bytes:
    return bytes(host.controlRead(0xC1, VERSION, 0, 0, 64, timeout))


def assert_talks(served: ServedGadget, talk: Talk, host: usb1.USBDeviceHandle) -> None:
    """Control, OUT and IN work."""
    assert version(host) == b"version 1.0"
    received = served.begin(receive(talk))
    assert host.bulkWrite(talk.rx.address, b"hello", TIMEOUT_MS) == 5
    assert received.result(PATIENCE) == b"hello"
    send(served, talk, b"goodbye")
    assert host.bulkRead(talk.tx.address, 64, TIMEOUT_MS) == b"goodbye"


@pytest.mark.parametrize(("maximum", "megabits"), [(Speed.FULL, "12"), (Speed.HIGH, "480"), (None, "480")])
def test_plugging_it_in_makes_the_host_see_the_device(
    serve: Callable[..., ServedGadget], cable: Cable, talk: Talk, maximum: Speed | None, megabits: str
) -> None:
    assert cable.device_path() is None
    served = serve(Gadget(talk, name="on-cable", product_id=0x0107, max_speed=maximum))
    assert cable.plugged
    assert (attribute(cable, "idProduct"), attribute(cable, "speed")) == ("0107", megabits)
    with opened(cable) as host:
        assert_talks(served, talk, host)


def test_large_transfers_pass_unharmed(
    served: ServedGadget, host: usb1.USBDeviceHandle, talk: Talk, elsewhere: ThreadPoolExecutor
) -> None:
    data = bytes(range(251)) * 4000

    async def echo() -> None:
        await talk.tx.write(await talk.rx.read(len(data)))

    echoed = served.begin(echo())
    read = elsewhere.submit(host.bulkRead, talk.tx.address, len(data), TIMEOUT_MS)
    assert host.bulkWrite(talk.rx.address, data, TIMEOUT_MS) == len(data)
    assert read.result(PATIENCE) == data
    echoed.result(PATIENCE)


def test_unplugged_and_plugged_ten_times(served: ServedGadget, cable: Cable, talk: Talk) -> None:
    for count in range(10):
        with opened(cable) as host:
            assert_talks(served, talk, host)
        folder = path_of(cable)
        cable.unplug()
        assert (cable.plugged, cable.device_path(), folder.exists(), ports_in_use()) == (False, None, False, [])
        wait_for(lambda: talk.link is LinkState.BOUND, "DISABLE")
        cable.unplug()
        cable.plug()
        served.wait_generation(count + 2)
    with opened(cable) as host:
        assert_talks(served, talk, host)


def test_plugging_it_in_again_is_no_leak_and_plugging_it_in_is_one(served: ServedGadget, cable: Cable) -> None:
    cable.unplug()
    unplugged = snapshot()
    cable.plug()
    served.wait_configured()
    leaks = snapshot().leaks_since(unplugged)
    assert [leak.partition(": ")[2] for leak in leaks if "file descriptor" in leak] == [
        "an end of the cable of usbip-vudc.0, opened during the test"
    ] * 2
    assert any(leak.endswith("'cable', started during the test") for leak in leaks), leaks
    plugged = snapshot()
    cable.unplug()
    cable.plug()
    served.wait_configured()
    assert settle(plugged, PATIENCE) == []


def test_unbinding_the_gadget_ends_the_connection(served: ServedGadget, cable: Cable, talk: Talk) -> None:
    unbind(served.gadget.path)
    wait_for(lambda: not cable.plugged, "the cable to notice")
    wait_for(lambda: cable.device_path() is None, "the host to see it go")
    with pytest.raises(KernelError, match=r"no gadget is bound to usbip-vudc\.0: bind it first"):
        cable.plug()
    bind(served.gadget.path, cable.udc)
    cable.plug()
    served.wait_generation(2)
    with opened(cable) as host:
        assert_talks(served, talk, host)


def test_the_host_can_detach_it(served: ServedGadget, cable: Cable, talk: Talk) -> None:
    (port,) = ports_in_use()
    (HOST / "detach").write_text(str(int(port.split()[1])))
    wait_for(lambda: talk.link is LinkState.BOUND, "DISABLE")
    wait_for(lambda: not cable.plugged, "the cable to notice")
    cable.plug()
    served.wait_generation(2)


def test_stall_in(served: ServedGadget, host: usb1.USBDeviceHandle, cable: Cable, talk: Talk) -> None:
    rule = cable.stall(talk.tx.address)
    send(served, talk, b"not lost")
    with pytest.raises(usb1.USBErrorPipe):
        host.bulkRead(talk.tx.address, 64, TIMEOUT_MS)
    assert rule.hits == 1
    host.clearHalt(talk.tx.address)
    assert host.bulkRead(talk.tx.address, 64, TIMEOUT_MS) == b"not lost"
    assert rule.hits == 1
    assert_talks(served, talk, host)


def test_stall_out_skipping_some(served: ServedGadget, host: usb1.USBDeviceHandle, cable: Cable, talk: Talk) -> None:
    rule = cable.stall(talk.rx.address, skip=1, count=2)
    received = [served.begin(receive(talk))]
    host.bulkWrite(talk.rx.address, b"first", TIMEOUT_MS)
    for _ in range(2):
        with pytest.raises(usb1.USBErrorPipe):
            host.bulkWrite(talk.rx.address, b"never seen", TIMEOUT_MS)
    host.clearHalt(talk.rx.address)
    assert received[0].result(PATIENCE) == b"first"
    received.append(served.begin(receive(talk)))
    host.bulkWrite(talk.rx.address, b"second", TIMEOUT_MS)
    assert received[1].result(PATIENCE) == b"second"
    assert rule.hits == 2


def test_stall_control(served: ServedGadget, host: usb1.USBDeviceHandle, cable: Cable, talk: Talk) -> None:
    rule = cable.stall(0, count=2)
    with pytest.raises(usb1.USBErrorPipe):
        version(host)
    with pytest.raises(usb1.USBErrorPipe):
        host.controlWrite(0x41, STORE, 0, 0, b"never seen", TIMEOUT_MS)
    assert rule.hits == 2
    assert_talks(served, talk, host)
    assert talk.stored == []


def test_short(served: ServedGadget, host: usb1.USBDeviceHandle, cable: Cable, talk: Talk) -> None:
    rules = [cable.short(talk.tx.address, 3), cable.short(talk.rx.address, 515)]
    send(served, talk, b"abcdef")
    assert host.bulkRead(talk.tx.address, 64, TIMEOUT_MS) == b"abc"
    received = served.begin(receive(talk))
    assert host.bulkWrite(talk.rx.address, bytes(range(250)) * 4, TIMEOUT_MS) == 515
    assert received.result(PATIENCE) == (bytes(range(250)) * 4)[:515]
    assert [rule.hits for rule in rules] == [1, 1]
    assert_talks(served, talk, host)


def test_short_control(served: ServedGadget, host: usb1.USBDeviceHandle, cable: Cable, talk: Talk) -> None:
    """Half of what was to be stored is nothing: the host has its acknowledgement, and the device does without."""
    for length in (7, 0):
        cable.short(0, length, count=2)
        assert version(host) == b"version 1.0"[:length]
        assert host.controlWrite(0x41, STORE, 0, 0, b"0123456789", TIMEOUT_MS) == length
        assert_talks(served, talk, host)
        assert talk.stored == []


def test_a_delay_does_not_hold_up_other_endpoints(
    served: ServedGadget, host: usb1.USBDeviceHandle, cable: Cable, talk: Talk, elsewhere: ThreadPoolExecutor
) -> None:
    delay = 2.0
    rule = cable.delay(talk.rx.address, delay)
    received = served.begin(receive(talk))
    began = time.monotonic()
    written = elsewhere.submit(host.bulkWrite, talk.rx.address, b"late", TIMEOUT_MS)
    wait_for(lambda: rule.hits == 1, "the delay to begin")
    send(served, talk, b"at once")
    assert host.bulkRead(talk.tx.address, 64, TIMEOUT_MS) == b"at once"
    assert version(host) == b"version 1.0"
    assert not written.done(), "the others were not faster than the delay"
    assert written.result(PATIENCE) == 4
    assert time.monotonic() - began >= delay
    assert received.result(PATIENCE) == b"late"


def test_the_host_can_give_up_what_is_delayed(
    served: ServedGadget, host: usb1.USBDeviceHandle, cable: Cable, talk: Talk
) -> None:
    rule = cable.delay(talk.rx.address, 3600.0)
    with pytest.raises(usb1.USBErrorTimeout):
        host.bulkWrite(talk.rx.address, b"never seen", SOON_MS)
    assert rule.hits == 1
    assert_talks(served, talk, host)


def test_a_dropped_transfer_stays_until_the_host_gives_it_up(
    served: ServedGadget, host: usb1.USBDeviceHandle, cable: Cable, talk: Talk
) -> None:
    rules = [cable.drop(endpoint) for endpoint in (talk.tx.address, talk.rx.address, 0)]
    send(served, talk, b"not lost")
    with pytest.raises(usb1.USBErrorTimeout):
        host.bulkRead(talk.tx.address, 64, SOON_MS)
    with pytest.raises(usb1.USBErrorTimeout):
        host.bulkWrite(talk.rx.address, b"never seen", SOON_MS)
    with pytest.raises(usb1.USBErrorTimeout):
        version(host, SOON_MS)
    assert [rule.hits for rule in rules] == [1, 1, 1]
    assert host.bulkRead(talk.tx.address, 64, TIMEOUT_MS) == b"not lost"
    assert_talks(served, talk, host)


def test_the_host_can_give_up_what_the_device_has(served: ServedGadget, host: usb1.USBDeviceHandle, talk: Talk) -> None:
    """No fault at all: the device has nothing to say yet."""
    for _ in range(3):
        with pytest.raises(usb1.USBErrorTimeout):
            host.bulkRead(talk.tx.address, 64, SOON_MS)
    assert_talks(served, talk, host)


# linux/usbdevice_fs.h: what libusb makes of an errno hides which one it was.
CLAIM_INTERFACE, BULK = 0x8004550F, 0xC0185502


def bulk_errno(cable: Cable, endpoint: int, length: int) -> int:
    """What the kernel itself says of one transfer: an errno, or 0."""
    buffer = ctypes.create_string_buffer(length)
    with node_of(cable).open("r+b", buffering=0) as node:
        fcntl.ioctl(node, CLAIM_INTERFACE, array.array("I", [0]))
        request = struct.pack("@IIIP", endpoint, length, TIMEOUT_MS, ctypes.addressof(buffer))
        try:
            fcntl.ioctl(node, BULK, request)
        except OSError as error:
            return error.errno or 0
    return 0


@pytest.mark.parametrize("number", [errno.EPROTO, errno.EILSEQ, errno.EOVERFLOW, errno.ETIME, errno.EREMOTEIO])
def test_fail_with_any_errno(served: ServedGadget, cable: Cable, talk: Talk, number: int) -> None:
    rule = cable.fail(talk.tx.address, number)
    send(served, talk, b"not lost")
    assert bulk_errno(cable, talk.tx.address, 512) == number
    assert bulk_errno(cable, talk.tx.address, 512) == 0
    assert rule.hits == 1


def test_rules_last_until_they_are_removed(
    served: ServedGadget, host: usb1.USBDeviceHandle, cable: Cable, talk: Talk
) -> None:
    rule = cable.fail(0, errno.EPROTO, count=None)
    for _ in range(3):
        with pytest.raises(usb1.USBErrorIO):
            version(host)
    rule.remove()
    assert version(host) == b"version 1.0"
    assert rule.hits == 3
    rules = [cable.stall(0, count=None), cable.stall(talk.tx.address)]
    cable.clear()
    assert_talks(served, talk, host)
    assert [each.hits for each in rules] == [0, 0]


def test_rules_outlast_an_unplug(served: ServedGadget, cable: Cable, talk: Talk) -> None:
    """Here they meet the enumeration, which the host then tries again."""
    cable.unplug()
    rule = cable.stall(0)
    cable.plug()
    served.wait_generation(2)
    assert rule.hits == 1


@pytest.mark.parametrize("direction", ["in", "out", "control"])
def test_vanish_in_mid_transfer(served: ServedGadget, cable: Cable, talk: Talk, direction: str) -> None:
    received, drained = served.begin(receive(talk)), served.begin(fill_and_drain(talk))
    wait_for(lambda: talk.tx.counters.in_flight == 4, "the device to have something to send")
    rule = cable.vanish({"in": talk.tx.address, "out": talk.rx.address, "control": 0}[direction])
    attempts: dict[str, Callable[[usb1.USBDeviceHandle], object]] = {
        "in": lambda host: host.bulkRead(talk.tx.address, 1 << 20, TIMEOUT_MS),
        "out": lambda host: host.bulkWrite(talk.rx.address, bytes(1 << 20), TIMEOUT_MS),
        "control": version,
    }
    with opened(cable) as host, pytest.raises((usb1.USBErrorNoDevice, usb1.USBErrorIO, usb1.USBErrorPipe)):
        attempts[direction](host)
    assert rule.hits == 1
    with pytest.raises(DisconnectedError):
        drained.result(PATIENCE)
    if direction != "out":
        with pytest.raises(DisconnectedError):
            received.result(PATIENCE)
    wait_for(lambda: cable.device_path() is None, "the host to see it go")
    assert not cable.plugged
    wait_for(lambda: talk.link is LinkState.BOUND, "DISABLE")
    cable.plug()
    served.wait_generation(2)
    with opened(cable) as host:
        assert_talks(served, talk, host)


async def fill_and_drain(talk: Talk) -> None:
    """More than the device can have under way."""
    await talk.tx.write(bytes(4 << 20))
    await talk.tx.drain()


def test_pulled_while_both_sides_have_transfers_under_way(
    served: ServedGadget, cable: Cable, talk: Talk, elsewhere: ThreadPoolExecutor
) -> None:
    received = served.begin(receive(talk))
    with opened(cable) as host:
        read: Future[object] = elsewhere.submit(host.bulkRead, talk.tx.address, 64, 0)
        wait_for(lambda: cable._link is not None and cable._link._wire._turns, "the device to have the transfer")
        cable.unplug()
        with pytest.raises((usb1.USBErrorNoDevice, usb1.USBErrorIO, usb1.USBErrorPipe)):
            read.result(PATIENCE)
    with pytest.raises(DisconnectedError):
        received.result(PATIENCE)


@contextmanager
def linked() -> Iterator[tuple[_Link, socket.socket, socket.socket]]:
    """What is inside a cable, and its two ends, the host's first."""
    host, host_end = socket.socketpair()
    device, device_end = socket.socketpair()
    link = _Link("usbip-vudc.0", host, device, [], threading.Lock())
    with host_end, device_end:
        for end in (host_end, device_end):
            end.settimeout(PATIENCE)
        try:
            yield link, host_end, device_end
        finally:
            link.end()
            link.close()


def test_what_is_too_large_for_the_controller_does_no_harm(served: ServedGadget, cable: Cable) -> None:
    """Host programs have limits of their own that are lower, so here the test is the host, and asks for descriptors."""
    cable.unplug()
    asked = [Submit(n, True, 0, length, setup=GET_DEVICE) for n, length in enumerate((MAX_TRANSFER + 1, 18))]
    with linked() as (_, host_end, device_end):
        connect_device(cable.udc, device_end)
        host_end.sendall(b"".join(map(bytes, asked)))
        too_large, descriptor = AnswerDecoder(lambda n: asked[n]).feed(read_exactly(host_end, 2 * HEADER_SIZE + 18))
        assert too_large.status == -errno.ENOMEM
        assert isinstance(descriptor, Answer)
        assert descriptor.data[:2] == b"\x12\x01"
    wait_for(lambda: not is_connected(cable.udc), "the gadget to let go")
    cable.plug()
    served.wait_generation(2)


def read_exactly(end: socket.socket, length: int) -> bytes:
    with end.makefile("rb") as stream:
        return stream.read(length)


def test_answers_to_a_connection_before_are_no_harm(served: ServedGadget, cable: Cable, talk: Talk) -> None:
    """The controller sends what it still has to whoever comes next. Here it has a lot: its socket is full."""
    cable.unplug()
    asked = b"".join(bytes(Submit(n, True, 0, 18, setup=GET_DEVICE)) for n in range(1, 1001))
    impatient, device_end = socket.socketpair()
    with impatient, device_end:
        impatient.settimeout(PATIENCE)
        connect_device(cable.udc, device_end)
        impatient.sendall(asked)
        wait_for(lambda: answers_fill(impatient), "the controller to have no more room for answers")
        impatient.shutdown(socket.SHUT_RDWR)
        wait_for(lambda: not is_connected(cable.udc), "the gadget to let go")
    cable.plug()
    served.wait_generation(2)
    with opened(cable) as host:
        assert_talks(served, talk, host)


def answers_fill(end: socket.socket) -> bool:
    """Whether there are many answers to read, and no more are coming."""
    there = [unread(end)]
    threading.Event().wait(0.1)
    return there == [unread(end)] and there[0] > 100 * (HEADER_SIZE + 18)


def unread(end: socket.socket) -> int:
    """How many bytes wait to be read."""
    count = array.array("i", [0])
    fcntl.ioctl(end, termios.FIONREAD, count)
    return count[0]


@pytest.fixture
def kernel_gadget() -> Iterator[Path]:
    """A device of the kernel's own: f_sourcesink, made by hand; its IN endpoint sends zeros without end."""
    tree = CONFIGFS / "kernel-gadget"
    folders = [tree, tree / "configs/c.1", tree / "functions/SourceSink.0"]
    for folder in folders:
        folder.mkdir()
    (tree / "idVendor").write_text("0x1d6b")
    (tree / "idProduct").write_text("0x0108")
    link = tree / "configs/c.1/source-sink"
    link.symlink_to(folders[2])
    yield tree
    unbind(tree)
    link.unlink()
    for folder in reversed(folders):
        folder.rmdir()


def test_faults_meet_the_kernels_own_functions_too(kernel_gadget: Path, cable: Cable) -> None:
    bind(kernel_gadget, cable.udc)
    cable.plug()
    wait_for(lambda: attribute(cable, "bConfigurationValue") == "1", "the host to configure it")
    assert attribute(cable, "idProduct") == "0108"
    with opened(cable) as host:
        source, sink = 0x81, 0x01
        assert host.bulkRead(source, 512, TIMEOUT_MS) == bytes(512)
        cable.stall(source)
        with pytest.raises(usb1.USBErrorPipe):
            host.bulkRead(source, 512, TIMEOUT_MS)
        host.clearHalt(source)
        cable.short(source, 100)
        assert host.bulkRead(source, 512, TIMEOUT_MS) == bytes(100)
        cable.fail(sink, errno.EOVERFLOW)
        with pytest.raises(usb1.USBErrorOverflow):
            host.bulkWrite(sink, bytes(512), TIMEOUT_MS)
        assert host.bulkWrite(sink, bytes(512), TIMEOUT_MS) == 512
        cable.vanish(sink)
        # One packet: a long transfer to a function that takes it as fast as this one is the kernel's end (limits.rst).
        with pytest.raises((usb1.USBErrorNoDevice, usb1.USBErrorIO, usb1.USBErrorPipe)):
            host.bulkWrite(sink, bytes(512), TIMEOUT_MS)
    cable.plug()
    wait_for(lambda: attribute(cable, "bConfigurationValue") == "1", "the host to configure it again")
    with opened(cable) as host:
        assert host.bulkRead(source, 512, TIMEOUT_MS) == bytes(512)


@pytest.mark.parametrize("direction", [0x80, 0x00])
def test_isochronous_transfers_pass_as_they_are(kernel_gadget: Path, cable: Cable, direction: int) -> None:
    """The controller answers every packet with an error; the cable gets all of that across, and works on."""
    bind(kernel_gadget, cable.udc)
    cable.plug()
    wait_for(lambda: attribute(cable, "bConfigurationValue") == "1", "the host to configure it")
    with opened(cable) as host:
        host.setInterfaceAltSetting(0, 1)
        settings = [setting for setting in host.getDevice().iterSettings() if setting.getAlternateSetting() == 1]
        endpoints = [endpoint for setting in settings for endpoint in setting if endpoint.getAttributes() & 3 == 1]
        (endpoint,) = [each for each in endpoints if each.getAddress() & 0x80 == direction]
        size = endpoint.getMaxPacketSize()
        rule = cable.short(endpoint.getAddress(), 3)
        with closing(host.getTransfer(iso_packets=5)) as transfer:
            transfer.setIsochronous(endpoint.getAddress(), 5 * size, timeout=TIMEOUT_MS)
            transfer.submit()
            # A synchronous transfer handles the events of the others as well.
            wait_for(lambda: host.controlRead(0x80, 0, 0, 0, 2) and not transfer.isSubmitted(), "the transfer")
            assert [packet["actual_length"] for packet in transfer.getISOSetupList()] == [0] * 5
        assert rule.hits == 1
        assert host.bulkRead(0x81, 512, TIMEOUT_MS) == bytes(512)


def test_what_cannot_be_plugged_says_what_to_do(cable: Cable) -> None:
    with pytest.raises(KernelError, match=r"no gadget is bound to usbip-vudc\.0: bind it first") as refusal:
        cable.plug()
    assert refusal.value.errno == errno.ENODEV
    assert not cable.plugged
    with Cable("usbip-vudc.99") as missing, pytest.raises(MissingModuleError, match="modprobe usbip-vudc num=100"):
        missing.plug()
    with pytest.raises(UsageError, match=r"dummy_udc\.0 has no cable"):
        Cable("dummy_udc.0")


def test_without_vhci_it_says_what_to_load(cable: Cable) -> None:
    subprocess.run(["modprobe", "-r", "vhci-hcd"], check=True)
    try:
        with pytest.raises(MissingModuleError, match="modprobe vhci-hcd"):
            cable.plug()
    finally:
        subprocess.run(["modprobe", "vhci-hcd"], check=True)


def test_one_cable_for_one_controller(served: ServedGadget, cable: Cable, talk: Talk) -> None:
    with pytest.raises(UsageError, match="plugged in already"):
        cable.plug()
    with Cable() as other, pytest.raises(ControllerBusyError, match=r"usbip-vudc\.0 has a cable already"):
        other.plug()
    with opened(cable) as host:
        assert_talks(served, talk, host)


def test_a_closed_cable_is_of_no_more_use(served: ServedGadget, cable: Cable) -> None:
    cable.close()
    cable.close()
    cable.unplug()
    for use in (cable.plug, cable.clear, lambda: cable.stall(0x81)):
        with pytest.raises(ClosedError, match="make a new one"):
            use()


def test_a_cable_that_is_forgotten_is_complained_about(served: ServedGadget, cable: Cable, talk: Talk) -> None:
    """It is torn out without waiting for the host, which must not take the next one for the same device."""
    cable.unplug()
    other = Cable()
    other.plug()
    served.wait_generation(2)
    with pytest.warns(ResourceWarning, match=r"<Cable of usbip-vudc\.0, plugged> was not closed"):
        del other
    wait_for(lambda: not is_connected(cable.udc), "the gadget to let go")
    wait_for(lambda: talk.link is LinkState.BOUND, "DISABLE")
    cable.plug()
    served.wait_generation(3)
    wait_for(lambda: len(ports_in_use()) == 1, "the host to let go of the first")


def test_a_failure_of_the_thread_unplugs_it_and_is_told(
    served: ServedGadget, cable: Cable, talk: Talk, elsewhere: ThreadPoolExecutor
) -> None:
    """It is made to forget what the device has, so that the device's answer is one to nothing."""
    with opened(cable) as host:
        read: Future[object] = elsewhere.submit(host.bulkRead, talk.tx.address, 64, 0)
        link = cable._link
        assert link is not None
        wait_for(lambda: link._wire._turns, "the device to have the transfer")
        link._wire._turns.clear()
        send(served, talk, b"an answer")
        with pytest.raises((usb1.USBErrorNoDevice, usb1.USBErrorIO, usb1.USBErrorPipe)):
            read.result(PATIENCE)
    wait_for(lambda: not cable.plugged, "the thread to end")
    wait_for(lambda: talk.link is LinkState.BOUND, "DISABLE")
    with pytest.raises(ProtocolError, match="which it does not have"):
        cable.stall(talk.tx.address)
    cable.plug()
    served.wait_generation(2)


@pytest.mark.parametrize(
    "garbage", [b"\0" * 48, b"GET / HTTP/1.1\r\nHost: an-unexpected-visitor.example\r\n\r\n"], ids=["zeros", "http"]
)
@pytest.mark.parametrize("side", ["host", "device"])
def test_garbage_ends_the_connection_instead_of_hanging(garbage: bytes, side: str) -> None:
    with linked() as (link, host_end, device_end):
        read_exactly(device_end, HEADER_SIZE)  # What the cable itself asks the device first.
        {"host": host_end, "device": device_end}[side].sendall(garbage)
        assert (host_end.recv(1), device_end.recv(1)) == (b"", b"")
        link.end()
        with pytest.raises(ProtocolError, match="not USB/IP"):
            link.check()


def test_an_end_of_the_stream_within_a_message_is_an_unplug() -> None:
    with linked() as (link, host_end, device_end):
        read_exactly(device_end, HEADER_SIZE)
        host_end.sendall(bytes(20))
        host_end.shutdown(socket.SHUT_WR)
        assert device_end.recv(1) == b""
        link.end()
        link.check()
