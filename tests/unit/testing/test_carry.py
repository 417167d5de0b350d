from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from gadget.testing.carry import Carrier, Reporter

Outcome = Literal["passed", "skipped", "failed"]

SKIPPED = ("test_file.py", 3, "Skipped: because")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def report(outcome: Outcome, longrepr: Any) -> pytest.TestReport:
    made = pytest.TestReport(
        "test_file.py::test",
        ("test_file.py", 3, "test"),
        {"test": 1},
        outcome,
        longrepr,
        "call",
    )
    made.user_properties = [("name", object())]
    return made


@pytest.mark.parametrize(("outcome", "longrepr"), [("passed", None), ("skipped", SKIPPED), ("failed", "text")])
def test_a_report_arrives_as_it_was_sent(
    pytestconfig: pytest.Config, pipe: tuple[int, int], outcome: Outcome, longrepr: Any
) -> None:
    """pytest's own reporters need the tuples: they fail on lists, which is what JSON makes of them."""
    sent = report(outcome, longrepr)
    reporter = Reporter(pytestconfig, pipe[1])
    reporter.pytest_runtest_logreport(sent)
    reporter.pytest_runtest_logfinish(sent.nodeid)
    reporter.pytest_unconfigure()
    first, second = [json.loads(line) for line in os.read(pipe[0], 65536).splitlines()]
    received = Carrier(pytestconfig)._report(first["report"])
    assert (received.outcome, received.longrepr, received.nodeid) == (outcome, longrepr, sent.nodeid)
    assert received.user_properties == [("name", repr(sent.user_properties[0][1]))]
    assert second == {"finished": sent.nodeid}
