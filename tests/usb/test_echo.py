"""Data both ways, byte for byte."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import usb1

from gadget import Speed
from gadget.testing import BenchController, ServedGadget, wait_for
from tests.usb.devices import Echo

pytestmark = pytest.mark.usb(speed=["full", "high", "super"], controller=["dummy_hcd", "usbip-vudc"])

KIB, MIB = 1 << 10, 1 << 20
TIMEOUT_MS = 30_000
DEMO = Path(__file__).parents[2] / "examples/echo/demo.py"


def sizes(packet: int, most: int) -> list[int]:
    """0 to ``most``: every boundary of packets, of the device's 16 KiB transfers and of powers of two."""
    edges = {packet * n for n in (1, 2, 3, 4, 8)} | {1 << n for n in range(21)} | {3 * 16384, 17 * 16384}
    return sorted({0} | {edge + step for edge in edges for step in (-1, 0, 1) if edge + step <= most})


def round_trip(echo: Echo, device: Any, data: bytes) -> bytes:
    """Sends one message through pyusb, closed by a zero-length packet where it needs one, while receiving."""
    rx, tx = echo.rx, echo.tx

    def send() -> None:
        if data:
            device.write(rx.address, data, TIMEOUT_MS)
        if len(data) % rx.packet_size == 0:
            device.write(rx.address, b"", TIMEOUT_MS)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        room = (len(data) // tx.packet_size + 1) * tx.packet_size
        return bytes(device.read(tx.address, room, TIMEOUT_MS))
    finally:
        sender.join()


def test_messages_of_every_size_come_back(served: ServedGadget, echo: Echo, usb_device: Any, usb_speed: Speed) -> None:
    """At full speed the longest have several of the device's transfers too: a bus of 1.2 MB/s, both ways together."""
    source = random.Random(2)
    for size in sizes(echo.rx.packet_size, 64 * KIB if usb_speed is Speed.FULL else MIB):
        data = source.randbytes(size)
        assert round_trip(echo, usb_device, data) == data, f"{size} bytes"


def submit(handle: usb1.USBDeviceHandle, endpoint: int, data: Any, done: Callable[[Any], None]) -> None:
    transfer = handle.getTransfer()
    transfer.setBulk(endpoint, data, callback=done, timeout=TIMEOUT_MS)
    transfer.submit()


def test_many_transfers_in_flight_both_ways(served: ServedGadget, echo: Echo, usb_speed: Speed) -> None:
    """8 transfers out and 8 in at once, 16 MiB in all (1 at full speed), checked by a digest of each direction."""
    total, size, depth = (1 if usb_speed is Speed.FULL else 16) * MIB, 65536, 8
    source = random.Random(3)
    sent, received = hashlib.sha256(), hashlib.sha256()
    progress = {"queued": 0, "sent": 0, "received": 0}

    def next_chunk() -> bytes:
        chunk = source.randbytes(size)
        sent.update(chunk)
        progress["queued"] += size
        return chunk

    def on_sent(transfer: Any) -> None:
        assert transfer.getStatus() == usb1.TRANSFER_COMPLETED
        progress["sent"] += transfer.getActualLength()
        if progress["queued"] < total:
            transfer.setBuffer(next_chunk())
            transfer.submit()

    def on_received(transfer: Any) -> None:
        assert transfer.getStatus() == usb1.TRANSFER_COMPLETED
        received.update(transfer.getBuffer()[: transfer.getActualLength()])
        progress["received"] += transfer.getActualLength()
        if progress["received"] + depth * size <= total:
            transfer.submit()

    with served.device.libusb1_context() as (context, handle):
        for _ in range(depth):
            submit(handle, echo.tx.address, size, on_received)
        for _ in range(depth):
            submit(handle, echo.rx.address, next_chunk(), on_sent)
        while progress["received"] < total:
            context.handleEvents()
    assert progress["sent"] == total
    assert received.digest() == sent.digest()
    # The host has the last bytes before the device knows that it has.
    wait_for(lambda: echo.tx.counters.bytes == total, "the last completion")
    assert echo.rx.counters.bytes == total
    assert echo.rx.counters.errors == echo.tx.counters.errors == 0


@pytest.mark.usb(speed=["full", "high", "super"], controller="dummy_hcd")
def test_the_demo_holds(udc: BenchController, usb_speed: Speed) -> None:
    """As a user runs it: programs of their own, which choose the first controller that is free."""
    done = subprocess.run([sys.executable, DEMO, "--total", "1"], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    packet = {Speed.FULL: 64, Speed.HIGH: 512, Speed.SUPER: 1024}[usb_speed]
    assert f"1d6b:0104, {usb_speed.name.lower()}-speed" in done.stdout
    assert done.stdout.count(f"of {packet} bytes\n") == 2
    assert "nothing is left of it" in done.stdout
