"""``gadget clean``: removes what killed processes left."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gadget.cli.overview import read_records
from gadget.configfs.ownership import Ownership
from gadget.configfs.record import RECORDS, Record, is_alive
from gadget.errors import GadgetError


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "clean",
        help="remove what killed processes left",
        description="Removes the gadgets, mounts and records that processes of this package left when they were "
        "killed. What others made, and what is being served, is left alone.",
    )
    parser.add_argument("--dry-run", "-n", action="store_true", help="only say what would be removed")
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Removes them, and goes on where one cannot be removed."""
    return clean(RECORDS, dry_run=options.dry_run)


def clean(folder: Path, *, dry_run: bool) -> int:
    """Removes what the records in a folder list, if their owners are dead; 1 if something could not be removed."""
    status, found = 0, [record for record in read_records(folder) if not is_alive(record)]
    for record in found:
        if dry_run:
            print(f"would remove {_described(record)}")
            continue
        try:
            with Ownership.acquire(record.name, root=record.tree.parent, folder=folder) as ownership:
                ownership.reclaim()
            print(f"removed {_described(record)}")
        except GadgetError as error:
            print(f"gadget clean: {error}", file=sys.stderr)
            status = 1
    if not found:
        print("nothing is left of killed processes")
    return status


def _described(record: Record) -> str:
    return f"{record.name}, made by: {record.created_by}" if record.created_by else record.name
