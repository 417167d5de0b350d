"""``scripts/bench``: see its --help."""

from __future__ import annotations

import argparse
import sys

from benchmarks import aio, classes, instructions, scale, startup, usb
from benchmarks.errors import BenchmarkError


def main() -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in {
        "usb": usb,
        "aio": aio,
        "startup": startup,
        "scale": scale,
        "instructions": instructions,
        "classes": classes,
    }.items():
        command = commands.add_parser(name, help=module.__doc__, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args()
    try:
        return int(args.run(args))
    except BenchmarkError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
