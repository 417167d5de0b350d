"""``gadget doctor``: whether a gadget could run here, and what to do where it could not."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from gadget.cli.checkup import BROKEN, NOTE, Check, examine
from gadget.cli.machine import Machine
from gadget.cli.output import console, print_json


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "doctor",
        help="say whether a gadget could run here, and what to mend",
        description="Looks at the kernel, its modules, configfs, controllers and all that gets in the way, and says "
        "what mends it. Changes nothing.",
        epilog="Exit status: 0, a gadget could run here now; 1, something must be mended; 2, wrong use.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Examines this machine."""
    found = examine(Machine())
    if options.json:
        print_json([asdict(check) for check in found])
    else:
        show(found)
    return int(any(check.status == BROKEN for check in found))


def show(found: Sequence[Check]) -> None:
    """Shows what was found: a line for each, and below it what mends it."""
    from rich.text import Text

    out = console()
    width = max(len(check.name) for check in found)
    wrong, right = ("✗", "✓") if out.encoding.startswith("utf") else ("x", "+")
    for check in found:
        mark, style = {BROKEN: (wrong, "bold red"), NOTE: ("!", "yellow")}.get(check.status, (right, "green"))
        out.print(Text(f"{mark} ", style).append(f"{check.name:{width}}  ", "bold").append(check.text, ""))
        if check.mend:
            out.print(Text(" " * (width + 4)).append(check.mend, "cyan"), soft_wrap=True)
    broken = sum(check.status == BROKEN for check in found)
    verdict = Text("a gadget could run here now", "bold green")
    out.print(verdict if not broken else Text(f"{broken} to be mended before a gadget can run here", "bold red"))
