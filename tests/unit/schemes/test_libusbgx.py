"""Schemes as libusbgx's own documentation describes them, and what is written for it to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gadget import Gadget, Property
from gadget.configfs.announced import MicrosoftOsString
from gadget.configfs.plan import plan
from gadget.errors import ConfigurationError
from gadget.kernel_functions import (
    Acm,
    Ecm,
    Hid,
    KernelFunction,
    Loopback,
    Lun,
    MassStorage,
    Midi,
    Ncm,
    Rndis,
    Uvc,
    VideoFrame,
)
from gadget.kernel_functions.video_formats import Mjpeg
from gadget.protocol.microsoft_os import MicrosoftOs
from gadget.schemes.libusbgx import dump_scheme, load_scheme
from tests.unit.schemes.gadgets import of

SERIAL_AND_NETWORK = """
attrs : {
    bcdUSB = 0x200; bDeviceClass = 0x2; bMaxPacketSize0 = 0x40;
    idVendor = 0x1D6B; idProduct = 0x104; bcdDevice = 0x100;
};
strings = ( { lang = 0x409; manufacturer = "Foo Inc."; product = "Bar Gadget"; serialnumber = "0123456789"; } );
functions : {
    acm_GS0 : { instance = "GS0"; type = "acm"; attrs : { port_num = 0; }; };
    my_label = {
        instance = "usb0"
        type = "ecm"
        attrs = { dev_addr = "ee:33:be:9a:90:36"; host_addr = "aa:63:6e:8b:10:16"; qmult = 5; ifname = "usb0" }
    }
};
configs = (
    {
        id = 1
        name = "The only one"
        attrs = { bmAttributes = 0xE0; bMaxPower = 0x40 }
        strings = ( { lang = 0x409; configuration = "Config id 1" } )
        functions = (
            { name = "acm.GS0"; function = "acm_GS0" },
            "my_label",
            { function = { type = "gser"; instance = "inside" } }
        )
    },
    { id = 2; name = "other"; functions = ( "ecm_usb0" ) }
);
"""


def test_a_scheme_as_documented() -> None:
    model = load_scheme(SERIAL_AND_NETWORK, "g1")
    assert (model.name, model.vendor_id, model.device_class, model.max_packet_size0) == ("g1", 0x1D6B, 2, 64)
    assert (model.manufacturer, model.serial_number) == ({0x409: "Foo Inc."}, {0x409: "0123456789"})
    first, second = model.configurations
    assert (first.folder, first.label, first.max_power_ma) == ("The-only-one.1", {0x409: "Config id 1"}, 64)
    assert (first.self_powered, first.remote_wakeup) == (True, True)
    assert first.functions == ("acm.GS0", "ecm.usb0", "gser.inside")
    assert (second.folder, second.functions) == ("other.2", ("ecm.usb0",))
    written = {str(step.path): getattr(step, "value", b"") for step in model.functions[1].steps}
    assert written == {"dev_addr": b"ee:33:be:9a:90:36", "host_addr": b"aa:63:6e:8b:10:16", "qmult": b"5"}


def test_disks_keyboards_and_windows() -> None:
    model = load_scheme(
        """
        functions = {
            disk = { instance = "0"; type = "mass_storage"; attrs = { stall = false; luns = (
                { cdrom = false; ro = true; nofua = false; removable = true; filename = "/a.img" },
                { removable = 1; filename = "" } ) } }
            keys = { instance = "0"; type = "hid"; attrs = {
                protocol = 1; report_desc = ( 0x05, 0x01, 0xff ); report_length = 8; subclass = 1 } }
            net = { instance = "0"; type = "rndis"; os_descs = (
                { interface = "rndis"; compatible_id = "RNDIS"; sub_compatible_id = "5162001" } ) }
        }
        configs = ( { id = 3; name = "c"; functions = ( "disk", "keys", "net" ) } )
        os_descs = { use = 1; b_vendor_code = 0x17; qw_sign = "MSFT100"; config_id = 3 }
        """,
        "g",
    )
    luns = (Lun(cdrom=False, ro=True, nofua=False, removable=True, file="/a.img"), Lun(removable=True))
    windows = MicrosoftOs("RNDIS", "5162001")
    assert [function.steps for function in model.functions] == [
        MassStorage(luns=luns, stall=False).steps(),
        Hid(report_descriptor=b"\x05\x01\xff", report_length=8, protocol=1, subclass=1).steps(),
        Rndis(microsoft_os=windows).steps(),
    ]
    assert model.microsoft_os == MicrosoftOsString(0x17, "MSFT100", 3)


def test_files_that_are_included(tmp_path: Path) -> None:
    (tmp_path / "function.scheme").write_text('type = "acm"\n')
    functions = 'functions = { a = { instance = "x"\n @include "function.scheme"\n } }\n'
    text = functions + 'configs = ( { id = 1; name = "c"; functions = ( "a" ) } )'
    assert load_scheme(text, "g", str(tmp_path)).instances == ("acm.x",)


@pytest.mark.parametrize(
    "function",
    [
        Acm(),
        Ecm(dev_addr="02:00:00:00:00:01", qmult=5),
        Ncm(microsoft_os=MicrosoftOs("WINNCM")),
        Hid(report_descriptor=bytes(range(256)), report_length=8),
        MassStorage(
            luns=(
                Lun(file="/a b.img", ro=True),
                Lun(removable=True),
            ),
            stall=True,
        ),
        Midi(id="keys", index=-1),
        Loopback(qlen=1, bulk_buflen=512),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_is_written_is_read_again(function: KernelFunction) -> None:
    model = of(function)
    text, lost = dump_scheme(model)
    found = load_scheme(text, model.name)
    assert lost == []
    # A disk is always told whether it stalls.
    told = {step for step in plan(found) if str(step.path).endswith("/stall")}
    assert set(plan(found)) - told == set(plan(model)) - told


def test_what_a_scheme_has_no_place_for_is_said() -> None:
    windows = MicrosoftOs("RNDIS", properties={"Label": Property.text("x")})
    functions = [Rndis(microsoft_os=windows), Uvc(formats=(Mjpeg(frames=(VideoFrame(width=4, height=4),)),))]
    text, lost = dump_scheme(Gadget(*functions, name="g", max_speed="high-speed").model)
    assert lost[0] == "max_speed"
    assert "rndis.0/os_desc/interface.rndis/Label/data" in lost
    assert "uvc.0/streaming/class/hs/h" in lost
    assert 'type = "uvc"' in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attrs = {", "no scheme"),
        ("atrs = {}", "atrs is not known"),
        ('functions = { a = { type = "acm" } }', "no instance"),
        ('configs = ({ id = 1; name = "c"; functions = ("b") })', "none of this label"),
        ("configs = ()", "no configuration"),
        ('functions = { a = { type = "uvc"; instance = "0"; attrs = { formats = {} } } }', "only libusbgx itself"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_scheme(text, "g")
