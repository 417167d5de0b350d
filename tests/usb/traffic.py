"""A host that keeps an echo busy both ways, looks at all that comes back, and can change its mind."""

from __future__ import annotations

import errno
import os
import random
import struct
import threading
from collections import Counter, deque
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from gadget.testing import Served, wait_for
from gadget.testing.host_device import HostDevice
from gadget.testing.usbfs import ControlRequest, Urb, Usbfs

#: What a message begins with: whose it is, and its number.
HEADER = struct.Struct("<QQ")
#: What a message that was taken back ends with (unlinked asynchronously, or with its device).
TAKEN_BACK = {-errno.ENOENT, -errno.ECONNRESET}
#: Seconds that an answer may take.
PATIENCE = 30.0


def bulk_endpoints(device: HostDevice) -> tuple[int, int]:
    """The addresses of the pair, out and in."""
    addresses = [int(path.name.removeprefix("ep_"), 16) for path in device.path.glob("*:1.0/ep_*")]
    (out,) = [address for address in addresses if address < 0x80]
    (into,) = [address for address in addresses if address > 0x80]
    return out, into


class Traffic:
    """Numbered messages to a device that echoes them, several queued each way, until one fails or the block ends.

    Args:
        served: The device.
        source: What is sent, and what is taken back.
        queued: How many transfers each way.
        size: The most bytes of a message. None is a multiple of a packet, so each is one transfer at either end.
        unlink: How probable it is, each time that a transfer ends, that the host takes another one back. What comes
            back is not looked at then: the host itself has lost a part of it.

    Attributes:
        sent: How many were taken by the device.
        received: How many came back.
        wrong: What came back and was not next.
        ended: How many transfers ended with which error, beside those that this host has taken back.
        unlinked: How many it has taken back.
    """

    def __init__(
        self, served: Served, source: random.Random, *, queued: int = 8, size: int = 4096, unlink: float = 0.0
    ) -> None:
        self._device = served.device
        self._usbfs = self._device.usbfs()
        self._out, self._into = bulk_endpoints(self._device)
        self._source, self._queued, self._size, self._unlink = source, queued, size, unlink
        self.tag = source.getrandbits(64)
        self.numbered = self.sent = self.received = self.unlinked = 0
        self.wrong: list[bytes] = []
        self.ended: Counter[str] = Counter()
        self._expected: deque[bytes] = deque()
        self._taken_back: set[Urb] = set()
        self._asked: deque[tuple[ControlRequest, Future[Urb]]] = deque()
        self._answers: dict[Urb, Future[Urb]] = {}
        self._moving = 0
        self._stopping, self._checking = False, not unlink
        self._thread = threading.Thread(target=self._run, name="traffic")
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._usbfs.__enter__()
        self._usbfs.claim(0)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the host hangs"
        self._usbfs.__exit__(kind, error, trace)
        if error is None:
            assert self._error is None
            assert not self.wrong, f"after {self.received} messages another one came back: {self.wrong[0][:32]!r}"

    def wait_flowing(self, count: int = 16) -> None:
        """Waits until so many more have come back."""
        goal = self.received + count
        wait_for(lambda: self.received >= goal or self.is_over, f"message {goal} to come back")
        assert self.received >= goal, f"it ended at {self.received}: {self.ended}"

    def wait_still(self) -> None:
        """Waits until nothing moves any more, since the device reads no more: the host's transfers stay in flight."""
        sent = -1
        while sent != self.sent:
            sent = self.sent
            self._thread.join(0.5)
        assert not self.is_over, f"it ended: {self.ended}"

    def ask(self, request: ControlRequest) -> bytes:
        """A control request beside it, by the same program; what it has answered.

        Raises:
            OSError: EPIPE: it was refused.
        """
        answer: Future[Urb] = Future()
        self._asked.append((request, answer))
        return checked(answer.result(PATIENCE))

    def expect_a_break(self) -> int:
        """From here on messages may be lost: the connection ends, and this host may go on with the next one.

        Returns:
            How many messages the device has taken: what comes of those after the break was written before it. Those
            that are in flight may be for the next generation, where the host's kernel knows of no break.
        """
        self._checking = False
        return self.sent

    def wait_ended(self) -> None:
        """Waits until every transfer has ended by itself, since the device has gone."""
        wait_for(lambda: self.is_over, "the host's transfers to end")

    @property
    def is_over(self) -> bool:
        """Whether something has ended it, and nothing is in flight any more."""
        return not self._thread.is_alive() or (bool(self.ended) and not self._moving)

    # ---- the host's thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            for _ in range(self._queued):
                self._receive()
            for _ in range(self._queued):
                self._send()
            while self._usbfs.in_flight or not self._stopping:
                self._step()
        except OSError as error:
            # The host's kernel refuses what is for a device that has gone, or for an endpoint that it has no more.
            self._count(-(error.errno or errno.EIO))
            if self._checking:
                self._error = error
        except BaseException as error:
            self._error = error

    def _step(self) -> None:
        while self._asked:
            request, answer = self._asked.popleft()
            self._answers[self._usbfs.submit_control(request)] = answer
        if self._stopping:
            for urb in self._usbfs.in_flight:
                self._usbfs.discard(urb)
        ended = self._usbfs.reap(0.02)
        if ended is None:
            return
        if ended in self._answers:
            self._answers.pop(ended).set_result(ended)
        else:
            self._moving -= 1
            self._look_at(ended)
            if not (self._stopping or self.ended):
                self._go_on(ended.endpoint)

    def _go_on(self, endpoint: int) -> None:
        if endpoint == self._into:
            self._receive()
        else:
            self._send()
        if self._source.random() < self._unlink:
            self._take_back(self._source.choice(self._usbfs.in_flight))

    def _receive(self) -> None:
        self._usbfs.submit(self._into, self._size)
        self._moving += 1

    def _send(self) -> None:
        length = self._source.randrange(HEADER.size, self._size)
        length -= length % 64 == 0
        data = HEADER.pack(self.tag, self.numbered) + self._source.randbytes(max(0, length - HEADER.size))
        self.numbered += 1
        self._expected.append(data)
        self._usbfs.submit(self._out, data)
        self._moving += 1

    def _take_back(self, urb: Urb) -> None:
        if self._usbfs.discard(urb):
            self._taken_back.add(urb)
            self.unlinked += 1

    def _look_at(self, urb: Urb) -> None:
        is_ours = urb in self._taken_back
        self._taken_back.discard(urb)
        if urb.status:
            if self._stopping:
                # What comes after it lacks what it has taken with it, either way.
                self._checking = False
            elif not (is_ours and urb.status in TAKEN_BACK):
                self._count(urb.status)
        elif urb.endpoint == self._into:
            self.received += 1
            if self._checking and (not self._expected or urb.data != self._expected.popleft()):
                self.wrong.append(urb.data)
        else:
            self.sent += 1
        if not self._checking:
            self._expected.clear()

    def _count(self, status: int) -> None:
        self.ended[errno.errorcode.get(-status, str(status))] += 1


def echoes(served: Served, source: random.Random, count: int = 3) -> list[bytes]:
    """Sends messages until the device has sent them back, in their order; what has come before them is returned.

    A zero-length packet first: it ends what a host may have begun and taken back.
    """
    before: list[bytes] = []
    messages = [source.randbytes(source.randrange(100, 4000) | 1) for _ in range(count)]
    device = served.device
    out, into = bulk_endpoints(device)
    with device.usbfs() as usbfs:
        usbfs.claim(0)
        for data in (b"", *messages):
            usbfs.submit(out, data)
        for expected in messages:
            while (received := _receive(usbfs, into)) != expected:
                assert expected is messages[0], f"{received[:32]!r} came between the messages"
                before.append(received)
        while usbfs.in_flight:
            _reap(usbfs)
    return [data for data in before if data]


def _receive(usbfs: Usbfs, into: int) -> bytes:
    urb = usbfs.submit(into, 1 << 16)
    while _reap(usbfs) is not urb:
        pass
    return urb.data


def _reap(usbfs: Usbfs) -> Urb:
    urb = usbfs.reap(PATIENCE)
    assert urb is not None, "the device does not answer"
    assert urb.status == 0, f"endpoint {urb.endpoint:#04x}: {errno.errorcode[-urb.status]}"
    return urb


def checked(urb: Urb) -> bytes:
    """What a control request has answered; an OSError if it was refused."""
    if urb.status:
        raise OSError(-urb.status, os.strerror(-urb.status))
    return urb.data


def ask(served: Served, request: ControlRequest) -> Urb:
    """A control request, and how it ended."""
    device = served.device
    with device.usbfs() as usbfs:
        return usbfs.control(request, PATIENCE)
