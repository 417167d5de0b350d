"""``gadget import FILE``: makes the gadget that a file describes."""

from __future__ import annotations

import argparse
from pathlib import Path

from gadget.cli.arguments import completed
from gadget.cli.making import add_options, make
from gadget.schemes.files import FORMATS, load_file


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "import",
        help="make the gadget that a file describes",
        description="Makes the gadget that a file describes, and binds it: our own TOML (gadget export), a scheme of "
        "gt and libusbgx, or TOML of the Rust command usb-gadget. It stays until gadget rm.",
    )
    completed(parser.add_argument("file", metavar="FILE", type=Path, help="the file"), "file")
    parser.add_argument("--name", metavar="NAME", help="what it is called, in place of what the file says")
    parser.add_argument("--format", choices=FORMATS, help="what the file is; as its name and its keys say")
    add_options(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Makes it."""
    return make(load_file(options.file, options.name, options.format), options)
