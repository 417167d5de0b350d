"""Every kind of function: what it writes, what it refuses, and that it reads back as it was given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from pathlib import PurePosixPath as P
from typing import Any

import pytest

from gadget import MicrosoftOs, Property
from gadget.configfs.model import FunctionModel
from gadget.configfs.steps import MakeDirectory, MakeLink, Step, WriteAttribute
from gadget.errors import ClosedError, ConfigurationError, DescriptorError
from gadget.kernel_functions import (
    FAMILIES,
    Acm,
    Ecm,
    Eem,
    Ffs,
    Geth,
    Gser,
    Hid,
    KernelFunction,
    Loopback,
    Lun,
    MassStorage,
    Midi,
    Mjpeg,
    Ncm,
    Obex,
    OtherFunction,
    Phonet,
    Printer,
    Rndis,
    SourceSink,
    Uac1,
    Uac2,
    Uncompressed,
    Uvc,
    VideoFrame,
    four_characters,
)
from tests.unit.kernel_functions.folder import Folder

MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
SIZE = VideoFrame(width=640, height=360)
LINK: dict[str, Any] = {"dev_addr": MAC, "host_addr": OTHER_MAC, "qmult": 7, "ifname": "lan%d"}
LINK_WRITTEN = {"dev_addr": b"02:00:00:00:00:01", "host_addr": b"02:00:00:00:00:02", "qmult": b"7", "ifname": b"lan%d"}
VOLUME: dict[str, Any] = {
    f"{way}_{name}": value
    for way in "cp"
    for name, value in (
        ("mute_present", True),
        ("volume_present", False),
        ("volume_min", -512),
        ("volume_max", 512),
        ("volume_res", 128),
    )
}
VOLUME_WRITTEN = {
    f"{way}_{name}": value
    for way in "cp"
    for name, value in (
        ("mute_present", b"1"),
        ("volume_present", b"0"),
        ("volume_min", b"-512"),
        ("volume_max", b"512"),
        ("volume_res", b"128"),
    )
}

#: Each function with everything said, and what is written for it.
SAID: list[tuple[KernelFunction, dict[str, bytes]]] = [
    (Acm(console=True), {"console": b"1"}),
    (Gser(console=False), {"console": b"0"}),
    (Obex(), {}),
    (Ecm(**LINK), LINK_WRITTEN),
    (Geth(**LINK), LINK_WRITTEN),
    (Eem(**LINK), LINK_WRITTEN),
    (Ncm(**LINK), LINK_WRITTEN),
    (
        Rndis(**LINK, interface_class=0xEF, interface_subclass=4, interface_protocol=1),
        {**LINK_WRITTEN, "class": b"ef", "subclass": b"04", "protocol": b"01"},
    ),
    (
        Hid(report_descriptor=b"\x05\x01\n", report_length=8, subclass=1, protocol=2, no_out_endpoint=True),
        {
            "report_desc": b"\x05\x01\n",
            "report_length": b"8",
            "subclass": b"1",
            "protocol": b"2",
            "no_out_endpoint": b"1",
        },
    ),
    (
        Midi(id="Synth", index=3, in_ports=2, out_ports=0, buflen=256, qlen=16),
        {"id": b"Synth", "index": b"3", "in_ports": b"2", "out_ports": b"0", "buflen": b"256", "qlen": b"16"},
    ),
    (
        Uac1(
            **VOLUME,
            c_chmask=1,
            c_srate=(44100, 48000),
            c_ssize=3,
            p_chmask=0,
            p_srate=(8000,),
            p_ssize=4,
            req_number=4,
            function_name="Speaker",
        ),
        {
            **VOLUME_WRITTEN,
            "c_chmask": b"1",
            "c_srate": b"44100,48000",
            "c_ssize": b"3",
            "p_chmask": b"0",
            "p_srate": b"8000",
            "p_ssize": b"4",
            "req_number": b"4",
            "function_name": b"Speaker\n",
        },
    ),
    (
        Uac2(
            **VOLUME,
            c_chmask=0x7FFFFFF,
            c_srate=(96000,),
            c_ssize=1,
            c_sync="adaptive",
            c_hs_bint=4,
            p_chmask=1,
            p_srate=(192000,),
            p_ssize=2,
            p_hs_bint=0,
            fb_max=10,
            req_number=2,
            function_name="x" * 31,
        ),
        {
            **VOLUME_WRITTEN,
            "c_chmask": b"134217727",
            "c_srate": b"96000",
            "c_ssize": b"1",
            "c_sync": b"adaptive",
            "c_hs_bint": b"4",
            "p_chmask": b"1",
            "p_srate": b"192000",
            "p_ssize": b"2",
            "p_hs_bint": b"0",
            "fb_max": b"10",
            "req_number": b"2",
            "function_name": b"x" * 31 + b"\n",
        },
    ),
    (Printer(pnp_string="MFG:a;MDL:b;", q_len=4), {"pnp_string": b"MFG:a;MDL:b;", "q_len": b"4"}),
    (Phonet(), {}),
    (Loopback(qlen=1, bulk_buflen=512), {"qlen": b"1", "bulk_buflen": b"512"}),
    (
        SourceSink(
            pattern=1,
            isoc_interval=16,
            isoc_maxpacket=0,
            isoc_mult=2,
            isoc_maxburst=15,
            bulk_buflen=64,
            bulk_qlen=2,
            iso_qlen=3,
        ),
        {
            "pattern": b"1",
            "isoc_interval": b"16",
            "isoc_maxpacket": b"0",
            "isoc_mult": b"2",
            "isoc_maxburst": b"15",
            "bulk_buflen": b"64",
            "bulk_qlen": b"2",
            "iso_qlen": b"3",
        },
    ),
    (
        MassStorage(
            luns=(Lun(), Lun(ro=True, cdrom=True, removable=False, nofua=True, inquiry_string="a b", file="/d.iso")),
            stall=True,
            num_buffers=3,
        ),
        {
            "stall": b"1",
            "num_buffers": b"3",
            "lun.1/ro": b"1",
            "lun.1/cdrom": b"1",
            "lun.1/removable": b"0",
            "lun.1/nofua": b"1",
            "lun.1/inquiry_string": b"a b",
            "lun.1/file": b"/d.iso",
        },
    ),
    (
        OtherFunction(name="tcm", instance="a", attributes={"n": 5, "b": b"\0", "d/t": "x"}, folders=("d",)),
        {"n": b"5", "b": b"\0", "d/t": b"x"},
    ),
    (Ffs(instance="adb"), {}),
]


def id_of(value: object) -> str:
    return type(value).__name__ if isinstance(value, KernelFunction) else ""


@pytest.mark.parametrize(("function", "expected"), SAID, ids=id_of)
def test_what_is_said_is_written(function: KernelFunction, expected: dict[str, bytes]) -> None:
    assert Folder(function.steps()).attributes == expected


@pytest.mark.parametrize("function", [said for said, _ in SAID if not isinstance(said, OtherFunction)], ids=id_of)
def test_what_is_written_reads_back(function: KernelFunction) -> None:
    folder = Folder(function.steps())
    if isinstance(function, MassStorage):
        folder.attributes |= {"lun.0/file": b"", "lun.1/removable": b"0"}
    assert type(function).read(folder, function.instance) == function


@pytest.mark.parametrize("function", [Acm(), Ncm(), Midi(), Uac1(), Uac2(), Printer(), SourceSink(), MassStorage()])
def test_what_is_not_said_is_left_to_the_kernel(function: KernelFunction) -> None:
    assert function.steps() == ()
    assert function.model("0") == FunctionModel(f"{function.family}.0")


def test_every_kind_is_known_by_its_name() -> None:
    assert set(FAMILIES) == {
        *("acm", "gser", "obex", "ecm", "geth", "eem", "ncm", "rndis", "hid", "mass_storage", "midi", "uac1", "uac2"),
        *("uvc", "printer", "phonet", "Loopback", "SourceSink", "ffs"),
    }
    assert {type(function) for function, _ in SAID} | {Uvc} == {*FAMILIES.values(), OtherFunction}


@pytest.mark.parametrize("kind", FAMILIES.values())
def test_every_field_is_documented(kind: type[KernelFunction]) -> None:
    docs = "".join(base.__doc__ or "" for base in kind.__mro__)
    for each in fields(kind):
        assert f"        {each.name}: " in docs


def test_they_cannot_be_changed() -> None:
    acm = Acm()
    with pytest.raises(FrozenInstanceError):
        acm.console = True  # type: ignore[misc]
    with pytest.raises(TypeError):
        Acm("usb0")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Acm(console=1), "console"),  # type: ignore[arg-type]
        (lambda: Ecm(qmult=0), "qmult"),
        (lambda: Ecm(qmult=True), "qmult"),
        (lambda: Ecm(dev_addr="02:00"), "dev_addr"),
        (lambda: Ecm(dev_addr="01:00:00:00:00:00"), "dev_addr"),
        (lambda: Ecm(host_addr="00:00:00:00:00:00"), "host_addr"),
        (lambda: Ncm(ifname="usb0"), "ifname"),
        (lambda: Ncm(ifname="usb%d%d"), "ifname"),
        (lambda: Ncm(ifname="much-too-long-%d"), "ifname"),
        (lambda: Ncm(microsoft_os=MicrosoftOs("WINNCM", interface=1)), "interface"),
        (lambda: Ncm(microsoft_os=MicrosoftOs("A", properties={"N": Property.number(1)})), "dwPropertyDataType"),
        (lambda: Rndis(interface_class=256), "class"),
        (lambda: Hid(report_descriptor=b"", report_length=8), "report_desc"),
        (lambda: Hid(report_descriptor=bytes(4097), report_length=8), "report_desc"),
        (lambda: Hid(report_descriptor=b"x", report_length=1025), "report_length"),
        (lambda: Midi(id="has blanks"), "id"),
        (lambda: Midi(id="x" * 16), "id"),
        (lambda: Midi(in_ports=17), "in_ports"),
        (lambda: Midi(index=32), "index"),
        (lambda: Uac1(c_chmask=0, p_chmask=0), "p_chmask"),
        (lambda: Uac1(c_chmask=0x1000), "c_chmask"),
        (lambda: Uac1(c_srate=tuple(range(1, 12))), "c_srate"),
        (lambda: Uac1(c_srate=(0,)), "c_srate"),
        (lambda: Uac1(c_ssize=5), "c_ssize"),
        (lambda: Uac1(function_name="x" * 32), "function_name"),
        (lambda: Uac1(function_name="two\nlines"), "function_name"),
        (lambda: Uac2(p_volume_max=-25600), "p_volume_max"),
        (lambda: Uac2(c_volume_res=1000), "c_volume_res"),
        (lambda: Uac2(c_sync="sync"), "c_sync"),
        (lambda: Uac2(p_hs_bint=5), "p_hs_bint"),
        (lambda: Printer(q_len=0), "q_len"),
        (lambda: Printer(pnp_string="x" * 4095), "pnp_string"),
        (lambda: SourceSink(pattern=3), "pattern"),
        (lambda: MassStorage(luns=()), "luns"),
        (lambda: MassStorage(luns=(Lun(),) * 17), "luns"),
        (lambda: Lun(file="disk.img"), "file"),
        (lambda: Lun(removable=False), "removable"),
        (lambda: Lun(cdrom=True, ro=False), "ro"),
        (lambda: Lun(inquiry_string="x" * 29), "inquiry_string"),
        (lambda: Uvc(formats=()), "formats"),
        (lambda: Uvc(formats=(Mjpeg(frames=(SIZE,)),), streaming_maxpacket=3073), "streaming_maxpacket"),
        (
            lambda: Uvc(formats=(Mjpeg(frames=(SIZE,)),), streaming_maxpacket=512, streaming_maxburst=1),
            "streaming_maxpacket",
        ),
        (lambda: Uvc(formats=(Mjpeg(frames=(SIZE,)),), version=0x10000), "bcdUVC"),
        (lambda: Mjpeg(frames=()), "frames"),
        (lambda: Mjpeg(frames=(SIZE, SIZE)), "frames"),
        (lambda: Mjpeg(frames=(SIZE,), default_frame=2), "bDefaultFrameIndex"),
        (lambda: Uncompressed(frames=(SIZE,), guid=b"YUY2"), "guidFormat"),
        (lambda: VideoFrame(width=0, height=1), "wWidth"),
        (lambda: VideoFrame(width=1, height=1, default_interval=5), "dwDefaultFrameInterval"),
        (lambda: VideoFrame(width=1, height=1, intervals=(0,)), "dwFrameInterval"),
        (lambda: OtherFunction(name="x", attributes={"../UDC": ""}), "attributes"),
        (lambda: OtherFunction(name="x", attributes={"/etc/passwd": ""}), "attributes"),
    ],
)
def test_what_the_kernel_would_not_take_is_named_with_its_rule(make: Callable[[], object], field: str) -> None:
    with pytest.raises(DescriptorError) as caught:
        make()
    assert caught.value.field == field
    assert caught.value.rule
    assert caught.value.source


def test_names_that_cannot_be() -> None:
    for make in (lambda: Acm(instance="a/b"), lambda: OtherFunction(name=""), lambda: Ffs(instance="x" * 36)):
        with pytest.raises(ConfigurationError, match=r"FAMILY\.NAME"):
            make()
    with pytest.raises(ConfigurationError, match="at least"):
        OtherFunction(name="x", interface_count=0)


def test_the_names_in_configfs() -> None:
    assert Acm().model("0").instance == "acm.0"
    assert Acm(instance="modem").model("0").instance == "acm.modem"
    assert OtherFunction(name="new").model("7").instance == "new.7"


@pytest.mark.parametrize(
    ("function", "count"),
    [
        *((kind(), 2) for kind in (Acm, Obex, Ecm, Ncm, Rndis, Midi, Phonet)),
        *((kind(), 1) for kind in (Gser, Geth, Eem, MassStorage, Printer, Loopback, SourceSink)),
        *((kind(), 3) for kind in (Uac1, Uac2)),
        *((kind(p_chmask=0), 2) for kind in (Uac1, Uac2)),
        (Uvc(formats=(Mjpeg(frames=(SIZE,)),)), 2),
        (OtherFunction(name="x"), None),
        (OtherFunction(name="x", interface_count=4), 4),
        (Ffs(instance="x", interface_count=2), 2),
    ],
)
def test_how_many_interfaces_each_has(function: KernelFunction, count: int | None) -> None:
    assert function.interfaces == count


BULK = ["BULK IN", "BULK OUT"]


@pytest.mark.parametrize(
    ("function", "needs"),
    [
        *((kind(), [*BULK, "INTERRUPT IN"]) for kind in (Acm, Ecm, Ncm, Rndis)),
        *((kind(), BULK) for kind in (Gser, Obex, Geth, Eem, MassStorage, Printer, Midi, Loopback, SourceSink)),
        (Hid(report_descriptor=b"x", report_length=1), ["INTERRUPT IN", "INTERRUPT OUT"]),
        (Phonet(), BULK[::-1]),
        (Hid(report_descriptor=b"x", report_length=1, no_out_endpoint=True), ["INTERRUPT IN"]),
        (Uvc(formats=(Mjpeg(frames=(SIZE,)),)), ["INTERRUPT IN", "ISOCHRONOUS IN"]),
        (Uac1(), ["INTERRUPT IN", "ISOCHRONOUS OUT", "ISOCHRONOUS IN"]),
        (Uac1(p_chmask=0, c_mute_present=False, c_volume_present=False), ["INTERRUPT IN", "ISOCHRONOUS OUT"]),
        (Uac2(), ["INTERRUPT IN", "ISOCHRONOUS OUT", "ISOCHRONOUS IN", "ISOCHRONOUS IN"]),
        (Uac2(c_sync="adaptive", p_chmask=0), ["INTERRUPT IN", "ISOCHRONOUS OUT"]),
        (Uac2(p_chmask=0, c_mute_present=False, c_volume_present=False), ["ISOCHRONOUS OUT", "ISOCHRONOUS IN"]),
        (OtherFunction(name="x"), None),
    ],
)
def test_the_endpoints_that_each_needs(function: KernelFunction, needs: list[str] | None) -> None:
    found = function.endpoints
    said = None if found is None else [f"{each.transfer_type.name} {each.direction.name}" for each in found]
    assert said == needs


def test_what_this_package_does_not_know_is_written_all_the_same() -> None:
    function = Ncm(qmult=3, attributes={"max_segment_size": 1514})
    assert function.steps() == (WriteAttribute(P("qmult"), b"3"), WriteAttribute(P("max_segment_size"), b"1514"))


def test_disks_in_their_order() -> None:
    function = MassStorage(luns=(Lun(file="/a"), Lun(), Lun(cdrom=True, file="/b")))
    assert function.steps() == (
        WriteAttribute(P("lun.0/file"), b"/a"),
        MakeDirectory(P("lun.1")),
        MakeDirectory(P("lun.2")),
        WriteAttribute(P("lun.2/cdrom"), b"1"),
        WriteAttribute(P("lun.2/file"), b"/b"),
    )


def test_what_windows_is_told() -> None:
    properties = {"A": Property.text("x"), "B": Property.binary(b"\1\n")}
    function = Rndis(microsoft_os=MicrosoftOs("RNDIS", "5162001", properties))
    folder = P("os_desc/interface.rndis")
    assert function.microsoft_os_descriptors == function.microsoft_os
    assert function.steps() == (
        WriteAttribute(folder / "compatible_id", b"RNDIS"),
        WriteAttribute(folder / "sub_compatible_id", b"5162001"),
        MakeDirectory(folder / "A"),
        WriteAttribute(folder / "A/type", b"1"),
        WriteAttribute(folder / "A/data", b"x\0"),
        MakeDirectory(folder / "B"),
        WriteAttribute(folder / "B/type", b"3"),
        WriteAttribute(folder / "B/data", b"\1\n\0"),
    )


def test_what_windows_is_told_reads_back() -> None:
    """The kernel shows a byte more of a text, whatever that is, and fills the identifiers up with zeros."""
    function = Ncm(microsoft_os=MicrosoftOs("WINNCM", properties={"A": Property.text("x"), "B": Property.binary(b"1")}))
    folder = Folder(function.steps())
    below = "os_desc/interface.ncm"
    folder.attributes[f"{below}/compatible_id"] = b"WINNCM\0\0"
    folder.attributes[f"{below}/sub_compatible_id"] = bytes(8)
    folder.attributes |= {f"{below}/A/data": b"x?", f"{below}/B/data": b"1"}
    assert Ncm.read(folder) == function
    assert Ncm.read(Folder()).microsoft_os is None


def frame_steps(folder: P, width: int, height: int, intervals: bytes, fastest: int, slowest: int) -> list[Step]:
    bits = 16 * width * height
    return [
        MakeDirectory(folder),
        WriteAttribute(folder / "wWidth", b"%d" % width),
        WriteAttribute(folder / "wHeight", b"%d" % height),
        WriteAttribute(folder / "dwMinBitRate", b"%d" % (bits * 10_000_000 // slowest)),
        WriteAttribute(folder / "dwMaxBitRate", b"%d" % (bits * 10_000_000 // fastest)),
        WriteAttribute(folder / "dwMaxVideoFrameBufferSize", b"%d" % (bits // 8)),
        WriteAttribute(folder / "dwDefaultFrameInterval", b"%d" % fastest),
        WriteAttribute(folder / "dwFrameInterval", intervals),
    ]


def camera() -> Uvc:
    return Uvc(
        formats=(
            Uncompressed(frames=(VideoFrame(width=320, height=240, intervals=(666666, 333333)),), default_frame=1),
            Mjpeg(frames=(SIZE, VideoFrame(width=1280, height=720))),
        ),
        streaming_maxpacket=2048,
        version=0x0100,
    )


def test_the_whole_tree_of_a_camera() -> None:
    formats = P("streaming")
    assert camera().steps() == (
        WriteAttribute(P("streaming_maxpacket"), b"2048"),
        MakeDirectory(P("control/header/h")),
        WriteAttribute(P("control/header/h/bcdUVC"), b"256"),
        MakeLink(P("control/class/fs/h"), P("control/header/h")),
        MakeLink(P("control/class/ss/h"), P("control/header/h")),
        MakeDirectory(formats / "uncompressed/format1"),
        WriteAttribute(formats / "uncompressed/format1/bDefaultFrameIndex", b"1"),
        *frame_steps(formats / "uncompressed/format1/320x240", 320, 240, b"333333\n666666", 333333, 666666),
        MakeDirectory(formats / "mjpeg/format2"),
        *frame_steps(formats / "mjpeg/format2/640x360", 640, 360, b"333333", 333333, 333333),
        *frame_steps(formats / "mjpeg/format2/1280x720", 1280, 720, b"333333", 333333, 333333),
        MakeDirectory(P("streaming/header/h")),
        MakeLink(P("streaming/header/h/format1"), formats / "uncompressed/format1"),
        MakeLink(P("streaming/header/h/format2"), formats / "mjpeg/format2"),
        MakeLink(P("streaming/class/fs/h"), P("streaming/header/h")),
        MakeLink(P("streaming/class/hs/h"), P("streaming/header/h")),
        MakeLink(P("streaming/class/ss/h"), P("streaming/header/h")),
    )


def test_a_camera_reads_back_in_the_order_that_the_kernel_has_numbered() -> None:
    function = camera()
    folder = Folder(function.steps())
    folder.made.reverse()
    folder.attributes |= {
        "streaming/uncompressed/format1/bFormatIndex": b"1\n",
        "streaming/mjpeg/format2/bFormatIndex": b"2\n",
        "streaming/mjpeg/format2/640x360/bFrameIndex": b"1\n",
        "streaming/mjpeg/format2/1280x720/bFrameIndex": b"2\n",
    }
    assert Uvc.read(folder) == function


def test_a_format_by_its_four_characters() -> None:
    assert four_characters("YUY2") == b"YUY2\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
    assert Uncompressed(frames=(SIZE,), guid=four_characters("NV12"), bits_per_pixel=12).bits_per_pixel == 12


def test_the_kernel_has_named_an_interface_by_itself() -> None:
    """Which says nothing about what was asked for, and could not be written again."""
    for said in (b"(unnamed net_device)\n", b"usb0\n"):
        assert Ecm.read(Folder(ifname=said)).ifname is None


def test_nothing_is_known_of_a_function_that_is_not_up() -> None:
    whats: list[Callable[[], object]] = [
        lambda: Acm().terminal,
        lambda: Ncm().network_interface,
        lambda: Hid(report_descriptor=b"x", report_length=1).node,
        lambda: Midi().sound_card,
        lambda: Printer().node,
        lambda: camera().node,
        lambda: MassStorage().inserted(),
        lambda: Loopback().devices,
        lambda: Acm().read_back(),
    ]
    for what in whats:
        with pytest.raises(ClosedError, match="in no gadget that is up"):
            what()
