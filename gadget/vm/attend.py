"""Sits between a user and a command in the guest: signals, the terminal and its size go one way, the status back."""

from __future__ import annotations

import os
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Protocol

from gadget.vm.errors import VmTimeoutError

#: The exit status after a time-out, as timeout(1) has it.
TIMED_OUT = 124


class Attended(Protocol):
    """What a command has to offer for it: one of this process's machine, or of a session's."""

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the exit status."""

    def send_signal(self, number: int) -> None:
        """Sends a signal to the command's process group."""

    def resize(self, rows: int, columns: int) -> None:
        """Gives the command's terminal another size."""


class Interrupted(BaseException):
    """The user asked a second time: there is no patience for the command any more. ``args`` has the signal."""


def is_interactive() -> bool:
    """Whether somebody sits at both ends: standard input and standard output are terminals."""
    return os.isatty(0) and os.isatty(1)


def window_size() -> tuple[int, int]:
    """Rows and columns of our terminal; 24 and 80 if it doesn't know."""
    try:
        size = os.get_terminal_size(1)
    except OSError:
        return 24, 80
    return size.lines or 24, size.columns or 80


def attend(command: Attended, *, terminal: bool, timeout: float | None, complain: Callable[[str], None]) -> int:
    """Waits for a command while signals, keys and window sizes are passed on to it.

    Args:
        command: The command, just started.
        terminal: Whether it has a terminal, so that ours has to let every key through.
        timeout: Seconds after which it is asked to end.
        complain: Told what went wrong.

    Returns:
        Its exit status, or 124 after the time-out.

    Raises:
        Interrupted: A second SIGINT, SIGTERM or SIGHUP came.
    """
    with ExitStack() as stack:
        if terminal:
            stack.enter_context(_raw_terminal(0))
            stack.enter_context(_handle([signal.SIGWINCH], lambda number: command.resize(*window_size())))
        stack.enter_context(_forward_signals(command))
        try:
            return command.wait(timeout)
        except VmTimeoutError:
            command.send_signal(signal.SIGTERM)
    complain(f"the command still ran after {timeout:g} s and was ended (--timeout).")
    return TIMED_OUT


@contextmanager
def leave_in_order() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that the machine is closed on the way."""

    def leave(number: int) -> None:
        raise Interrupted(number)

    with _handle([signal.SIGTERM, signal.SIGHUP, signal.SIGINT], leave):
        yield


@contextmanager
def _raw_terminal(descriptor: int) -> Iterator[None]:
    """Lets every key through to the guest, whose own terminal makes of it what it means."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _forward_signals(command: Attended) -> Iterator[None]:
    seen: list[int] = []

    def forward(number: int) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise Interrupted(number)
        command.send_signal(number)

    with _handle([signal.SIGINT, signal.SIGTERM, signal.SIGHUP], forward):
        yield


@contextmanager
def _handle(numbers: list[signal.Signals], act: Callable[[int], None]) -> Iterator[None]:
    def handler(number: int, frame: FrameType | None) -> None:
        act(number)

    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
