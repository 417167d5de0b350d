"""One operation of Linux AIO, from submission to completion."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from gadget.errors import UsageError

if TYPE_CHECKING:
    from gadget.aio._aio import VoidPointer


class HasFileno(Protocol):
    """A file object."""

    def fileno(self) -> int: ...  # noqa: D102


File = int | HasFileno


def descriptor(file: File) -> int:
    """The file's descriptor.

    Raises:
        TypeError: It is neither a descriptor nor an object with ``fileno()``.
    """
    if isinstance(file, int):
        return file
    try:
        return file.fileno()
    except AttributeError:
        raise TypeError(f"{file!r} is no file: it has neither a descriptor nor fileno()") from None


class Opcode(IntEnum):
    """What an operation does (linux/aio_abi.h, IOCB_CMD_*)."""

    PREAD = 0
    PWRITE = 1
    FSYNC = 2
    FDSYNC = 3
    POLL = 5


class Operation:
    """One operation, from submission to completion.

    Attributes:
        result: The kernel's ``res``, untouched: a count, or a negative errno. None while in flight.
        result2: The kernel's ``res2``.
        callback: Called with the operation by :meth:`Context.reap`, if set.
    """

    __slots__ = ("_pin", "callback", "result", "result2", "ticket")

    def __init__(self, ticket: int, pin: VoidPointer | None) -> None:
        self.ticket = ticket
        self.result: int | None = None
        self.result2: int | None = None
        self.callback: Callable[[Operation], None] | None = None
        self._pin = pin

    @property
    def done(self) -> bool:
        """Whether the kernel has given it back."""
        return self.result is not None

    def check(self) -> int:
        """Returns the count that the kernel reported.

        Raises:
            OSError: The operation failed.
            UsageError: It is still in flight.
        """
        if self.result is None:
            raise UsageError("this operation is still in flight")
        if self.result < 0:
            raise OSError(-self.result, os.strerror(-self.result))
        return self.result

    def _finish(self, result: int, result2: int) -> None:
        self.result, self.result2, self._pin = result, result2, None
