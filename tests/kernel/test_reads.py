"""``scripts/bench aio``, for a moment: what it measures reads what it is asked for, and nobody passes who does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.build import build_reads
from benchmarks.cases import Case
from benchmarks.contenders import CONTENDERS
from benchmarks.errors import BenchmarkError
from benchmarks.files import Files, content, remove, write
from benchmarks.programs.reads import BLOCK
from benchmarks.results import load
from benchmarks.turns import measure
from benchmarks.workers import PACKAGES, Tools, Worker

NEEDED = Path("/usr/include/libaio.h").exists() and shutil.which("gcc")
pytestmark = pytest.mark.skipif(not NEEDED, reason="the benchmarks' own needs: scripts/setup --bench installs them")

#: Those that need nothing installed.
OWN = [name for name, each in CONTENDERS.items() if not each.requirement]
BLOCKS = 64
#: Seconds that leave something to see to a clock of CPU time that goes on with the kernel's ticks.
SURELY_SEEN = 0.05


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_reads(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    try:
        found = write(tmp_path / "reads", BLOCKS * BLOCK)
    except BenchmarkError as error:
        pytest.skip(f"{error}")
    yield found
    remove(found)


@pytest.fixture
def tools(program: Path, files: Files) -> Tools:
    return Tools(program, Path("/nonexistent/python"), files)


@pytest.mark.parametrize("mode", ["cached", "direct"])
@pytest.mark.parametrize("name", OWN)
def test_a_way_to_read_gets_what_it_asks_for(name: str, mode: str, tools: Tools) -> None:
    case = Case(mode, CONTENDERS[name].only_depth or 3)
    with Worker(tools.command(CONTENDERS[name], case), case.depth) as worker:
        worker.check()
        seen, longer = worker.run(100), worker.run(worker.fit(SURELY_SEEN))
        worker.check()
    assert seen.total == 100
    assert longer.device_cpu


@pytest.mark.parametrize("name", ["c", "c-libaio", "ours", "ours-asyncio"])
def test_other_data_than_that_of_its_place_is_noticed(name: str, tools: Tools, files: Files) -> None:
    files.cached.write_bytes(content(BLOCKS + 1)[BLOCK:])
    with (
        Worker(tools.command(CONTENDERS[name], Case("cached", 3)), 3) as worker,
        pytest.raises(BenchmarkError, match="other blocks than those that were asked for"),
    ):
        worker.check()


@pytest.mark.parametrize("name", OWN)
def test_a_file_that_ends_early_is_noticed(name: str, tools: Tools, files: Files) -> None:
    os.truncate(files.cached, BLOCK // 2)
    depth = CONTENDERS[name].only_depth or 3
    with (
        Worker(tools.command(CONTENDERS[name], Case("cached", depth)), depth) as worker,
        pytest.raises(BenchmarkError),
    ):
        worker.run(BLOCKS)


def test_who_cannot_be_installed_or_cannot_read_is_told_and_the_others_are_measured(tools: Tools) -> None:
    caio, linux_aio = CONTENDERS["caio"].requirement, CONTENDERS["linux-aio"].requirement
    names = ["caio", "linux-aio", "ours"]
    cells = measure(names, Case("cached", 2), tools, 2, 0.005, {caio: "there is no such version", linux_aio: "no net"})
    assert [(cell.device, len(cell.rounds)) for cell in cells] == [("c", 2), ("caio", 0), ("linux-aio", 0), ("ours", 2)]
    assert cells[1].error == f"not measured: {caio} can't be installed: there is no such version"


def test_the_whole_axis(tmp_path: Path) -> None:
    """As scripts/bench does it, with what needs nothing installed: the report, the JSON, the plots, the page."""
    pytest.importorskip("matplotlib", reason="the benchmarks' own needs: scripts/setup --bench installs them")
    options = ["--rounds", "2", "--slice", "0.005", "--size", "256k", "--depths", "1,4", "--modes", "cached"]
    command = [sys.executable, "-m", "benchmarks", "aio", "--contenders", "c-libaio,preadv,ours,ours-asyncio", *options]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGES)}
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "gadget.aio, re-armed" in done.stdout
    results = load(tmp_path / "aio.json")
    assert {(cell.device, cell.mode) for cell in results.cells} == {
        ("preadv", "cached-1"),
        *((name, mode) for name in ("c", "c-libaio", "ours", "ours-asyncio") for mode in ("cached-1", "cached-4")),
    }
    assert not [cell.error for cell in results.cells if cell.error]
    assert {len(cell.rounds) for cell in results.cells} == {2}
    assert (tmp_path / "aio.rst").exists()
    assert {path.name for path in tmp_path.glob("*.svg")} == {"aio-cached-cpu.svg", "aio-cached-operations.svg"}
    assert not (tmp_path / "reads/cached").exists()
