from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, strategies as st

from gadget.testing.carry.carried import LONGEST, VARIABLE, Carried, Orders, pack_warning, take_orders, unpack_warning
from gadget.testing.carry.carrier import Carrier
from gadget.testing.durations import Durations

Outcome = Literal["passed", "skipped", "failed"]

SKIPPED = ("test_file.py", 3, "Skipped: because")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def report(outcome: Outcome, longrepr: Any) -> pytest.TestReport:
    made = pytest.TestReport("test_file.py::test", ("test_file.py", 3, "test"), {"test": 1}, outcome, longrepr, "call")
    made.user_properties = [("name", object())]
    made.sections = [("Captured stdout call", "text")]
    return made


@pytest.mark.parametrize(("outcome", "longrepr"), [("passed", None), ("skipped", SKIPPED), ("failed", "text")])
def test_a_report_arrives_as_it_was_sent(
    pytestconfig: pytest.Config, pipe: tuple[int, int], outcome: Outcome, longrepr: Any
) -> None:
    """pytest's own reporters need the tuples: they fail on lists, which is what JSON makes of them."""
    sent = report(outcome, longrepr)
    carried = Carried(pytestconfig, Orders((), (), in_step=False), pipe[1])
    carried.pytest_runtest_logreport(sent)
    carried.pytest_runtest_logfinish(sent.nodeid)
    carried.pytest_unconfigure()
    first, second = [json.loads(line) for line in os.read(pipe[0], 65536).splitlines()]
    received = Carrier(pytestconfig, Durations())._report(first["report"])
    assert (received.outcome, received.longrepr, received.nodeid) == (outcome, longrepr, sent.nodeid)
    assert received.user_properties == [("name", repr(sent.user_properties[0][1]))]
    assert received.sections == sent.sections
    assert second == {"finished": sent.nodeid}


@given(st.lists(st.text()), st.lists(st.text()), st.booleans())
def test_orders_survive_the_environment(selection: list[str], files: list[str], in_step: bool) -> None:
    orders = Orders(tuple(selection), tuple(files), in_step)
    environment = {VARIABLE: orders.pack(), "OTHER": "1"}
    assert take_orders(environment) == orders
    assert environment == {"OTHER": "1"}, "what the guest's pytest starts is carried nowhere"
    assert take_orders(environment) is None


def test_thousands_of_tests_fit_in_one_variable() -> None:
    selection = tuple(f"tests/usb/test_something.py::test_of_a_certain_length[{n}-super]" for n in range(10_000))
    assert len(Orders(selection, ("tests/usb/test_something.py",)).pack()) < LONGEST


class OwnWarning(UserWarning):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one, two)


@pytest.mark.parametrize("category", [UserWarning, pytest.PytestWarning, ResourceWarning])
def test_a_warning_arrives(category: type[Warning]) -> None:
    sent = warnings.WarningMessage(category("text"), category, "file.py", 7)
    received = unpack_warning(json.loads(json.dumps(pack_warning(sent))))
    assert isinstance(received.message, category)
    assert (str(received.message), received.category, received.filename, received.lineno) == (
        "text",
        category,
        "file.py",
        7,
    )


@pytest.mark.parametrize(("module", "name"), [(__name__, "OwnWarning"), ("nowhere", "AWarning"), ("os", "path")])
def test_a_warning_that_cannot_be_made_again_arrives_as_a_plain_one(module: str, name: str) -> None:
    packed = {"module": module, "category": name, "text": "text", "filename": "f.py", "lineno": 1}
    received = unpack_warning(packed)
    assert received.category is Warning
    assert "text" in str(received.message)


WITHOUT_A_GUEST = """
import pytest
from gadget.testing.carry.carrier import Carrier

Carrier._carry_out = lambda self, item: None

@pytest.fixture(scope="module")
def kept():
    yield
    print("let go of")
"""

MIXED = """
import pytest

def test_here(kept): ...

@pytest.mark.usb
def test_carried(): ...
"""


def test_tests_of_both_sides_take_turns(tmp_path: Path) -> None:
    """Each module's fixtures end with its last test on this side, whatever is carried after it."""
    (tmp_path / "conftest.py").write_text(WITHOUT_A_GUEST)
    for name in ("test_a.py", "test_b.py"):
        (tmp_path / name).write_text(MIXED)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--gadget-bus=vm", "-v", "-s", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "2 passed" in done.stdout, done.stdout
    first, second = done.stdout.split("test_b.py::test_here")
    assert first.count("let go of") == second.count("let go of") == 1, done.stdout
