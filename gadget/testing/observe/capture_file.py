"""What usbmon has told, as a file for Wireshark."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gadget.errors import UsageError
from gadget.testing.observe.usbmon_event import moment_and_length

#: LINKTYPE_USB_LINUX_MMAPPED: the header of 64 bytes, which unlike the 48 of read(2) and MON_IOCX_GET (linktype 189)
#: tells the interval, the flags of the transfer and where the descriptors of isochronous packets end.
LINKTYPE = 220


def write_pcapng(path: str | os.PathLike[str], packets: list[bytes], dropped: int, interface: str) -> None:
    """Writes events as the mapped ring holds them to a file.

    Args:
        path: The file; one that is there is replaced.
        packets: The events.
        dropped: How many more there were, for the statistics.
        interface: The name of what they were captured on.

    Raises:
        UsageError: python-pcapng is not installed.
    """
    try:
        from pcapng import FileWriter, blocks
    except ImportError as error:
        raise UsageError("saving a capture takes python-pcapng: pip install 'gadget[test]'") from error
    # The headers are in this machine's byte order, and readers take them to be in that of the section.
    section = blocks.SectionHeader(
        endianness="<" if sys.byteorder == "little" else ">", options={"shb_userappl": "gadget"}
    )
    section.new_member(blocks.InterfaceDescription, link_type=LINKTYPE, snaplen=0, options={"if_name": interface})
    with Path(path).open("wb") as file:
        writer = FileWriter(file, section)
        moment = 0
        for packet in packets:
            moment, length = moment_and_length(packet)
            fields = {"packet_data": packet, "packet_len": length, **_timestamp(moment)}
            writer.write_block(section.new_member(blocks.EnhancedPacket, interface_id=0, **fields))
        counts = {"isb_ifrecv": len(packets) + dropped, "isb_ifdrop": dropped}
        block = section.new_member(blocks.InterfaceStatistics, interface_id=0, options=counts, **_timestamp(moment))
        writer.write_block(block)


def _timestamp(microseconds: int) -> dict[str, int]:
    return {"timestamp_high": microseconds >> 32, "timestamp_low": microseconds & 0xFFFFFFFF}
