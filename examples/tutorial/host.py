"""Asks the checksum device for the CRC-32 of each argument."""

import sys
from typing import Any

import usb.core
import usb.util

VENDOR_IN = usb.util.CTRL_IN | usb.util.CTRL_TYPE_VENDOR | usb.util.CTRL_RECIPIENT_INTERFACE
VENDOR_OUT = usb.util.CTRL_OUT | usb.util.CTRL_TYPE_VENDOR | usb.util.CTRL_RECIPIENT_INTERFACE


class Host:
    """The device, found by its IDs, and the endpoints of its one interface."""

    def __init__(self) -> None:
        self.device: Any = usb.core.find(idVendor=0x1D6B, idProduct=0x0104)
        if self.device is None:
            sys.exit("there is no device 1d6b:0104 on the bus")
        self.interface = self.device.get_active_configuration()[(0, 0)]
        self.tx, self.rx = (self._endpoint(way) for way in (usb.util.ENDPOINT_OUT, usb.util.ENDPOINT_IN))

    def _endpoint(self, direction: int) -> Any:
        return usb.util.find_descriptor(
            self.interface, custom_match=lambda e: usb.util.endpoint_direction(e.bEndpointAddress) == direction
        )

    def checksum(self, message: bytes) -> int:
        if message:
            self.tx.write(message)
        if len(message) % self.tx.wMaxPacketSize == 0:
            self.tx.write(b"")
        return int.from_bytes(self.rx.read(self.rx.wMaxPacketSize), "little")

    def count(self) -> int:
        return int.from_bytes(self.device.ctrl_transfer(VENDOR_IN, 1, 0, self.interface.bInterfaceNumber, 4), "little")

    def reset(self, value: int = 0) -> None:
        self.device.ctrl_transfer(VENDOR_OUT, 2, value, self.interface.bInterfaceNumber)

    def close(self) -> None:
        usb.util.dispose_resources(self.device)


def main() -> None:
    host = Host()
    for text in sys.argv[1:]:
        print(f"{host.checksum(text.encode()):08x}  {text}")
    print(f"{host.count()} messages so far")
    host.close()


if __name__ == "__main__":
    main()
