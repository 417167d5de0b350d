"""What the guest's console and QEMU itself say: kept, shown, and read for the reason of an end."""

from __future__ import annotations

import re
from collections.abc import Callable

#: How much is kept, in bytes; the oldest goes first.
LIMIT = 1024 * 1024


class Console:
    """The log of one guest.

    Args:
        show: Told everything as it comes.
    """

    def __init__(self, show: Callable[[bytes], None] | None = None) -> None:
        self._log = bytearray()
        self._show = show

    @property
    def text(self) -> str:
        """All that is kept."""
        return self._log.decode("utf-8", "replace")

    def take(self, data: bytes) -> bool:
        """Takes what came; returns whether anything did."""
        if data:
            self._log += data
            del self._log[:-LIMIT]
            if self._show is not None:
                self._show(data)
        return bool(data)

    def why_it_ended(self, status: int) -> str:
        """The reason for the end of QEMU, as a clause.

        Args:
            status: QEMU's own exit status; a guest that powers off or panics leaves 0.
        """
        panic = re.search(r"Kernel panic - not syncing: [^\r\n]*", self.text)
        if panic:
            return f"the guest's kernel panicked: {panic[0]}"
        setup = re.search(r"gadget: (the guest's set-up failed[^\r\n]*)", self.text)
        if setup:
            return setup[1]
        return f"QEMU ended with status {status}" if status else "the guest powered off"
