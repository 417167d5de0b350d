"""One boot of the machine for carried tests, and the pytest in it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import pytest

from gadget.errors import GadgetError
from gadget.testing.bus import Bus
from gadget.testing.carry import guest_coverage
from gadget.testing.carry.carried import VARIABLE, Orders
from gadget.testing.carry.descriptors import before_capture
from gadget.testing.carry.guest_terminal import GuestTerminal
from gadget.testing.durations import Durations
from gadget.vm import Command, Machine

#: This package, which tests only import; where it lies in the shared folder, that would be slow.
PACKAGE = Path(__file__).resolve().parents[2]

#: What that is for most tests; the rest comes with these.
USED = [
    "functionfs.endpoint",
    "functionfs.in_endpoint",
    "functionfs.out_endpoint",
    "testing.observe.observation",
    "testing.servable",
    "testing.faults",
    "testing.usbip.cable",
    "testing.kernel_module",
    "testing.host_device",
    "testing.pyusb_backend",
    "loader",
    "cli.run",
]

#: How much of what it said last, and of its console, a lost guest is told with: the stacks of a crash are long.
LAST_LINES = 100

#: Seconds that the guest's pytest has to end in order, with the fixtures that it still holds.
END_TIMEOUT = 60.0

#: Options of plugins that would do their work twice, once there and once here, and the plugin that has each.
ELSEWHERE = {
    "_cov": ("--no-cov",),
    "cacheprovider": ("-o", "cache_dir=/tmp/pytest-cache"),
    "junitxml": ("--junitxml=/tmp/junit.xml",),
    "xdist": ("-n0",),
}


class Guest:
    """One boot, and the pytest in it."""

    def __init__(self, config: pytest.Config, bus: Bus, durations: Durations, say: Callable[[str], None]) -> None:
        self._config = config
        self._durations = durations
        self._machine = Machine(
            folder=config.rootpath, speed=bus.speed, controllers=bus.controllers, only_read=[PACKAGE], say=say
        )
        self._command: Command | None = None
        self._said: IO[bytes] | None = None
        self._unread = b""

    def open(self, orders: Orders, terminal: GuestTerminal | None) -> None:
        """Boots the machine and starts pytest in it."""
        self._durations.reached("start pytest and collect the tests here")
        compiling = threading.Thread(target=compile_here, name="compile")
        compiling.start()
        self._machine.open()
        compiling.join()
        self._durations.reached("boot the virtual machine")
        arguments = [sys.executable, *guest_coverage.prefix(self._config), "-m", "pytest", *_arguments(self._config)]
        streams = terminal.streams() if terminal is not None else self._streams()
        self._command = self._machine.start(
            arguments,
            **streams,
            extra=subprocess.PIPE,
            cwd=self._config.invocation_params.dir,
            env={VARIABLE: orders.pack()},
        )

    def _streams(self) -> dict[str, Any]:
        """Tests that write past pytest's capture write to our own output; else it is kept for the last lines."""
        option = self._config.getoption
        live = option("capture") in ("no", "tee-sys") or self._config.getini("log_cli") or option("log_cli_level")
        if live:
            return {"stdin": subprocess.PIPE, "stdout": before_capture(1), "stderr": before_capture(2)}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the machine
        return {"stdin": subprocess.PIPE, "stdout": self._said, "stderr": self._said}

    def go(self) -> None:
        """Says that it is the next test's turn."""
        if self._command is not None and self._command.stdin is not None:
            with suppress(BrokenPipeError):  # Then it has ended, and that is noticed when it is read from.
                self._command.stdin.write(b"\n")

    def no_more(self) -> None:
        """Says that there is no next test."""
        if self._command is not None and self._command.stdin is not None:
            self._command.stdin.close()

    def messages(self, timeout: float | None) -> Iterator[dict[str, Any]]:
        """What it reports, until it ends.

        Raises:
            GadgetError: Nothing was heard for ``timeout`` seconds.
        """
        assert self._command is not None
        assert self._command.extra is not None
        stream = self._command.extra.fileno()
        while True:
            while b"\n" in self._unread:
                line, _, self._unread = self._unread.partition(b"\n")
                yield json.loads(line)
            if not select.select([stream], [], [], timeout)[0]:
                raise GadgetError(f"nothing was heard of this test for {timeout:g} s{self.last_lines()}")
            data = os.read(stream, 1 << 16)
            if not data:
                return
            self._unread += data

    def wait(self, timeout: float) -> int:
        """Its exit status."""
        assert self._command is not None
        return self._command.wait(timeout)

    def lost(self, when: str) -> GadgetError:
        """It has ended and should not have."""
        try:
            how = f"ended with status {self.wait(END_TIMEOUT)}"
        except GadgetError as error:
            return GadgetError(f"the guest was lost {when}: {error}")
        return GadgetError(f"pytest in the guest {how} {when}{self.last_lines()}")

    def last_lines(self) -> str:
        """What pytest in the guest said last, and the guest's console."""
        said = b""
        if self._said is not None:
            self._said.seek(0)
            said = self._said.read()
        texts = {
            "pytest in the guest said last": said.decode(errors="replace"),
            "the guest's last lines": self._machine.console,
        }
        return "".join(
            f"; {what}:\n" + "\n".join(text.splitlines()[-LAST_LINES:]) for what, text in texts.items() if text
        )

    def close(self) -> None:
        """Powers the machine off."""
        self._machine.close()
        streams = (self._command.stdin, self._command.extra) if self._command is not None else ()
        for stream in (*streams, self._said):
            if stream is not None:
                stream.close()


def compile_here() -> None:
    """Imports what tests in the guest import of this package, so that it is compiled there: the guest keeps nothing.

    compileall would not do: pytest compiles the modules of plugins in its own way, to a cache of its own.
    """
    for name in USED:
        import_module(f"gadget.{name}")


def _arguments(config: pytest.Config) -> list[str]:
    """The host's own command line, whose options may mean something to any plugin, and what is different there."""
    given = [str(argument) for argument in config.invocation_params.args]
    verbosity = config.get_verbosity(pytest.Config.VERBOSITY_ASSERTIONS)
    ours = [
        *("--gadget-bus=here", f"--rootdir={config.rootpath}"),
        *("--continue-on-collection-errors", "--verbosity=-2", "--no-header", "--no-summary"),
        *("-o", f"verbosity_assertions={verbosity}"),
    ]
    for plugin, options in ELSEWHERE.items():
        ours += options if config.pluginmanager.hasplugin(plugin) else ()
    end = given.index("--") if "--" in given else len(given)
    return [*given[:end], *ours, *given[end:]]
