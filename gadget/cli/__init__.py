"""The ``gadget`` command: each subcommand is a module of this package with ``add_parser``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from gadget.errors import GadgetError, UsageError

_COMMANDS = ("run", "vm", "describe")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="gadget", description="USB devices in Python on Linux.")
    top.add_argument("--version", action="version", version=f"gadget {version('gadget')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in _COMMANDS:
        import_module(f"gadget.cli.{name}").add_parser(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; errors that a user can do something about are one sentence, not a traceback.

    Returns:
        The exit status: 0; 1 for an error; 2 for one in what was asked for; a command's own otherwise.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
    chosen = parser().parse_args(arguments)
    try:
        status: int = chosen.handler(chosen)
    except GadgetError as error:
        print(f"gadget {chosen.command}: {_sentence(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 130
    return status


def _sentence(error: GadgetError) -> str:
    """An OSError's own text begins with "[Errno 16]", which helps nobody at midnight."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    return str(error)
