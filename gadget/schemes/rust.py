"""The TOML of ``usb-gadget``, the command of the Rust crate of that name, read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gadget.configfs.announced import MicrosoftOsString, WebUsb
from gadget.configfs.model import ConfigurationModel, FunctionModel, GadgetModel
from gadget.errors import ConfigurationError, UsageError
from gadget.kernel_functions import Mjpeg, Uncompressed, Uvc, VideoFormat, VideoFrame, four_characters
from gadget.protocol.constants import Speed
from gadget.schemes.own import encode, parse_toml
from gadget.schemes.plain_function import PlainFunction, check_known

_GADGET = ("name", "udc", "device", "os_descriptor", "web_usb", "config")
_DEVICE = {
    "vendor": "vendor_id",
    "product": "product_id",
    "class": "device_class",
    "sub_class": "device_subclass",
    "protocol": "device_protocol",
    "max_packet_size0": "max_packet_size0",
    "device_release": "device_version",
}
_TEXTS = {"manufacturer": "manufacturer", "product_name": "product", "serial": "serial_number"}
_LANGUAGES = {
    **dict.fromkeys(("en-us", "english"), 0x409),
    "en-gb": 0x809,
    **dict.fromkeys(("de", "german"), 0x407),
    **dict.fromkeys(("fr", "french"), 0x40C),
    **dict.fromkeys(("es", "spanish"), 0x40A),
    **dict.fromkeys(("it", "italian"), 0x410),
    **dict.fromkeys(("ja", "japanese"), 0x411),
    **dict.fromkeys(("ko", "korean"), 0x412),
    **dict.fromkeys(("zh", "chinese"), 0x804),
    **dict.fromkeys(("pt", "portuguese"), 0x416),
    **dict.fromkeys(("ru", "russian"), 0x419),
    **dict.fromkeys(("nl", "dutch"), 0x413),
}
_VERSIONS = {"1.1": 0x0110, "2.0": 0x0200, "3.0": 0x0300, "3.1": 0x0310}
_CONFIGURATION = ("description", "max_power", "self_powered", "remote_wakeup", "function")

#: What configfs calls a function, and its attributes, by type and class.
_SERIAL = {"acm": "acm", "generic": "gser"}
_NETWORK = {"ecm": "ecm", "ecm_subset": "geth", "eem": "eem", "ncm": "ncm", "rndis": "rndis"}
_SIMPLE: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "midi": ("midi", {name: name for name in ("buflen", "id", "in_ports", "out_ports", "index", "qlen")}),
    "printer": ("printer", {"pnp_string": "pnp_string", "qlen": "q_len"}),
    "loopback": ("Loopback", {"qlen": "qlen", "bulk_buflen": "bulk_buflen"}),
    "source_sink": (
        "SourceSink",
        {
            name: name
            for name in [
                "pattern",
                "isoc_interval",
                "isoc_maxpacket",
                "isoc_mult",
                "isoc_maxburst",
                "bulk_buflen",
                "bulk_qlen",
                "iso_qlen",
            ]
        },
    ),
}
_LUN = {
    "read_only": "ro",
    "cdrom": "cdrom",
    "removable": "removable",
    "no_fua": "nofua",
    "inquiry_string": "inquiry_string",
    "file": "file",
}
_CHANNEL = {"channel_mask": "chmask", "sample_rate": "srate", "sample_size": "ssize"}
_STREAM = {
    "sync_type": "sync",
    "hs_interval": "hs_bint",
    "mute_present": "mute_present",
    "terminal_type": "terminal_type",
    "volume_present": "volume_present",
    "volume_min": "volume_min",
    "volume_max": "volume_max",
    "volume_resolution": "volume_res",
    "volume_name": "fu_vol_name",
    "input_terminal_name": "it_name",
    "input_terminal_channel_name": "it_ch_name",
    "output_terminal_name": "ot_name",
}
_AUDIO = {
    "fb_max": "fb_max",
    "request_number": "req_number",
    "function_name": "function_name",
    "control_name": "if_ctrl_name",
    "clock_source_in_name": "clksrc_in_name",
    "clock_source_out_name": "clksrc_out_name",
}


def looks_like_rust(text: str) -> bool:
    """Whether a file is of that command, and not our own."""
    table = parse_toml(text)
    return "device" in table or "config" in table


def load_rust(text: str, name: str) -> GadgetModel:
    """Reads a gadget.

    Args:
        text: The file's text.
        name: What it is called if the file does not say so.

    Raises:
        ConfigurationError: It is no such file, or has something that cannot be had here.
        DescriptorError: A value breaks a rule.
    """
    table = parse_toml(text)
    check_known(table, _GADGET, "the gadget")
    device = table.get("device", {})
    check_known(device, (*_DEVICE, *_TEXTS, "language", "usb_version", "max_speed"), "device")
    fields: dict[str, Any] = {field: device[key] for key, field in _DEVICE.items() if key in device}
    # Where it is not given, that command writes 0.
    fields.setdefault("device_version", 0)
    language = _language(device.get("language", "en-us"))
    fields |= {field: {language: device.get(key, "")} for key, field in _TEXTS.items()}
    if "usb_version" in device:
        fields["usb_version"] = _version(device["usb_version"])
    if "max_speed" in device:
        fields["max_speed"] = Speed.from_name(device["max_speed"])
    reader = _Functions()
    configurations = tuple(_configuration(at, each, language, reader) for at, each in enumerate(table["config"], 1))
    if "os_descriptor" in table:
        said = table["os_descriptor"]
        # Configurations are counted from 0 there.
        fields["microsoft_os"] = MicrosoftOsString(said["vendor_code"], said["qw_sign"], said.get("config", 0) + 1)
    if "web_usb" in table:
        said = table["web_usb"]
        version = _VERSIONS_OF_WEBUSB.get(said.get("version", "1.0")) or int(said["version"], 16)
        fields["webusb"] = WebUsb(said["landing_page"], said["vendor_code"], version)
    return GadgetModel(
        name=table.get("name", name), configurations=configurations, functions=tuple(reader.found), **fields
    )


_VERSIONS_OF_WEBUSB = {"1.0": 0x0100}


def _language(name: str) -> int:
    known = _LANGUAGES.get(name.lower())
    if known is None and not name.startswith("0x"):
        raise ConfigurationError(f"language {name!r} is not known: write its number, 0x0409")
    return int(name, 16) if known is None else known


def _version(text: str) -> int:
    return _VERSIONS[text] if text in _VERSIONS else int(text, 16)


def _configuration(at: int, table: Mapping[str, Any], language: int, reader: _Functions) -> ConfigurationModel:
    check_known(table, _CONFIGURATION, f"configuration {at}")
    label = table.get("description", "")
    return ConfigurationModel(
        number=at,
        label={language: label} if label else "",
        max_power_ma=table.get("max_power", 500),
        self_powered=table.get("self_powered", False),
        remote_wakeup=table.get("remote_wakeup", False),
        functions=tuple(reader.add(each) for each in table.get("function", ())),
    )


class _Functions:
    """The functions in their order, with numbers for instances."""

    def __init__(self) -> None:
        self.found: list[FunctionModel] = []

    def add(self, table: Mapping[str, Any]) -> str:
        """Reads one, and returns its instance."""
        kind = table.get("type", "")
        instance = f"usb-gadget{len(self.found)}"
        given = {key: value for key, value in table.items() if key != "type"}
        if kind == "video":
            model = _video(given).model(instance)
        else:
            family, attributes = _function(kind, given)
            plain = PlainFunction(f"{family}.{instance}", dict(attributes))
            model = FunctionModel(plain.instance, plain.function().steps())
        self.found.append(model)
        return model.instance


def _function(kind: str, table: Mapping[str, Any]) -> tuple[str, Iterator[tuple[str, bytes]]]:
    readers: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, Iterator[tuple[str, bytes]]]]] = {
        "serial": lambda given: _of_class(given, _SERIAL, {"console": "console"}),
        "net": lambda given: _of_class(given, _NETWORK, _NETWORK_ATTRIBUTES),
        "hid": _hid,
        "msd": lambda given: ("mass_storage", _storage(given)),
        "uac1": lambda given: ("uac1", _audio(given)),
        "uac2": lambda given: ("uac2", _audio(given)),
        "other": lambda given: (given["driver"], _renamed(given.get("properties", {}), None)),
    }
    if kind in _SIMPLE:
        family, names = _SIMPLE[kind]
        return family, _renamed(table, names)
    if kind not in readers:
        raise ConfigurationError(f"there is no function of type {kind!r}")
    return readers[kind](table)


_NETWORK_ATTRIBUTES = {
    "dev_addr": "dev_addr",
    "host_addr": "host_addr",
    "qmult": "qmult",
    "interface_class": "class",
    "interface_sub_class": "subclass",
    "interface_protocol": "protocol",
}


def _of_class(
    table: Mapping[str, Any], families: Mapping[str, str], names: Mapping[str, str]
) -> tuple[str, Iterator[tuple[str, bytes]]]:
    kind = table.get("class", "")
    if kind not in families:
        raise ConfigurationError(f"class {kind!r} is none of {', '.join(families)}")
    given = {key: value for key, value in table.items() if key != "class"}
    # These three are written in hexadecimal (u_ether_configfs.h).
    given |= {key: f"{value:02x}" for key, value in given.items() if key.startswith("interface_")}
    return families[kind], _renamed(given, names)


def _renamed(table: Mapping[str, Any], names: Mapping[str, str] | None) -> Iterator[tuple[str, bytes]]:
    if names is not None:
        check_known(table, names, "function")
    for key, value in table.items():
        yield (key if names is None else names[key]), encode(value)


def _hid(table: Mapping[str, Any]) -> tuple[str, Iterator[tuple[str, bytes]]]:
    names = {"sub_class": "subclass", "protocol": "protocol", "report_len": "report_length"}
    rest = {key: value for key, value in table.items() if key != "report_desc"}

    def attributes() -> Iterator[tuple[str, bytes]]:
        yield "report_desc", bytes.fromhex(table.get("report_desc", ""))
        yield from _renamed(rest, {**names, "no_out_endpoint": "no_out_endpoint"})

    return "hid", attributes()


def _storage(table: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    check_known(table, ("stall", "lun"), "msd")
    if "stall" in table:
        yield "stall", encode(table["stall"])
    for number, lun in enumerate(table.get("lun", ())):
        check_known(lun, _LUN, f"lun {number}")
        # They are removable there unless it is said otherwise, as they are in the kernel.
        for key, name in _LUN.items():
            if key in lun or key == "removable":
                yield f"lun.{number}/{name}", encode(lun.get(key, True))


def _audio(table: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    check_known(table, ("capture", "playback", *_AUDIO), "audio")
    for way, prefix in (("capture", "c"), ("playback", "p")):
        stream = table.get(way, {})
        check_known(stream, ("channel", *_STREAM), way)
        channel = stream.get("channel", {})
        check_known(channel, _CHANNEL, f"{way}.channel")
        for given, names in ((channel, _CHANNEL), (stream, _STREAM)):
            yield from ((f"{prefix}_{names[key]}", encode(each)) for key, each in given.items() if key in names)
    yield from ((_AUDIO[key], encode(each)) for key, each in table.items() if key in _AUDIO)


def _video(table: Mapping[str, Any]) -> Uvc:
    names = {
        "streaming_interval": "streaming_interval",
        "streaming_max_burst": "streaming_maxburst",
        "streaming_max_packet": "streaming_maxpacket",
        "function_name": "function_name",
    }
    check_known(table, (*names, "frame"), "video")
    frames: dict[str, list[VideoFrame]] = {}
    for each in table.get("frame", ()):
        check_known(each, ("width", "height", "format", "fps", "intervals"), "frame")
        intervals = each.get("intervals") or [10_000_000 // rate for rate in each.get("fps", [30])]
        frame = VideoFrame(width=each["width"], height=each["height"], intervals=tuple(intervals))
        frames.setdefault(each["format"], []).append(frame)
    formats = [_video_format(name, found) for name, found in frames.items()]
    given = {field: table[key] for key, field in names.items() if key in table}
    return Uvc(formats=tuple(formats), **given)


def _video_format(name: str, frames: list[VideoFrame]) -> VideoFormat:
    if name == "mjpeg":
        return Mjpeg(frames=tuple(frames))
    codes = {"yuyv": "YUY2", "nv12": "NV12", "h264": "H264"}
    try:
        guid = four_characters(codes[name]) if name in codes else bytes.fromhex(name.replace("-", ""))
    except ValueError as error:
        raise UsageError(f"format {name!r} is neither known nor sixteen bytes in hexadecimal") from error
    return Uncompressed(frames=tuple(frames), guid=guid)
