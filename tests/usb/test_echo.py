"""Data both ways, byte for byte."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
import usb1

from gadget import Speed
from tests.usb.conftest import Served
from tests.usb.devices import echo_gadget

pytestmark = pytest.mark.usb

MIB = 1 << 20
TIMEOUT_MS = 30_000


def sizes(packet: int) -> list[int]:
    """0 to 1 MiB: every boundary of packets, of the device's 16 KiB transfers and of powers of two."""
    edges = {packet * n for n in (1, 2, 3, 4, 8)} | {1 << n for n in range(21)} | {3 * 16384, 17 * 16384}
    return sorted({0} | {edge + step for edge in edges for step in (-1, 0, 1) if edge + step <= MIB})


def round_trip(served: Served, device: Any, data: bytes) -> bytes:
    """Sends one message through pyusb, closed by a zero-length packet where it needs one, while receiving."""
    rx, tx = served.gadget.functions[0]._endpoints()

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


def test_messages_of_every_size_come_back(serve: Callable[..., Served], speed: Speed) -> None:
    served = serve(echo_gadget(speed))
    source = random.Random(2)
    with served.pyusb() as device:
        for size in sizes(served.gadget.functions[0]._endpoints()[0].packet_size):
            data = source.randbytes(size)
            assert round_trip(served, device, data) == data, f"{size} bytes"


def submit(handle: usb1.USBDeviceHandle, endpoint: int, data: Any, done: Callable[[Any], None]) -> None:
    transfer = handle.getTransfer()
    transfer.setBulk(endpoint, data, callback=done, timeout=TIMEOUT_MS)
    transfer.submit()


def test_many_transfers_in_flight_both_ways(serve: Callable[..., Served], speed: Speed) -> None:
    """8 transfers out and 8 in at once, 16 MiB in all, checked by a digest of each direction."""
    served = serve(echo_gadget(speed))
    rx, tx = served.gadget.functions[0]._endpoints()
    total, size, depth = 16 * MIB, 65536, 8
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

    with served.libusb1() as (context, handle):
        for _ in range(depth):
            submit(handle, tx.address, size, on_received)
        for _ in range(depth):
            submit(handle, rx.address, next_chunk(), on_sent)
        while progress["received"] < total:
            context.handleEvents()
    assert progress["sent"] == total
    assert received.digest() == sent.digest()
    assert rx.counters.bytes == tx.counters.bytes == total
    assert rx.counters.errors == tx.counters.errors == 0
