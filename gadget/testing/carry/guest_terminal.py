"""``--pdb`` in the guest: our terminal is given to the test's, while it runs."""

from __future__ import annotations

import os
import termios
from typing import Any

import pytest

from gadget.testing.carry import descriptors


def wants_terminal(config: pytest.Config) -> bool:
    """Whether a debugger may come up.

    Raises:
        pytest.UsageError: There is no terminal that it could use.
    """
    if not (config.getoption("usepdb") or config.getoption("trace")):
        return False
    if not (os.isatty(descriptors.before_capture(0)) and os.isatty(descriptors.before_capture(1))):
        raise pytest.UsageError(
            "--pdb and --trace: tests marked usb run in a virtual machine, and a debugger there needs a terminal as "
            "its standard input and output"
        )
    return True


class GuestTerminal:
    """Lets every key through to the guest inside a ``with`` block, Ctrl-C included; what it says comes at any time."""

    def __init__(self, config: pytest.Config) -> None:
        self._descriptor = descriptors.before_capture(0)

    def streams(self) -> dict[str, Any]:
        """Arguments of :meth:`gadget.vm.Machine.start`."""
        try:
            size = os.get_terminal_size(descriptors.before_capture(1))
        except OSError:
            size = os.terminal_size((80, 24))
        return {
            "tty": True,
            "stdin": descriptors.before_capture(0),
            "stdout": descriptors.before_capture(1),
            "size": (size.lines or 24, size.columns or 80),
        }

    def __enter__(self) -> None:
        self._before = termios.tcgetattr(self._descriptor)
        attributes = termios.tcgetattr(self._descriptor)
        # Only the input is raw: what pytest itself writes here still needs its line ends translated.
        attributes[0] &= ~(termios.ICRNL | termios.INLCR | termios.IXON)
        attributes[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, attributes)

    def __exit__(self, *error: object) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
