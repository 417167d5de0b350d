"""What a test observes: usbmon, the kernel's log, and what is left behind in the kernel."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import usb.core

from gadget import NotPermittedError, UsageError
from gadget.errors import ClosedError
from gadget.protocol.constants import TransferType
from gadget.testing import KernelLog, ServedGadget, StillWaitingError
from gadget.testing.observe.leaks import settle, snapshot
from gadget.testing.observe.usbmon import Capture
from gadget.testing.observe.usbmon_event import Event, EventType, parse_event
from tests.usb.devices import Echo, echo_gadget

pytestmark = pytest.mark.usb

PATIENCE = 30.0
TIMEOUT_MS = 10_000
VENDOR_IN = 0xC1
USB_GADGET = Path("/sys/kernel/config/usb_gadget")


@pytest.fixture
def capture() -> Iterator[Capture]:
    with Capture() as opened:
        yield opened


def of_device(device: Any) -> Callable[[Event], bool]:
    return lambda event: (event.bus, event.device) == (device.bus, device.address)


def ask_version(device: Any) -> None:
    assert bytes(device.ctrl_transfer(VENDOR_IN, 1, 0, 0, 8, timeout=TIMEOUT_MS)) == b"1.0"


def is_version_request(event: Event) -> bool:
    return event.setup is not None and event.setup[:2] == bytes([VENDOR_IN, 1])


def test_a_control_transfer_is_seen(served: ServedGadget, usb_device: Any, capture: Capture) -> None:
    capture.flush()
    ask_version(usb_device)
    events = [event for event in capture.events if of_device(usb_device)(event)]
    submitted = next(event for event in events if is_version_request(event))
    completed = next(event for event in events if event.id == submitted.id and event.kind is EventType.COMPLETE)
    assert (submitted.kind, submitted.transfer) == (EventType.SUBMIT, TransferType.CONTROL)
    assert (submitted.endpoint, submitted.status, submitted.length) == (0x80, -errno.EINPROGRESS, 8)
    assert (completed.status, completed.length, completed.data) == (0, 3, b"1.0")
    assert completed.timestamp >= submitted.timestamp


def test_a_stall_is_seen(served: ServedGadget, usb_device: Any, capture: Capture) -> None:
    with pytest.raises(usb.core.USBError):
        usb_device.ctrl_transfer(VENDOR_IN, 5, 0, 0, 8, timeout=TIMEOUT_MS)
    refused = of_device(usb_device)
    assert capture.wait_for(lambda event: refused(event) and event.status == -errno.EPIPE, PATIENCE)


def exchange(device: Any, data: bytes) -> None:
    """A message to the echo device and back."""
    out, back = (endpoint.bEndpointAddress for endpoint in sorted(device[0][0, 0], key=lambda e: e.bEndpointAddress))
    device.write(out, data, timeout=TIMEOUT_MS)
    assert bytes(device.read(back, len(data) + 1, timeout=TIMEOUT_MS)) == data


def test_bulk_transfers_have_their_data_both_ways(served: ServedGadget, usb_device: Any, capture: Capture) -> None:
    data = bytes(range(250))
    exchange(usb_device, data)
    events = [event for event in capture.events if of_device(usb_device)(event)]
    carried = [event for event in events if event.transfer is TransferType.BULK and event.data == data]
    assert [(event.kind, event.endpoint & 0x80) for event in carried] == [
        (EventType.SUBMIT, 0),
        (EventType.COMPLETE, 0x80),
    ]


def test_draining_returns_what_is_new_and_flushing_forgets(
    served: ServedGadget, usb_device: Any, capture: Capture
) -> None:
    capture.drain()
    ask_version(usb_device)
    new = capture.drain()
    assert any(is_version_request(event) for event in new)
    assert not any(is_version_request(event) for event in capture.drain())
    assert [event for event in new if event not in capture.events] == []
    capture.flush()
    assert not any(is_version_request(event) for event in capture.events)


def test_a_reader_loses_nothing_where_the_ring_is_too_small(served: ServedGadget, usb_device: Any) -> None:
    """More goes over the bus than a ring holds that nobody empties."""
    data = bytes(range(256)) * 32
    with Capture(ring_size=64 << 10) as idle, Capture(ring_size=256 << 10) as busy:
        busy.start()
        for _ in range(40):
            exchange(usb_device, data + b".")
        mine = of_device(usb_device)
        carried = [event for event in busy.events if mine(event) and len(event.data) > len(data)]
        busy.stop()
        assert idle.dropped > 0
        assert (busy.dropped, len(carried)) == (0, 80)
        idle.flush()
        assert idle.dropped == 0


def test_starting_and_stopping_twice_does_no_harm(capture: Capture) -> None:
    before = snapshot()
    capture.start()
    capture.start()
    assert len([leak for leak in snapshot().leaks_since(before) if "'usbmon'" in leak]) == 1
    capture.stop()
    capture.stop()
    assert settle(before, PATIENCE) == []


@pytest.mark.parametrize("active", [False, True])
def test_waiting_for_an_event_that_comes_later(
    served: ServedGadget, usb_device: Any, capture: Capture, active: bool
) -> None:
    """The host asks in a process of its own, which is slower to begin than this one is to wait."""
    script = (
        f"import usb.core; d = usb.core.find(idVendor=0x1d6b, idProduct={{}}); d.ctrl_transfer({VENDOR_IN}, 1, 0, 0, 8)"
    )
    if active:
        capture.start()
    capture.flush()
    with subprocess.Popen([sys.executable, "-c", script.format(usb_device.idProduct)]) as host:
        event = capture.wait_for(is_version_request, PATIENCE)
    assert host.returncode == 0
    assert of_device(usb_device)(event)


@pytest.mark.parametrize("active", [False, True])
def test_waiting_in_vain_ends(capture: Capture, active: bool) -> None:
    if active:
        capture.start()
    with pytest.raises(StillWaitingError, match="an event of usbmon"):
        capture.wait_for(lambda event: False, 0.05)


def test_what_is_saved_is_what_was_seen(
    served: ServedGadget, usb_device: Any, capture: Capture, tmp_path: Path
) -> None:
    from pcapng import FileScanner, blocks

    ask_version(usb_device)
    capture.save(tmp_path / "usb.pcapng")
    with (tmp_path / "usb.pcapng").open("rb") as file:
        read = list(FileScanner(file))
    saved = [parse_event(block.packet_data) for block in read if isinstance(block, blocks.EnhancedPacket)]
    assert any(is_version_request(event) for event in saved)
    assert saved == capture.events[: len(saved)]
    assert read[-1].options["isb_ifdrop"] == 0


def test_a_bus_of_its_own(served: ServedGadget, usb_device: Any, capture: Capture) -> None:
    with Capture(usb_device.bus) as one:
        ask_version(usb_device)
        assert {event.bus for event in one.events} == {usb_device.bus}
    with pytest.raises(ClosedError):
        one.drain()


def test_a_bus_that_is_not_there_and_a_ring_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="there is no bus 99"):
        Capture(99)
    with pytest.raises(UsageError, match="no ring of 1 bytes"):
        Capture(ring_size=1)


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_who_may_not_look_is_told() -> None:
    with as_nobody():
        with pytest.raises(NotPermittedError, match="capturing takes root"):
            Capture()
        with pytest.raises(NotPermittedError, match="reading the kernel's log takes root"):
            KernelLog()


@pytest.fixture
def unlimited() -> Iterator[Path]:
    """The kernel's log, of which a program may write as much as it likes."""
    limit = Path("/proc/sys/kernel/printk_devkmsg")
    before = limit.read_text()
    limit.write_text("on\n")
    yield Path("/dev/kmsg")
    limit.write_text(before)


def test_the_log_since_its_mark(unlimited: Path) -> None:
    unlimited.write_text("<6>test: before\n")
    with KernelLog() as log:
        unlimited.write_text("<4>test: caf\u00e9 \\ au lait\n")
        (line,) = [line for line in log.lines() if "test: " in line.text]
        assert (line.level, line.text) == (4, "test: caf\u00e9 \\ au lait")
        assert log.text.endswith("] test: caf\u00e9 \\ au lait")
        assert line in log.lines()
        log.mark()
        assert line not in log.lines()
        assert log.lost == 0
    with pytest.raises(ClosedError):
        log.lines()


def test_what_the_kernel_itself_says_has_no_dictionary(serve: Callable[..., ServedGadget]) -> None:
    with KernelLog() as log:
        serve(echo_gadget(Echo()))
        line = log.wait_for(r"^usb \d+-\d+: new .* USB device", PATIENCE)
        assert "\n" not in line.text
        assert "SUBSYSTEM" not in log.text


def test_waiting_for_a_line(unlimited: Path) -> None:
    with KernelLog() as log:
        with subprocess.Popen(["sh", "-c", "echo '<6>test: number 17' > /dev/kmsg"]):
            assert log.wait_for(r"number \d+", PATIENCE).text == "test: number 17"
        with pytest.raises(StillWaitingError, match="'no such line'"):
            log.wait_for("no such line", 0.05)


def test_lines_that_were_overwritten_are_told(unlimited: Path) -> None:
    with KernelLog() as log:
        unlimited.write_text("<7>test: first\n")
        assert log.wait_for("test: first", PATIENCE)
        with unlimited.open("wb", buffering=0) as kernel:
            for number in range(3000):
                kernel.write(b"<7>test: %d " % number + b"x" * 800 + b"\n")
        assert log.wait_for("test: 2999 ", PATIENCE)
        assert 0 < log.lost < 3000
        assert len([line for line in log.lines() if "test: " in line.text]) == 3001 - log.lost
        assert f"\n[{log.lost} or more lines were overwritten before they could be read]\n" in log.text
        log.mark()
        assert (log.lost, log.text) == (0, "")


def test_lines_that_were_overwritten_before_any_was_read_are_told(unlimited: Path) -> None:
    with KernelLog() as log:
        with unlimited.open("wb", buffering=0) as kernel:
            for number in range(3000):
                kernel.write(b"<7>test: %d " % number + b"x" * 800 + b"\n")
        assert log.lost == 1
        assert log.text.startswith("[1 or more lines were overwritten")


def test_a_served_gadget_is_named_until_it_is_gone(serve: Callable[..., ServedGadget]) -> None:
    before = snapshot()
    served = serve(echo_gadget(Echo()))
    name = served.controller.tree.name if served.controller.tree else ""
    leaks = snapshot().leaks_since(before)
    assert any(leak.startswith(f"controller {served.controller.name}: it serves ") for leak in leaks), leaks
    for beginning in (
        f"gadget {name}: in configfs",
        "FunctionFS at ",
        "ownership record ",
        "thread ",
        "AIO: 1 context",
    ):
        assert any(leak.startswith(beginning) for leak in leaks), (beginning, leaks)
    assert any(leak.startswith("file descriptor ") and "/ep" in leak for leak in leaks), leaks
    served.stop()
    assert settle(before, PATIENCE) == []


def test_a_gadget_left_in_configfs_is_named() -> None:
    before = snapshot()
    (USB_GADGET / "left-behind").mkdir()
    assert settle(before, 0.05) == ["gadget left-behind: in configfs, made during the test"]
    (USB_GADGET / "left-behind").rmdir()
    assert settle(before, PATIENCE) == []


def test_an_aio_context_of_another_process_is_named() -> None:
    before = snapshot()
    script = "from gadget.aio import Context\nwith Context(8): print('open', flush=True), input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        (leak,) = [leak for leak in snapshot().leaks_since(before) if leak.startswith("AIO")]
        child.stdin.write("\n")
    assert leak.endswith("more slots in use, by another process's contexts")
    assert settle(before, 20.0) == []
