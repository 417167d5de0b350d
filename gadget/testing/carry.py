"""Carries a selection of tests into the virtual machine, and their reports back.

The guest's pytest writes one JSON object a line to its standard output: ``report`` with a serialised report,
``finished`` with the node id of a test that is over, ``broken`` with the text of a collection that failed.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any, Literal

import pytest

from gadget.errors import GadgetError
from gadget.vm import Command, Machine

#: What the guest's standard output becomes once its reports have a descriptor of their own.
REPORT_FD = 1


Stage = Literal["setup", "call", "teardown"]

#: What a test does next when a stage of it has been reported; what is lost then fails that.
FOLLOWING: dict[str, Stage] = {"setup": "call", "call": "teardown", "teardown": "teardown"}


class Reporter:
    """The guest's side: writes what happens to a descriptor, and leaves standard output to nobody."""

    def __init__(self, config: pytest.Config, descriptor: int) -> None:
        self._config = config
        self._out = os.fdopen(os.dup(descriptor), "w", buffering=1)
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a descriptor is wanted, not a path
            os.dup2(nowhere.fileno(), descriptor)

    def _write(self, **message: Any) -> None:
        self._out.write(json.dumps(message, default=repr) + "\n")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Passes a report on."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._write(report=data)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Says that a test is over."""
        self._write(finished=nodeid)

    def pytest_unconfigure(self) -> None:
        """Closes the descriptor: the carrier sees that there is no more."""
        self._out.close()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Says why there is nothing to run."""
        if report.failed:
            self._write(broken=str(report.longrepr))


class Carrier:
    """This side: boots the machine for the first test that needs it, and replays the reports of every one."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._machine: Machine | None = None
        self._command: Command | None = None
        self._messages: IO[bytes] | None = None
        self._unread = b""
        self._stage: Stage = "setup"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Runs a test marked ``usb`` in the guest; leaves every other to pytest."""
        if item.get_closest_marker("usb") is None:
            return None
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        try:
            self._stage = "setup"
            for report in self._reports(item):
                hook.pytest_runtest_logreport(report=report)
                self._stage = FOLLOWING[report.when or "teardown"]
        except GadgetError as error:
            self._give_up()
            hook.pytest_runtest_logreport(report=_failure(item, str(error), self._stage))
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_sessionfinish(self) -> None:
        """Powers the guest off."""
        self._give_up()

    def pytest_report_header(self) -> str:
        """Says where the tests will run."""
        return "gadget: tests marked usb run in the virtual machine"

    def _give_up(self) -> None:
        if self._command is not None and self._command.stdout is not None:
            self._command.stdout.close()
        if self._machine is not None:
            self._machine.close()
        if self._messages is not None:
            self._messages.close()
        self._machine, self._command, self._messages, self._unread = None, None, None, b""

    def _reports(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        if self._command is None:
            self._start(item)
        for line in self._lines():
            message = json.loads(line)
            if "broken" in message:
                raise GadgetError(f"the guest could not collect the tests:\n{message['broken']}")
            if message.get("finished") == item.nodeid:
                return
            if "report" in message:
                yield self._report(message["report"])
        raise self._lost(item)

    def _report(self, data: dict[str, Any]) -> pytest.TestReport:
        """JSON has no tuples, and pytest relies on them."""
        report: pytest.TestReport = self._config.hook.pytest_report_from_serializable(config=self._config, data=data)
        report.user_properties = [(name, value) for name, value in report.user_properties]
        if isinstance(report.longrepr, list):
            report.longrepr = (report.longrepr[0], report.longrepr[1], report.longrepr[2])
        return report

    def _start(self, item: pytest.Item) -> None:
        """Boots, and starts what is left of the selection there."""
        rest = item.session.items[item.session.items.index(item) :]
        selection = [other.nodeid for other in rest if other.get_closest_marker("usb") is not None]
        self._machine = Machine(folder=self._config.rootpath, say=self._say)
        self._machine.open()
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the machine
        self._command = self._machine.start(self._arguments(selection), stdout=subprocess.PIPE, stderr=self._messages)

    def _arguments(self, selection: list[str]) -> list[str]:
        option = self._config.getoption
        command = [sys.executable, "-m", "pytest", *selection, f"--rootdir={self._config.rootpath}"]
        command += ["--gadget-bus=here", f"--gadget-report-fd={REPORT_FD}", "-o", "cache_dir=/tmp/pytest-cache"]
        command += [f"--tb={option('tbstyle')}", *(["--showlocals"] if option("showlocals") else [])]
        return command + [f"--override-ini={each}" for each in option("override_ini") or ()]

    def _say(self, line: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(f"gadget: {line}")

    def _lines(self) -> Iterator[bytes]:
        assert self._command is not None
        assert self._command.stdout is not None
        stream = self._command.stdout.fileno()
        timeout = self._config.getoption("--gadget-timeout")
        while True:
            while b"\n" in self._unread:
                line, _, self._unread = self._unread.partition(b"\n")
                yield line
            if not select.select([stream], [], [], timeout)[0]:
                raise GadgetError(f"nothing was heard of this test for {timeout:g} s{self._last_lines()}")
            data = os.read(stream, 1 << 16)
            if not data:
                return
            self._unread += data

    def _lost(self, item: pytest.Item) -> GadgetError:
        assert self._command is not None
        status = self._command.wait(self._config.getoption("--gadget-timeout"))
        how = f"ended with status {status} while {item.nodeid} was running"
        return GadgetError(f"pytest in the guest {how}{self._last_lines()}")

    def _last_lines(self) -> str:
        """What pytest in the guest said last, and the guest's console."""
        said = b""
        if self._messages is not None:
            self._messages.seek(0)
            said = self._messages.read()
        console = self._machine.console if self._machine is not None else ""
        texts = {"pytest in the guest said last": said.decode(errors="replace"), "the guest's last lines": console}
        return "".join(f"; {what}:\n" + "\n".join(text.splitlines()[-30:]) for what, text in texts.items() if text)


def _failure(item: pytest.Item, text: str, stage: Stage) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome="failed",
        longrepr=text,
        when=stage,
    )
