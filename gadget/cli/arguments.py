"""Arguments that several subcommands have, and what a shell completes them with."""

from __future__ import annotations

import argparse


def completed(action: argparse.Action, what: str) -> None:
    """Has a shell complete an argument (shtab): with "gadget", "udc", "board" or "file"."""
    # Each is a function of the shell in gadget.cli.completion; the attribute is how shtab asks for it.
    names = dict.fromkeys(("bash", "zsh"), f"_gadget_{what}s")
    action.complete = names  # type: ignore[attr-defined]


def add_gadget(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """The name of a gadget."""
    text = "its folder in /sys/kernel/config/usb_gadget"
    completed(parser.add_argument("gadget", metavar="GADGET", nargs="+" if several else None, help=text), "gadget")


def add_udc(parser: argparse.ArgumentParser) -> None:
    """The name of a controller."""
    text = "the controller, as in /sys/class/udc; the first free one"
    completed(parser.add_argument("--udc", metavar="NAME", help=text), "udc")


def number(text: str) -> int:
    """A number in decimal, or in hexadecimal behind 0x; argparse says which option has none."""
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number: 4660 or 0x1234") from None
