"""The ``gadget`` command: each subcommand is a module of this package with ``add_parser``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType

from gadget.errors import GadgetError, UsageError

#: The subcommands, each with its module. A module is loaded when its command is called, or all are to be listed.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "list": "list_gadgets",
        "show": "show",
        "run": "run",
        "check": "check",
        "create": "create",
        "import": "import_gadget",
        "export": "export_gadget",
        "bind": "bind",
        "unbind": "unbind",
        "rm": "remove",
        "clean": "clean",
        "doctor": "doctor",
        "vm": "vm",
        "completion": "completion",
    }
)

_EPILOG = "Exit status: 0; 1 for an error; 2 for one in what was asked for; 130 after Ctrl-C. NO_COLOR is honoured."


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
    top = argparse.ArgumentParser(prog="gadget", description="USB devices in Python on Linux.", epilog=_EPILOG)
    top.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in [command] if command is not None and command in COMMANDS else COMMANDS:
        import_module(f"gadget.cli.{COMMANDS[name]}").add_parser(commands)
    for name, each in commands.choices.items():
        if name not in ("vm", "completion"):
            help_text = "say each step in configfs; twice, each event and control request"
            each.add_argument("-v", "--verbose", action="count", default=0, help=help_text)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; errors that a user can do something about are one sentence, not a traceback.

    Returns:
        The exit status: 0; 1 for an error; 2 for one in what was asked for; a command's own otherwise.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    chosen = parser(next(iter(given), None)).parse_args(given)
    _log(getattr(chosen, "verbose", 0))
    try:
        status: int = chosen.handler(chosen)
        sys.stdout.flush()
    except GadgetError as error:
        print(f"gadget {chosen.command}: {_sentence(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who reads it (head, less) has seen enough. What the interpreter flushes at its end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


class _Formatter(logging.Formatter):
    """What was asked for by -v is just said; anything else says how bad it is."""

    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        return message if record.levelno <= logging.DEBUG else f"{record.levelname}: {message}"


def _log(verbose: int) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    if verbose:
        logging.getLogger("gadget.configfs").setLevel(logging.DEBUG)
    if verbose > 1:
        logging.getLogger("gadget").setLevel(logging.DEBUG)


def _sentence(error: GadgetError) -> str:
    """An OSError's own text begins with "[Errno 16]", which helps nobody at midnight."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    return str(error)
