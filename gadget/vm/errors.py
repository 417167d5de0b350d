"""What can go wrong between this machine and the guest."""

from __future__ import annotations

import re

from gadget.errors import GadgetError

#: How many of the guest's last lines an error carries.
TAIL_LINES = 12

#: How the kernel begins to tell that it is in trouble, on the serial console and in its log (kernel/panic.c,
#: lib/bug.c, arch/*/kernel/traps.c, kernel/locking/lockdep.c, kernel/hung_task.c, lib/ubsan.c, lib/refcount.c).
#: A console also has what programs print, so "WARNING: " alone is not enough. Left out is what an emulated guest on a
#: busy host is told for no fault of its own, when its processors were not run for a while: soft lockups, lockups of
#: work queues, RCU stalls, unstable clock sources, long interrupts. If such a thing is real, the test times out.
TROUBLE = re.compile(
    r"Kernel panic|\bkernel BUG at |\bBUG: (?!soft lockup|workqueue lockup)|\bOops: |error: Oops "
    r"|general protection fault|Unable to handle kernel "
    r"|\bUBSAN: |\bKASAN: |\brefcount_t: |\blist_(?:add|del) corruption"
    # Warnings begin with the processor or, in newer kernels, with FILE:LINE; the rest are lockdep's.
    r"|WARNING: (?:CPU: |\S+:\d+ at |possible |inconsistent |bad |held |lock held |suspicious |Nested |\w+-safe )"
    r"|INFO: trying to register non-static key|INFO: task .* blocked"
)


def last_lines(console: str, count: int = TAIL_LINES) -> str:
    """The last lines of a console that say something, without the carriage returns of a serial line.

    If the kernel told of trouble, its report is what matters: then the lines begin there, and may be more.
    """
    lines = [line.rstrip() for line in console.replace("\r", "").split("\n") if line.strip()]
    begin = next((number for number, line in enumerate(lines) if TROUBLE.search(line)), None)
    if begin is None:
        return "\n".join(lines[-count:])
    return "\n".join(lines[begin : begin + 2 * count])


class VmError(GadgetError, RuntimeError):
    """The virtual machine cannot start, or it was lost.

    Args:
        message: What is wrong and what to do next.
        console: What the guest printed so far; the last lines of it become part of the message.
    """

    def __init__(self, message: str, console: str = "") -> None:
        self.console = console
        tail = last_lines(console)
        if tail:
            message += "\nThe guest's last lines:\n" + "\n".join(f"  | {line}" for line in tail.split("\n"))
        super().__init__(message)


class VmTimeoutError(VmError, TimeoutError):
    """The boot or a command took longer than it was given."""


class CommandNotStartedError(GadgetError, OSError):
    """The guest could not start a command; ``errno`` is the guest's own (ENOENT: there is no such program)."""
