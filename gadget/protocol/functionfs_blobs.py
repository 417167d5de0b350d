"""What is written to ep0 of a FunctionFS instance before it works: a blob of descriptors, then one of strings.

The formats stand in ``include/uapi/linux/usb/functionfs.h``. What the kernel refuses with a bare EINVAL
(``f_fs.c``, ffs_do_single_desc and __ffs_data_got_descs), or takes and then fails on, is refused here with the reason.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gadget.errors import DescriptorError
from gadget.protocol.constants import FunctionFSFlag, FunctionFSMagic, Speed
from gadget.protocol.descriptors import Descriptor, InterfaceDescriptor, join_descriptors, take_descriptors
from gadget.protocol.functionfs_rules import check_descriptors, check_strings
from gadget.protocol.microsoft_os import MicrosoftOs
from gadget.protocol.microsoft_os_format import microsoft_os_bytes, parse_microsoft_os
from gadget.protocol.microsoft_os_rules import check_microsoft_os

#: What a blob says by itself: only what follows from its descriptors.
NO_FLAGS = FunctionFSFlag(0)

_SOURCE = "functionfs.h"
_STRINGS = "f_fs.c, __ffs_data_got_strings"
_FLAG_OF_SPEED = {
    Speed.FULL: FunctionFSFlag.HAS_FS_DESC,
    Speed.HIGH: FunctionFSFlag.HAS_HS_DESC,
    Speed.SUPER: FunctionFSFlag.HAS_SS_DESC,
}
_DERIVED = (
    FunctionFSFlag.HAS_FS_DESC
    | FunctionFSFlag.HAS_HS_DESC
    | FunctionFSFlag.HAS_SS_DESC
    | FunctionFSFlag.HAS_MS_OS_DESC
    | FunctionFSFlag.EVENTFD
)
_KNOWN_FLAGS = sum(FunctionFSFlag)


def descriptors_blob(
    descriptors: Mapping[Speed, Sequence[Descriptor]],
    *,
    flags: FunctionFSFlag = NO_FLAGS,
    eventfd: int | None = None,
    microsoft_os: Sequence[MicrosoftOs] | None = None,
) -> bytes:
    """Makes the first thing that is written to ep0: the descriptors of every speed.

    Args:
        descriptors: For full, high and super speed, what a configuration holds of this function. Full speed
            must be there. The kernel uses those of super speed at super speed plus, too.
        flags: VIRTUAL_ADDR, ALL_CTRL_RECIP, CONFIG0_SETUP. The others follow from what is given. With VIRTUAL_ADDR, a
            host cannot configure the device unless the declared addresses are those of the controller
            (``composite.c``, config_ep_by_speed).
        eventfd: The file descriptor of an eventfd that the kernel signals at each event on ep0. The kernel answers
            EBADF if nothing is open under that number, and EINVAL if it is something else.
        microsoft_os: What its interfaces tell Windows. Give at least an empty list where another function of the
            gadget says something: without it, the kernel takes each interface of this one for interface 0.

    Raises:
        DescriptorError: FunctionFS does not take these descriptors, or would fail when a controller is bound.
    """
    check_descriptors(descriptors)
    if flags & _DERIVED:
        rule = "may hold only VIRTUAL_ADDR, ALL_CTRL_RECIP and CONFIG0_SETUP; the others follow from the arguments"
        raise DescriptorError("flags", flags, rule, _SOURCE)
    speeds = sorted(descriptors)
    for speed in speeds:
        flags |= _FLAG_OF_SPEED[speed]
    head, tail = b"", b"".join(join_descriptors(descriptors[speed]) for speed in speeds)
    if eventfd is not None:
        flags |= FunctionFSFlag.EVENTFD
        head = _eventfd_bytes(eventfd)
    head += b"".join(struct.pack("<I", len(descriptors[speed])) for speed in speeds)
    if microsoft_os is not None:
        flags |= FunctionFSFlag.HAS_MS_OS_DESC
        check_microsoft_os(microsoft_os, descriptors[Speed.FULL])
        count, more = microsoft_os_bytes(microsoft_os, _interface_numbers(descriptors[Speed.FULL]))
        head, tail = head + struct.pack("<I", count), tail + more
    return struct.pack("<III", FunctionFSMagic.DESCRIPTORS_V2, 12 + len(head + tail), flags) + head + tail


def _eventfd_bytes(eventfd: int) -> bytes:
    if not 0 <= eventfd < 2**31:
        raise DescriptorError("eventfd", eventfd, "must be an open file descriptor", _SOURCE)
    return struct.pack("<I", eventfd)


def _interface_numbers(descriptors: Sequence[Descriptor]) -> list[int]:
    return [one.number for one in descriptors if isinstance(one, InterfaceDescriptor)]


@dataclass(frozen=True, slots=True)
class DescriptorsBlob:
    """What a descriptor blob says; ``flags`` are all of them, the derived ones too."""

    descriptors: Mapping[Speed, Sequence[Descriptor]]
    flags: FunctionFSFlag
    eventfd: int | None = None
    microsoft_os: Sequence[MicrosoftOs] | None = None

    def to_bytes(self) -> bytes:
        """The blob again, as :func:`descriptors_blob` makes it.

        Raises:
            DescriptorError: It can be read, and yet FunctionFS would not serve it.
        """
        return descriptors_blob(
            self.descriptors, flags=self.flags & ~_DERIVED, eventfd=self.eventfd, microsoft_os=self.microsoft_os
        )


def parse_descriptors_blob(blob: bytes) -> DescriptorsBlob:
    """Reads a descriptor blob back: to see what was written, and to prove that what is written can be read.

    Raises:
        DescriptorError: It is no blob of version 2, its lengths or counts do not agree, or one of its descriptors
            is not valid.
    """
    if len(blob) < 12:
        raise DescriptorError("length", len(blob), "must be at least 12", _SOURCE)
    magic, length, raw_flags = struct.unpack_from("<III", blob)
    if magic != FunctionFSMagic.DESCRIPTORS_V2:
        raise DescriptorError("magic", magic, "must be FUNCTIONFS_DESCRIPTORS_MAGIC_V2, which is 3", _SOURCE)
    if length != len(blob):
        raise DescriptorError("length", length, f"must be {len(blob)}, the number of bytes written", _SOURCE)
    if raw_flags & ~_KNOWN_FLAGS:
        rule = "must hold known flags only: the kernel answers ENOSYS to others"
        raise DescriptorError("flags", raw_flags, rule, _SOURCE)
    flags = FunctionFSFlag(raw_flags)
    numbers, rest = _take_numbers(blob, flags)
    descriptors: dict[Speed, Sequence[Descriptor]] = {}
    for speed, flag in _FLAG_OF_SPEED.items():
        if flag in flags:
            descriptors[speed], rest = take_descriptors(rest, numbers[flag])
    microsoft_os = _take_microsoft_os(rest, numbers, descriptors)
    return DescriptorsBlob(descriptors, flags, numbers.get(FunctionFSFlag.EVENTFD), microsoft_os)


def _take_numbers(blob: bytes, flags: FunctionFSFlag) -> tuple[dict[FunctionFSFlag, int], bytes]:
    """Takes what each flag puts into the head: a file descriptor or a count."""
    order = (FunctionFSFlag.EVENTFD, *_FLAG_OF_SPEED.values(), FunctionFSFlag.HAS_MS_OS_DESC)
    there = [flag for flag in order if flag in flags]
    end = 12 + 4 * len(there)
    if len(blob) < end:
        raise DescriptorError("length", len(blob), f"must be at least {end} with these flags", _SOURCE)
    return dict(zip(there, struct.unpack_from(f"<{len(there)}I", blob, 12), strict=True)), blob[end:]


def _take_microsoft_os(
    rest: bytes, numbers: Mapping[FunctionFSFlag, int], descriptors: Mapping[Speed, Sequence[Descriptor]]
) -> tuple[MicrosoftOs, ...] | None:
    count = numbers.get(FunctionFSFlag.HAS_MS_OS_DESC)
    if count is not None:
        # Every speed has the same interfaces, and the rules about speeds have not been looked at yet.
        return parse_microsoft_os(rest, count, _interface_numbers(next(iter(descriptors.values()), ())))
    if rest:
        rule = f"must add up to more: {len(rest)} bytes follow the descriptors that they count"
        raise DescriptorError("count", sum(map(len, descriptors.values())), rule, _SOURCE)
    return None


def strings_blob(strings: Mapping[int, Sequence[str]], needed: int = 0) -> bytes:
    """Makes the second thing that is written to ep0: the strings, in each language.

    Args:
        strings: For each language identifier, the strings that descriptors call 1, 2, and so on. Every
            language has all of them. An empty mapping is right if no descriptor names a string.
        needed: The largest number by which a descriptor names a string
            (:func:`~gadget.protocol.functionfs_rules.strings_needed`).

    Raises:
        DescriptorError: A string is longer than the kernel passes on, or cannot be encoded, or is missing.
    """
    check_strings(strings, needed)
    body = b""
    for language, texts in strings.items():
        body += struct.pack("<H", language) + b"".join(text.encode() + b"\0" for text in texts)
    count = max((len(texts) for texts in strings.values()), default=0)
    languages = len(strings) if count else 0
    body = body if count else b""
    return struct.pack("<IIII", FunctionFSMagic.STRINGS, 16 + len(body), count, languages) + body


def parse_strings_blob(blob: bytes) -> dict[int, list[str]]:
    """Reads a string blob back.

    Raises:
        DescriptorError: It is none, its lengths or counts do not agree, or a string is not UTF-8.
    """
    if len(blob) < 16:
        raise DescriptorError("length", len(blob), "must be at least 16", _SOURCE)
    magic, length, count, languages = struct.unpack_from("<IIII", blob)
    if magic != FunctionFSMagic.STRINGS:
        raise DescriptorError("magic", magic, "must be FUNCTIONFS_STRINGS_MAGIC, which is 2", _STRINGS)
    if length != len(blob):
        raise DescriptorError("length", length, f"must be {len(blob)}, the number of bytes written", _STRINGS)
    if (count == 0) != (languages == 0):
        raise DescriptorError("lang_count", languages, f"must be 0 if str_count is 0, which is {count}", _STRINGS)
    found: dict[int, list[str]] = {}
    rest = blob[16:]
    while rest and len(found) < languages:
        language, texts, rest = _take_language(rest, count)
        if language in found:
            raise DescriptorError("lang", language, "must be there once", _STRINGS)
        found[language] = texts
    if rest or len(found) != languages:
        raise DescriptorError("lang_count", languages, "must be the number of languages that follow", _STRINGS)
    return found


def _take_language(data: bytes, count: int) -> tuple[int, list[str], bytes]:
    *texts, rest = data[2:].split(b"\0", count)
    if len(texts) != count:
        rule = "must be the number of strings in each language, each ended by NUL"
        raise DescriptorError("str_count", count, rule, _STRINGS)
    try:
        return int.from_bytes(data[:2], "little"), [text.decode() for text in texts], rest
    except UnicodeDecodeError:
        raise DescriptorError("string", texts, "must be UTF-8", _STRINGS) from None
