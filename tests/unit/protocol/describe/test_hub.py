"""Hub descriptors as text: as lsusb 014 shows them, but for the delay and the ports of a SuperSpeed hub."""

from __future__ import annotations

import pytest

from gadget.protocol.describe.text import describe


def test_a_hub() -> None:
    assert describe(bytes.fromhex("0b2909ed0032640201ffff")) == (
        "Hub Descriptor:\n"
        "  bLength              11\n"
        "  bDescriptorType      41\n"
        "  nNbrPorts             9\n"
        "  wHubCharacteristic 0x00ed\n"
        "    Per-port power switching\n"
        "    Compound device\n"
        "    Per-port overcurrent protection\n"
        "    TT think time 32 FS bits\n"
        "    Port indicators\n"
        "  bPwrOn2PwrGood       50 * 2 milli seconds\n"
        "  bHubContrCurrent    100 milli Ampere\n"
        "  DeviceRemovable    0x02 0x01\n"
        "  PortPwrCtrlMask    0xff 0xff\n"
    )


def test_a_superspeed_hub() -> None:
    """Its current is in units of 4 mA, its latency of 0.1 us, and its delay of 1 ns (USB 3.2, Table 10-3)."""
    found = describe(bytes.fromhex("0c2a0409003264042c010200")).splitlines()
    assert found[4:] == [
        "  wHubCharacteristic 0x0009",
        "    Per-port power switching",
        "    Per-port overcurrent protection",
        "  bPwrOn2PwrGood       50 * 2 milli seconds",
        "  bHubContrCurrent    400 milli Ampere",
        "  bHubDecLat          0.4 micro seconds",
        "  wHubDelay           300 nano seconds",
        "  DeviceRemovable    0x02 0x00",
    ]


@pytest.mark.parametrize(
    ("characteristics", "lines"),
    [
        (0x0000, ["Ganged power switching", "Ganged overcurrent protection", "TT think time 8 FS bits"]),
        (0x0012, ["No power switching (usb 1.0)", "No overcurrent protection", "TT think time 8 FS bits"]),
        (0x003B, ["No power switching (usb 1.0)", "No overcurrent protection", "TT think time 16 FS bits"]),
    ],
)
def test_characteristics(characteristics: int, lines: list[str]) -> None:
    data = bytes.fromhex("092904") + characteristics.to_bytes(2, "little") + bytes.fromhex("326400ff")
    assert [line.strip() for line in describe(data).splitlines()[5:-4]] == lines
