"""``gadget completion SHELL``: what a shell needs to complete the command's arguments."""

from __future__ import annotations

import argparse

#: What stands in for the names on this machine: functions of the shell, which start no Python.
_BASH = """
_gadget_names() { compgen -W "$(ls "$1" 2>/dev/null)" -- "$2"; }
_gadget_gadgets() { _gadget_names /sys/kernel/config/usb_gadget "$1"; compgen -f -X '!*.@(py|toml|scheme)' -- "$1"; }
_gadget_udcs() { _gadget_names /sys/class/udc "$1"; }
_gadget_boards() { compgen -W "{boards}" -- "$1"; }
_gadget_files() { compgen -f -- "$1"; }
"""
_ZSH = """
_gadget_gadgets() { _files -g '*.(py|toml|scheme)'; compadd -- /sys/kernel/config/usb_gadget/*(N:t) }
_gadget_udcs() { compadd -- /sys/class/udc/*(N:t) }
_gadget_boards() { compadd -- {boards} }
_gadget_files() { _files }
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "completion",
        help="print what a shell needs to complete arguments",
        description="Prints what a shell needs to complete this command's arguments: "
        'eval "$(gadget completion bash)", or into a file that the shell reads.',
    )
    parser.add_argument("shell", choices=("bash", "zsh"))
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Prints it."""
    print(script(options.shell))
    return 0


def script(shell: str) -> str:
    """What a shell needs, with all subcommands and the names of what there is on this machine."""
    import shtab

    from gadget.cli import parser
    from gadget.services.boards import BOARDS

    functions = {"bash": _BASH, "zsh": _ZSH}[shell].replace("{boards}", " ".join(BOARDS))
    return str(shtab.complete(parser(), shell, preamble=functions))
