"""Terminals of serial functions: who has one open, which has to be known before the function is removed.

The kernel waits for the last close of a terminal when its function's folder is removed (``u_serial.c``,
gserial_free_port), for ever and beyond the reach of any signal. A process that has it open itself would never wake up.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from gadget.errors import KernelError

#: The functions that have a terminal.
FAMILIES = ("acm", "gser", "obex")

#: How long others may take to close a terminal that was hung up when the gadget was unbound, in seconds.
PATIENCE = 2.0


def check_closed(function: Path, dev: Path = Path("/dev")) -> None:
    """Refuses to go on while a process has the terminal of a function open.

    Args:
        function: The function's folder in configfs.
        dev: Where the device nodes are.

    Raises:
        KernelError: EBUSY, with the process.
    """
    try:
        node = dev / f"ttyGS{int((function / 'port_num').read_text())}"
    except (OSError, ValueError):
        return  # It is gone, or has no terminal.
    deadline = time.monotonic() + PATIENCE
    while holder := _holder(str(node)):
        if holder == os.getpid() or time.monotonic() > deadline:
            name = _name(holder)
            what = "this process has" if holder == os.getpid() else f"process {holder} ({name}) has"
            advice = "the kernel would wait for that for ever; close it, and start the gadget again to clean up"
            raise KernelError(errno.EBUSY, f"{what} {node} open: {advice}", str(function))
        time.sleep(0.02)  # Nothing tells of a close.


def _holder(node: str) -> int | None:
    """A process that has a file open; those of other users are seen by root alone."""
    for process in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - pathlib is slow, and there are many
        try:
            files = os.listdir(f"/proc/{process}/fd")  # noqa: PTH208
        except OSError:
            continue  # It has ended, or may not be looked into.
        if any(_target(f"/proc/{process}/fd/{number}") == node for number in files):
            return int(process)
    return None


def _target(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115
    except OSError:
        return ""


def _name(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return "ended by now"
