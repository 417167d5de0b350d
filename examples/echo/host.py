"""The host's side of the echo device: looks at it, checks that every size comes back byte for byte, measures.

Exit status 0 means that all of it held. It needs pyusb and tqdm, and the right to open the device.
"""

import argparse
import random
import sys
import threading
import time
from typing import Any

import usb.core
import usb.util
from tqdm import tqdm

SPEEDS = {1: "low speed", 2: "full speed", 3: "high speed", 4: "SuperSpeed"}
MIB = 1 << 20
TIMEOUT_MS = 30_000


class EchoHost:
    """The opened device: its interface claimed, its two endpoints found."""

    def __init__(self, device: Any) -> None:
        self.device = device
        configuration = device.get_active_configuration()
        self.interface = configuration[(0, 0)]
        usb.util.claim_interface(device, self.interface.bInterfaceNumber)
        self.rx, self.tx = (self._endpoint(way) for way in (usb.util.ENDPOINT_IN, usb.util.ENDPOINT_OUT))

    def _endpoint(self, direction: int) -> Any:
        found = usb.util.find_descriptor(
            self.interface, custom_match=lambda e: usb.util.endpoint_direction(e.bEndpointAddress) == direction
        )
        if found is None:
            sys.exit("this device has no bulk endpoint each way: it is no echo device")
        return found

    @property
    def packet_size(self) -> int:
        return int(self.tx.wMaxPacketSize)

    def send(self, data: bytes) -> None:
        """One message: a zero-length packet closes it where its last packet is a full one."""
        if data:
            self.tx.write(data, TIMEOUT_MS)
        if len(data) % self.packet_size == 0:
            self.tx.write(b"", TIMEOUT_MS)

    def receive(self, most: int) -> bytes:
        """One message of at most so many bytes; the room for one more packet lets the end of it show."""
        room = (most // self.packet_size + 1) * self.packet_size
        return bytes(self.rx.read(room, TIMEOUT_MS))

    def round_trip(self, data: bytes) -> bytes:
        """Sends while receiving: the device holds only so many transfers."""
        sender = threading.Thread(target=self.send, args=(data,))
        sender.start()
        try:
            return self.receive(len(data))
        finally:
            sender.join()


def find(vendor_id: int, product_id: int) -> Any:
    device = usb.core.find(idVendor=vendor_id, idProduct=product_id)
    if device is None:
        sys.exit(f"no device {vendor_id:04x}:{product_id:04x} on the bus; is it being served?")
    return device


def describe(echo: EchoHost) -> None:
    device = echo.device
    print(f"device        {device.idVendor:04x}:{device.idProduct:04x} at {SPEEDS.get(device.speed, device.speed)}")
    for field in ("manufacturer", "product", "serial_number"):
        print(f"{field:<14}{getattr(device, field)}")
    for endpoint in echo.interface:
        way = "IN " if endpoint.bEndpointAddress & 0x80 else "OUT"
        print(f"endpoint      {endpoint.bEndpointAddress:#04x} bulk {way} of {endpoint.wMaxPacketSize} bytes")


def sizes(packet: int) -> list[int]:
    """0 to 1 MiB, with every boundary of a packet, of the device's transfers and of powers of two."""
    edges = {packet * n for n in (1, 2, 3, 4, 8)} | {1 << n for n in range(21)} | {16384 * 3}
    return sorted({0} | {edge + step for edge in edges for step in (-1, 0, 1) if edge + step <= MIB})


def check_sizes(echo: EchoHost, seed: int) -> bool:
    source = random.Random(seed)
    chosen = sizes(echo.packet_size)
    for size in tqdm(chosen, desc="round trips", unit="message", ascii=" #"):
        sent = source.randbytes(size)
        received = echo.round_trip(sent)
        if received != sent:
            print(f"FAILED: {size} bytes sent, {len(received)} came back, and not the same")
            return False
    print(f"round trips of {len(chosen)} sizes from {chosen[0]} to {chosen[-1]} bytes came back byte for byte")
    return True


def measure(echo: EchoHost, total: int) -> bool:
    """Streams messages of 1 MiB through the device and back."""
    message = random.Random(0).randbytes(MIB)
    started = time.perf_counter()
    with tqdm(total=total, desc="throughput", unit="B", unit_scale=True, unit_divisor=1024, ascii=" #") as bar:
        while bar.n < total:
            if echo.round_trip(message) != message:
                print("FAILED: a message came back changed")
                return False
            bar.update(len(message))
    rate = total / MIB / (time.perf_counter() - started)
    print(f"throughput    {rate:.1f} MiB/s there and back, {total // MIB} messages of 1 MiB")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="1d6b:0104", metavar="VID:PID", help="which device (%(default)s)")
    parser.add_argument("--total", type=int, default=16, metavar="MIB", help="to stream (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the random data (%(default)s)")
    options = parser.parse_args()
    vendor_id, product_id = (int(part, 16) for part in options.device.split(":"))
    echo = EchoHost(find(vendor_id, product_id))
    describe(echo)
    held = check_sizes(echo, options.seed) and measure(echo, options.total * MIB)
    usb.util.dispose_resources(echo.device)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
