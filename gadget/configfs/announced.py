"""What a gadget says to hosts that ask for more than USB's own descriptors: Microsoft OS descriptors, WebUSB.

Nothing here touches the kernel, which answers such a host by itself once it has been told what to say.
"""

from __future__ import annotations

from dataclasses import dataclass

from gadget.configfs.checks import check_bcd, check_range
from gadget.errors import DescriptorError


@dataclass(frozen=True, slots=True)
class MicrosoftOsString:
    """String 0xEE, which tells Windows that there are Microsoft OS descriptors ("OS Descriptors" 1.0, The OS String).

    The descriptors themselves belong to functions (:class:`~gadget.protocol.microsoft_os.MicrosoftOs`).

    Attributes:
        vendor_code: bMS_VendorCode: the bRequest by which the host then asks for them. The kernel answers it by itself,
            so that no function ever hears of a vendor request of this number.
        signature: qwSignature; Windows knows this one.
        configuration: bConfigurationValue of the configuration whose functions are asked.

    Raises:
        DescriptorError: The code or the signature is none.
    """

    vendor_code: int = 0xCD
    signature: str = "MSFT100"
    configuration: int = 1

    def __post_init__(self) -> None:
        check_range("bMS_VendorCode", self.vendor_code, 0xFF, "drivers/usb/gadget/configfs.c, os_desc_b_vendor_code")
        if len(self.signature) != 7 or not (self.signature.isascii() and self.signature.isprintable()):
            rule = "must be 7 printable ASCII characters"
            raise DescriptorError("qwSignature", self.signature, rule, "drivers/usb/gadget/configfs.c, os_desc_qw_sign")


@dataclass(frozen=True, slots=True)
class WebUsb:
    """The WebUSB platform capability, in a BOS descriptor that the kernel makes for it; Linux 6.3 and newer.

    A browser that knows WebUSB asks for it, and offers the landing page when the device is plugged in. An older kernel
    has no place for it, and the gadget is refused with the reason.

    Attributes:
        landing_page: The URL (iLandingPage), or empty for none. ``https://`` and ``http://`` are sent as one byte; what
            comes after them, or the whole of another URL, takes 252 bytes at most.
        vendor_code: bVendorCode: the bRequest by which the host asks for the URL; the kernel answers it.
        version: bcdVersion, 0x0100 for 1.00.

    Raises:
        DescriptorError: A number or the URL is none that the kernel takes.
    """

    landing_page: str = ""
    vendor_code: int = 0xCE
    version: int = 0x0100

    def __post_init__(self) -> None:
        source = "drivers/usb/gadget/configfs.c, webusb_landingPage_store; WebUSB, 4.3.1"
        check_range("bVendorCode", self.vendor_code, 0xFF, "WebUSB, 4.1.1")
        check_bcd("bcdVersion", self.version, "WebUSB, 4.1.1")
        page = self.landing_page
        if not (page.isascii() and page.isprintable()) or " " in page:
            raise DescriptorError("iLandingPage", page, "must be a URL, in printable ASCII characters", source)
        if len(page.lower().removeprefix("https://").removeprefix("http://")) > 252:
            raise DescriptorError(
                "iLandingPage", page, "must have at most 252 bytes behind https:// or http://", source
            )
