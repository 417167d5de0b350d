"""The TOML of ``usb-gadget``, the command of the Rust crate of that name, read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gadget.configfs.announced import MicrosoftOsString, WebUsb
from gadget.configfs.model import ConfigurationModel, GadgetModel
from gadget.errors import ConfigurationError
from gadget.protocol.constants import Speed
from gadget.schemes.own import parse_toml
from gadget.schemes.plain_function import check_known, read_as_gadget
from gadget.schemes.rust_functions import Functions

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
    with read_as_gadget():
        return _load(table, name)


def _load(table: Mapping[str, Any], name: str) -> GadgetModel:
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
    reader = Functions()
    configurations = tuple(_configuration(at, each, language, reader) for at, each in enumerate(table["config"], 1))
    if "os_descriptor" in table:
        said = table["os_descriptor"]
        # Configurations are counted from 0 there.
        fields["microsoft_os"] = MicrosoftOsString(said["vendor_code"], said["qw_sign"], said.get("config", 0) + 1)
    if "web_usb" in table:
        said = table["web_usb"]
        version = 0x0100 if said.get("version", "1.0") == "1.0" else int(said["version"], 16)
        fields["webusb"] = WebUsb(said["landing_page"], said["vendor_code"], version)
    return GadgetModel(
        name=table.get("name", name), configurations=configurations, functions=tuple(reader.found), **fields
    )


def _language(name: str) -> int:
    known = _LANGUAGES.get(name.lower())
    if known is None and not name.startswith("0x"):
        raise ConfigurationError(f"language {name!r} is not known: write its number, 0x0409")
    return int(name, 16) if known is None else known


def _version(text: str) -> int:
    return _VERSIONS[text] if text in _VERSIONS else int(text, 16)


def _configuration(at: int, table: Mapping[str, Any], language: int, reader: Functions) -> ConfigurationModel:
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
