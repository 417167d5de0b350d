from __future__ import annotations

import gzip
import lzma

import pytest

from gadget.vm import kernel_image
from tests.unit.vm.images import bz_image, elf_kernel


def test_the_release_is_read_from_the_header_whatever_the_file_is_called() -> None:
    assert kernel_image.release_of(bz_image("6.1.0-9-amd64"), "bzImage") == "6.1.0-9-amd64"


def test_without_such_a_header_the_name_has_it() -> None:
    assert kernel_image.release_of(bytes(0x4000), "vmlinuz-6.12.1-arm64") == "6.12.1-arm64"
    assert kernel_image.release_of(bytes(0x4000), "kernel.img") is None


@pytest.mark.parametrize("compress", [lzma.compress, gzip.compress])
def test_the_kernel_inside_is_found_whatever_follows_it(compress: object) -> None:
    assert callable(compress)
    payload = compress(elf_kernel()) + (12345).to_bytes(4, "little")
    assert kernel_image.unpacked(bz_image("6.1.0", payload)) == elf_kernel()


@pytest.mark.parametrize(
    "image",
    [
        b"",
        bytes(0x4000),
        bz_image("6.1.0"),
        bz_image("6.1.0", b"\x28\xb5\x2f\xfd" + bytes(100)),  # zstd
        bz_image("6.1.0", b"\xfd7zXZ\0" + b"broken" * 9),
        bz_image("6.1.0", lzma.compress(b"no ELF")),
        bz_image("6.1.0", lzma.compress(elf_kernel(note_type=17))),  # no PVH entry
    ],
)
def test_what_cannot_be_unpacked_is_left_as_it_is(image: bytes) -> None:
    assert kernel_image.unpacked(image) is None
