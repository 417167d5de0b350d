"""The host's side with python-libusb1 instead of ``host.c``: the same commands, without echo and control.

It is there to show how much of a figure is the host's: compare ``--host-program libusb1``.
"""

import sys
import time
from dataclasses import dataclass, field
from typing import Any

import usb1

PATIENCE_MS = 20_000


@dataclass
class Run:
    """A slice, and what has been seen of it."""

    begin: float
    end: float
    counted: int = 0
    total: int = 0
    first: float = 0.0
    last: float = 0.0
    cpu: float = 0.0
    over: bool = False
    in_flight: int = 0
    submitted: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    error: str = ""

    def count(self) -> None:
        """As count() in host.c: from the first completion after the ramp to the first after the end."""
        self.total += 1
        now = time.perf_counter()
        if self.over:
            return
        if not self.first:
            if now >= self.begin:
                self.first, self.cpu = now, time.process_time()
            return
        self.counted += 1
        self.last = now
        if now >= self.end:
            self.over = True
            self.cpu = time.process_time() - self.cpu


class Device:
    """A device that is open, its interface claimed.

    Each has a libusb context of its own: without udev, as in the virtual machine, an old one sees no new device.
    """

    def __init__(self, node: str) -> None:
        place = tuple(int(part) for part in node.split("/")[-2:])
        self.context = usb1.USBContext()
        self.context.open()
        (device,) = (
            each
            for each in self.context.getDeviceList(skip_on_error=True)
            if (each.getBusNumber(), each.getDeviceAddress()) == place
        )
        self.handle = device.open()
        self.handle.claimInterface(0)
        setting = device[0][0][0]
        addresses = [endpoint.getAddress() for endpoint in setting]
        self.source = next(address for address in addresses if address & usb1.ENDPOINT_IN)
        self.sink = next(address for address in addresses if not address & usb1.ENDPOINT_IN)

    def run(self, mode: str, size: int, queue: int, ramp: float, length: float) -> Run:
        begin = time.perf_counter() + ramp
        run = Run(begin, begin + length)

        def done(transfer: Any) -> None:
            run.in_flight -= 1
            moved = transfer.getActualLength()
            if transfer.getStatus() != usb1.TRANSFER_COMPLETED or moved != size:
                run.error, run.over = f"a transfer of {moved} bytes, status {transfer.getStatus()}", True
                return
            reads = bool(transfer.getEndpoint() & usb1.ENDPOINT_IN)
            if reads or mode == "out":
                run.count()
            if not run.over or (mode == "stream" and reads and run.submitted[True] < run.submitted[False]):
                submit(transfer)

        def submit(transfer: Any) -> None:
            transfer.submit()
            run.in_flight += 1
            run.submitted[bool(transfer.getEndpoint() & usb1.ENDPOINT_IN)] += 1

        ways = {"in": (self.source,), "out": (self.sink,), "stream": (self.source, self.sink)}[mode]
        transfers = [self._transfer(way, size, done) for _ in range(queue) for way in ways]
        for transfer in transfers:
            submit(transfer)
        while run.in_flight:
            self.context.handleEvents()
        return run

    def _transfer(self, endpoint: int, size: int, done: Any) -> Any:
        transfer = self.handle.getTransfer()
        transfer.setBulk(endpoint, bytearray(size), callback=done, timeout=PATIENCE_MS)
        return transfer


def obey(devices: dict[str, Device], word: str, arguments: list[str]) -> str:
    if word == "open":
        number = str(len(devices))
        devices[number] = Device(arguments[0])
        return number
    device = devices[arguments[0]]
    if word == "close":
        device.handle.close()
        device.context.close()
        return ""
    if word == "ask":
        return str(device.handle.controlRead(0xC1, int(arguments[1]), 0, 0, 16, PATIENCE_MS).hex())
    mode, size, queue, ramp, length = arguments[1], *map(int, arguments[2:])
    run = device.run(mode, size, queue, ramp / 1e9, length / 1e9)
    if run.error:
        raise OSError(run.error)
    elapsed, cpu = (int(seconds * 1e9) for seconds in (run.last - run.first, run.cpu))
    return f"{run.counted} {elapsed} {run.total} {cpu} 0 {size}"


def main() -> None:
    devices: dict[str, Device] = {}
    for line in sys.stdin:
        word, *arguments = line.split()
        try:
            print("ok", obey(devices, word, arguments), flush=True)
        except (OSError, KeyError, ValueError, usb1.USBError) as error:
            print("error", repr(error), flush=True)


if __name__ == "__main__":
    main()
