"""A device served by a process of its own: ``gadget run``, or any program that serves one."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from gadget.configfs.ownership import Ownership
from gadget.configfs.record import default_folder
from gadget.configfs.udc import unbind
from gadget.errors import GadgetError
from gadget.testing.controller_kinds import kind_of
from gadget.testing.controllers import BenchController
from gadget.testing.served import Served
from gadget.testing.waiting import PATIENCE

if TYPE_CHECKING:
    from gadget.testing.forked import Forked


class ChildError(GadgetError):
    """The process that serves a device has ended, or has failed."""


class ServedChild(Served):
    """A program that serves a device.

    Args:
        controller: The controller that it is to use.
        command: Its command line; ``{udc}`` in an argument becomes the controller's name. It also finds that in its
            environment, as ``GADGET_UDC``.
        statuses: The exit statuses that are no failure after SIGTERM.
    """

    process: subprocess.Popen[bytes] | Forked

    def __init__(self, controller: BenchController, command: Sequence[str], statuses: Sequence[int] = (0,)) -> None:
        self._command = [part.replace("{udc}", controller.name) for part in command]
        super().__init__(controller, " ".join(self._command))
        self._statuses = statuses
        self._killed = False
        self._told = False
        self._output = ""
        self._log: IO[bytes] | None = None

    def _begin(self) -> None:
        self._log = self._log or tempfile.TemporaryFile()  # noqa: SIM115 - it is closed at the end
        try:
            self.process = self._start_process(self._log, {**os.environ, "GADGET_UDC": self.controller.name})
        except OSError as error:
            self._close_log()
            raise ChildError(f"cannot start {self.name}: {error.strerror}") from error
        self.pid = self.process.pid

    def _start_process(self, output: IO[bytes], environment: Mapping[str, str]) -> subprocess.Popen[bytes] | Forked:
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the tests; they end it in order.
        )

    @property
    def output(self) -> str:
        """What it has written to its standard output and error so far."""
        if self._log is None:
            return self._output
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")

    def _close_log(self) -> None:
        if self._log is not None:
            self._output = self.output
            self._log.close()
            self._log = None

    def check(self) -> None:
        """Raises how it ended, if it has ended."""
        if self.process.poll() is not None and not self._killed:
            self._told = True
            raise ChildError(f"{self.name} ended with status {self.process.returncode}; it said:\n{self.output}")

    def _end(self) -> None:
        try:
            self._end_process()
        finally:
            self._close_log()
            self._release()
            self._reclaim()

    def _end_process(self) -> None:
        """SIGTERM, and the status that it answers with; a process that was killed on purpose may lie as it fell."""
        if self._killed:
            self.process.wait(PATIENCE)
            return
        with suppress(ProcessLookupError):
            self.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._send_sigkill()
            self.process.wait()
            raise ChildError(f"{self.name} does not end after SIGTERM; it said:\n{self.output}") from None
        if status not in self._statuses and not self._told:
            raise ChildError(f"{self.name} ended with status {status}; it said:\n{self.output}")

    def kill(self) -> None:
        """Ends it without a chance to clean up (SIGKILL).

        If it served FunctionFS the device has gone, and the host has seen it go. A gadget of the kernel's own functions
        needs no process: it stays where it is. On usbip-vudc the cable is pulled before, or the kernel might crash.
        """
        self._killed = True
        self._send_sigkill()
        self.process.wait(PATIENCE)
        # The last close of ep0 has taken the gadget off its controller by now (f_fs.c, ffs_closed).
        if self.controller.tree is None:
            self.controller.connection.unplug()
            self.controller.wait_gone()

    def end(self, number: int = signal.SIGTERM) -> float:
        """Ends it with a signal that it takes itself down in order for; the status that it ends with is looked at.

        Returns:
            How many seconds it took.

        Raises:
            ChildError: It does not end, or with another status than it should.
        """
        begun = time.monotonic()
        self.send_signal(number)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise ChildError(
                f"{self.name} does not end after {signal.Signals(number).name}; it said:\n{self.output}"
            ) from None
        took = time.monotonic() - begun
        if status not in self._statuses:
            self._told = True
            raise ChildError(f"{self.name} ended with status {status}; it said:\n{self.output}")
        return took

    def _send_sigkill(self) -> None:
        """Kills it, and not the kernel with it.

        The last close of ep0 unbinds, in a process that has a signal pending: where that must not be, nothing may be
        plugged in by then.
        """
        kind, tree = kind_of(self.controller.name), self.controller.tree
        serves_functionfs = tree is not None and any(tree.glob("functions/ffs.*"))
        if serves_functionfs and kind is not None and kind.lack("interrupted unbind"):
            self.controller.connection.unplug()
        self.process.kill()

    def start_again(self) -> None:
        """Starts the same program once more, as a supervisor would after it was killed.

        Returns when the host has the device configured: at once where it never went away, see :meth:`kill`.
        """
        self._killed = self._told = False
        self.start()

    def _release(self) -> None:
        """Frees the controller for the next test, whatever the program has left bound to it."""
        if (tree := self.controller.tree) is not None:
            unbind(tree)

    def _reclaim(self) -> None:
        """Removes what a process of this package has left that was killed, as its next start would; else all stays."""
        if (
            self._tree is not None
            and (self.process.returncode or 0) < 0
            and (default_folder() / f"{self._tree.name}.json").exists()
        ):
            with Ownership.acquire(self._tree.name) as ownership:
                ownership.reclaim()


class ServedFile(ServedChild):
    """FILE[:NAME], served by ``gadget run`` in a process of its own.

    Args:
        controller: The controller that it is to use.
        target: FILE[:NAME].
    """

    def __init__(self, controller: BenchController, target: str) -> None:
        super().__init__(controller, ["gadget", "run", target, "--udc", "{udc}"])

    def _start_process(self, output: IO[bytes], environment: Mapping[str, str]) -> Forked:
        from gadget.testing.forked import Forked

        return Forked(self._command[1:], output.fileno(), environment)
