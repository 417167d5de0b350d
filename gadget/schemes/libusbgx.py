"""Schemes of libusbgx and gt, both ways: libconfig's syntax, and the tags of its ``doc/gadget_schemes.txt``.

A scheme says nothing of the fastest speed, of WebUSB, and of much that functions can be told; what is left out is
listed, so that it can be said.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gadget.configfs.announced import MicrosoftOsString
from gadget.configfs.model import ConfigurationModel, FunctionModel, GadgetModel
from gadget.errors import ConfigurationError, UsageError
from gadget.protocol.constants import LanguageId
from gadget.protocol.declaration import Text
from gadget.schemes.plain_function import PlainFunction, as_text, check_known, read_as_gadget

_NUMBERS = {
    "bcdUSB": "usb_version",
    "bDeviceClass": "device_class",
    "bDeviceSubClass": "device_subclass",
    "bDeviceProtocol": "device_protocol",
    "bMaxPacketSize0": "max_packet_size0",
    "idVendor": "vendor_id",
    "idProduct": "product_id",
    "bcdDevice": "device_version",
}
_TEXTS = {"manufacturer": "manufacturer", "product": "product", "serialnumber": "serial_number"}
#: What a scheme has in it and nobody can write.
_READ_ONLY = ("port_num", "ifname", "dev")
#: What configfs calls some attributes that a scheme calls otherwise.
_RENAMED = {"Loopback": {"buflen": "bulk_buflen"}}
_LUN = {"cdrom": "cdrom", "ro": "ro", "nofua": "nofua", "removable": "removable", "filename": "file"}


def load_scheme(text: str, name: str, folder: str | None = None) -> GadgetModel:
    """Reads a scheme.

    Args:
        text: The file's text.
        name: What the gadget is called, which no scheme says.
        folder: Where files lie that it includes.

    Raises:
        ConfigurationError: It is no scheme.
        DescriptorError: A value breaks a rule.
    """
    libconf = _libconf()

    try:
        table = libconf.load(io.StringIO(text), includedir=folder or "")
    except (libconf.ConfigParseError, OSError) as error:
        raise ConfigurationError(f"this is no scheme in libconfig's syntax: {error}") from error
    with read_as_gadget():
        return _load(table, name)


def _load(table: Mapping[str, Any], name: str) -> GadgetModel:
    check_known(table, ("name", "attrs", "strings", "functions", "configs", "os_descs"), "the scheme")
    reader = _Reader()
    for label, each in table.get("functions", {}).items():
        reader.add(each, label)
    configurations = [reader.configuration(each) for each in table.get("configs", ())]
    attributes = table.get("attrs", {})
    check_known(attributes, _NUMBERS, "attrs")
    fields: dict[str, Any] = {field: attributes[key] for key, field in _NUMBERS.items() if key in attributes}
    for key, field in _TEXTS.items():
        fields[field] = _texts(table.get("strings", ()), key)
    if table.get("os_descs", {}).get("use"):
        fields["microsoft_os"] = _microsoft_os(table["os_descs"])
    functions = tuple(reader.functions.values())
    return GadgetModel(name=name, configurations=tuple(configurations), functions=functions, **fields)


def _libconf() -> Any:
    try:
        import libconf
    except ImportError as error:
        raise UsageError("schemes of gt and libusbgx take the library libconf: pip install 'gadget[gt]'") from error
    return libconf


class _Reader:
    """The functions of a scheme, by their labels; a configuration can have some in it that nobody else knows."""

    def __init__(self) -> None:
        self.functions: dict[str, FunctionModel] = {}

    def add(self, table: Mapping[str, Any], label: str) -> str:
        """Reads a function, and returns its instance."""
        check_known(table, ("instance", "type", "attrs", "os_descs"), f"function {label}")
        if "type" not in table or "instance" not in table:
            raise ConfigurationError(f"function {label} has no type, or no instance")
        family = str(table["type"])
        attributes = dict(_attributes(family, table.get("attrs", {})))
        for each in table.get("os_descs", ()):
            attributes |= dict(_function_os(family, each))
        plain = PlainFunction(f"{family}.{table['instance']}", attributes)
        self.functions[label] = FunctionModel(plain.instance, plain.function().steps())
        return plain.instance

    def configuration(self, table: Mapping[str, Any]) -> ConfigurationModel:
        """Reads a configuration."""
        check_known(table, ("id", "name", "attrs", "strings", "functions"), f"configuration {table.get('id', '')}")
        attributes = table.get("attrs", {})
        bits = int(attributes.get("bmAttributes", 0x80))
        return ConfigurationModel(
            number=table.get("id", 1),
            # Folders can have blanks in their names; ours cannot.
            name=re.sub(r"[^A-Za-z0-9_-]+", "-", table.get("name", "c")).strip("-")[:35] or "c",
            label=_texts(table.get("strings", ()), "configuration") or "",
            # In spite of its name it is what stands in MaxPower of configfs: milliamperes (usbg.c).
            max_power_ma=attributes.get("bMaxPower", 500),
            self_powered=bool(bits & 0x40),
            remote_wakeup=bool(bits & 0x20),
            functions=tuple(self._binding(each) for each in table.get("functions", ())),
        )

    def _binding(self, each: Any) -> str:
        function = each.get("function") if isinstance(each, Mapping) else each
        if isinstance(function, Mapping):
            return self.add(function, f"inside of a configuration {len(self.functions)}")
        if function in self.functions:
            return self.functions[function].instance
        # A label can also be made of type and instance.
        family, _, instance = str(function).partition("_")
        wanted = f"{family}.{instance}"
        if wanted not in [model.instance for model in self.functions.values()]:
            raise ConfigurationError(
                f"a configuration has function {function!r}, and the scheme has none of this label"
            )
        return wanted


def _texts(tables: Sequence[Mapping[str, Any]], key: str) -> Text | None:
    found = {int(each["lang"]): str(each[key]) for each in tables if key in each}
    return found or None


def _microsoft_os(table: Mapping[str, Any]) -> MicrosoftOsString:
    return MicrosoftOsString(
        table.get("b_vendor_code", 0xCD), table.get("qw_sign", "MSFT100"), table.get("config_id", 1)
    )


def _attributes(family: str, table: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for key, value in table.items():
        if key in _READ_ONLY:
            continue
        if family == "mass_storage" and key == "luns":
            for number, lun in enumerate(value):
                yield from _lun(number, lun)
        elif isinstance(value, (list, tuple)):
            yield key, bytes(value)
        elif isinstance(value, Mapping):
            raise ConfigurationError(f"{family}: {key} is a group, which only libusbgx itself can read")
        else:
            yield _RENAMED.get(family, {}).get(key, key), _encoded(value)


def _lun(number: int, table: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    check_known(table, _LUN, f"LUN {number}")
    for key, name in _LUN.items():
        if table.get(key, "") != "":
            yield f"lun.{number}/{name}", _encoded(table[key])
    if "filename" not in table:
        yield f"lun.{number}/removable", _encoded(table.get("removable", True))


def _function_os(family: str, table: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    folder = f"os_desc/interface.{table.get('interface', family)}"
    for key in ("compatible_id", "sub_compatible_id"):
        if key in table:
            yield f"{folder}/{key}", str(table[key]).encode() or b"\n"


def _encoded(value: object) -> bytes:
    return b"%d" % value if isinstance(value, int) else str(value).encode()


def dump_scheme(model: GadgetModel) -> tuple[str, list[str]]:
    """Writes a scheme.

    Returns:
        Its text, and what a scheme has no place for.
    """
    libconf = _libconf()

    lost: list[str] = []
    if model.max_speed is not None:
        lost.append("max_speed")
    if model.webusb is not None:
        lost.append("webusb")
    functions = {_label(each.instance): _dump_function(each, lost) for each in model.complete_functions()}
    numbers = {key: getattr(model, field) for key, field in _NUMBERS.items() if getattr(model, field) is not None}
    table: dict[str, Any] = {"attrs": numbers, "strings": tuple(_dump_strings(model)), "functions": functions}
    table["configs"] = tuple(_dump_configuration(each, model.languages) for each in model.configurations)
    if (said := model.microsoft_os) is not None:
        table["os_descs"] = {
            "use": 1,
            "b_vendor_code": said.vendor_code,
            "qw_sign": said.signature,
            "config_id": said.configuration,
        }
    return str(libconf.dumps(table)), lost


def _label(instance: str) -> str:
    return re.sub(r"[^A-Za-z0-9_*-]", "-", instance.replace(".", "_", 1))


def _dump_strings(model: GadgetModel) -> Iterator[dict[str, Any]]:
    texts = {key: getattr(model, field) for key, field in _TEXTS.items() if getattr(model, field) is not None}
    for language in model.languages if texts else ():
        yield {"lang": language, **{key: _in(text, language) for key, text in texts.items()}}


def _in(text: Text, language: int) -> str:
    return text if isinstance(text, str) else text.get(language, "")


def _dump_function(model: FunctionModel, lost: list[str]) -> dict[str, Any]:
    plain = PlainFunction.of(model.instance, model.steps)
    attributes: dict[str, Any] = {}
    luns: dict[str, dict[str, Any]] = {}
    windows: dict[str, dict[str, Any]] = {}
    for path, value in plain.attributes.items():
        folder, _, name = path.rpartition("/")
        if not folder:
            attributes[_scheme_name(plain.family, name)] = _decoded(value)
        elif folder.startswith("lun.") and name in _LUN.values():
            key = next(key for key, each in _LUN.items() if each == name)
            luns.setdefault(folder, {})[key] = value.decode() if name == "file" else value == b"1"
        elif folder.startswith("os_desc/interface.") and name.endswith("compatible_id"):
            windows.setdefault(folder.rpartition(".")[2], {})[name] = value.decode().strip()
        else:
            lost.append(f"{model.instance}/{path}")
    if plain.family == "mass_storage":
        names = ["lun.0", *(folder for folder in plain.folders if folder.startswith("lun."))]
        # libusbgx looks for stall first, and takes no disks without it (function/ms.c).
        attributes = {"stall": 0, **attributes, "luns": tuple({"filename": "", **luns.get(name, {})} for name in names)}
    lost += [f"{model.instance}/{path}" for path in plain.links]
    found: dict[str, Any] = {"instance": plain.instance.partition(".")[2], "type": plain.family, "attrs": attributes}
    if windows:
        found["os_descs"] = tuple({"interface": name, **said} for name, said in windows.items())
    return found


def _scheme_name(family: str, name: str) -> str:
    return next((key for key, each in _RENAMED.get(family, {}).items() if each == name), name)


def _decoded(value: bytes) -> Any:
    text = as_text(value)
    if text is None:
        return tuple(value)
    return int(text) if re.fullmatch(r"-?[0-9]+", text) and str(int(text)) == text else text.removesuffix("\n")


def _dump_configuration(model: ConfigurationModel, languages: Sequence[int]) -> dict[str, Any]:
    spoken = languages or (LanguageId.ENGLISH_US,)
    strings = tuple({"lang": int(each), "configuration": _in(model.label, each)} for each in spoken if model.label)
    bindings = tuple({"name": each, "function": _label(each)} for each in model.functions)
    attributes = {"bmAttributes": model.attributes, "bMaxPower": model.max_power_ma}
    return {
        "id": model.number,
        "name": model.name,
        "attrs": attributes,
        "strings": strings,
        "functions": bindings,
    }
