"""Our rules and the kernel's, over thousands of random blobs: whatever it refuses we refuse before, with the reason.

The random blobs are written, never bound: high or super speed without full speed, which some have, would take the
kernel down.
"""

from __future__ import annotations

import errno
import os
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gadget.configfs.announced import MicrosoftOsString
from gadget.configfs.apply import USB_GADGET_ROOT, applied, ensure_configfs
from gadget.configfs.model import ConfigurationModel, GadgetModel
from gadget.configfs.plan import plan
from gadget.configfs.record import default_folder
from gadget.configfs.udc import bind, unbind
from gadget.errors import DescriptorError
from gadget.functionfs.mount import functionfs
from gadget.protocol.constants import ClassCode, LanguageId, Speed
from gadget.protocol.descriptors import (
    Descriptor,
    EndpointDescriptor,
    InterfaceAssociation,
    InterfaceDescriptor,
    OtgDescriptor,
)
from gadget.protocol.functionfs_blobs import (
    descriptors_blob,
    parse_descriptors_blob,
    parse_strings_blob,
    strings_blob,
)
from gadget.protocol.functionfs_rules import check_strings
from gadget.testing import BenchController
from tests.conftest import Soak
from tests.usb.functionfs_blobs import Blob, changed, strings, valid

pytestmark = pytest.mark.usb(timeout=600)

NAME = "test-rules"
#: The sources of rules that only hosts know: the kernel passes on what breaks them.
SPECIFICATIONS = ("USB ", "HID ", "CCID ", "On-The-Go ", "Extended ")
FORM, SERVED, BOUND = "functionfs.h, OSDesc", "composite.c, fill_ext_prop", "f_fs.c, __ffs_func_bind_do_descs"
OS_BOUND = "f_fs.c, __ffs_func_bind_do_os_desc"

VENDOR, LATER = InterfaceDescriptor(0, 0, 0, 0xFF), InterfaceDescriptor(1, 0, 0, 0xFF)


def blob(*descriptors: Descriptor, **more: list[Descriptor]) -> Blob:
    """One of full speed, and of others by name."""
    speeds = {Speed.FULL: list(descriptors), **{Speed[name.upper()]: each for name, each in more.items()}}
    return Blob(0, None, {speed: [one.to_bytes() for one in each] for speed, each in speeds.items()})


def pair(address: int, attributes: int = 2, size: int = 64) -> list[Descriptor]:
    return [InterfaceDescriptor(0, 0, 1, 0xFF), EndpointDescriptor(address, attributes, size)]


def saying(*blocks: bytes, descriptors: tuple[Descriptor, ...] = (VENDOR,)) -> Blob:
    made = blob(*descriptors)
    made.os_count, made.os = len(blocks), b"".join(blocks)
    return made


def ids(*entries: bytes, length: int | None = None) -> bytes:
    body = b"".join(entries)
    return struct.pack("<BIHHH", 0, 11 + len(body) if length is None else length, 1, 4, len(entries)) + body


def entry(number: int, name: bytes, sub_name: bytes = b"", reserved: int = 1) -> bytes:
    return struct.pack("<BB8s8s6x", number, reserved, name, sub_name)


def values(*records: bytes, interface: int = 0) -> bytes:
    body = b"".join(records)
    return struct.pack("<BIHHH", interface, 11 + len(body), 1, 5, len(records)) + body


def value(name: bytes, data: bytes, kind: int = 3, more: int = 0) -> bytes:
    head = struct.pack("<IIH", 14 + len(name) + len(data) + more, kind, len(name))
    return head + name + struct.pack("<I", len(data)) + data


#: What the kernel takes and we refuse: the blob, the field and the source of the refusal, and why it is refused.
STRICTER: list[tuple[Blob, str, str, str]] = [
    (Blob(0, None, {Speed.HIGH: [VENDOR.to_bytes()]}), "fs_count", BOUND, "the kernel crashes when it is bound"),
    (blob(VENDOR, high=[]), "count", "f_fs.c, __ffs_data_got_descs", "means the same as leaving the speed out"),
    (
        blob(InterfaceDescriptor(0, 1, 0, 0xFF)),
        "bAlternateSetting",
        "f_fs.c, ffs_func_set_alt",
        "no host could select it",
    ),
    (blob(InterfaceDescriptor(16, 0, 0, 0xFF)), "bInterfaceNumber", "composite.c, usb_interface_id", "fails at bind"),
    (
        blob(VENDOR, LATER, high=[LATER, VENDOR]),
        "bInterfaceNumber",
        "f_fs.c, __ffs_data_do_entity",
        "the kernel compares no more than the largest number, and would swap them at one speed",
    ),
    (
        blob(InterfaceDescriptor(0, 0, 2, 0xFF), *[EndpointDescriptor(1, 2, 64)] * 2),
        "bEndpointAddress",
        BOUND,
        "fails at bind",
    ),
    (
        blob(*pair(1), super=pair(1, size=1024)),
        "bEndpointAddress",
        "composite.c, config_ep_by_speed",
        "fails at enable",
    ),
    (blob(*pair(1, 0)), "bmAttributes", "udc/core.c, usb_gadget_ep_match_desc", "fails at bind"),
    (saying(descriptors=(OtgDescriptor(),)), "bNumInterfaces", FORM, "nobody is there to say it"),
    (
        saying(ids(entry(0, b"WINUSB")), descriptors=(LATER,)),
        "bFirstInterfaceNumber",
        FORM,
        "the kernel would never serve it",
    ),
    (saying(ids(entry(0, b"A"), entry(0, b"B"))), "bFirstInterfaceNumber", FORM, "the first one would be lost"),
    (saying(values(interface=9)), "bFirstInterfaceNumber", FORM, "there is no such interface"),
    (saying(values(), values()), "interface", FORM, "one block has room for all"),
    (saying(ids(entry(0, b"WINUSB", reserved=0))), "Reserved1", FORM, "the kernel puts a 1 there itself"),
    (saying(ids(entry(0, b"\xff"))), "CompatibleID", FORM, "no Windows knows it"),
    (saying(ids(entry(0, b"A", b"\xff"))), "SubCompatibleID", FORM, "no Windows knows it"),
    (
        saying(ids(entry(1, b"WINUSB")), descriptors=(InterfaceAssociation(0, 2, 0xEF, 2, 1), VENDOR, LATER)),
        "CompatibleID",
        "functionfs.h, ExtCompat",
        "Windows asks the first interface of an association",
    ),
    (saying(ids(entry(0, b"WINUSB"), length=11)), "length", FORM, "the kernel does not look at the length"),
    (saying(ids(length=22), values()), "dwLength", FORM, "the kernel does not look at the length"),
    (saying(values(value(b"a\0", b"", more=256))), "dwSize", FORM, "the kernel looks at the lowest byte alone"),
    (saying(values(value(b"a", b""))), "bPropertyName", FORM, "its last character would become NUL"),
    (saying(values(*[value(b"a\0", b"")] * 2)), "bPropertyName", FORM, "one of them would be lost"),
    (saying(values(value(b"a\0", b"\xff\0", 1))), "bPropertyData", "functionfs.h", "the request would stall"),
    (saying(values(value(b"a\0", bytes(4), 4))), "dwPropertyDataType", SERVED, "the request would stall"),
    (saying(values(value(b"a\0", bytes(4), 5))), "dwPropertyDataType", SERVED, "the request would stall"),
    (saying(values(value(b"a\0", b"b\0\0", 7))), "dwPropertyDataType", SERVED, "the request would stall"),
    (
        saying(values(*[value(b"%02d\0" % number, bytes(200)) for number in range(19)])),
        "dwLength",
        SERVED,
        "the host would miss the last one",
    ),
    (saying(values(value("é\0".encode(), b""))), "bPropertyName", OS_BOUND, "NULs would stand behind it"),
    (saying(values(value(b"a\0", "é\0".encode(), 1))), "bPropertyData", OS_BOUND, "NULs would stand behind it"),
]
KNOWN_TO_BE_STRICTER = {(field, source) for _, field, source, _ in STRICTER}

STRINGS = "f_fs.c, __ffs_data_got_strings"
#: The same for strings.
STRICTER_STRINGS: list[tuple[bytes, str, str, str]] = [
    (struct.pack("<IIIIH", 2, 20, 1, 1, 0) + b"a\0", "lang", STRINGS, "no host can ask for it"),
    (struct.pack("<IIII", 2, 24, 1, 2) + b"\x09\x04a\0" * 2, "lang", STRINGS, "the second would never be served"),
    (struct.pack("<IIIIH", 2, 20, 1, 1, 9) + b"\xff\0", "string", STRINGS, "asking for it would stall"),
    (
        struct.pack("<IIIIH", 2, 18 + 128, 1, 1, 9) + b"a" * 127 + b"\0",
        "string",
        "usbstring.c, usb_gadget_get_string",
        "its end would be cut off",
    ),
    (
        struct.pack("<IIIIH", 2, 18 + 2 * 255, 255, 1, 9) + b"a\0" * 255,
        "str_count",
        "composite.c, usb_string_ids_n",
        "a gadget has numbers for 254",
    ),
    (
        struct.pack("<IIII", 2, 16 + 4 * 127, 1, 127) + b"".join(b"%c\x04a\0" % number for number in range(127)),
        "lang_count",
        "composite.c, get_string",
        "string descriptor 0 has room for 126 languages",
    ),
]
STRINGS_KNOWN_TO_BE_STRICTER = {(field, source) for _, field, source, _ in STRICTER_STRINGS}


@pytest.fixture
def folder() -> Iterator[Path]:
    """An instance whose gadget is on no bus; bound to a controller, it has Microsoft OS descriptors."""
    ensure_configfs()
    configurations = (ConfigurationModel(functions=(f"ffs.{NAME}",)),)
    model = GadgetModel(NAME, configurations=configurations, microsoft_os=MicrosoftOsString())
    with applied(plan(model)), functionfs(NAME, default_folder() / f"ffs.{NAME}") as mounted:
        yield mounted


@pytest.fixture
def ep0(folder: Path) -> Path:
    return folder / "ep0"


@pytest.fixture
def eventfd() -> Iterator[int]:
    descriptor = os.eventfd(0)
    yield descriptor
    os.close(descriptor)


def kernel_answers(ep0: Path, *blobs: bytes) -> int:
    """Writes blobs one after the other and returns the errno of the first that is refused, 0 if none is.

    The last close resets the instance, whatever a blob has left in it (f_fs.c, ffs_data_reset); no new mount is needed.
    """
    descriptor = os.open(ep0, os.O_RDWR | os.O_CLOEXEC)
    try:
        for data in blobs:
            assert os.write(descriptor, data) == len(data)
    except OSError as error:
        return error.errno or errno.EIO
    finally:
        os.close(descriptor)
    return 0


def refusal(check: Callable[[], object]) -> DescriptorError | None:
    try:
        check()
    except DescriptorError as error:
        return error
    return None


def assert_agreed(error: DescriptorError | None, code: int, stricter: set[tuple[str, str]], where: str) -> None:
    """The kernel takes what we take; what it takes and we don't is known to be refused for a reason."""
    if error is None:
        assert code == 0, f"{where}: the kernel answers {errno.errorcode[code]}, and our rules accept it"
    elif code == 0 and not error.source.startswith(SPECIFICATIONS):
        assert (error.field, error.source) in stricter, f"{where}: the kernel takes it, and we say: {error}"


@pytest.mark.parametrize("seed", range(3))
def test_random_descriptors(ep0: Path, eventfd: int, seed: int, soak: Soak) -> None:
    rng, count = random.Random(seed), soak.count(50, 150)
    taken = 0
    for number in range(count):
        good = valid(rng, eventfd)
        data = good.to_bytes()
        assert parse_descriptors_blob(data).to_bytes() == data
        assert kernel_answers(ep0, data) == 0, f"seed {seed}, blob {number}: {data.hex()}"
        for change in range(4):
            data = changed(rng, good)
            where = f"seed {seed}, blob {number}, change {change}: {data.hex()}"
            error = refusal(lambda data=data: parse_descriptors_blob(data).to_bytes())  # type: ignore[misc]
            if error is None and (found := parse_descriptors_blob(data)).eventfd not in (None, eventfd):
                continue  # a number that is no eventfd here: see test_an_eventfd_has_to_be_one
            assert_agreed(error, kernel_answers(ep0, data), KNOWN_TO_BE_STRICTER, where)
            if error is None:
                assert kernel_answers(ep0, found.to_bytes()) == 0, where
                taken += 1
    assert taken > count / 3, "changes so large that nothing is left to compare"


@pytest.mark.parametrize(
    ("made", "field", "source"),
    [each[:3] for each in STRICTER],
    ids=[f"{field}: {reason}" for _, field, _, reason in STRICTER],
)
def test_descriptors_that_are_refused_although_the_kernel_takes_them(
    ep0: Path, made: Blob, field: str, source: str
) -> None:
    data = made.to_bytes()
    assert kernel_answers(ep0, data) == 0
    with pytest.raises(DescriptorError) as caught:
        parse_descriptors_blob(data).to_bytes()
    assert (caught.value.field, caught.value.source) == (field, source)


def naming(count: int) -> bytes:
    """Descriptors that name so many strings."""
    return descriptors_blob({Speed.FULL: [InterfaceDescriptor(0, 0, 0, 0xFF, string=count)]})


@pytest.mark.parametrize("seed", range(3))
def test_random_strings(ep0: Path, seed: int, soak: Soak) -> None:
    """The number of languages stays small: the kernel asks for memory by it, and warns where it is absurd."""
    rng, count = random.Random(seed), soak.count(200, 600)
    taken = 0
    for number in range(count):
        data, needed = strings(rng), rng.randrange(4)
        where = f"seed {seed}, blob {number}, {needed} strings needed: {data.hex()}"
        error = refusal(lambda data=data, needed=needed: check_strings(parse_strings_blob(data), needed))  # type: ignore[misc]
        code = kernel_answers(ep0, naming(needed), data)
        if needed or error is None:
            assert_agreed(error, code, STRINGS_KNOWN_TO_BE_STRICTER, where)
        taken += error is None
    assert taken > count / 12


@pytest.mark.parametrize(
    ("data", "field", "source"),
    [each[:3] for each in STRICTER_STRINGS],
    ids=[f"{field}: {reason}" for _, field, _, reason in STRICTER_STRINGS],
)
def test_strings_that_are_refused_although_the_kernel_takes_them(
    ep0: Path, data: bytes, field: str, source: str
) -> None:
    assert kernel_answers(ep0, naming(1), data) == 0
    with pytest.raises(DescriptorError) as caught:
        check_strings(parse_strings_blob(data), 1)
    assert (caught.value.field, caught.value.source) == (field, source)


def test_strings_that_no_descriptor_names_are_not_even_read(ep0: Path) -> None:
    rubbish = struct.pack("<IIII", 2, 17, 9, 9) + b"x"
    assert kernel_answers(ep0, naming(0), rubbish) == 0
    assert kernel_answers(ep0, naming(1), rubbish) == errno.EINVAL


def test_the_most_strings_in_the_most_languages(ep0: Path) -> None:
    """The kernel would copy four megabytes (memdup_user): there is nothing to be refused for its length."""
    most = strings_blob({language: ["x" * 126] * 254 for language in range(0x0401, 0x0401 + 126)}, needed=254)
    assert kernel_answers(ep0, naming(254), most) == 0


def test_an_eventfd_has_to_be_one(ep0: Path, eventfd: int) -> None:
    reader, writer = os.pipe()
    nothing = 2**31 - 1
    try:
        answers = [
            kernel_answers(ep0, descriptors_blob({Speed.FULL: [VENDOR]}, eventfd=number))
            for number in (eventfd, nothing, reader)
        ]
    finally:
        os.close(reader)
        os.close(writer)
    assert answers == [0, errno.EBADF, errno.EINVAL]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_accepted_can_be_bound(folder: Path, udc: BenchController, eventfd: int, seed: int) -> None:
    """Of what the controller has endpoints for; nothing of class HID, whose host driver waits for its requests."""
    rng = random.Random(seed)
    bound = 0
    while bound < 5:
        made = valid(rng, eventfd)
        parsed = parse_descriptors_blob(made.to_bytes())
        endpoints = [one for one in parsed.descriptors[Speed.FULL] if isinstance(one, EndpointDescriptor)]
        interfaces = [one for one in parsed.descriptors[Speed.FULL] if isinstance(one, InterfaceDescriptor)]
        if len(endpoints) > 3 or any(one.transfer_type != 2 for one in endpoints):
            continue
        if any(one.class_code == ClassCode.HID for one in interfaces):
            continue
        descriptor = os.open(folder / "ep0", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.write(descriptor, made.to_bytes())
            os.write(descriptor, strings_blob({LanguageId.ENGLISH_US: ["a", "b", "c"]}))
            bind(USB_GADGET_ROOT / NAME, udc.name)
            unbind(USB_GADGET_ROOT / NAME)
        finally:
            os.close(descriptor)
        bound += 1
