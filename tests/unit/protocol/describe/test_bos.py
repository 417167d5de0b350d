"""The BOS and its capabilities as text. What lsusb 014 shows of them too, it shows so."""

from __future__ import annotations

import pytest

from gadget.protocol.capabilities import (
    Capability,
    ContainerId,
    PlatformCapability,
    SuperSpeedCapability,
    SuperSpeedPlusCapability,
    UnknownCapability,
    Usb2Extension,
    join_bos,
)
from gadget.protocol.describe.text import describe


def shown(*capabilities: Capability) -> list[str]:
    return describe(join_bos(*capabilities)).splitlines()


def test_the_head() -> None:
    assert shown() == [
        "Binary Object Store Descriptor:",
        "  bLength                 5",
        "  bDescriptorType        15",
        "  wTotalLength       0x0005",
        "  bNumDeviceCaps          0",
    ]


EXAMPLES: list[tuple[Capability, str]] = [
    (
        Usb2Extension(attributes=0xF41E),
        """\
  USB 2.0 Extension Device Capability:
    bLength                 7
    bDescriptorType        16
    bDevCapabilityType      2
    bmAttributes   0x0000f41e
      BESL Link Power Management (LPM) Supported
      BESL value 4
      Deep BESL value 15
""",
    ),
    (
        Usb2Extension(),
        """\
  USB 2.0 Extension Device Capability:
    bLength                 7
    bDescriptorType        16
    bDevCapabilityType      2
    bmAttributes   0x00000002
      HIRD Link Power Management (LPM) Supported
""",
    ),
    (
        SuperSpeedCapability(attributes=2, u1_exit_latency=1, u2_exit_latency=500),
        """\
  SuperSpeed USB Device Capability:
    bLength                10
    bDescriptorType        16
    bDevCapabilityType      3
    bmAttributes         0x02
      Latency Tolerance Messages (LTM) Supported
    wSpeedsSupported   0x000e
      Device can operate at Full Speed (12Mbps)
      Device can operate at High Speed (480Mbps)
      Device can operate at SuperSpeed (5Gbps)
    bFunctionalitySupport   1
      Lowest fully-functional device speed is Full Speed (12Mbps)
    bU1DevExitLat           1 micro seconds
    wU2DevExitLat         500 micro seconds
""",
    ),
    (
        ContainerId(container_id=0x0F0E0D0C0B0A09080706050403020100),
        """\
  Container ID Device Capability:
    bLength                20
    bDescriptorType        16
    bDevCapabilityType      4
    bReserved               0
    ContainerID             {03020100-0504-0706-0809-0a0b0c0d0e0f}
""",
    ),
    (
        PlatformCapability.webusb(0x21, 1),
        """\
  Platform Device Capability:
    bLength                24
    bDescriptorType        16
    bDevCapabilityType      5
    bReserved               0
    PlatformCapabilityUUID    {3408b638-09a9-47a0-8bfd-a0768815b665}
      WebUSB:
        bcdVersion    1.00
        bVendorCode     33
        iLandingPage     1
""",
    ),
    (
        PlatformCapability.microsoft_os_20((0x06030000, 178, 0x20, 0)),
        """\
  Platform Device Capability:
    bLength                28
    bDescriptorType        16
    bDevCapabilityType      5
    bReserved               0
    PlatformCapabilityUUID    {d8dd60df-4589-4cc7-9cd2-659d9e648a9f}
      Microsoft OS 2.0:
        dwWindowsVersion              0x06030000
        wMSOSDescriptorSetTotalLength        178
        bMS_VendorCode                        32
        bAltEnumCode                           0 no alternate enumeration
""",
    ),
    (
        SuperSpeedPlusCapability(attributes=1, sublink_speeds=(0x00050030, 0x000A40F0)),
        """\
  SuperSpeedPlus USB Device Capability:
    bLength                20
    bDescriptorType        16
    bDevCapabilityType     10
    bmAttributes         0x00000001
      Sublink Speed Attribute count 1
      Sublink Speed ID count 0
    wFunctionalitySupport   0x1100
    bmSublinkSpeedAttr[0]   0x00050030
      Speed Attribute ID: 0 5Gb/s Symmetric RX SuperSpeed
    bmSublinkSpeedAttr[1]   0x000a40f0
      Speed Attribute ID: 0 10Gb/s Asymmetric TX SuperSpeedPlus
""",
    ),
    (UnknownCapability(0x0B, b"\x01\x02"), "  ** UNRECOGNIZED:  05 10 0b 01 02\n"),
]


@pytest.mark.parametrize(("capability", "text"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_capabilities(capability: Capability, text: str) -> None:
    assert shown(capability)[5:] == text.splitlines()


def test_another_platform_has_its_bytes() -> None:
    data = bytearray(PlatformCapability.webusb(1).to_bytes())
    data[4] ^= 1
    found = describe(bytes(data)).splitlines()
    assert found[-4:] == [f"    CapabilityData[{at}]    0x{byte:02x}" for at, byte in enumerate(data[20:])]
