from __future__ import annotations

import asyncio
import errno
from contextlib import AsyncExitStack

import pytest

from gadget import NotDrainedError, NotUndoneError
from gadget.teardown import CauseFirst


def raises(error: BaseException) -> None:
    raise error


def teardown(*errors: BaseException, body: BaseException | None = None) -> None:
    """A scope whose steps fail with these, in this order."""

    async def scope() -> None:
        async with CauseFirst() as cause, AsyncExitStack() as stack:
            for error in reversed(errors):
                stack.push(cause.note)
                stack.callback(raises, error)
            if body is not None:
                raise body

    asyncio.run(scope())


@pytest.mark.parametrize("body", [None, ZeroDivisionError("on purpose")])
def test_the_first_is_raised_and_the_others_are_its_notes(body: BaseException | None) -> None:
    kept = NotDrainedError(errno.ETIMEDOUT, "it kept 2 transfers")
    mounted, tree = NotUndoneError(errno.EBUSY, "it is mounted"), NotUndoneError(errno.EBUSY, "it is there")
    with pytest.raises(NotDrainedError) as caught:
        teardown(kept, mounted, tree, body=body)
    assert caught.value is kept
    assert kept.__notes__ == [f"after that: {mounted}", f"after that: {tree}"]
    assert kept.__context__ is body, "what has ended the scope is not hidden"


def test_a_single_one_is_left_alone() -> None:
    with pytest.raises(NotUndoneError) as caught:
        teardown(NotUndoneError(errno.EBUSY, "it is mounted"))
    assert not hasattr(caught.value, "__notes__")


def test_other_errors_are_none_of_its_business() -> None:
    with pytest.raises(ZeroDivisionError):
        teardown(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        teardown(NotUndoneError(errno.EBUSY, "it is mounted"), ZeroDivisionError())
    teardown()
