"""Kernel images as small as they can be."""

from __future__ import annotations

import struct


def bz_image(version: str, payload: bytes = b"") -> bytes:
    """Four setup sectors as arch/x86/boot/header.S lays them out, the version string at 0x800, the payload."""
    setup = bytearray(5 * 512)
    setup[0x1F1] = 4
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x20E, 0x800 - 0x200)
    struct.pack_into("<II", setup, 0x248, 100, len(payload))
    text = f"{version} (debian-kernel@lists.debian.org) #1 SMP".encode() + b"\0"
    setup[0x800 : 0x800 + len(text)] = text
    return bytes(setup) + bytes(100) + payload


def elf_kernel(note_type: int = 18) -> bytes:
    return b"\x7fELF" + bytes(64) + struct.pack("<III4sQ", 4, 8, note_type, b"Xen", 0x1000000) + bytes(64)
