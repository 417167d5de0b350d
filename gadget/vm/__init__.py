"""The bench: a virtual machine with a USB bus of its own, for gadgets and for whoever tests them.

It needs QEMU, a kernel (found, or Debian's, downloaded) and the extra ``vm``; no root, no hardware.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gadget.vm.command import Command, Completed
    from gadget.vm.errors import CommandNotStartedError, VmError, VmTimeoutError
    from gadget.vm.machine import Machine

__all__ = ["Command", "CommandNotStartedError", "Completed", "Machine", "VmError", "VmTimeoutError"]

_HOMES = {
    "Command": "command",
    "CommandNotStartedError": "errors",
    "Completed": "command",
    "Machine": "machine",
    "VmError": "errors",
    "VmTimeoutError": "errors",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for; the agent in the guest needs none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
