"""What options on the command line mean. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable


def names(known: Iterable[str]) -> Callable[[str], list[str]]:
    """A parser for a list of names with commas between them."""

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(known)}")
        return chosen

    return parse


def numbers(text: str) -> list[int]:
    """Sizes with commas between them; k stands for KiB."""
    found = [
        int(part.lower().removesuffix("k")) * (1024 if part.lower().endswith("k") else 1) for part in text.split(",")
    ]
    if bad := [number for number in found if number <= 0 or number % 1024]:
        raise argparse.ArgumentTypeError(f"{bad[0]}: a transfer is of whole packets, of 1024 bytes at SuperSpeed")
    return found


def counts(text: str) -> list[int]:
    """Whole numbers above 0 with commas between them."""
    found = [int(part) if part.isdecimal() else 0 for part in text.split(",")]
    if 0 in found:
        raise argparse.ArgumentTypeError(f"{text}: numbers above 0, with commas between them")
    return found
