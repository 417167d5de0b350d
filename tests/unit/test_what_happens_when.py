"""Each fault on the page of faults names a test, and that test is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs/what_happens_when.rst").read_text()
#: A paragraph for each fault: it begins in bold.
FAULTS = re.findall(r"^\*\*.+?(?=\n\n)", PAGE, re.DOTALL | re.MULTILINE)
SOURCES = {path.name: path.read_text() for path in TESTS.rglob("test_*.py")}
EVERYTHING = "".join(SOURCES.values())


def test_every_fault_is_looked_at() -> None:
    assert len(FAULTS) == PAGE.count("\n**") > 15


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.split("**")[1] for fault in FAULTS])
def test_a_fault_names_tests_that_are_there(fault: str) -> None:
    files = set(re.findall(r"\b(test_\w+\.py)\b", fault))
    functions = set(re.findall(r"\b(test_\w+)\b(?!\.py)", fault))
    assert files or functions or "(the same test" in fault
    assert files <= SOURCES.keys()
    assert {name for name in functions if f"def {name}(" not in EVERYTHING} == set()
