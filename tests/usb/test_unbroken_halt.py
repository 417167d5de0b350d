"""Endpoints that the host halts and clears again and again, with data under way."""

from __future__ import annotations

import errno
import random
from collections import deque
from collections.abc import Iterator

import pytest

from gadget.testing import Bus, Served
from gadget.testing.usbfs import ControlRequest, Urb, Usbfs
from tests.conftest import Soak
from tests.usb import sturdy
from tests.usb.standing import Before, Steady
from tests.usb.traffic import PATIENCE, bulk_endpoints

pytestmark = pytest.mark.usb(speed=["full", "high", "super"], controller=["dummy_hcd", "usbip-vudc"])

SET_FEATURE, ENDPOINT_HALT, TO_ENDPOINT = 3, 0, 0x02
STALLED = -errno.EPIPE
QUEUED = 4
MOST = 4096


@pytest.fixture(scope="module")
def served(usb_bus: Bus) -> Iterator[Served]:
    with usb_bus.serve(f"{sturdy.__file__}:sturdy", child=True) as served:
        yield served


class Stream:
    """A host that halts endpoints under load, and goes on after each halt with what the device has not taken yet.

    So the bytes that come back are the bytes that it has sent, every one and in their order.
    """

    def __init__(self, usbfs: Usbfs, out: int, into: int, source: random.Random) -> None:
        self.usbfs, self.out, self.into, self._source = usbfs, out, into, source
        self.sent = self.received = self.stalled = 0
        self._unanswered = bytearray()
        self._to_send: deque[bytes] = deque()
        self._written: dict[Urb, bytes] = {}

    def fill(self) -> None:
        """As much in flight both ways as is kept there."""
        endpoints = [urb.endpoint for urb in self.usbfs.in_flight]
        for _ in range(QUEUED - endpoints.count(self.into)):
            self.usbfs.submit(self.into, MOST)
        for _ in range(QUEUED - endpoints.count(self.out)):
            data = self._to_send.popleft() if self._to_send else self._source.randbytes(self._source.randint(1, MOST))
            self._written[self.usbfs.submit(self.out, data)] = data

    def reap(self) -> Urb:
        """Waits until something has ended, and takes account of it."""
        urb = self.usbfs.reap(PATIENCE)
        assert urb is not None, f"nothing moves after {self.sent} bytes out and {self.received} in"
        assert urb.status in (0, STALLED), errno.errorcode[-urb.status]
        self.stalled += urb.status == STALLED
        if urb.endpoint == self.out:
            self._was_sent(urb)
        elif urb.endpoint == self.into:
            self._has_come(urb.data)
        return urb

    def _was_sent(self, urb: Urb) -> None:
        data = self._written.pop(urb)
        self.sent += urb.transferred
        self._unanswered += data[: urb.transferred]
        if urb.status:
            self._to_send.append(data[urb.transferred :])

    def _has_come(self, data: bytes) -> None:
        # It may come back before the host is told that it was taken.
        while len(self._unanswered) < len(data):
            self.reap()
        assert data == self._unanswered[: len(data)], f"other data after {self.received} bytes"
        del self._unanswered[: len(data)]
        self.received += len(data)

    def halt(self, endpoint: int) -> None:
        """Halts it, sees everything that is queued there refused, and clears it."""
        request = self.usbfs.submit_control(ControlRequest(TO_ENDPOINT, SET_FEATURE, ENDPOINT_HALT, endpoint))
        while self.reap() is not request:
            self.fill()
        assert request.status == 0
        while any(urb.endpoint == endpoint for urb in self.usbfs.in_flight):
            self.reap()
        self.usbfs.clear_halt(endpoint)
        self._to_send = deque(data for data in self._to_send if data)

    def finish(self) -> None:
        """Sends nothing more, and waits until everything has come back; a zero-length packet ends the last transfer."""
        while any(urb.endpoint == self.out for urb in self.usbfs.in_flight):
            self.reap()
        self._written[self.usbfs.submit(self.out, b"")] = b""
        while self._unanswered or self._written:
            self.reap()
            for _ in range(QUEUED - len(self.usbfs.in_flight)):
                self.usbfs.submit(self.into, MOST)


def test_halt_and_clear_halt_under_load(served: Served, soak: Soak) -> None:
    source = soak.random()
    before, steady = Before(served, source), Steady(served)
    total = soak.count(36, 10_000)
    with served.device.usbfs() as usbfs:
        usbfs.claim(0)
        stream = Stream(usbfs, *bulk_endpoints(served.device), source)
        for number in range(total):
            stream.fill()
            for _ in range(source.randrange(3 * QUEUED)):
                stream.reap()
                stream.fill()
            stream.halt(source.choice((stream.out, stream.out, stream.into)))
            if number % (total // 12) == 0:
                steady.sample()
        stream.finish()
    assert stream.sent == stream.received > 0
    assert stream.stalled >= total / 2
    before.check()
    steady.check()
