"""The command ``gadget`` in a process of its own that need not import anything: it is forked from one that has.

In an emulated machine, to start Python and to import this package takes seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

from gadget.testing.observe import leaks

_CONTEXT = multiprocessing.get_context("forkserver")
#: With all that these import.
_IMPORTED = ["gadget.cli.run", "gadget.functionfs.in_endpoint", "gadget.functionfs.out_endpoint"]


class Forked:
    """Such a process, with what :class:`subprocess.Popen` has for it.

    Args:
        arguments: Those of the command.
        output: The file that its standard output and error go to.
        environment: Its environment.

    Attributes:
        pid: Its process id.
        returncode: Its exit status, or the negative number of the signal that has ended it; None while it lives.
    """

    def __init__(self, arguments: Sequence[str], output: int, environment: Mapping[str, str]) -> None:
        start_server()
        file = f"/proc/{os.getpid()}/fd/{output}"
        self._process = _CONTEXT.Process(
            target=_run, args=([*arguments], file, {**environment}, str(Path.cwd())), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Looks whether it has ended; its exit status if so."""
        if self.returncode is None and (status := self._process.exitcode) is not None:
            self.returncode = status
            self._process.join()
            self._process.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits until it has ended.

        Raises:
            TimeoutExpired: It has not.
        """
        if self.returncode is None:
            self._process.join(timeout)
        if (status := self.poll()) is None:
            raise subprocess.TimeoutExpired("gadget", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Sends it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends it SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start_server() -> None:
    """Starts the process that others are forked from; it stays until this one ends, and is no leak of any test."""
    _CONTEXT.set_forkserver_preload(_IMPORTED)
    leaks.except_for(forkserver.ensure_running)


def _run(arguments: list[str], output: str, environment: dict[str, str], folder: str) -> None:
    """In the new process: becomes ``gadget ARGUMENT...``, as if it had been started."""
    os.setsid()  # Ctrl-C is for the tests; they end it in order.
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["gadget", *arguments]
    runpy.run_module("gadget", run_name="__main__", alter_sys=True)
