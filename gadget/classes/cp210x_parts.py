"""The parts of the family: what they say of themselves, and which baud rates they have.

Sources: Silicon Labs AN205 (baud rates), AN978 (pins); where they are silent, what Linux's driver expects
(``drivers/usb/serial/cp210x.c``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from gadget.errors import Stall


class VendorValue(IntEnum):
    """wValue of VENDOR_SPECIFIC (AN978; ``cp210x.c``)."""

    GET_VERSION = 0x000E
    READ_2NCONFIG = 0x000E
    GET_VERSION_2N = 0x0010
    GET_PARTNUM = 0x370B
    GET_PORTCONFIG = 0x370C


class PartNumber(IntEnum):
    """Which chip of the family this is; host drivers choose baud rates by it, and look for GPIO pins."""

    CP2102 = 0x02
    CP2104 = 0x04
    CP2102N = 0x21


#: A version that no driver has to work around (Linux: a CP2102N up to 1.0.4 gets no flow control).
FIRMWARE = (1, 0, 8)

#: CP2104 (AN978): three of the pins that could be GPIO are for lights and RS-485; nothing comes of the fourth.
_PORT_CONFIG = bytes(12) + b"\x07"
#: CP2102N (``cp210x.c``, cp2102n_gpioconf_init): 678 bytes, of the version 1, and no pin is GPIO.
_CONFIG_2N = bytes([0xA6, 0x02, 1]) + bytes(597) + b"\x3c" + bytes(77)


def vendor_answer(part: PartNumber, version: tuple[int, int, int], value: int) -> bytes:
    """What VENDOR_SPECIFIC returns.

    Args:
        part: Which part is asked.
        version: That of its firmware.
        value: wValue.

    Raises:
        Stall: The part has no such value.
    """
    is_2n = part is PartNumber.CP2102N
    if value == VendorValue.GET_PARTNUM:
        # Two bytes where two are asked for: Linux takes a part that has only one for a counterfeit (``cp210x.c``,
        # cp2102_determine_quirks), and expects no events in its stream.
        return bytes([part, 0])
    if value == VendorValue.GET_PORTCONFIG and part is PartNumber.CP2104:
        return _PORT_CONFIG
    if value == (VendorValue.GET_VERSION_2N if is_2n else VendorValue.GET_VERSION):
        return bytes(version)
    if value == VendorValue.READ_2NCONFIG and is_2n:
        return _CONFIG_2N
    raise Stall


#: What the chip without a free divisor can do (AN205, Table 1).
_CP2102_RATES = (
    *(300, 600, 1200, 1800, 2400, 4000, 4800, 7200, 9600, 14400, 16000, 19200, 28800, 38400, 51200, 56000, 57600),
    *(64000, 76800, 115200, 128000, 153600, 230400, 250000, 256000, 460800, 500000, 576000, 921600),
)
#: What each part can do (``cp210x.c``, cp210x_init_max_speed).
_MOST_BAUD = {PartNumber.CP2102: 1_000_000, PartNumber.CP2104: 2_000_000, PartNumber.CP2102N: 3_000_000}
#: What the others divide, in hertz; slow rates have a prescaler before that.
_CLOCK = 48_000_000
_PRESCALED = 365
#: What SET_BAUDDIV divides (AN571, 5.3).
BAUDDIV_CLOCK = 3_686_400


@dataclass(frozen=True, slots=True)
class BaudRates:
    """What a part can do.

    Attributes:
        part: Which one it is.
        least: The lowest rate.
        most: The highest rate.
    """

    part: PartNumber
    least: int = field(init=False, default=300)
    most: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "most", _MOST_BAUD[self.part])

    def nearest(self, wanted: int) -> int:
        """The rate that the part runs at when it is asked for this one."""
        wanted = min(max(wanted, self.least), self.most)
        if self.part is PartNumber.CP2102:
            # Between its highest standard rate and a million, and above, a part takes what it is given.
            if wanted > _CP2102_RATES[-1]:
                return wanted
            return min(_CP2102_RATES, key=lambda rate: abs(rate - wanted))
        step = 8 if wanted <= _PRESCALED else 2
        divisor = (2 * _CLOCK // (step * wanted) + 1) // 2
        return _CLOCK // (step * divisor)
