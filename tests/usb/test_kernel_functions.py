"""Every function of the kernel, and the host's own class driver that proves it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest

from gadget import (
    Association,
    BulkIn,
    BulkOut,
    ClassCode,
    Function,
    Gadget,
    Interface,
    InterruptIn,
    MicrosoftOs,
    Property,
    Speed,
)
from gadget.errors import KernelError
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
from gadget.protocol.descriptors import InterfaceAssociation, InterfaceDescriptor
from gadget.protocol.tolerant import parse_tolerant
from gadget.testing import BenchController, Bus, ServedGadget, wait_for
from tests.usb.devices import Echo
from tests.usb.network_namespace import ip, network_namespace
from tests.usb.terminals import load, opened, read, terminal, write

pytestmark = pytest.mark.usb

Serve = Callable[..., ServedGadget]

EVERY_BYTE = bytes(range(256))
DEVICE_MAC, HOST_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"

KEYBOARD = bytes.fromhex(
    "05010906a101"  # a keyboard
    "050719e029e715002501750195088102"  # eight modifier keys of one bit
    "950175088101"  # a byte that is reserved
    "95057501050819012905910295017503 9101".replace(" ", "")  # five lights of one bit, and what fills the byte
    + "95067508150026ff000507190029ff8100"  # six keys of one byte
    "c0"
)


def keyboard(no_out_endpoint: bool | None = None) -> Hid:
    return Hid(report_descriptor=KEYBOARD, report_length=8, subclass=1, protocol=1, no_out_endpoint=no_out_endpoint)


def found(served: ServedGadget, pattern: str) -> Path:
    """What the host's driver has made of the device."""
    wait_for(lambda: list(served.device.path.glob(pattern)), f"the host's {pattern}")
    return sorted(served.device.path.glob(pattern))[0]


@contextmanager
def echoing(path: Path) -> Iterator[None]:
    """A program on this side that sends back what comes out of its terminal."""
    with terminal(path) as descriptor:

        def echo() -> None:
            write(descriptor, read(descriptor, len(EVERY_BYTE)))

        thread = threading.Thread(target=echo)
        thread.start()
        yield
        thread.join()


def echoes(host: Path, device: Path) -> bool:
    with echoing(device), terminal(host) as descriptor:
        write(descriptor, EVERY_BYTE)
        return read(descriptor, len(EVERY_BYTE)) == EVERY_BYTE


# ---- serial ----------------------------------------------------------------------------------------------------------


def test_a_serial_port_echoes(serve: Serve) -> None:
    load("cdc-acm")
    acm = Acm()
    served = serve(acm)
    assert acm.devices == (str(acm.terminal),)
    assert echoes(Path("/dev", found(served, "*:1.0/tty/ttyACM*").name), acm.terminal)


def test_a_serial_port_without_a_class_echoes(serve: Serve) -> None:
    load("usbserial")
    gser = Gser()
    served = serve(Gadget(gser, vendor_id=0x0525, product_id=0xA4A6))
    Path("/sys/bus/usb-serial/drivers/generic/new_id").write_text("0525 a4a6")
    assert echoes(Path("/dev", found(served, "*:1.0/ttyUSB*").name), gser.terminal)


def test_object_exchange_has_its_terminal(udc: BenchController) -> None:
    """The host never sees the device on Linux 6.1, whether the terminal is open or not (see limits)."""
    obex = Obex()

    async def bind() -> None:
        async with Gadget(obex).up(udc.name) as gadget:
            assert gadget.controller.name == udc.name
            with terminal(obex.terminal):
                assert obex.devices == (str(obex.terminal),)

    asyncio.run(asyncio.wait_for(bind(), 60))


def descriptors(device: Path) -> list[object]:
    return [*parse_tolerant((device / "descriptors").read_bytes())]


# ---- network ---------------------------------------------------------------------------------------------------------

ETHERNET = {"dev_addr": DEVICE_MAC, "host_addr": HOST_MAC}


@pytest.mark.parametrize(
    ("kind", "driver", "says_address"),
    [
        (Ecm, "cdc_ether", True),
        (Ncm, "cdc_ncm", True),
        (Eem, "cdc_eem", False),
        (Rndis, "rndis_host", True),
        (Geth, "cdc_subset", False),
    ],
)
def test_a_link_pings(serve: Serve, kind: Callable[..., Ecm], driver: str, says_address: bool) -> None:
    load(driver)
    link = kind(**ETHERNET, ifname="gadget%d", qmult=3)
    # The subset has no class of its own: its driver knows it by these numbers.
    served = serve(Gadget(link, vendor_id=0x0525, product_id=0xA4A2))
    host = found(served, "*:1.*/net/*")
    assert link.devices == (link.network_interface,)
    assert link.network_interface.startswith("gadget")
    assert Path("/sys/class/net", link.network_interface, "address").read_text().strip() == DEVICE_MAC
    assert ((host / "address").read_text().strip() == HOST_MAC) is says_address
    assert link.read_back().qmult == 3
    with network_namespace() as namespace:
        ip("address", "add", "10.85.66.1/24", "dev", link.network_interface)
        ip("link", "set", link.network_interface, "up")
        namespace.take(host.name, "10.85.66.2/24")
        namespace.ping("10.85.66.1")


def test_windows_is_told_which_driver_a_link_wants(serve: Serve) -> None:
    """By the kernel, which no function hears of ("Extended Compat ID OS Feature Descriptor", wIndex 4)."""
    label = {"Label": Property.text("gadget")}
    served = serve(Gadget(Loopback(), Rndis(microsoft_os=MicrosoftOs("RNDIS", "5162001", label))))
    with served.pyusb() as device:
        assert bytes(device.ctrl_transfer(0x80, 6, 0x03EE, 0, 64))[2:16].decode("utf-16-le") == "MSFT100"
        compatible = bytes(device.ctrl_transfer(0xC0, 0xCD, 0, 4, 4096))
        assert compatible[16:18] == b"\1\1"  # it begins with interface 1
        assert compatible[18:34] == b"RNDIS\0\0\x005162001\0"
        properties = bytes(device.ctrl_transfer(0xC1, 0xCD, 1, 5, 4096))
        assert "Label\0".encode("utf-16-le") in properties
        assert "gadget\0".encode("utf-16-le") in properties


def test_phonet(serve: Serve) -> None:
    load("cdc-phonet")
    phonet = Phonet()
    served = serve(Gadget(phonet, vendor_id=0x0421, product_id=0x0104))
    assert phonet.network_interface.startswith("upnlink")
    assert found(served, "*:1.*/net/*").name.startswith("usbpn")


# ---- storage ---------------------------------------------------------------------------------------------------------


def disk(path: Path, size: int = 1 << 20) -> bytes:
    content = os.urandom(size)
    path.write_bytes(content)
    return content


def read_disk(path: Path, size: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        return file.read(size)


def test_disks(serve: Serve, tmp_path: Path) -> None:
    load("usb-storage", "sd_mod")
    content, other = disk(tmp_path / "a.img"), disk(tmp_path / "b.img")
    storage = MassStorage(
        luns=(
            Lun(file=str(tmp_path / "a.img"), inquiry_string="gadget  first"),
            Lun(ro=True, removable=True),
        ),
        stall=True,
    )
    served = serve(Gadget(storage, serial_number="0123456789AB"))
    first = Path("/dev", found(served, "*:1.0/host*/target*/*:0/block/sd*").name)
    assert read_disk(first, 65536) == content[:65536]
    with first.open("r+b", buffering=0) as file:
        file.seek(8192)
        file.write(b"written by the host".ljust(4096))
        os.fsync(file)
    assert (tmp_path / "a.img").read_bytes()[8192:8211] == b"written by the host"
    model = found(served, "*:1.0/host*/target*/*:0/model").read_text().strip()
    assert model == "first"

    second = Path("/dev", found(served, "*:1.0/host*/target*/*:1/block/sd*").name)
    assert storage.inserted(1) is None
    with pytest.raises(OSError, match="No medium"):
        read_disk(second, 512)
    storage.insert(str(tmp_path / "b.img"), 1)
    assert storage.inserted(1) == str(tmp_path / "b.img")
    assert read_disk(second, 4096) == other[:4096]
    assert found(served, "*:1.0/host*/target*/*:1/block/sd*/ro").read_text() == "1\n"
    storage.eject(1)
    with pytest.raises(OSError, match="No medium"):
        read_disk(second, 512)
    with pytest.raises(KernelError, match="No such file"):
        storage.insert("/no/such/file", 1)
    said = storage.read_back()
    assert said.luns[0].file == str(tmp_path / "a.img")
    assert (said.luns[1].ro, said.luns[1].file, said.stall) == (True, None, True)


def test_a_medium_that_the_host_has_locked(serve: Serve, tmp_path: Path) -> None:
    """As it does with one that is open for writing, or mounted."""
    load("usb-storage", "sd_mod")
    disk(tmp_path / "a.img")
    storage = MassStorage(luns=(Lun(file=str(tmp_path / "a.img")),))
    served = serve(Gadget(storage))
    node = Path("/dev", found(served, "*:1.0/host*/target*/*:0/block/sd*").name)
    with node.open("rb"):
        with pytest.raises(KernelError, match="the host has locked it"):
            storage.eject()
        storage.eject(force=True)
        assert storage.inserted() is None


# ---- what people use -------------------------------------------------------------------------------------------------


def test_a_report_arrives_at_the_input_layer_and_a_light_comes_back(serve: Serve) -> None:
    load("usbhid", "hid_generic", "evdev")
    hid = keyboard()
    served = serve(Gadget(hid))
    event = Path("/dev/input", found(served, "*:1.0/*/input/input*/event*").name)
    form = "llHHi"
    with opened(hid.node) as device, opened(event) as host:
        write(device, bytes([0, 0, 4, 0, 0, 0, 0, 0]))
        write(device, bytes(8))
        seen = [struct.unpack(form, read(host, struct.calcsize(form)))[2:] for _ in range(6)]
        assert [(code, value) for kind, code, value in seen if kind == 1] == [(30, 1), (30, 0)]  # EV_KEY, KEY_A
        write(host, struct.pack(form, 0, 0, 0x11, 1, 1))  # EV_LED, LED_CAPSL
        # The host may have switched off all lights before.
        wait_for(lambda: read(device, 1) == b"\2", "the report with the light on")


def test_notes_arrive_both_ways(serve: Serve) -> None:
    load("snd-usb-audio")
    midi = Midi(id="Synth", in_ports=1, out_ports=1)
    served = serve(Gadget(midi))
    card = midi.sound_card
    assert card.name == "Synth"
    (own,) = (node for node in card.devices if node.name.startswith("midi"))
    host = Path("/dev/snd", found(served, "*:1.*/sound/card*/midiC*").name)
    for sender, receiver in ((own, host), (host, own)):
        with opened(receiver, os.O_RDONLY) as to, opened(sender, os.O_WRONLY) as source:
            # What comes before anybody has asked for it is dropped (sound/core/rawmidi.c, snd_rawmidi_poll).
            assert not select.select([to], [], [], 0)[0]
            write(source, bytes([0x90, 60, 127, 0x80, 60, 0]))
            assert read(to, 6) == bytes([0x90, 60, 127, 0x80, 60, 0])


def test_what_the_host_prints(serve: Serve) -> None:
    load("usblp")
    printer = Printer(pnp_string="MFG:gadget;MDL:printer;CLS:PRINTER;")
    served = serve(Gadget(printer))
    node = Path("/dev/usb", found(served, "*:1.0/usbmisc/lp*").name)
    assert "MDL:printer" in found(served, "*:1.0/ieee1284_id").read_text()
    with opened(printer.node) as device, opened(node, os.O_WRONLY) as host:
        write(host, b"Hello, printer\f")
        assert read(device, 15) == b"Hello, printer\f"


def test_the_kernels_test_functions(serve: Serve) -> None:
    """Both in one device: what one gets comes back, the other has numbers modulo 63."""
    served = serve(Gadget(Loopback(qlen=4, bulk_buflen=1024), SourceSink(pattern=1, bulk_buflen=1024)))
    with served.pyusb() as device:
        loopback, source = (device.get_active_configuration()[(number, 0)] for number in (0, 1))
        out, back = loopback[1].bEndpointAddress, loopback[0].bEndpointAddress
        if out & 0x80:
            out, back = back, out
        device.write(out, EVERY_BYTE * 2, 10_000)
        assert bytes(device.read(back, 1024, 10_000)) == EVERY_BYTE * 2
        (pattern,) = (each.bEndpointAddress for each in source if each.bEndpointAddress & 0x80)
        # It begins anew with each packet (f_sourcesink.c, reinit_write_data).
        packet = source[0].wMaxPacketSize
        assert bytes(device.read(pattern, 1024, 10_000)) == bytes(at % packet % 63 for at in range(1024))


# ---- sound and pictures ----------------------------------------------------------------------------------------------


@pytest.mark.usb(controller="usbip-vudc")
@pytest.mark.parametrize(("kind", "interfaces"), [(Uac1, 3), (Uac2, 3)])
def test_sound_binds_and_enumerates(serve: Serve, kind: type[Uac1] | type[Uac2], interfaces: int) -> None:
    """Its data needs isochronous endpoints, which no controller of the bench carries."""
    audio = kind(c_srate=(44100, 48000), p_chmask=1, function_name="Headset", c_volume_max=256)
    served = serve(Gadget(audio))
    card = audio.sound_card
    assert {node.name.removeprefix(f"pcmC{card.number}") for node in card.devices} >= {"D0c", "D0p"}
    numbers = {each.number for each in descriptors(served.device.path) if isinstance(each, InterfaceDescriptor)}
    assert numbers == set(range(interfaces))
    said = audio.read_back()
    assert (said.c_srate, said.p_chmask, said.function_name, said.c_volume_max) == ((44100, 48000), 1, "Headset", 256)


#: ``Documentation/ABI/testing/configfs-usb-gadget-uvc`` of Linux 6.1, for what the function makes by itself.
DOCUMENTED = {
    ".": {"streaming_maxburst", "streaming_maxpacket", "streaming_interval", "function_name"},
    "control": {"bInterfaceNumber"},
    "control/terminal/output/default": {"iTerminal", "bSourceID", "bAssocTerminal", "wTerminalType", "bTerminalID"},
    "control/terminal/camera/default": {
        *("bmControls", "wOcularFocalLength", "wObjectiveFocalLengthMax", "wObjectiveFocalLengthMin", "iTerminal"),
        *("bAssocTerminal", "wTerminalType", "bTerminalID"),
    },
    "control/processing/default": {"iProcessing", "bmControls", "wMaxMultiplier", "bSourceID", "bUnitID"},
    "control/header/h": {"dwClockFrequency", "bcdUVC"},
    "streaming": {"bInterfaceNumber"},
    "streaming/color_matching/default": {"bMatrixCoefficients", "bTransferCharacteristics", "bColorPrimaries"},
    "streaming/mjpeg/format2": {
        *("bFormatIndex", "bmaControls", "bmInterfaceFlags", "bAspectRatioY", "bAspectRatioX", "bmFlags"),
        "bDefaultFrameIndex",
    },
    "streaming/uncompressed/format1": {
        *("bFormatIndex", "bmaControls", "bmInterfaceFlags", "bAspectRatioY", "bAspectRatioX", "bDefaultFrameIndex"),
        *("bBitsPerPixel", "guidFormat"),
    },
    "streaming/uncompressed/format1/640x360": {
        *("bFrameIndex", "dwFrameInterval", "dwDefaultFrameInterval", "dwMaxVideoFrameBufferSize", "dwMaxBitRate"),
        *("dwMinBitRate", "wHeight", "wWidth", "bmCapabilities"),
    },
    "streaming/header/h": {"bTriggerUsage", "bTriggerSupport", "bStillCaptureMethod", "bTerminalLink", "bmInfo"},
}

VIDIOC_SUBSCRIBE_EVENT = 0x4020565A
UVC_EVENT_SETUP = 0x08000004


@pytest.mark.usb(controller="usbip-vudc")
def test_a_camera_has_the_tree_that_the_kernel_documents_and_shows_it_to_the_host(udc: BenchController) -> None:
    large, small = (
        VideoFrame(width=1280, height=720),
        VideoFrame(width=640, height=360, intervals=(666666, 333333), capabilities=0),
    )
    camera = Uvc(
        formats=(Uncompressed(frames=(large, small), default_frame=2), Mjpeg(frames=(small,))),
        streaming_maxpacket=2048,
        function_name="Eye",
        version=0x0100,
    )

    async def show() -> bytes:
        async with Gadget(camera).up(udc.name) as gadget:
            folder = gadget.path / "functions/uvc.0"
            for name, expected in DOCUMENTED.items():
                assert {path.name for path in (folder / name).iterdir() if path.is_file()} == expected, name
            said = camera.read_back()
            assert said.formats[1] == Mjpeg(frames=(small,), default_frame=1)
            assert (said.function_name, said.version, said.streaming_maxpacket) == ("Eye", 0x0100, 2048)
            assert [frame.name for frame in said.formats[0].frames] == ["1280x720", "640x360"]
            with opened(camera.node) as node:
                # It stays hidden until a program has asked for its events (f_uvc.c, uvc_v4l2_subscribe_event).
                fcntl.ioctl(node, VIDIOC_SUBSCRIBE_EVENT, struct.pack("8I", UVC_EVENT_SETUP, *[0] * 7))
                udc.connection.plug()
                device = await asyncio.to_thread(udc.wait_configured)
                data = (device.path / "descriptors").read_bytes()
            udc.connection.unplug()
            return data

    data = asyncio.run(asyncio.wait_for(show(), 60))
    assert b"YUY2" in data
    for width, height in ((1280, 720), (640, 360)):
        assert struct.pack("<HH", width, height) in data


# ---- all together ----------------------------------------------------------------------------------------------------


class Modem(Function):
    association = Association(ClassCode.VENDOR_SPECIFIC, string="modem")
    control = Interface()
    notify = InterruptIn(interval=0.032)
    data = Interface()
    rx = BulkOut()
    tx = BulkIn()


@pytest.mark.usb(speed=["high", "super"])
def test_five_functions_two_of_them_of_our_own(serve: Serve, usb_speed: Speed) -> None:
    load("cdc-acm", "usbhid", "hid_generic", "evdev", "snd-usb-audio")
    echo, acm, modem, midi, hid = Echo(), Acm(), Modem(), Midi(), keyboard(no_out_endpoint=True)
    served = serve(Gadget(echo, acm, modem, midi, hid, name="five", product="Five"))
    known = [*parse_tolerant((served.device.path / "descriptors").read_bytes())]
    interfaces = {each.number: each.class_code for each in known if isinstance(each, InterfaceDescriptor)}
    assert interfaces == {0: 0xFF, 1: 2, 2: 10, 3: 0xFF, 4: 0xFF, 5: 1, 6: 1, 7: 3}
    together = [
        (each.first_interface, each.interface_count) for each in known if isinstance(each, InterfaceAssociation)
    ]
    assert together == [(1, 2), (3, 2)]
    assert echoes(Path("/dev", found(served, "*:1.1/tty/ttyACM*").name), acm.terminal)
    event = Path("/dev/input", found(served, "*:1.7/*/input/input*/event*").name)
    with opened(hid.node) as device, opened(event) as host:
        write(device, bytes([0, 0, 4, 0, 0, 0, 0, 0]))
        assert read(host, struct.calcsize("llHHi"))
    with served.pyusb() as device:
        device.write(echo.rx.address, b"to and fro", 10_000)
        assert bytes(device.read(echo.tx.address, 64, 10_000)) == b"to and fro"
    assert found(served, "*:1.*/sound/card*/midiC*")
    names = {type(function).__name__: function.devices for function in (acm, midi, hid)}
    assert all(names.values())


def attributes(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file() and path.stat().st_mode & 0o200}


FUNCTIONS: list[KernelFunction] = [
    *(kind() for kind in (Acm, Gser, Obex, Ecm, Geth, Eem, Ncm, Rndis, MassStorage, Midi, Uac1, Uac2, Printer, Phonet)),
    *(Loopback(), SourceSink(), keyboard(), Uvc(formats=(Mjpeg(frames=(VideoFrame(width=1, height=1),)),))),
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: type(function).__name__)
def test_every_attribute_of_a_function_is_known(usb_bus: Bus, function: KernelFunction) -> None:
    """Nothing is bound: not everything can be on this controller."""

    async def look(function: KernelFunction) -> None:
        async with Gadget(function, name="one").up(bind=False) as gadget:
            (folder,) = (gadget.path / "functions").iterdir()
            known = {attribute.name for attribute in function.known_attributes().values()}
            # The console and the number of buffers depend on the kernel's configuration.
            assert attributes(folder) | {"console", "num_buffers"} >= known
            assert attributes(folder) <= known
            said = function.read_back()
            assert type(said) is type(function)
            given = [each.name for each in fields(function) if getattr(function, each.name) is not None]
            assert all(getattr(said, name) is not None for name in given)

    asyncio.run(look(function))
