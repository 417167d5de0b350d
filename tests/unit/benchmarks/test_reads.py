"""Reads of a file: who takes part, in which order, and what is made of what was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import pytest

from benchmarks.cases import Case, cases, parse
from benchmarks.contenders import CAIO, CONTENDERS, LINUX_AIO, PYTHON_LIBAIO, requirements
from benchmarks.files import Files, content, order
from benchmarks.host import Slice
from benchmarks.judging import Verdict
from benchmarks.measures import CPU_OPERATION, OPERATIONS
from benchmarks.options import counts
from benchmarks.peers import Peers, install, reason
from benchmarks.programs.reads import BLOCK, shares
from benchmarks.programs.reads.__main__ import check, number_in
from benchmarks.reads_report import beside, costs, failures, page, report
from benchmarks.results import Cell, Results, Round
from benchmarks.targets import beside_target, read_target
from benchmarks.turns import Entry, able, rotated
from benchmarks.workers import Tools


def cell(contender: str, case: Case, microseconds: float, floor: float = 1.0, rounds: int = 5) -> Cell:
    """As seen where an operation takes so many microseconds of CPU time, and no others pass."""

    def seen(each: float) -> Slice:
        return Slice(1000, each * 1e-3, 1000, 0.0, 0.0, BLOCK, each * 1e-3)

    one = Round(seen(microseconds), seen(floor))
    return Cell(contender, case.name, BLOCK, [one] * rounds)


CACHED, DIRECT = Case("cached", 32), Case("direct", 32)


@pytest.fixture
def results() -> Results:
    return Results(
        {"processor": "two of them"},
        "scripts/bench aio",
        [
            cell("c", CACHED, 1.0),
            cell("ours", CACHED, 1.3),
            cell("ours-asyncio", CACHED, 3.0, floor=2.0),
            cell("caio", CACHED, 2.0),
            cell("caio-asyncio", CACHED, 4.0),
            cell("c", DIRECT, 1.0),
            cell("ours", DIRECT, 1.2),
            Cell("caio", DIRECT.name, BLOCK, error="SystemError: Invalid argument"),
            Cell("caio", Case("direct", 256).name, BLOCK, error="SystemError: Invalid argument"),
        ],
    )


def test_names_of_cases_are_read_as_they_were_written() -> None:
    assert [parse(each.name) for each in cases(["cached", "direct"], [1, 256])] == [
        Case("cached", 1),
        Case("cached", 256),
        Case("direct", 1),
        Case("direct", 256),
    ]


def test_c_beside_itself_is_always_the_first() -> None:
    assert able(["ours", "preadv", "c"], Case("cached", 1)) == ["c", "ours", "preadv"]


def test_what_reads_one_at_a_time_only_is_left_out_elsewhere() -> None:
    assert able(["preadv", "ours"], CACHED) == ["c", "ours"]


def test_another_one_comes_first_in_each_round() -> None:
    entries = [Entry(name) for name in "abc"]
    assert ["".join(each.name for each in rotated(entries, number)) for number in range(4)] == [
        "abc",
        "bca",
        "cab",
        "abc",
    ]


def test_each_package_is_installed_once() -> None:
    assert requirements([*CONTENDERS]) == [PYTHON_LIBAIO, LINUX_AIO, CAIO]
    assert requirements(["c", "ours", "caio", "caio-asyncio"]) == [CAIO]


def test_where_nothing_is_to_be_installed_no_environment_is_made(tmp_path: Path) -> None:
    assert install(tmp_path / "peers", []) == Peers(tmp_path / "peers/bin/python")
    assert not (tmp_path / "peers").exists()


def test_what_is_missing_is_told_in_the_words_of_pip() -> None:
    said = "WARNING: an old pip\nERROR: Could not find a version\nERROR: No matching distribution found for caio==9\n"
    assert reason(said) == "No matching distribution found for caio==9"
    assert reason("Killed\n") == "pip failed"


def test_programs_get_the_file_of_their_mode() -> None:
    files = Files(Path("cached.dat"), Path("direct.dat"), Path("offsets"))
    tools = Tools(Path("reads"), Path("peers/bin/python"), files)
    assert tools.command(CONTENDERS["c-libaio"], DIRECT) == ["reads", "libaio", "direct.dat", "direct", "32", "offsets"]
    python, *_, reader, file, mode, depth, _ = tools.command(CONTENDERS["caio"], Case("cached", 1))
    assert (python, reader, file, mode, depth) == (
        "peers/bin/python",
        "peer_caio:Caio",
        "cached.dat",
        "cached",
        "1",
    )


def test_every_reader_is_where_its_contender_says() -> None:
    folder = Path(__file__).parents[3] / "scripts/benchmarks/programs/reads"
    for each in CONTENDERS.values():
        if not each.in_c:
            module, _, kind = each.reader.partition(":")
            assert f"class {kind}" in (folder / f"{module}.py").read_text()


def test_a_block_is_full_of_its_number() -> None:
    data = content(3)
    assert [number_in(data[start : start + BLOCK]) for start in range(0, 3 * BLOCK, BLOCK)] == [0, 1, 2]
    with pytest.raises(ValueError, match="parts of two"):
        number_in(data[8 : BLOCK + 8])
    with pytest.raises(ValueError, match="not a whole one"):
        number_in(data[: BLOCK // 2])


def test_each_block_is_read_once_in_random_order() -> None:
    offsets = order(64).tolist()
    assert Counter(offsets) == Counter(range(0, 64 * BLOCK, BLOCK))
    assert offsets != sorted(offsets)
    assert order(64) == order(64)


@pytest.mark.parametrize(("count", "depth"), [(10, 3), (3, 3), (2, 3), (64, 1)])
def test_shares_are_everything_and_about_equal(count: int, depth: int) -> None:
    found = shares(count, depth)
    assert len(found) == depth
    assert sum(found) == count
    assert max(found) - min(found) <= 1


class Copies:
    """Reads by copying, off by so many blocks, and no more than so many times."""

    def __init__(self, offsets: Iterator[int], depth: int, off: int = 0, most: int = 1000) -> None:
        self._data, self._offsets, self._off, self._most = content(16), offsets, off, most
        self._places = [bytearray(BLOCK) for _ in range(depth)]

    def run(self, count: int) -> None:
        for place, offset in zip(self._places[: min(count, self._most)], self._offsets, strict=False):
            start = offset + self._off * BLOCK
            place[:] = self._data[start : start + BLOCK]

    def blocks(self) -> Sequence[bytearray]:
        return self._places

    def close(self) -> None:
        pass


ASKED = [3 * BLOCK, BLOCK, 7 * BLOCK]


def test_who_reads_what_was_asked_for_passes() -> None:
    check(Copies(cycle(ASKED), 3), ASKED)


def test_who_reads_something_else_is_found_out() -> None:
    with pytest.raises(ValueError, match="other blocks"):
        check(Copies(cycle(ASKED), 3, off=1), ASKED)


def test_who_does_not_read_is_found_out_by_what_was_there_before() -> None:
    reader = Copies(cycle(ASKED), 3, most=2)
    reader.run(2)
    with pytest.raises(ValueError, match="other blocks"):
        check(reader, ASKED)


def test_costs_are_judged_by_the_target_of_their_case(results: Results) -> None:
    seen = {(each.contender, each.case, each.measure.key): each for each in costs(results)}
    assert seen["ours", CACHED, "cpu"].verdict is Verdict.REACHED
    assert seen["ours", DIRECT, "cpu"].verdict is Verdict.MISSED
    assert seen["ours", CACHED, "operations"].verdict is Verdict.NO_TARGET
    assert seen["ours", CACHED, "cpu"].own == pytest.approx(1.3)
    assert seen["ours", CACHED, "operations"].own == pytest.approx(1000 / 1.3)
    assert seen["ours-asyncio", CACHED, "cpu"].ratio.median == pytest.approx(1.5)


def test_this_package_is_judged_beside_others_of_its_form_by_the_c_of_each_round(results: Results) -> None:
    seen = {(each.ours, each.other, each.measure.key): each for each in beside(results)}
    assert set(seen) == {
        (ours, other, key)
        for ours, other in (("ours", "caio"), ("ours-asyncio", "caio-asyncio"))
        for key in ("cpu", "operations")
    }
    assert seen["ours-asyncio", "caio-asyncio", "cpu"].ratio.median == pytest.approx(1.5 / 4)
    assert {each.verdict for each in seen.values()} == {Verdict.REACHED}


def test_without_a_control_nothing_is_judged(results: Results) -> None:
    results.cells[:] = [each for each in results.cells if each.device != "c"]
    assert {each.verdict for each in costs(results) if each.target} == {Verdict.CANNOT_JUDGE}
    assert {each.verdict for each in beside(results)} == {Verdict.CANNOT_JUDGE}


def test_who_failed_in_the_same_way_is_told_once(results: Results) -> None:
    assert failures(results) == ["caio 0.12.10, O_DIRECT, depth 32, 256: SystemError: Invalid argument"]


def test_the_report_has_the_figures_the_machine_and_what_failed(results: Results) -> None:
    text = report(results)
    assert "1.30 (1.30-1.30)" in text
    assert "0.38 (0.38-0.38)" in text
    assert "processor: two of them" in text
    assert "targets beside C: 1 reached, 1 missed, 0 can't judge" in text
    assert "targets beside others: 4 reached, 0 missed, 0 can't judge" in text
    assert "FAILED: caio 0.12.10, O_DIRECT" in text


def test_the_page_has_a_table_for_each_mode_and_measure(results: Results) -> None:
    text = page(results, [Path("docs/figures/aio-cached-cpu.svg")])
    assert ".. list-table:: from the page cache: CPU per operation, in us, and ratio to C\n" in text
    assert "     - 1.3; 1.30 (1.30-1.30); <= 1.35: **reached**\n" in text
    assert ".. list-table:: O_DIRECT: operations per second, in k/s, and ratio to C\n" in text
    assert ".. list-table:: gadget.aio, asyncio: ratios to other packages\n" in text
    assert "     - 0.38 (0.38-0.38); <= 0.5: **reached**\n" in text
    assert "* caio 0.12.10, O_DIRECT, depth 32, 256: SystemError: Invalid argument\n" in text
    assert ".. image:: figures/aio-cached-cpu.svg\n" in text


def test_targets() -> None:
    assert read_target("ours", CPU_OPERATION.key, "cached", 1) == 2.5
    assert read_target("ours", OPERATIONS.key, "cached", 1) is None
    assert read_target("caio", CPU_OPERATION.key, "cached", 1) is None
    assert beside_target("ours-asyncio", "caio-asyncio", CPU_OPERATION.key, "cached", 32) == 0.5
    assert beside_target("ours-asyncio", "caio-asyncio", OPERATIONS.key, "cached", 32) == 1
    assert beside_target("ours", "caio", CPU_OPERATION.key, "direct", 1) == 1


def test_depths_on_the_command_line() -> None:
    assert counts("1,32,256") == [1, 32, 256]
    for wrong in ("0", "1,x", "-1"):
        with pytest.raises(Exception, match="above 0"):
            counts(wrong)
