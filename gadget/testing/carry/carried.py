"""The guest's side of a carried selection: runs it in step with the host, and says what happens.

Pytest is started in the guest with the command line of the host's. This plugin then narrows the collection to the
selection, waits for a word from the host before each test (a line on standard input), keeps pytest's own output
back, and writes one JSON object a line to descriptor 3:

``configured``, ``collected``
    How far it has come; the latter with the node ids of the selection that were not found.
``broken``
    A file that cannot be collected, and why.
``report``, ``warning``
    As pytest passes them to its plugins.
``exit``
    The whole run is to end, and why.
``finished``
    A test is over, its fixtures as far as no other test needs them.
``ended``
    There is no more to come; the machine can be powered off.
"""

from __future__ import annotations

import base64
import json
import os
import warnings
import zlib
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gadget.testing.carry import guest_coverage
from gadget.testing.kernel_module import Built, built_modules

#: The variable that tells pytest in the guest what to do.
VARIABLE = "GADGET_CARRIED"
#: The kernel passes no longer string to a program (MAX_ARG_STRLEN, include/uapi/linux/binfmts.h, less the name).
LONGEST = 128 * 1024 - 64
#: Where the reports go.
REPORT_FD = 3


@dataclass(frozen=True)
class Orders:
    """What pytest in the guest is to do.

    Attributes:
        selection: Node ids, in the order in which they run.
        files: The files that they are in.
        modules: The kernel modules that were built for it, by their folder: a file, or why there is none.
        in_step: Whether each test waits for a line on standard input; else they run on, and a debugger can have it.
    """

    selection: tuple[str, ...]
    files: tuple[str, ...]
    in_step: bool = True
    modules: Mapping[str, Built] = field(default_factory=dict)

    def pack(self) -> str:
        """As the value of an environment variable; how long it is tells whether it is one."""
        return base64.b64encode(zlib.compress(json.dumps(asdict(self)).encode(), 9)).decode()

    @classmethod
    def unpack(cls, text: str) -> Orders:
        """The reverse of :meth:`pack`."""
        values = json.loads(zlib.decompress(base64.b64decode(text)))
        modules = {folder: Built(**built) for folder, built in values["modules"].items()}
        return cls(tuple(values["selection"]), tuple(values["files"]), values["in_step"], modules)


def take_orders(environment: MutableMapping[str, str]) -> Orders | None:
    """The orders of this process; None if it is no guest's. The programs that it starts are none either."""
    text = environment.pop(VARIABLE, None)
    return Orders.unpack(text) if text is not None else None


class Carried:
    """The plugin."""

    def __init__(self, config: pytest.Config, orders: Orders, output: int = REPORT_FD) -> None:
        self._config = config
        self._orders = orders
        self._out = os.fdopen(os.dup(output), "w", buffering=1)
        self._words = _take_standard_input() if orders.in_step else -1

    def _tell(self, **message: Any) -> None:
        self._out.write(json.dumps(message, default=repr) + "\n")

    def pytest_configure(self, config: pytest.Config) -> None:
        """Collects only the files that are needed."""
        self._tell(configured=True)
        config.args = list(self._orders.files)
        config.option.pyargs = False
        config.stash[built_modules] = self._orders.modules

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leaves the selection, in its order, whatever other plugins have made of it."""
        found = {item.nodeid: item for item in items}
        items[:] = [found[nodeid] for nodeid in self._orders.selection if nodeid in found]
        self._tell(collected=[nodeid for nodeid in self._orders.selection if nodeid not in found])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Says why there is nothing to run."""
        if report.failed:
            self._tell(broken=report.nodeid, why=str(report.longrepr))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Waits until it is this test's turn; when the host has seen enough there is no more of them."""
        if self._words >= 0 and not os.read(self._words, 1):
            item.session.shouldstop = "the host has seen enough"
            return True
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Passes a report on."""
        self._tell(report=self._config.hook.pytest_report_to_serializable(config=self._config, report=report))

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str]:
        """Nothing to show: the host's pytest shows it."""
        return "", "", ""

    def pytest_warning_recorded(
        self,
        warning_message: warnings.WarningMessage,
        when: str,
        nodeid: str,
        location: tuple[str, int, str] | None,
    ) -> None:
        """Passes a warning on."""
        self._tell(warning=pack_warning(warning_message), when=when, nodeid=nodeid, location=location)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Passes on that a test, or whoever quits the debugger, wants the whole run to end."""
        if isinstance(excinfo.value, pytest.exit.Exception):
            self._tell(exit=excinfo.value.msg, returncode=excinfo.value.returncode)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Says that a test is over; what was measured in it is not lost with a guest that the next one panics."""
        guest_coverage.save()
        self._tell(finished=nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Says that all fixtures are torn down: what pytest does from here on, the host's does for both."""
        guest_coverage.save()
        self._tell(ended=True)

    def pytest_unconfigure(self) -> None:
        """Closes the descriptor: the host sees that there is no more."""
        self._out.close()


def _take_standard_input() -> int:
    """Keeps standard input for the host's word: a test that reads its own gets nothing."""
    words = os.dup(0)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    return words


def pack_warning(message: warnings.WarningMessage) -> dict[str, Any]:
    """A warning as JSON can carry it."""
    return {
        "module": message.category.__module__,
        "category": message.category.__qualname__,
        "text": str(message.message),
        "filename": message.filename,
        "lineno": message.lineno,
    }


def unpack_warning(packed: Mapping[str, Any]) -> warnings.WarningMessage:
    """The reverse of :func:`pack_warning`; of a category that this process has not imported, its nearest kin."""
    import sys

    category = getattr(sys.modules.get(packed["module"]), packed["category"], Warning)
    if not (isinstance(category, type) and issubclass(category, Warning)):
        category = Warning
    try:
        message = category(packed["text"])
    except TypeError:
        message, category = Warning(f"{packed['category']}: {packed['text']}"), Warning
    return warnings.WarningMessage(message, category, str(Path(packed["filename"])), packed["lineno"])
