"""What is watched while a test runs on the bus, and what becomes of it when the test fails."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pytest

from gadget.errors import GadgetError
from gadget.testing.observe import leaks
from gadget.testing.observe.kernel_log import KernelLog
from gadget.testing.observe.usbmon import Capture
from gadget.testing.pyusb_backend import forget_backend

if TYPE_CHECKING:
    from gadget.testing.faults import Faults

#: Seconds that what a test has closed may take to be gone: the kernel and the host's side are told later.
SETTLING = 5.0

#: Bytes of the kernel's buffer for what goes over the buses: the beginning of a test that moves much; saving it takes a
#: second or two. ``usb_capture`` keeps everything.
RING_SIZE = 1200 << 10

_observation = pytest.StashKey["Observation"]()
_capture = pytest.StashKey[Capture]()


class LeftBehindError(GadgetError, AssertionError):
    """A test has left something behind, or the kernel complained while it ran."""


class Observation:
    """One test, watched.

    Attributes:
        log: The kernel's log since it began.
        capture: What goes over the buses since it began.
        faults: The faults that it plays, if it asked for them.
    """

    def __init__(self, item: pytest.Item, capture: Capture) -> None:
        self._item = item
        self.log = KernelLog()
        self.capture = capture
        self.faults: Faults | None = None
        self.failed = False
        self._log_text: str | None = None

    @classmethod
    def of(cls, item: pytest.Item) -> Observation:
        """Begins the one of this test; the capture is the session's."""
        stash = item.config.stash
        if _capture not in stash:
            stash[_capture] = Capture(ring_size=RING_SIZE)
            item.config.add_cleanup(stash[_capture].close)
        item.stash[_observation] = cls(item, stash[_capture])
        return item.stash[_observation]

    def __enter__(self) -> Observation:
        self.capture.flush()
        self.log.mark()
        self._before = leaks.snapshot()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not forget_backend():
            # pytest lets go of the values of a test's own fixtures only later, and one of them may hold a device.
            getattr(self._item, "funcargs", {}).clear()
            forget_backend()
        # A test that has failed is still referred to by its traceback, and by whoever is going to report it.
        left = [] if self.failed else leaks.settle(self._before, SETTLING)
        trouble, self._log_text = self.log.trouble(), self.log.text
        problems = [f"it left behind: {'; '.join(left)}"] if left else []
        if trouble:
            problems.append(f"the kernel complained:\n{trouble}")
        try:
            if problems:
                raise LeftBehindError("\n".join(problems))
        finally:
            self.log.close()

    def keep(self) -> list[tuple[str, str]]:
        """Keeps what helps to understand a failure; returns sections for the report."""
        self.failed = True
        log = self.log.text if self._log_text is None else self._log_text
        sections = [("kernel log", log), ("artifacts", self._save(log))]
        if self.faults is not None:
            sections.append(("faults", ", ".join(self.faults.history)))
        return [(name, text) for name, text in sections if text.strip()]

    def _save(self, log: str) -> str:
        """Writes the files; that they cannot be written must not hide why the test has failed."""
        folder = artifacts_folder(self._item.config) / _file_name(self._item.nodeid)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "kernel.log").write_text(log)
            self.capture.save(folder / "usb.pcapng")
        except (OSError, GadgetError) as error:
            return f"nothing could be kept in {folder}: {error}"
        return f"{folder}/kernel.log\n{folder}/usb.pcapng"


def observation_of(item: pytest.Item) -> Observation:
    """The observation of a test that runs.

    Raises:
        pytest.UsageError: It is not marked ``usb``.
    """
    found = item.stash.get(_observation, None)
    if found is None:
        raise pytest.UsageError(f"{item.nodeid} uses fixtures of the bus: mark it @pytest.mark.usb")
    return found


def keep_if_failed(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Adds what was observed to the report of a stage that failed."""
    found = item.stash.get(_observation, None)
    if found is None or call.excinfo is None or call.excinfo.errisinstance(pytest.skip.Exception):
        return
    if found.failed:
        return
    for name, text in found.keep():
        item.add_report_section(call.when, name, text)


def artifacts_folder(config: pytest.Config) -> Path:
    """Where failed tests keep what was observed."""
    return config.rootpath / str(config.getoption("--gadget-artifacts"))


def _file_name(nodeid: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-\[\]]+", "_", nodeid)[-180:]
