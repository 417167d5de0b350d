"""AIO contexts that a test has left behind."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gadget.aio import Context, undrained_contexts
from gadget.errors import NotDrainedError
from gadget.testing.observe.leaks import settle, snapshot

PATIENCE = 20.0


def test_an_open_context_is_named() -> None:
    before = snapshot()
    context = Context(8)
    leaks = snapshot().leaks_since(before)
    assert "AIO: 1 context of this process not closed" in leaks
    assert any(f"file descriptor {context.fileno()}: anon_inode:[eventfd]" in leak for leak in leaks)
    context.close()
    assert settle(before, PATIENCE) == []


def test_a_context_that_cannot_be_drained_is_named(pipe: tuple[int, int], tmp_path: Path) -> None:
    """A read of an empty pipe sleeps inside io_submit, where nothing takes it back."""
    (tmp_path / "file").write_bytes(b"data")
    file = os.open(tmp_path / "file", os.O_RDONLY)
    before = snapshot()
    context, buffer, first = Context(4), bytearray(4), bytearray(1)
    context.read(file, first)
    context.read(pipe[0], buffer)
    submitter = threading.Thread(target=context.submit)
    submitter.start()
    try:
        # Both were taken by one io_submit, in order: it is at the second now.
        while not context.wait(PATIENCE):
            assert submitter.is_alive()
        with pytest.raises(NotDrainedError):
            context.close(timeout=0.1)
        assert undrained_contexts() == (context,)
        assert "AIO: the kernel still holds buffers of 1 context" in snapshot().leaks_since(before)
    finally:
        os.write(pipe[1], b"data")
        submitter.join()
    context.close()
    assert undrained_contexts() == ()
    assert settle(before, PATIENCE) == []
    os.close(file)
