"""The functions in the TOML of ``usb-gadget``, the command of the Rust crate of that name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gadget.configfs.model import FunctionModel
from gadget.errors import ConfigurationError, UsageError
from gadget.kernel_functions import Mjpeg, Uncompressed, Uvc, VideoFormat, VideoFrame, four_characters
from gadget.schemes.own import encode
from gadget.schemes.plain_function import PlainFunction, check_known

#: What configfs calls a function, and its attributes, by type and class.
_SERIAL = {"acm": "acm", "generic": "gser"}
_NETWORK = {"ecm": "ecm", "ecm_subset": "geth", "eem": "eem", "ncm": "ncm", "rndis": "rndis"}
_ISOCHRONOUS = ("isoc_interval", "isoc_maxpacket", "isoc_mult", "isoc_maxburst", "iso_qlen")
_SIMPLE: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "midi": ("midi", {name: name for name in ("buflen", "id", "in_ports", "out_ports", "index", "qlen")}),
    "printer": ("printer", {"pnp_string": "pnp_string", "qlen": "q_len"}),
    "loopback": ("Loopback", {"qlen": "qlen", "bulk_buflen": "bulk_buflen"}),
    "source_sink": ("SourceSink", {name: name for name in (*_ISOCHRONOUS, "pattern", "bulk_buflen", "bulk_qlen")}),
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
#: USB_ENDPOINT_SYNC_ASYNC and USB_ENDPOINT_SYNC_ADAPTIVE of ``ch9.h``, in the kernel's words.
_SYNCHRONISATION = {0x04: "async", 0x08: "adaptive"}
_AUDIO = {
    "fb_max": "fb_max",
    "request_number": "req_number",
    "function_name": "function_name",
    "control_name": "if_ctrl_name",
    "clock_source_in_name": "clksrc_in_name",
    "clock_source_out_name": "clksrc_out_name",
}
#: What can be controlled of a camera, which the kernel has for each by default.
_CONTROLS = {
    "processing_controls": "control/processing/default/bmControls",
    "camera_controls": "control/terminal/camera/default/bmControls",
}


class Functions:
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
            for key, value in given.items():
                if key in names:
                    said = _SYNCHRONISATION.get(value, value) if key == "sync_type" else value
                    yield f"{prefix}_{names[key]}", encode(said)
    yield from ((_AUDIO[key], encode(each)) for key, each in table.items() if key in _AUDIO)


def _video(table: Mapping[str, Any]) -> Uvc:
    names = {
        "streaming_interval": "streaming_interval",
        "streaming_max_burst": "streaming_maxburst",
        "streaming_max_packet": "streaming_maxpacket",
        "function_name": "function_name",
    }
    check_known(table, (*names, *_CONTROLS, "frame"), "video")
    frames: dict[str, list[VideoFrame]] = {}
    for each in table.get("frame", ()):
        check_known(each, ("width", "height", "format", "fps", "intervals"), "frame")
        intervals = each.get("intervals") or [10_000_000 // rate for rate in each.get("fps", [30])]
        frame = VideoFrame(width=each["width"], height=each["height"], intervals=tuple(intervals))
        frames.setdefault(each["format"], []).append(frame)
    formats = [_video_format(name, found) for name, found in frames.items()]
    given = {field: table[key] for key, field in names.items() if key in table}
    controls = {path: table[key] for key, path in _CONTROLS.items() if key in table}
    return Uvc(formats=tuple(formats), attributes=controls, **given)


def _video_format(name: str, frames: list[VideoFrame]) -> VideoFormat:
    if name == "mjpeg":
        return Mjpeg(frames=tuple(frames))
    codes = {"yuyv": "YUY2", "nv12": "NV12", "h264": "H264"}
    try:
        guid = four_characters(codes[name]) if name in codes else bytes.fromhex(name.replace("-", ""))
    except ValueError as error:
        raise UsageError(f"format {name!r} is neither known nor sixteen bytes in hexadecimal") from error
    return Uncompressed(frames=tuple(frames), guid=guid)
