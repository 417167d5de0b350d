"""Gadgets of every kind, to be written and read again."""

from __future__ import annotations

from gadget import Configuration, Gadget, MicrosoftOs, Property, WebUsb
from gadget.configfs.model import GadgetModel
from gadget.kernel_functions import (
    Acm,
    Ecm,
    Eem,
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
)
from gadget.protocol.constants import Speed

SMALL, LARGE = VideoFrame(width=640, height=480), VideoFrame(width=1280, height=720, intervals=(333333, 666666))
WINDOWS = MicrosoftOs("RNDIS", "5162001", {"Icons": Property.text("C:\\x"), "Blob": Property.binary(b"\x00\xff")})

FUNCTIONS: list[KernelFunction] = [
    Acm(),
    Acm(instance="GS0", console=True),
    Gser(),
    Obex(),
    Ecm(dev_addr="02:00:00:00:00:01", host_addr="02:00:00:00:00:02", qmult=7),
    Geth(ifname="link%d"),
    Eem(),
    Ncm(microsoft_os=MicrosoftOs("WINNCM")),
    Rndis(interface_class=0xE0, interface_subclass=1, interface_protocol=3, microsoft_os=WINDOWS),
    Hid(report_descriptor=bytes(range(256)), report_length=8, subclass=1, protocol=1, no_out_endpoint=True),
    Hid(report_descriptor=b"plain text", report_length=8),
    MassStorage(),
    MassStorage(
        luns=(
            Lun(file="/a b.img", ro=True),
            Lun(cdrom=True),
            Lun(inquiry_string="Vendor  0100"),
        ),
        stall=True,
    ),
    Midi(id="keys", index=-1, in_ports=2),
    Uac1(c_srate=(44100, 48000), function_name="Sound"),
    Uac2(p_chmask=0, c_sync="adaptive"),
    Uvc(
        formats=(
            Uncompressed(
                frames=(
                    SMALL,
                    LARGE,
                )
            ),
            Mjpeg(frames=(SMALL,)),
        ),
        streaming_maxpacket=2048,
    ),
    Uvc(
        formats=(
            Mjpeg(frames=(LARGE,)),
            Uncompressed(frames=(SMALL,)),
        ),
        function_name="Eye",
    ),
    Printer(pnp_string="MFG:linux;MDL:g_printer;CLS:PRINTER;SN:1;"),
    Phonet(),
    Loopback(qlen=1, bulk_buflen=512),
    SourceSink(pattern=2),
    OtherFunction(name="new", attributes={"a": 1, "b/c": b"\x01\x02"}, folders=("b",), links=(("l", "b"),)),
    Acm(attributes={"unheard_of": "5"}),
]


def everything() -> GadgetModel:
    storage, port = MassStorage(luns=(Lun(file="/disk.img"),)), Acm()
    return Gadget(
        configurations=[
            Configuration([port, Ncm(microsoft_os=MicrosoftOs("WINNCM"))], "first", max_power_ma=100),
            Configuration([storage, port], {0x409: "second", 0x407: "zweite"}, number=7, remote_wakeup=True),
        ],
        name="everything",
        vendor_id=0x1209,
        product_id=0xBEEF,
        device_version=0x0234,
        manufacturer='She said "no" \\ ü',
        product={0x409: "Thing", 0x407: "Ding"},
        serial_number="007",
        max_speed=Speed.HIGH,
        webusb=WebUsb("https://example.org"),
    ).model


def of(function: KernelFunction) -> GadgetModel:
    return Gadget(function, name="g", product="one").model
