"""``gadget create NAME FUNCTION...``: a gadget of the kernel's functions alone, without a line of Python."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from gadget.cli.arguments import number
from gadget.cli.making import add_options, make
from gadget.composition import Configuration, default_device_class, instance_names, microsoft_os_string
from gadget.configfs.model import ConfigurationModel, FunctionModel, GadgetModel
from gadget.errors import UsageError
from gadget.kernel_functions import FAMILIES, KernelFunction
from gadget.protocol.constants import Speed
from gadget.schemes.plain_function import PlainFunction

_EPILOG = """\
A FUNCTION is FAMILY[.INSTANCE][,ATTRIBUTE=VALUE...], with names and values as in configfs; @FILE stands for what is
in a file. A comma in a value is written twice.
Families that are known: {}.

  gadget create console acm ncm,host_addr=02:00:00:00:00:01
  gadget create stick mass_storage,lun.0/file=/srv/disk.img,lun.0/ro=1
  gadget create keyboard hid,protocol=1,subclass=1,report_length=8,report_desc=@keyboard.bin
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "create",
        help="make a gadget of the kernel's functions",
        description="Makes a gadget of functions that the kernel has, and binds it. It stays until gadget rm.",
        epilog=_EPILOG.format(", ".join(FAMILIES)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="what it is called in configfs")
    parser.add_argument("functions", metavar="FUNCTION", nargs="+", help="see below")
    for option, text in (("vendor-id", "idVendor, 0x1d6b"), ("product-id", "idProduct, 0x0104")):
        parser.add_argument(f"--{option}", metavar="N", type=number, help=text)
    for option in ("manufacturer", "product", "serial-number"):
        parser.add_argument(f"--{option}", metavar="TEXT")
    parser.add_argument("--max-speed", metavar="SPEED", help="full-speed, high-speed, super-speed, super-speed-plus")
    parser.add_argument("--max-power", metavar="MA", type=number, default=500, help="in milliamperes; 500")
    add_options(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Makes it."""
    return make(_model(options), options)


def _model(options: argparse.Namespace) -> GadgetModel:
    functions = [parse_function(text) for text in options.functions]
    names = instance_names(options.name, functions)
    codes = default_device_class(functions)
    given = {"vendor_id": options.vendor_id, "product_id": options.product_id}
    return GadgetModel(
        name=options.name,
        **{key: value for key, value in given.items() if value is not None},
        device_class=codes[0],
        device_subclass=codes[1],
        device_protocol=codes[2],
        manufacturer=options.manufacturer,
        product=options.product,
        serial_number=options.serial_number,
        max_speed=Speed.from_name(options.max_speed) if options.max_speed else None,
        configurations=(ConfigurationModel(max_power_ma=options.max_power, functions=names),),
        functions=tuple(FunctionModel(name, each.steps()) for name, each in zip(names, functions, strict=True)),
        microsoft_os=microsoft_os_string([(1, Configuration(functions))]),
    )


def parse_function(text: str) -> KernelFunction:
    """Makes a function of its form on the command line.

    Raises:
        UsageError: It has another form, or breaks a rule of the function.
    """
    head, *rest = _split(text)
    family, dot, instance = head.partition(".")
    plain = PlainFunction(f"{family}.{instance if dot else 0}", dict(map(_attribute, rest)))
    function = plain.function()
    # Without a name of its own it gets a number that is free.
    return function if dot else _renamed(function)


def _renamed(function: KernelFunction) -> KernelFunction:
    from dataclasses import replace

    return replace(function, instance=None)


def _split(text: str) -> Iterator[str]:
    return (part.replace("\0", ",") for part in text.replace(",,", "\0").split(","))


def _attribute(text: str) -> tuple[str, bytes]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{text!r} is no ATTRIBUTE=VALUE")
    if not value.startswith("@"):
        return name, value.encode()
    try:
        return name, Path(value[1:]).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {value[1:]}: {error.strerror}") from error
