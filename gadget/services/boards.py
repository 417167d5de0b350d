"""The endpoints of known controllers, since sysfs lists none: each board with where it is written.

Nothing here touches the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gadget.errors import UsageError
from gadget.protocol.constants import Direction, Speed, TransferType

_DIRECTIONS = frozenset(Direction)
_DATA = frozenset({TransferType.BULK, TransferType.INTERRUPT, TransferType.ISOCHRONOUS})


@dataclass(frozen=True, slots=True)
class HardwareEndpoint:
    """An endpoint of a controller, as its driver describes it (``struct usb_ep``).

    Attributes:
        name: The driver's name for it. A number in the third place is the endpoint's own; without one the kernel
            counts (``epautoconf.c``).
        directions: Which way it can be used, one at a time.
        types: What it can carry.
        packet_size: The largest packet.
    """

    name: str
    directions: frozenset[Direction] = _DIRECTIONS
    types: frozenset[TransferType] = _DATA
    packet_size: int = 1024

    @property
    def number(self) -> int | None:
        """The number that its name fixes."""
        found = re.match(r"..(\d+)", self.name, re.ASCII)
        return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Board:
    """A board, or a controller, that is known.

    Attributes:
        name: As in ``gadget check --board NAME``.
        title: What it is.
        drivers: What sysfs calls the driver of its controller.
        maximum_speed: The fastest that it can do.
        endpoints: What the driver offers beside endpoint 0, in the order in which the kernel looks through it.
        source: Where that is written.
        notes: What else one has to know.
        transmit_fifos: The bytes of each FIFO for an IN endpoint, where the driver hands them out one by one: an
            endpoint takes the smallest that holds what it sends in a microframe. Empty where it does not.
        fifo_source: Where that is written.
    """

    name: str
    title: str
    drivers: tuple[str, ...]
    maximum_speed: Speed
    endpoints: tuple[HardwareEndpoint, ...]
    source: str
    notes: tuple[str, ...] = ()
    transmit_fifos: tuple[int, ...] = ()
    fifo_source: str = ""


def _in(name: str, *types: TransferType, packet_size: int = 1024) -> HardwareEndpoint:
    return HardwareEndpoint(name, frozenset({Direction.IN}), frozenset(types) or _DATA, packet_size)


def _out(name: str, *types: TransferType, packet_size: int = 1024) -> HardwareEndpoint:
    return HardwareEndpoint(name, frozenset({Direction.OUT}), frozenset(types) or _DATA, packet_size)


def _pairs(numbers: Iterable[int], packet_size: int = 1024) -> Iterator[HardwareEndpoint]:
    for number in numbers:
        yield _in(f"ep{number}in", packet_size=packet_size)
        yield _out(f"ep{number}out", packet_size=packet_size)


def _dummy() -> Iterator[HardwareEndpoint]:
    bulk, interrupt = TransferType.BULK, TransferType.INTERRUPT
    for first in (1, 6, 11):
        yield _in(f"ep{first}in-bulk", bulk)
        yield _out(f"ep{first + 1}out-bulk", bulk)
        yield _in(f"ep{first + 4}in-int", interrupt)
    yield _out("ep1out-bulk", bulk)
    yield _in("ep2in-bulk", bulk)
    for name in ("aout", "bin", "cout", "dout", "ein", "fout", "gin", "hout", "iout", "jin", "kout", "lin", "mout"):
        yield (_in if name.endswith("in") else _out)(f"ep-{name}", bulk, interrupt)


def _virtual() -> Iterator[HardwareEndpoint]:
    for number in range(1, 16):
        yield _out(f"ep{number}out", packet_size=0xFFFF)
        yield _in(f"ep{number}in", packet_size=0xFFFF)


def _musb_16k() -> Iterator[HardwareEndpoint]:
    yield from _pairs(range(1, 10), 512)
    for number in (10, 11, 12):
        yield _in(f"ep{number}in", packet_size=256)
        yield _out(f"ep{number}out", packet_size=64)
    for number, size in ((13, 4096), (14, 1024), (15, 1024)):
        yield HardwareEndpoint(f"ep{number}", packet_size=size)


def _usb3380() -> Iterator[HardwareEndpoint]:
    for name in ("ep1in", "ep2out", "ep3in", "ep4out", "ep1out", "ep2in", "ep3out", "ep4in"):
        yield (_in if name.endswith("in") else _out)(name)


_BOARDS = (
    Board(
        "raspberrypi",
        "Raspberry Pi Zero, Zero W, Zero 2 W, A, A+, 3A+, 4B and CM4 (BCM2835 to BCM2711, dwc2)",
        ("dwc2",),
        Speed.HIGH,
        tuple(_pairs(range(1, 8))),
        "arch/arm/boot/dts/bcm283x-rpi-usb-peripheral.dtsi, g-tx-fifo-size (one FIFO for each of seven IN endpoints); "
        "drivers/usb/dwc2/gadget.c, dwc2_hsotg_initep",
        ("dwc2 reports suspend where the cable was pulled: the link is inferred",),
        (2048, 2048, 2048, 2048, 2048, 1024, 1024),
        "drivers/usb/dwc2/gadget.c, dwc2_hsotg_ep_enable; g-tx-fifo-size of Raspberry Pi's dwc2-overlay.dts, in words",
    ),
    Board(
        "beaglebone",
        "BeagleBone, BeagleBone Black, PocketBeagle (AM335x, musb)",
        ("musb-hdrc",),
        Speed.HIGH,
        tuple(_musb_16k()),
        "drivers/usb/musb/musb_core.c, mode_4_cfg (16 KiB of FIFO: arch/arm/boot/dts/am33xx.dtsi, mentor,ram-bits and "
        "mentor,num-eps)",
    ),
    Board(
        "allwinner-h3",
        "Allwinner H3, H5, V3s: Orange Pi One and PC, NanoPi Neo (musb)",
        ("musb-hdrc",),
        Speed.HIGH,
        tuple(_pairs(range(1, 5), 512)),
        'drivers/usb/musb/sunxi.c, sunxi_musb_mode_cfg_4eps ("H3/V3s OTG supports only 4 endpoints")',
    ),
    Board(
        "allwinner",
        "Allwinner A10 to A64: Cubieboard, Pine64, C.H.I.P. (musb)",
        ("musb-hdrc",),
        Speed.HIGH,
        tuple(_pairs(range(1, 6), 512)),
        'drivers/usb/musb/sunxi.c, sunxi_musb_mode_cfg_5eps ("Allwinner OTG supports up to 5 endpoints")',
    ),
    Board(
        "usb3380",
        "PLX USB3380 on PCI Express, in its advanced mode (net2280)",
        ("net2280",),
        Speed.SUPER,
        tuple(_usb3380()),
        "drivers/usb/gadget/udc/net2280.c, ep_info_adv",
        ("for interrupt endpoints the driver prefers those without DMA, so that addresses may differ from these",),
    ),
    Board(
        "dummy_hcd",
        "a controller and a host in memory, for tests (dummy_hcd)",
        ("dummy_udc",),
        Speed.SUPER,
        tuple(_dummy()),
        "drivers/usb/gadget/udc/dummy_hcd.c, ep_info",
        ("it has no isochronous endpoints",),
    ),
    Board(
        "usbip-vudc",
        "a controller whose host is reached over a network (usbip-vudc)",
        ("usbip-vudc",),
        Speed.HIGH,
        tuple(_virtual()),
        "drivers/usb/usbip/vudc_dev.c, init_vudc_hw",
    ),
)

#: The boards by name.
BOARDS: Mapping[str, Board] = MappingProxyType({board.name: board for board in _BOARDS})


def find_board(name: str) -> Board:
    """The board of a name.

    Raises:
        UsageError: It is not in the table; the message lists what is.
    """
    if name not in BOARDS:
        raise UsageError(f"no board {name!r} is known; these are: {', '.join(BOARDS)}")
    return BOARDS[name]


def board_of_driver(driver: str | None) -> Board | None:
    """The board that has a controller of this driver, if there is only one such in the table."""
    found = [board for board in BOARDS.values() if driver in board.drivers]
    return found[0] if len(found) == 1 else None
