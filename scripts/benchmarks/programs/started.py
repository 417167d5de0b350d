"""``gadget run``, with a look at the clock at each part of its start: ``started.py FILE ARGUMENT...``.

Python tells an audit hook what it opens and makes (PEP 578), so the package needs no change for it. FILE has the times
afterwards: JSON, seconds of the monotonic clock by name.
"""

import time

BEGUN = time.monotonic()

import json  # noqa: E402 - the first thing that it does is to look at the clock
import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

GADGETS = "/sys/kernel/config/usb_gadget/"


class Marks:
    """What has happened when."""

    def __init__(self) -> None:
        self.seen = {"begun": BEGUN}

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if "binding" in self.seen and "bound" not in self.seen:
            # Writing and closing are no events, so the next one of any kind is the first sign that it is done.
            self._mark("bound")
        if event == "os.mkdir" and str(arguments[0]).startswith(GADGETS):
            self._mark("configfs")
        elif event == "open" and str(arguments[0]).endswith("/ep0"):
            self._mark("descriptors")
        elif event == "open" and _writes_udc(*arguments):
            self._mark("binding")

    def _mark(self, name: str) -> None:
        self.seen.setdefault(name, time.monotonic())


def _writes_udc(path: object, mode: object, flags: int) -> bool:
    """Whether this opens a gadget's UDC to write it; it is also read, to find a controller that is free."""
    return str(path).startswith(GADGETS) and str(path).endswith("/UDC") and bool(flags & (os.O_WRONLY | os.O_RDWR))


def main() -> int:
    file, *arguments = sys.argv[1:]
    marks = Marks()
    sys.addaudithook(marks.audit)
    from gadget.cli import main as gadget

    try:
        return gadget(["run", *arguments])
    finally:
        Path(file).write_text(json.dumps(marks.seen))


if __name__ == "__main__":
    sys.exit(main())
