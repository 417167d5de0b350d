"""Files as the documentation of the Rust command describes them."""

from __future__ import annotations

import pytest

from gadget.configfs.announced import MicrosoftOsString, WebUsb
from gadget.errors import ConfigurationError, UsageError
from gadget.kernel_functions import (
    FAMILIES,
    Hid,
    Lun,
    MassStorage,
    Mjpeg,
    Rndis,
    Uac2,
    Uncompressed,
    Uvc,
    VideoFrame,
    four_characters,
)
from gadget.protocol.constants import Speed
from gadget.schemes.rust import load_rust, looks_like_rust

WHOLE = """
name = "composite"
udc = "dummy_udc.0"

[device]
vendor = 0x1209
product = 0x0010
class = 0xef
sub_class = 2
protocol = 1
manufacturer = "Example Inc."
product_name = "Composite Device"
serial = "0001"
language = "en-gb"
usb_version = "3.0"
device_release = 0x0123
max_speed = "high"

[os_descriptor]
vendor_code = 0x17
qw_sign = "MSFT100"

[web_usb]
vendor_code = 2
landing_page = "https://example.org"

[[config]]
description = "Composite Config"
max_power = 100
self_powered = true

[[config.function]]
type = "serial"
class = "acm"

[[config.function]]
type = "net"
class = "rndis"
interface_class = 0xe0

[[config.function]]
type = "msd"
stall = false

[[config.function.lun]]
file = "/tmp/disk.img"
read_only = true
"""


def test_a_whole_gadget() -> None:
    assert looks_like_rust(WHOLE)
    model = load_rust(WHOLE, "file")
    assert (model.name, model.vendor_id, model.product_id) == ("composite", 0x1209, 0x10)
    assert [code for _, code in model.class_codes()] == [0xEF, 2, 1]
    assert model.product == {0x809: "Composite Device"}
    assert (model.usb_version, model.device_version, model.max_speed) == (0x0300, 0x0123, Speed.HIGH)
    assert model.microsoft_os == MicrosoftOsString(0x17, "MSFT100", 1)
    assert model.webusb == WebUsb("https://example.org", 2)
    (configuration,) = model.configurations
    assert (configuration.label, configuration.max_power_ma) == ({0x809: "Composite Config"}, 100)
    assert (configuration.self_powered, configuration.remote_wakeup) == (True, False)
    assert [name.partition(".")[0] for name in configuration.functions] == ["acm", "rndis", "mass_storage"]
    assert model.functions[1].steps == Rndis(interface_class=0xE0).steps()
    lun = Lun(file="/tmp/disk.img", ro=True, removable=True)
    assert model.functions[2].steps == MassStorage(luns=(lun,), stall=False).steps()


def function(text: str) -> tuple[object, ...]:
    model = load_rust(f"[device]\nvendor = 1\nproduct = 2\n[[config]]\n[[config.function]]\n{text}", "file")
    assert model.name == "file"
    return model.functions[0].steps


def test_functions() -> None:
    assert function('type = "hid"\nreport_desc = "0501"\nreport_len = 8\nprotocol = 1') == (
        Hid(report_descriptor=b"\x05\x01", report_length=8, protocol=1).steps()
    )
    sound = Uac2(c_chmask=1, c_sync="adaptive", c_srate=(44100,), c_volume_min=-100, c_volume_max=0, c_volume_res=1)
    volume = "volume_min = -100\nvolume_max = 0\nvolume_resolution = 1\n"
    assert sound.steps() == function(
        f'type = "uac2"\n[config.function.capture]\nsync_type = 8\n{volume}'
        "[config.function.capture.channel]\nchannel_mask = 1\nsample_rate = 44100"
    )
    for kind, family in {
        "midi": "midi",
        "printer": "printer",
        "loopback": "Loopback",
        "source_sink": "SourceSink",
    }.items():
        assert function(f'type = "{kind}"') == FAMILIES[family]().steps()
    steps = function('type = "other"\ndriver = "new"\nproperties = { a = "1" }')
    assert [getattr(step, "value", None) for step in steps] == [b"1"]


def test_video() -> None:
    text = """
    type = "video"
    camera_controls = 2
    streaming_max_packet = 3072
    [[config.function.frame]]
    width = 640
    height = 480
    format = "yuyv"
    fps = [30, 15]
    [[config.function.frame]]
    width = 1280
    height = 720
    format = "mjpeg"
    intervals = [333333]
    """
    small = VideoFrame(width=640, height=480, intervals=(333333, 666666))
    large = VideoFrame(width=1280, height=720)
    formats = (Uncompressed(frames=(small,), guid=four_characters("YUY2")), Mjpeg(frames=(large,)))
    controls = {"control/terminal/camera/default/bmControls": 2}
    assert function(text) == Uvc(formats=formats, streaming_maxpacket=3072, attributes=controls).steps()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('type = "abacus"', "no function of type 'abacus'"),
        ('type = "serial"\nclass = "x"', "class 'x' is none of acm, generic"),
        ('type = "midi"\nbuflne = 3', "buflne is not known"),
        ('type = "video"\n[[config.function.frame]]\ncolor_matching = {}', "color_matching is not known"),
    ],
)
def test_what_cannot_be_had_is_said(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        function(text)


def test_a_format_of_no_name() -> None:
    with pytest.raises(UsageError, match="neither known"):
        function('type = "video"\n[[config.function.frame]]\nwidth = 1\nheight = 1\nformat = "odd"')


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ConfigurationError, match="config is missing"):
        load_rust("[device]\nvendor = 1\nproduct = 2\n", "g")
