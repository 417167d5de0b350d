"""The programs whose instructions ``scripts/bench instructions`` counts do the work that they are counted for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.build import build_native
from benchmarks.devices import PACKAGES
from benchmarks.errors import BenchmarkError
from benchmarks.instructions import CALLGRIND, CASES, INSTRUCTIONS, Case, Cost, command, cost, counted, place, rows

NEEDED = Path("/usr/include/libaio.h").exists() and all(map(shutil.which, ("gcc", "valgrind", "strace")))
pytestmark = pytest.mark.skipif(not NEEDED, reason="the benchmarks' own needs: scripts/setup --bench installs them")


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_native(tmp_path_factory.mktemp("programs"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_the_work_is_done(case: Case, native: Path) -> None:
    """Each looks itself whether it was; the host, at the answers."""
    with place() as folder:
        environment = {**os.environ, "PYTHONPATH": str(PACKAGES)}
        done = subprocess.run(
            command(case, native, 30, folder), env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_host_that_is_not_answered_as_it_should_be_is_heard(native: Path) -> None:
    with place() as folder:
        host = [sys.executable, "-c", "import sys; sys.exit('this is not the answer')"]
        order = [str(native), "control", "0", str(folder), "1", *host]
        done = subprocess.run(order, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "this is not the answer" in done.stderr


def test_what_happens_once_is_not_counted(native: Path) -> None:
    in_c = CASES[0]
    found = cost(in_c, native, 100)
    assert 10 < found.instructions < 1000 < counted(in_c, native, 10, CALLGRIND, INSTRUCTIONS)
    assert round(found.system_calls) == 4, "epoll_wait, the eventfd, the request, the answer"


def test_a_program_that_fails_is_no_figure(native: Path) -> None:
    with pytest.raises(BenchmarkError, match="nothing of the kind"):
        counted(Case("nothing of the kind", "nothing", "c", "control"), native, 10, CALLGRIND, INSTRUCTIONS)


def test_each_stands_beside_c_that_does_the_same() -> None:
    seen = [Cost(10.0 if case.program == "c" else 25.0 + case.depth, 4) for case in CASES]
    found = {title: ratio for title, _, ratio, _ in rows(seen)}
    assert found["a control request: gadget"] == "2.6"
    assert found["a transfer in and out, depth 16: gadget"] == "4.1"
    assert [found[case.title] for case in CASES if case.program == "c"] == ["1.0"] * 3
