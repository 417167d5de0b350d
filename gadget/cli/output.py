"""How the command speaks: trees and tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

#: Wide enough for any line, where nobody looks at it on a screen: what is read by grep must not be broken.
_UNBROKEN = 500


def console() -> Console:
    """Writes to standard output, in colours if that is a terminal and NO_COLOR is not set."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _UNBROKEN)


def print_json(value: Any) -> None:
    """Writes JSON, so that programs need not read what is for people."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))
