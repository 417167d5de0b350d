"""Random blobs for ep0: such as our rules accept, and what becomes of them when they are changed a little.

All of it follows from one ``random.Random``: a seed gives the same blobs on any machine.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gadget.protocol.constants import ClassCode, FunctionFSFlag, PropertyType, Speed, TransferType
from gadget.protocol.descriptors import (
    CcidDescriptor,
    Descriptor,
    EndpointDescriptor,
    HidDescriptor,
    InterfaceAssociation,
    InterfaceDescriptor,
    OtgDescriptor,
    SuperSpeedEndpointCompanion,
)
from gadget.protocol.functionfs_blobs import strings_blob
from gadget.protocol.microsoft_os import MicrosoftOs, Property
from gadget.protocol.microsoft_os_format import microsoft_os_bytes
from gadget.protocol.speed_rules import default_packet_size

HID = HidDescriptor(report_length=63)
READER = CcidDescriptor(
    voltages=7,
    protocols=3,
    default_clock=4000,
    maximum_clock=4000,
    data_rate=10752,
    max_data_rate=344086,
    max_ifsd=254,
    features=0x0002_0000,
    max_message_length=271,
)
CLASSES = (ClassCode.VENDOR_SPECIFIC, ClassCode.HID, ClassCode.SMART_CARD, ClassCode.APPLICATION_SPECIFIC)
CLASS_DESCRIPTORS: Mapping[int, Sequence[Descriptor]] = {ClassCode.HID: [HID], ClassCode.SMART_CARD: [READER]}
SPEEDS = {Speed.FULL: 1, Speed.HIGH: 2, Speed.SUPER: 4}
#: Numbers that mean something somewhere: lengths, types, classes, limits.
TELLING = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15, 16, 24, 30, 31, 0x21, 0x22, 0x24, 0x30, 54, 0x7F, 0x80, 0xFF)


@dataclass
class Blob:
    """A descriptor blob in parts that can be changed one by one; nothing in it is checked."""

    flags: int
    eventfd: int | None
    descriptors: dict[Speed, list[bytes]]
    os_count: int | None = None
    os: bytes = b""
    counts: dict[Speed, int] = field(default_factory=dict)
    """Where they are not the true ones."""

    def to_bytes(self) -> bytes:
        """The blob, its length and its flags in order."""
        flags = self.flags | sum(SPEEDS[speed] for speed in self.descriptors)
        numbers: list[int] = []
        if self.eventfd is not None:
            flags |= FunctionFSFlag.EVENTFD
            numbers.append(self.eventfd)
        ordered = sorted(self.descriptors)
        numbers += [self.counts.get(speed, len(self.descriptors[speed])) for speed in ordered]
        if self.os_count is not None:
            flags |= FunctionFSFlag.HAS_MS_OS_DESC
            numbers.append(self.os_count)
        body = struct.pack(f"<{len(numbers)}I", *numbers)
        body += b"".join(b"".join(self.descriptors[speed]) for speed in ordered) + self.os
        return struct.pack("<III", 3, 12 + len(body), flags) + body


def valid(rng: random.Random, eventfd: int) -> Blob:
    """A blob that our rules accept, with anything in it that they do."""
    first, count = rng.randrange(4), rng.randrange(1, 4)
    classes = [rng.choice(CLASSES) for _ in range(count)]
    kinds = [[_endpoint_kind(rng) for _ in range(rng.randrange(4))] for _ in range(count)]
    names = [rng.choice((0, 0, 1, 2, 3)) for _ in range(count + 1)]
    head: list[Descriptor] = [OtgDescriptor(rng.randrange(4))] if rng.random() < 0.2 else []
    if associated := rng.random() < 0.3:
        head.append(InterfaceAssociation(first, count, 0xEF, 2, 1, names[count]))
    speeds = [Speed.FULL, *rng.sample([Speed.HIGH, Speed.SUPER], rng.randrange(3))]
    descriptors: dict[Speed, list[bytes]] = {}
    for speed in speeds:
        built, address = list(head), 0
        for number, (code, endpoints) in enumerate(zip(classes, kinds, strict=True)):
            built.append(InterfaceDescriptor(first + number, 0, len(endpoints), code, 0, 0, names[number]))
            built += CLASS_DESCRIPTORS.get(code, ())
            for kind in endpoints:
                address += 1
                built += _endpoint(speed, address, *kind)
        descriptors[speed] = [one.to_bytes() for one in built]
    flags = sum(rng.sample([16, 64, 128], rng.randrange(4)))
    blob = Blob(flags, eventfd if rng.random() < 0.3 else None, descriptors)
    if rng.random() < 0.5:
        said = [_said(rng, number) for number in range(1 if associated else count) if rng.random() < 0.6]
        blob.os_count, blob.os = microsoft_os_bytes(said, range(first, first + count))
    return blob


def _endpoint_kind(rng: random.Random) -> tuple[TransferType, int, tuple[int, int] | None]:
    kind = rng.choice([TransferType.BULK, TransferType.INTERRUPT, TransferType.ISOCHRONOUS])
    return kind, rng.choice((0, 0x80)), (0, 0) if rng.random() < 0.1 else None


def _endpoint(
    speed: Speed, number: int, kind: TransferType, direction: int, audio: tuple[int, int] | None
) -> list[Descriptor]:
    size = 256 if kind is TransferType.ISOCHRONOUS else default_packet_size(kind, speed)
    endpoint = EndpointDescriptor(direction | number, kind, size, 0 if kind is TransferType.BULK else 4, audio)
    return [endpoint, SuperSpeedEndpointCompanion()] if speed is Speed.SUPER else [endpoint]


def _said(rng: random.Random, interface: int) -> MicrosoftOs:
    values = (
        Property.text("x" * rng.randrange(100)),
        Property.text("%SystemRoot%", PropertyType.EXPANDABLE_TEXT),
        Property.text("link", PropertyType.LINK),
        Property.binary(rng.randbytes(rng.randrange(100))),
    )
    properties = {f"name{number}": rng.choice(values) for number in range(rng.randrange(4))}
    return MicrosoftOs("WINUSB" if not properties or rng.random() < 0.5 else "", "", properties, interface)


def changed(rng: random.Random, blob: Blob) -> bytes:
    """The bytes of a blob after one to three changes, some to its parts, some to its bytes."""
    parts = replace(blob, descriptors={speed: list(each) for speed, each in blob.descriptors.items()})
    for _ in range(rng.choice((0, 1, 1, 2))):
        rng.choice(_PART_CHANGES)(rng, parts)
    data = parts.to_bytes()
    for _ in range(rng.choice((0, 1, 1))):
        data = changed_bytes(rng, data, header=12)
    return data


def _change_field(rng: random.Random, blob: Blob) -> None:
    """The same change at every speed, or at one of them alone."""
    speeds = [s for s, each in blob.descriptors.items() if each]
    if not speeds:
        return
    if rng.random() < 0.5:
        speeds = [rng.choice(speeds)]
    place, offset, value = rng.randrange(64), rng.randrange(64), rng.choice(TELLING)
    for speed in speeds:
        each = blob.descriptors[speed]
        one = bytearray(each[place % len(each)])
        one[offset % len(one)] = value
        each[place % len(each)] = bytes(one)


def _repeat(rng: random.Random, blob: Blob) -> None:
    each = rng.choice(list(blob.descriptors.values()))
    if each:
        each.insert(rng.randrange(len(each) + 1), rng.choice(each))


def _remove(rng: random.Random, blob: Blob) -> None:
    place = rng.randrange(64)
    chosen = list(blob.descriptors.values())
    for each in chosen if rng.random() < 0.5 else [rng.choice(chosen)]:
        if each:
            del each[place % len(each)]


def _swap(rng: random.Random, blob: Blob) -> None:
    one, two = rng.randrange(64), rng.randrange(64)
    chosen = list(blob.descriptors.values())
    for each in chosen if rng.random() < 0.5 else [rng.choice(chosen)]:
        if each:
            a, b = one % len(each), two % len(each)
            each[a], each[b] = each[b], each[a]


def _insert_other(rng: random.Random, blob: Blob) -> None:
    """A descriptor of any type, of a length that is right for some type."""
    length = rng.choice((2, 3, 5, 6, 7, 8, 9, 12, 54, rng.randrange(2, 80)))
    other = bytes([length, rng.choice((*TELLING, rng.randrange(256)))]) + rng.randbytes(length - 2)
    each = rng.choice(list(blob.descriptors.values()))
    each.insert(rng.randrange(len(each) + 1), other)


def _many(rng: random.Random, blob: Blob) -> None:
    """About as many endpoints as the kernel has room for; the last interface says how many it has."""
    count = rng.choice((29, 30, 31))
    addresses = [direction | number for direction in (0, 0x80) for number in range(1, 16)] + [1]
    for speed, each in blob.descriptors.items():
        endpoints = [_endpoint(speed, a & 15, TransferType.BULK, a & 0x80, None) for a in addresses[:count]]
        each[:] = [InterfaceDescriptor(0, 0, min(count, 30), 0xFF).to_bytes()]
        each += [one.to_bytes() for pair in endpoints for one in pair]
    blob.os_count, blob.os = None, b""


def _change_count(rng: random.Random, blob: Blob) -> None:
    speed = rng.choice(list(blob.descriptors))
    count = len(blob.descriptors[speed])
    blob.counts = {speed: rng.choice((max(count - 1, 0), count + 1, 0, rng.getrandbits(32)))}


def _drop_speed(rng: random.Random, blob: Blob) -> None:
    speed = rng.choice(list(blob.descriptors))
    if len(blob.descriptors) > 1:
        del blob.descriptors[speed]


def _change_flags(rng: random.Random, blob: Blob) -> None:
    blob.flags ^= 1 << rng.randrange(10)


def _change_os(rng: random.Random, blob: Blob) -> None:
    if blob.os_count is not None:
        blob.os_count = max(0, blob.os_count + rng.choice((-1, 0, 0, 0, 1)))
        blob.os = changed_bytes(rng, blob.os) if rng.random() < 0.8 else blob.os + blob.os[: rng.choice((35, 59))]


_PART_CHANGES: Sequence[Callable[[random.Random, Blob], None]] = (
    *(_change_field,) * 6,
    *(_change_os,) * 4,
    _repeat,
    _remove,
    _swap,
    _insert_other,
    _many,
    _change_count,
    _drop_speed,
    _change_flags,
)


def changed_bytes(rng: random.Random, data: bytes, header: int = 0) -> bytes:
    """Some bytes changed, added, taken away or cut off.

    Args:
        rng: Where chance comes from.
        data: The bytes.
        header: If not 0, bytes 4 to 7 are the length of all, which stays right most of the time.
    """
    at = rng.randrange(len(data) or 1)
    new = bytes([rng.choice(TELLING)]) if rng.random() < 0.7 else rng.randbytes(rng.randrange(1, 5))
    data = rng.choice(
        (
            data[:at] + new + data[at + len(new) :],
            data[:at] + new + data[at + len(new) :],
            data[:at] + new + data[at:],
            data[:at] + data[at + len(new) :],
            data[:at],
        )
    )
    if header and len(data) >= header and rng.random() < 0.9:
        data = data[:4] + struct.pack("<I", len(data)) + data[8:]
    return data


def strings(rng: random.Random) -> bytes:
    """A blob of strings, of which one in four is as it should be."""
    count, languages = rng.randrange(5), rng.sample((0x0409, 0x0407, 0x040C, 0x0410), rng.randrange(4))
    texts = {language: [_text(rng) for _ in range(count)] for language in languages}
    data = strings_blob(texts)
    for _ in range(rng.randrange(4)):
        # The length, the strings and the languages; never the high bytes of the counts: see the test.
        at = rng.choice((0, 4, 8, 12, *range(16, len(data))))
        if rng.random() < 0.7 and at < len(data):
            data = data[:at] + bytes([rng.choice(TELLING)]) + data[at + 1 :]
        else:
            data = data[:16] + changed_bytes(rng, data[16:])
            data = data[:4] + struct.pack("<I", len(data)) + data[8:]
    return data


def _text(rng: random.Random) -> str:
    return "".join(rng.choice("aß€😀 ") for _ in range(rng.randrange(12)))
