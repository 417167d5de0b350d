"""Our own TOML: names and values are those of configfs, so that nothing is lost on the way there and back."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gadget.configfs.announced import MicrosoftOsString, WebUsb
from gadget.configfs.model import ConfigurationModel, FunctionModel, GadgetModel
from gadget.errors import ConfigurationError
from gadget.protocol.constants import LanguageId, Speed
from gadget.protocol.declaration import Text
from gadget.schemes.plain_function import PlainFunction, as_text, check_known, read_as_gadget

_TEXTS = {"manufacturer": "manufacturer", "product": "product", "serialnumber": "serial_number"}
_NUMBERS = {
    "idVendor": "vendor_id",
    "idProduct": "product_id",
    "bcdDevice": "device_version",
    "bcdUSB": "usb_version",
    "bDeviceClass": "device_class",
    "bDeviceSubClass": "device_subclass",
    "bDeviceProtocol": "device_protocol",
    "bMaxPacketSize0": "max_packet_size0",
}
_GADGET = ("name", "max_speed", *_NUMBERS, *_TEXTS, "functions", "configurations", "microsoft_os", "webusb")
_FUNCTION = ("instance", "attributes", "folders", "links", "as_it_is")
_CONFIGURATION = ("number", "name", "configuration", "MaxPower", "self_powered", "remote_wakeup", "functions")


def load_own(text: str, name: str | None = None) -> GadgetModel:
    """Reads a gadget.

    Args:
        text: The file's text.
        name: The gadget's name, in place of the file's.

    Raises:
        ConfigurationError: It is no TOML, or something in it is not known, or no gadget.
        DescriptorError: A value breaks a rule.
    """
    table = parse_toml(text)
    with read_as_gadget():
        return _load(table, name)


def _load(table: Mapping[str, Any], name: str | None) -> GadgetModel:
    check_known(table, _GADGET, "the gadget")
    with_name = name or table.get("name")
    if not isinstance(with_name, str):
        raise ConfigurationError('the gadget has no name: name = "..."')
    functions = [_function(each) for each in _tables(table, "functions")]
    fields: dict[str, Any] = {field: table[key] for key, field in _NUMBERS.items() if key in table}
    fields |= {field: _text(table[key]) for key, field in _TEXTS.items() if key in table}
    if "max_speed" in table:
        fields["max_speed"] = Speed.from_name(table["max_speed"])
    instances = [function.instance for function in functions]
    configurations = _tables(table, "configurations") or [{}]
    if "microsoft_os" in table:
        fields["microsoft_os"] = MicrosoftOsString(**table["microsoft_os"])
    if "webusb" in table:
        fields["webusb"] = WebUsb(**table["webusb"])
    return GadgetModel(
        name=with_name,
        configurations=tuple(_configuration(each, at, instances) for at, each in enumerate(configurations, 1)),
        functions=tuple(functions),
        **fields,
    )


def parse_toml(text: str) -> dict[str, Any]:
    """Reads TOML.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"this is no TOML: {error}") from error


def _tables(table: Mapping[str, Any], key: str) -> list[Any]:
    found = table.get(key, [])
    if not isinstance(found, list):
        raise ConfigurationError(f"{key} must be a list")
    return found


def _text(value: Any) -> Text:
    if isinstance(value, Mapping):
        return {int(language, 0): str(text) for language, text in value.items()}
    return str(value)


def _function(table: Any) -> FunctionModel:
    if isinstance(table, str):
        table = {"instance": table}
    check_known(table, _FUNCTION, f"function {table.get('instance', '')}")
    if "instance" not in table:
        raise ConfigurationError('a function has no instance: instance = "acm.0"')
    plain = PlainFunction(
        table["instance"],
        dict(_flat(table.get("attributes", {}))),
        tuple(table.get("folders", ())),
        dict(table.get("links", {})),
    )
    function = plain.as_it_is() if table.get("as_it_is") else plain.function()
    return FunctionModel(plain.instance, function.steps())


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, bytes]]:
    """Attributes in folders can stand in tables of those names."""
    for key, value in table.items():
        if isinstance(value, Mapping) and set(value) == {"hex"}:
            yield before + key, bytes.fromhex(value["hex"])
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}/")
        else:
            yield before + key, encode(value)


def encode(value: object) -> bytes:
    """What is written to an attribute for a value of TOML.

    Raises:
        ConfigurationError: It is of a kind that no attribute has.
    """
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, int | str):
        return str(value).encode()
    raise ConfigurationError(f'an attribute is a text, a number, true or false, or {{ hex = "00ff" }}, not {value!r}')


def _configuration(table: Mapping[str, Any], at: int, instances: Sequence[str]) -> ConfigurationModel:
    check_known(table, _CONFIGURATION, f"configuration {table.get('number', at)}")
    return ConfigurationModel(
        number=table.get("number", at),
        name=table.get("name", "c"),
        label=_text(table.get("configuration", "")),
        max_power_ma=table.get("MaxPower", 500),
        self_powered=table.get("self_powered", False),
        remote_wakeup=table.get("remote_wakeup", False),
        functions=tuple(table.get("functions", instances)),
    )


def dump_own(model: GadgetModel) -> str:
    """Writes a gadget, so that :func:`load_own` makes the same of it."""
    import tomli_w

    table: dict[str, Any] = {"name": model.name}
    table |= {key: getattr(model, field) for key, field in _NUMBERS.items() if getattr(model, field) is not None}
    if model.max_speed is not None:
        table["max_speed"] = model.max_speed.maximum
    texts = {key: getattr(model, field) for key, field in _TEXTS.items()}
    table |= {key: _dumped(text, model) for key, text in texts.items() if text is not None}
    if (said := model.microsoft_os) is not None:
        names = ("vendor_code", "signature", "configuration")
        table["microsoft_os"] = {name: getattr(said, name) for name in names}
    if (webusb := model.webusb) is not None:
        table["webusb"] = {name: getattr(webusb, name) for name in ("landing_page", "vendor_code", "version")}
    table["functions"] = [_dump_function(function) for function in model.complete_functions()]
    table["configurations"] = [_dump_configuration(each, model) for each in model.configurations]
    return _in_hexadecimal(tomli_w.dumps(table, multiline_strings=False))


def _dumped(text: Text, model: GadgetModel) -> Any:
    """What is in US English alone need not say so: that is the language of strings that say none."""
    if isinstance(text, str):
        return text
    if model.languages == (LanguageId.ENGLISH_US,):
        return text[LanguageId.ENGLISH_US]
    return {hex(language): each for language, each in text.items()}


def _dump_function(model: FunctionModel) -> dict[str, Any]:
    plain = PlainFunction.of(model.instance, model.steps)
    found: dict[str, Any] = {"instance": plain.instance}
    if not _same(plain, model):
        found["as_it_is"] = True
    if plain.folders:
        found["folders"] = list(plain.folders)
    if plain.attributes:
        found["attributes"] = {path: _decode(value) for path, value in plain.attributes.items()}
    if plain.links:
        found["links"] = dict(plain.links)
    return found


def _same(plain: PlainFunction, model: FunctionModel) -> bool:
    """Whether its class makes the same of it again, in the same order."""
    try:
        return plain.function().steps() == model.steps
    except ValueError:
        return False


def _decode(value: bytes) -> Any:
    text = as_text(value)
    if text is None:
        return {"hex": value.hex()}
    return int(text) if text.isdecimal() and str(int(text)) == text else text


def _dump_configuration(each: ConfigurationModel, model: GadgetModel) -> dict[str, Any]:
    found: dict[str, Any] = {"number": each.number, "name": each.name, "MaxPower": each.max_power_ma}
    if each.label:
        found["configuration"] = _dumped(each.label, model)
    found |= {name: True for name in ("self_powered", "remote_wakeup") if getattr(each, name)}
    return {**found, "functions": list(each.functions)}


def _in_hexadecimal(text: str) -> str:
    """Numbers that everybody knows in hexadecimal are written so, which the library cannot."""
    lines = []
    for line in text.splitlines(keepends=True):
        key, _, value = line.partition(" = ")
        width = 2 if key.startswith("b") and not key.startswith("bcd") else 4
        known = value.strip().isdecimal() and (key in _NUMBERS or key in ("vendor_code", "version"))
        lines.append(f"{key} = 0x{int(value):0{width}x}\n" if known else line)
    return "".join(lines)
