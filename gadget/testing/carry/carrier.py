"""This side of a carried selection: boots the machine for the first test that needs it, replays what happens there."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext
from typing import Any, Literal

import pytest

from gadget.errors import GadgetError
from gadget.testing.bus import Bus, controllers_needed
from gadget.testing.carry import guest_coverage
from gadget.testing.carry.carried import LONGEST, Orders, unpack_warning
from gadget.testing.carry.guest import END_TIMEOUT, Guest
from gadget.testing.carry.guest_terminal import GuestTerminal, wants_terminal
from gadget.testing.controller_kinds import DUMMY
from gadget.testing.durations import Durations
from gadget.testing.kernel_module import Built, build_all, folders_of
from gadget.testing.marker import is_usb, speed_of

Stage = Literal["setup", "call", "teardown"]

#: What a test does next when a stage of it has been reported; what is lost then fails that.
FOLLOWING: dict[str, Stage] = {"setup": "call", "call": "teardown", "teardown": "teardown"}

#: As many guests without a word, one after the other, are no fault of the tests.
MUTE_GUESTS = 3


class NotCollectedError(GadgetError):
    """The guest's pytest does not find a test that the one here has found."""


class Carrier:
    """The plugin."""

    def __init__(self, config: pytest.Config, durations: Durations) -> None:
        self._config = config
        self._durations = durations
        self._terminal = GuestTerminal(config) if wants_terminal(config) else None
        self._guest: Guest | None = None
        #: Why no guest can run any test at all; there is no use in another boot.
        self._hopeless: GadgetError | None = None
        self._absent: dict[str, str] = {}
        #: How many guests in a row were lost before any test in them had told of anything.
        self._mute = 0
        self._stage: Stage = "setup"

    def pytest_report_header(self) -> str:
        """Says where the tests will run."""
        return "gadget: tests marked usb run in the virtual machine"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Runs a test marked ``usb`` in the guest; leaves every other to pytest."""
        hook = item.ihook
        if not is_usb(item):
            if nextitem is None or not is_usb(nextitem):
                return None
            # pytest keeps the fixtures that the next test needs, and that one must be set up here to let go of them.
            return bool(hook.pytest_runtest_protocol(item=item, nextitem=_next_here(nextitem)))
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        self._stage = "setup"
        try:
            self._carry_out(item)
        except GadgetError as error:
            if not isinstance(error, NotCollectedError):
                self._lose_guest(error)
            hook.pytest_runtest_logreport(report=_failure(item, str(error), self._stage))
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Ends the guest's pytest in order when the last test is over, and powers the guest off."""
        try:
            result = yield
            if self._guest is not None:
                with self._durations.part("end pytest in the guest"):
                    self._end(self._guest)
                with self._durations.part("power the virtual machine off"):
                    self._give_up()
            return result
        finally:
            self._give_up()

    def _carry_out(self, item: pytest.Item) -> None:
        if self._hopeless is not None:
            raise self._hopeless
        if self._guest is None:
            self._guest = self._start(item)
        if item.nodeid in self._absent:
            raise NotCollectedError(f"the guest has not collected this test{self._absent[item.nodeid]}")
        with self._terminal or nullcontext():
            self._guest.go()
            for message in self._guest.messages(self._timeout(item)):
                if message.get("finished") == item.nodeid:
                    return
                self._replay(message)
        raise self._guest.lost(f"while {item.nodeid} was running")

    def _replay(self, message: dict[str, Any]) -> None:
        if "report" in message:
            report = self._report(message["report"])
            self._config.hook.pytest_runtest_logreport(report=report)
            self._mute = 0
            self._stage = FOLLOWING.get(report.when or "", self._stage)
        elif "exit" in message:
            pytest.exit(message["exit"], message["returncode"])
        elif "warning" in message:
            location = tuple(message["location"]) if message["location"] else None
            keywords = {"when": message["when"], "nodeid": message["nodeid"], "location": location}
            keywords["warning_message"] = unpack_warning(message["warning"])
            self._config.hook.pytest_warning_recorded.call_historic(kwargs=keywords)

    def _report(self, data: dict[str, Any]) -> pytest.TestReport:
        """JSON has no tuples, and pytest relies on them."""
        report: pytest.TestReport = self._config.hook.pytest_report_from_serializable(config=self._config, data=data)
        report.user_properties = [(name, value) for name, value in report.user_properties]
        report.sections = [(name, text) for name, text in report.sections]
        if isinstance(report.longrepr, list):
            report.longrepr = (report.longrepr[0], report.longrepr[1], report.longrepr[2])
        return report

    def _start(self, item: pytest.Item) -> Guest:
        """Boots, and starts what is left of the selection there; returns when it is collected."""
        rest = item.session.items[item.session.items.index(item) :]
        selection = [other for other in rest if is_usb(other)]
        modules = build_all(folders_of(selection), self._say)
        orders = _orders(selection, modules, in_step=self._terminal is None)
        speed = speed_of(item)
        bus = Bus(speed, controllers_needed(self._config, DUMMY, speed))
        guest = self._guest = Guest(self._config, bus, self._durations, self._say)
        try:
            guest.open(orders, self._terminal)
            self._await_collection(guest)
        except GadgetError as error:
            self._hopeless = error
            raise
        return guest

    def _await_collection(self, guest: Guest) -> None:
        broken: dict[str, str] = {}
        for message in guest.messages(self._config.getoption("--gadget-timeout")):
            if "configured" in message:
                self._durations.reached("start pytest in the guest")
            elif "broken" in message:
                broken[message["broken"]] = message["why"]
            elif "collected" in message:
                self._durations.reached("collect the tests in the guest", last=True)
                self._absent = {nodeid: _why(nodeid, broken) for nodeid in message["collected"]}
                return
            else:
                self._replay(message)
        raise guest.lost("before its first test")

    def _timeout(self, item: pytest.Item) -> float | None:
        if self._terminal is not None:
            return None  # Somebody may be thinking, with the debugger at hand.
        mark = item.get_closest_marker("usb")
        own = mark.kwargs.get("timeout") if mark is not None else None
        return float(own or self._config.getoption("--gadget-timeout"))

    def _end(self, guest: Guest) -> None:
        """Lets the fixtures of the session be torn down there: what they report comes with the last test."""
        guest.no_more()
        try:
            for message in guest.messages(END_TIMEOUT):
                if "ended" in message:
                    return
                self._replay(message)
            raise guest.lost("after its last test")
        except GadgetError as error:
            self._say(f"pytest in the guest did not end in order: {error}")

    def _lose_guest(self, error: GadgetError) -> None:
        self._give_up()
        self._mute += 1
        if self._mute == MUTE_GUESTS:
            self._hopeless = error

    def _give_up(self) -> None:
        if self._guest is not None:
            self._guest.close()
            self._guest = None
            guest_coverage.merge(self._config)

    def _say(self, line: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(f"gadget: {line}")


def _next_here(item: pytest.Item) -> pytest.Item | None:
    """The first test from there on that pytest runs on this side."""
    items = item.session.items
    return next((other for other in items[items.index(item) :] if not is_usb(other)), None)


def _orders(items: list[pytest.Item], modules: dict[str, Built], *, in_step: bool) -> Orders:
    files = dict.fromkeys(str(item.path) for item in items)
    orders = Orders(tuple(item.nodeid for item in items), tuple(files), in_step, modules)
    if len(orders.pack()) > LONGEST:
        raise GadgetError(f"{len(items)} tests are more than can be carried at once: run them in parts (a folder, -k)")
    return orders


def _why(nodeid: str, broken: dict[str, str]) -> str:
    for file, why in broken.items():
        if nodeid.startswith(file):
            return f":\n{why}"
    return ": its name may depend on something that is different there"


def _failure(item: pytest.Item, text: str, stage: Stage) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome="failed",
        longrepr=text,
        when=stage,
    )
