"""What ``native.c``, ``native.py`` and ``fifo_host.py`` tell each other."""

import struct

#: A SETUP event as ep0 has it (struct usb_functionfs_event): a vendor request to an interface, 8 bytes to the host.
EVENT = struct.pack("<BBHHHB3x", 0xC1, 1, 0, 0, 8, 4)
ANSWER = b"answered"
