"""The tables of a run, from what was seen in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.host import Slice
from benchmarks.judging import Verdict
from benchmarks.measures import MEASURES
from benchmarks.report import control_ratios, figures, is_quiet, ratios, report, size_name, text_table
from benchmarks.results import Cell, Results, Round, load
from benchmarks.rst import images, list_table, usb_page
from benchmarks.targets import target

TITLES = {"c": "C", "ours": "gadget", "kernel": "the kernel"}


def seen(transfers: int, cpu: float | None, size: int = 1024, latency: float = 0.0) -> Slice:
    return Slice(transfers, 0.5, transfers + 10, 0.1, latency, size, cpu)


def cell(device: str, mode: str, competitor: Slice, floor: Slice, control: Slice | None = None) -> Cell:
    return Cell(device, mode, competitor.size, [Round(competitor, floor, control or floor)] * 4)


FLOOR = seen(990, 0.1)


@pytest.fixture
def results() -> Results:
    return Results(
        {"processor": "two of them"},
        "scripts/bench usb",
        [
            cell("ours", "in", seen(495, 0.2), FLOOR),
            cell("kernel", "in", seen(1980, None), FLOOR),
            cell("ours", "control", seen(990, 0.3, 16), seen(990, 0.1, 16)),
            Cell("peer", "in", 1024, error="it did not start\nbecause"),
        ],
    )


def test_ratios_are_the_competitors_over_those_of_the_floor() -> None:
    throughput, cpu = MEASURES["in"]
    one = cell("ours", "in", seen(495, 0.202), FLOOR)
    assert ratios(one, throughput) == [0.5] * 4
    assert ratios(one, cpu) == pytest.approx([0.202 / 505 / (0.1 / 1000)] * 4)


def test_a_round_trip_is_its_median() -> None:
    one = cell("ours", "echo", seen(1, 0.1, latency=0.003), seen(1, 0.1, latency=0.002))
    assert ratios(one, MEASURES["echo"][0]) == pytest.approx([1.5] * 4)


def test_what_is_not_known_has_no_ratio() -> None:
    assert ratios(cell("kernel", "in", seen(990, None), FLOOR), MEASURES["in"][1]) == []


def test_figures_are_judged_by_the_target_of_their_device_and_size(results: Results) -> None:
    verdicts = {(each.device, each.mode, each.measure.key): each.verdict for each in figures(results)}
    assert verdicts == {
        ("ours", "in", "throughput"): Verdict.MISSED,
        ("ours", "in", "cpu"): Verdict.MISSED,
        ("kernel", "in", "throughput"): Verdict.NO_TARGET,
        ("ours", "control", "requests"): Verdict.REACHED,
        ("ours", "control", "cpu"): Verdict.REACHED,
    }


def test_beside_two_it_is_their_geometric_mean() -> None:
    throughput, cpu = MEASURES["in"]
    one = cell("ours", "in", seen(200, 0.21), seen(100, 0.11), seen(400, 0.41))
    assert ratios(one, throughput) == pytest.approx([1.0] * 4)
    assert control_ratios(one, throughput) == pytest.approx([4.0] * 4)
    assert control_ratios(one, cpu) == pytest.approx([1.0] * 4)


@pytest.mark.parametrize("control", [None, seen(935, 0.1)])
def test_without_two_that_are_alike_nothing_is_judged(control: Slice | None) -> None:
    one = Cell("ours", "in", 1024, [Round(seen(495, 0.2), FLOOR, control)] * 4)
    found = figures(Results({}, "", [one]))
    assert {each.verdict for each in found} == {Verdict.CANNOT_JUDGE}
    assert not is_quiet(one, MEASURES["in"])


def test_it_is_quiet_where_two_of_the_same_are_alike() -> None:
    assert is_quiet(cell("ours", "in", seen(495, 0.2), FLOOR, seen(980, 0.1)), MEASURES["in"])
    assert is_quiet(Cell("peer", "in", 1024), [])


def test_the_report_has_the_figures_the_machine_and_what_failed(results: Results) -> None:
    text = report(results)
    assert "0.50 (0.50-0.50)" in text
    assert "processor: two of them" in text
    assert "command: scripts/bench usb" in text
    assert "targets: 2 reached, 2 missed, 0 can't judge" in text
    assert "FAILED: peer in 1 KiB: it did not start" in text


def test_the_page_has_a_table_for_each_device(results: Results) -> None:
    page = usb_page(results, TITLES)
    assert ".. list-table:: gadget: ratios to the device in C\n" in page
    assert "     - 0.50 (0.50-0.50); >= 0.85: **missed**\n" in page
    assert ".. list-table:: gadget: ratios to the device in C, control requests\n" in page
    assert ".. list-table:: the kernel: ratios to the device in C\n" in page
    assert ".. list-table:: C: its own figures, and the ratio of two of it\n" in page
    assert "     - 2.028 MB/s; 1.00 (1.00-1.00)\n" in page
    assert "* peer in 1 KiB: it did not start\n" in page


def test_a_page_shows_the_plots_beside_it() -> None:
    assert images([Path("docs/figures/usb-in.svg")]) == ".. image:: figures/usb-in.svg\n   :alt: usb-in\n"


def test_results_are_read_as_they_were_written(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "usb.json")
    assert load(tmp_path / "usb.json") == results


def test_tables() -> None:
    assert text_table(("a", "bb"), [("ccc", "")]) == "a    bb\n---  --\nccc"
    assert list_table("T", ("", "x"), [("y", "z")]) == (
        ".. list-table:: T\n   :header-rows: 1\n\n   * -\n     - x\n   * - y\n     - z\n"
    )


@pytest.mark.parametrize(("size", "name"), [(1024, "1 KiB"), (65536, "64 KiB"), (16, "16 B"), (1536, "1536 B")])
def test_sizes_are_told_as_people_say_them(size: int, name: str) -> None:
    assert size_name(size) == name


@pytest.mark.parametrize(
    ("device", "mode", "measure", "size", "wanted"),
    [
        ("ours", "in", "throughput", 1024, 0.85),
        ("ours", "in", "throughput", 2048, None),
        ("ours", "control", "requests", 16, 0.85),
        ("spliced", "echo", "round trip", 16384, 1.1),
        ("peer", "in", "throughput", 1024, None),
    ],
)
def test_targets(device: str, mode: str, measure: str, size: int, wanted: float | None) -> None:
    assert target(device, mode, measure, size) == wanted
