"""``gadget run --reload``: a process serves the gadget, and is replaced by a new one when a file has changed.

A process of its own has every module anew, and takes the gadget down in order, as it does at Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: How often the files are looked at, in seconds.
PERIOD = 0.5


def serve_anew(options: argparse.Namespace) -> int:
    """Serves until SIGINT or SIGTERM. A process that ends by itself is started again once a file has changed.

    Returns:
        The exit status: 0.
    """
    file = Path(options.file.partition(":")[0])
    with _stopped() as stopped:
        while not stopped.is_set():
            before = state(file)
            # A group of its own keeps Ctrl-C from it, which this process passes on once.
            process = subprocess.Popen(_command(options), process_group=0)
            _wait(file, before, stopped, process)
            process.send_signal(signal.SIGTERM)
            process.wait()
            if not stopped.is_set():
                print(f"gadget run: {file} or a file beside it has changed", flush=True)
    return 0


def _command(options: argparse.Namespace) -> list[str]:
    words = [sys.executable, "-m", "gadget", "run", options.file]
    words += ["--udc", options.udc] if options.udc else []
    return [*words, *["--wait"] * options.wait, *["-v"] * options.verbose]


@contextmanager
def _stopped() -> Iterator[threading.Event]:
    event = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: event.set()) for number in numbers]
    try:
        yield event
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _wait(file: Path, before: dict[Path, int], stopped: threading.Event, process: subprocess.Popen[bytes]) -> None:
    """Until a file has changed, or until it is all to end; that the process has ended is said once."""
    said = False
    while not stopped.wait(PERIOD) and state(file) == before:
        if process.poll() is not None and not said:
            print("gadget run: it has ended, and starts anew when a file changes", flush=True)
            said = True


def state(file: Path) -> dict[Path, int]:
    """When each file was changed that the gadget may be made of: itself, and the Python files beside it."""
    found = {}
    for path in (file, *file.parent.glob("*.py"), *file.parent.glob("*/*.py")):
        try:
            found[path] = path.stat().st_mtime_ns
        except OSError:
            found[path] = 0
    return found
