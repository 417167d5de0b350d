"""Reads x86 kernel images (Documentation/arch/x86/boot.rst). Pure: bytes in, bytes out."""

from __future__ import annotations

import lzma
import re
import struct
import zlib

_MAGIC = slice(0x202, 0x206)  # header: "HdrS"
_SETUP_SECTORS = 0x1F1
_KERNEL_VERSION = 0x20E
_PAYLOAD = 0x248  # payload_offset, payload_length

#: The note by which a loader finds the entry for a kernel that is not compressed
#: (XEN_ELFNOTE_PHYS32_ENTRY, include/xen/interface/elfnote.h), with either size of address.
_PVH_NOTES = tuple(struct.pack("<III4s", 4, size, 18, b"Xen") for size in (4, 8))


def release_of(header: bytes, name: str) -> str | None:
    """The release of a kernel image, as ``uname -r`` says it.

    Args:
        header: The image's first 64 KiB. On x86 it names its version.
        name: The file's name, which ends in the release by convention.
    """
    if header[_MAGIC] == b"HdrS":
        (offset,) = struct.unpack_from("<H", header, _KERNEL_VERSION)
        version = header[offset + 0x200 : offset + 0x300].split(b"\0")[0].split(b" ")[0]
        if version:
            return version.decode("ascii", "replace")
    match = re.fullmatch(r"(?:vmlinuz|vmlinux|Image)-(.+)", name)
    return match[1] if match else None


def unpacked(image: bytes) -> bytes | None:
    """The ELF kernel inside a bzImage, which QEMU can start without firmware and without a decompressor.

    Under emulation those two take longer than the kernel's own boot.

    Returns:
        None if that cannot be had: no bzImage, a compression that Python doesn't know, no PVH entry. The image
        itself boots in any case.
    """
    if image[_MAGIC] != b"HdrS":
        return None
    sectors = image[_SETUP_SECTORS] or 4
    offset, length = struct.unpack_from("<II", image, _PAYLOAD)
    start = (sectors + 1) * 512 + offset
    kernel = _decompress(image[start : start + length])
    if kernel is None or kernel[:4] != b"\x7fELF" or not any(note in kernel for note in _PVH_NOTES):
        return None
    return kernel


def _decompress(payload: bytes) -> bytes | None:
    """Ignores what follows the compressed stream: the kernel's build appends the unpacked size."""
    try:
        if payload.startswith(b"\xfd7zXZ\0"):
            return lzma.LZMADecompressor().decompress(payload)
        if payload.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(payload)
    except (lzma.LZMAError, zlib.error):
        return None
    return None
