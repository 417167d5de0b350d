"""The devices that are measured, each a program of its own, and the host's side of all of them.

The numbers here are those of ``device.c`` and ``host.c``, too.
"""

#: bRequest of what all of them answer, as vendor requests to interface 0: 16 constant bytes to the host, 16 bytes from
#: it, and how many bytes were received and sent so far, as two little-endian numbers of 64 bits.
ANSWER, TAKE, COUNTS = 1, 2, 3
ANSWER_BYTES = b"sixteen bytes..."
VENDOR_ID, PRODUCT_ID = 0x1D6B, 0x0104
