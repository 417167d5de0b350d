"""The numbers of USB chapter 9 and of FunctionFS, by name.

Each group says where it stands: "USB 2.0" is the Universal Serial Bus Specification, revision 2.0;
"USB 3.2" is the Universal Serial Bus 3.2 Specification; ``ch9.h`` and ``functionfs.h`` are the kernel's,
in ``include/uapi/linux/usb``.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from gadget.errors import UsageError


class Speed(IntEnum):
    """The speed of a connection, slowest first, so that speeds compare (names: ``ch9.h``, usb_device_speed)."""

    FULL = 1
    HIGH = 2
    SUPER = 3
    SUPER_PLUS = 4

    @property
    def maximum(self) -> str:
        """The kernel's name for it, as in sysfs ``maximum_speed`` and configfs ``max_speed``."""
        base, *plus = self.name.lower().split("_")
        return "-".join([base, "speed", *plus])

    @classmethod
    def from_name(cls, name: str) -> Speed:
        """Finds the speed that a name means.

        Args:
            name: What sysfs and configfs write ("high-speed"), or that without "-speed" ("high").

        Raises:
            UsageError: There is no speed of that name, or it is one that no gadget can have ("low-speed").
        """
        wanted = name.strip().lower()
        for speed in cls:
            if wanted in (speed.maximum, speed.maximum.replace("-speed", "")):
                return speed
        known = ", ".join(speed.maximum for speed in cls)
        raise UsageError(f"there is no speed {name!r}; choose one of {known}")


class Direction(IntEnum):
    """Bit 7 of an endpoint address and of bmRequestType, seen from the host (USB 2.0, Tables 9-2 and 9-13)."""

    OUT = 0x00
    IN = 0x80


class TransferType(IntEnum):
    """Bits 1..0 of an endpoint's bmAttributes (USB 2.0, Table 9-13)."""

    CONTROL = 0
    ISOCHRONOUS = 1
    BULK = 2
    INTERRUPT = 3


class EndpointAttribute(IntFlag):
    """The other bits of an endpoint's bmAttributes (USB 2.0, Table 9-13; USB 3.2, Table 9-26)."""

    ASYNCHRONOUS = 0x04
    ADAPTIVE = 0x08
    SYNCHRONOUS = 0x0C
    FEEDBACK = 0x10
    IMPLICIT_FEEDBACK = 0x20
    NOTIFICATION = 0x10  # of an interrupt endpoint, where USB 3 gives the same bit this meaning


class ConfigurationAttribute(IntFlag):
    """The bits of a configuration's bmAttributes (USB 2.0, Table 9-10)."""

    REMOTE_WAKEUP = 0x20
    SELF_POWERED = 0x40
    REQUIRED = 0x80


class DescriptorType(IntEnum):
    """What bDescriptorType says (USB 2.0, Table 9-5; USB 3.2, Table 9-6; classes: their specifications)."""

    DEVICE = 0x01
    CONFIGURATION = 0x02
    STRING = 0x03
    INTERFACE = 0x04
    ENDPOINT = 0x05
    DEVICE_QUALIFIER = 0x06
    OTHER_SPEED_CONFIGURATION = 0x07
    INTERFACE_POWER = 0x08
    OTG = 0x09
    DEBUG = 0x0A
    INTERFACE_ASSOCIATION = 0x0B
    SECURITY = 0x0C
    BOS = 0x0F
    DEVICE_CAPABILITY = 0x10
    CLASS_SPECIFIC = 0x21
    REPORT = 0x22
    CLASS_SPECIFIC_INTERFACE = 0x24
    CLASS_SPECIFIC_ENDPOINT = 0x25
    SUPERSPEED_ENDPOINT_COMPANION = 0x30
    SUPERSPEEDPLUS_ISOCHRONOUS_ENDPOINT_COMPANION = 0x31


class OtgAttribute(IntFlag):
    """The bits of an OTG descriptor's bmAttributes (On-The-Go Supplement 1.3, 6.4)."""

    SESSION_REQUEST = 1
    HOST_NEGOTIATION = 2


class CcidFeature(IntFlag):
    """Some bits of a CCID descriptor's dwFeatures (CCID 1.10, 5.1): at which level a reader exchanges data.

    Without any of the three it exchanges characters.
    """

    TPDU = 0x0001_0000
    SHORT_APDU = 0x0002_0000
    EXTENDED_APDU = 0x0004_0000


class PropertyType(IntEnum):
    """dwPropertyDataType (Extended Properties OS Feature Descriptor Specification 1.0): the types of the registry."""

    TEXT = 1
    EXPANDABLE_TEXT = 2
    BINARY = 3
    LITTLE_ENDIAN_NUMBER = 4
    BIG_ENDIAN_NUMBER = 5
    LINK = 6
    TEXTS = 7


class RequestType(IntEnum):
    """Bits 6..5 of bmRequestType (USB 2.0, Table 9-2)."""

    STANDARD = 0x00
    CLASS = 0x20
    VENDOR = 0x40
    RESERVED = 0x60


class Recipient(IntEnum):
    """Bits 4..0 of bmRequestType (USB 2.0, Table 9-2)."""

    DEVICE = 0
    INTERFACE = 1
    ENDPOINT = 2
    OTHER = 3
    RESERVED = 31

    @classmethod
    def _missing_(cls, value: object) -> Recipient | None:
        """Takes 4..30, which the specification keeps for later, as RESERVED: a host may send any of them."""
        return cls.RESERVED if isinstance(value, int) and 4 <= value <= 30 else None


class StandardRequest(IntEnum):
    """What bRequest asks for in a standard request (USB 2.0, Table 9-4; USB 3.2, Table 9-5)."""

    GET_STATUS = 0
    CLEAR_FEATURE = 1
    SET_FEATURE = 3
    SET_ADDRESS = 5
    GET_DESCRIPTOR = 6
    SET_DESCRIPTOR = 7
    GET_CONFIGURATION = 8
    SET_CONFIGURATION = 9
    GET_INTERFACE = 10
    SET_INTERFACE = 11
    SYNCH_FRAME = 12
    SET_SEL = 48
    SET_ISOCHRONOUS_DELAY = 49


class Feature(IntEnum):
    """What SET_FEATURE and CLEAR_FEATURE select (USB 2.0, Table 9-6; USB 3.2, Table 9-9).

    The recipient tells ENDPOINT_HALT and FUNCTION_SUSPEND apart: both are 0.
    """

    ENDPOINT_HALT = 0
    FUNCTION_SUSPEND = 0
    DEVICE_REMOTE_WAKEUP = 1
    TEST_MODE = 2
    U1_ENABLE = 48
    U2_ENABLE = 49
    LTM_ENABLE = 50


class ClassCode(IntEnum):
    """bDeviceClass, bInterfaceClass and bFunctionClass (usb.org, "Defined Class Codes")."""

    PER_INTERFACE = 0x00
    AUDIO = 0x01
    COMMUNICATIONS = 0x02
    HID = 0x03
    PHYSICAL = 0x05
    IMAGE = 0x06
    PRINTER = 0x07
    MASS_STORAGE = 0x08
    HUB = 0x09
    CDC_DATA = 0x0A
    SMART_CARD = 0x0B
    VIDEO = 0x0E
    PERSONAL_HEALTHCARE = 0x0F
    DIAGNOSTIC = 0xDC
    WIRELESS = 0xE0
    MISCELLANEOUS = 0xEF
    APPLICATION_SPECIFIC = 0xFE
    VENDOR_SPECIFIC = 0xFF


class LanguageId(IntEnum):
    """A few of the language identifiers for strings (usb.org, "Language Identifiers"); any other number will do too."""

    CHINESE_TAIWAN = 0x0404
    GERMAN = 0x0407
    ENGLISH_US = 0x0409
    FRENCH = 0x040C
    ITALIAN = 0x0410
    JAPANESE = 0x0411
    KOREAN = 0x0412
    PORTUGUESE_BRAZIL = 0x0416
    RUSSIAN = 0x0419
    CHINESE_PRC = 0x0804
    ENGLISH_UK = 0x0809
    SPANISH_MODERN = 0x0C0A


class EventType(IntEnum):
    """What ep0 reports (``functionfs.h``, enum usb_functionfs_event_type)."""

    BIND = 0
    UNBIND = 1
    ENABLE = 2
    DISABLE = 3
    SETUP = 4
    SUSPEND = 5
    RESUME = 6


class FunctionFSFlag(IntFlag):
    """What the head of the descriptor blob says (``functionfs.h``, enum functionfs_flags)."""

    HAS_FS_DESC = 1
    HAS_HS_DESC = 2
    HAS_SS_DESC = 4
    HAS_MS_OS_DESC = 8
    VIRTUAL_ADDR = 16
    EVENTFD = 32
    ALL_CTRL_RECIP = 64
    CONFIG0_SETUP = 128


class FunctionFSMagic(IntEnum):
    """The first four bytes of what is written to ep0 (``functionfs.h``)."""

    DESCRIPTORS = 1
    STRINGS = 2
    DESCRIPTORS_V2 = 3
