"""The ``gadget`` command: each subcommand is a module of this package with ``add_parser``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from gadget.errors import GadgetError, UsageError

_COMMANDS = ("run", "vm", "describe")


class _Version(argparse.Action):
    """Looks the version up when it is asked for: that takes longer than to import all the rest."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"gadget {version('gadget')}")
        parser.exit()


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The command line.

    Args:
        command: The only subcommand that is needed; all of them by default. On a board, each takes time to import.
    """
    top = argparse.ArgumentParser(prog="gadget", description="USB devices in Python on Linux.")
    top.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in [command] if command in _COMMANDS else _COMMANDS:
        import_module(f"gadget.cli.{name}").add_parser(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; errors that a user can do something about are one sentence, not a traceback.

    Returns:
        The exit status: 0; 1 for an error; 2 for one in what was asked for; a command's own otherwise.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
    given = sys.argv[1:] if arguments is None else list(arguments)
    chosen = parser(next(iter(given), None)).parse_args(given)
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
