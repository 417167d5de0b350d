"""What a teardown tells where several steps of it fail."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from gadget.errors import NotDrainedError, NotUndoneError


class CauseFirst:
    """Raises the first thing that could not be given back or undone, and has the later ones in its notes.

    They follow from it: where a controller keeps a transfer, its endpoint file stays open, so FunctionFS cannot be
    unmounted, so the tree in configfs cannot be removed. The last of these would send its reader the wrong way.

    ``async with CauseFirst() as cause, AsyncExitStack() as stack``: push :meth:`note` before every step whose failure
    is to be remembered. An exit stack forgets one that is followed by another, unless something had failed before
    (contextlib.py, _fix_exception_context).
    """

    def __init__(self) -> None:
        self._seen: list[NotDrainedError | NotUndoneError] = []

    def note(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remembers what is being raised; as an exit callback, which runs after all that were pushed later."""
        if isinstance(error, (NotDrainedError, NotUndoneError)) and error not in self._seen:
            self._seen.append(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.note(kind, error, trace)
        if error not in self._seen[1:]:
            return
        first, *later = self._seen
        for each in later:
            first.add_note(f"after that: {each}")
        before = first.__context__
        try:
            raise first
        finally:
            first.__context__ = before  # What came later is no context of its.
