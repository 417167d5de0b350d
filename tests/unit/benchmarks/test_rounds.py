"""What is measured, and how it is known to be true."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from benchmarks.clock import cpu_time, idle_cpu_time
from benchmarks.errors import BenchmarkError
from benchmarks.host import Slice
from benchmarks.judging import ratio
from benchmarks.measures import MEASURES
from benchmarks.options import names, numbers
from benchmarks.report import ratios
from benchmarks.results import Round
from benchmarks.rounds import Method, cells, measure, wrong_counts
from benchmarks.virtual import in_guest


def test_cells_go_by_what_is_done() -> None:
    assert cells(["ours", "peer"], ["in", "control"], [1024, 2048]) == [
        ("ours", "in", 1024),
        ("peer", "in", 1024),
        ("ours", "in", 2048),
        ("peer", "in", 2048),
        ("ours", "control", 16),
        ("peer", "control", 16),
    ]


def test_a_device_is_not_asked_for_what_it_cannot_do() -> None:
    assert cells(["kernel"], ["control"], [1024]) == []


@dataclass
class Blocks:
    """Where two of the floor differ by as much as it says, block by block."""

    differences: list[float]
    seen: int = 0

    def block(self, name: str, mode: str, size: int, method: Method, number: int) -> Iterator[Round]:
        assert number == self.seen
        self.seen += 1
        if not self.differences[number]:
            raise BenchmarkError("the board is on fire")
        ours, floor = Slice(100, 0.3, 100, 0.1, 0.0, size, 0.1), Slice(200, 0.3, 200, 0.1, 0.0, size, 0.1)
        control = Slice(round(200 * self.differences[number]), 0.3, 200, 0.1, 0.0, size, 0.1)
        for _ in range(min(method.block, method.rounds)):
            yield Round(ours, floor, control)


METHOD = Method(rounds=60, slice=0.3, block=10)


@pytest.mark.parametrize(
    ("differences", "blocks"),
    [([1.0, 1.01], 2), ([1.2, 1.0, 1.0, 1.0], 4), ([1.2] * 6, 6)],
    ids=["quiet", "one was not", "it never is"],
)
def test_it_goes_on_until_two_of_the_same_are_alike(differences: list[float], blocks: int) -> None:
    bench = Blocks(differences)
    cell = measure("ours", "in", 1024, METHOD, bench, MEASURES["in"][:1])
    assert (bench.seen, len(cell.rounds)) == (blocks, 10 * blocks)
    assert ratio(ratios(cell, MEASURES["in"][0])).high <= 0.5


def test_what_has_no_target_is_measured_as_little_as_possible() -> None:
    assert len(measure("kernel", "in", 1024, METHOD, Blocks([1.2, 1.2])).rounds) == 20


def test_there_are_no_more_rounds_than_were_asked_for() -> None:
    cell = measure("ours", "in", 1024, replace(METHOD, rounds=12), Blocks([1.2] * 2), MEASURES["in"][:1])
    assert len(cell.rounds) == 12


def test_results_are_left_where_the_virtual_machine_can_leave_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchmarkError, match="can only write to a folder in"):
        in_guest("this", "is not started", tmp_path.parent / "usb.json")


def test_what_went_wrong_is_kept_with_what_was_seen() -> None:
    cell = measure("ours", "in", 1024, METHOD, Blocks([1.2, 0.0]), MEASURES["in"])
    assert (len(cell.rounds), cell.error) == (10, "the board is on fire")


@pytest.mark.parametrize(
    ("mode", "received", "sent"),
    [("in", 0, 100), ("in", 0, 116), ("out", 100, 0), ("echo", 100, 100), ("stream", 100, 100), ("control", 0, 0)],
)
def test_right_counts(mode: str, received: int, sent: int) -> None:
    assert not wrong_counts(mode, 100, received, sent, slack=16)


@pytest.mark.parametrize(
    ("mode", "received", "sent"),
    [
        ("in", 0, 99),
        ("in", 0, 117),
        ("in", 1, 100),
        ("out", 99, 0),
        ("out", 101, 0),
        ("echo", 100, 99),
        ("stream", 100, 116),
        ("control", 16, 0),
    ],
)
def test_wrong_counts(mode: str, received: int, sent: int) -> None:
    assert "100 bytes" in wrong_counts(mode, 100, received, sent, slack=16)


def test_the_clock_of_another_process_goes_on_while_it_works_only() -> None:
    command = "import sys\nfor line in sys.stdin:\n  sum(range(1000000))\n  print(flush=True)"
    with subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        idle = idle_cpu_time(child.pid)
        assert cpu_time(child.pid) == idle > 0
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        assert idle_cpu_time(child.pid) > idle


def test_options() -> None:
    assert numbers("1k,16K,2048") == [1024, 16384, 2048]
    assert names(("in", "out"))("out,in") == ["out", "in"]
    for wrong in ("1000", "0"):
        with pytest.raises(Exception, match="packets"):
            numbers(wrong)
    with pytest.raises(Exception, match="there are in, out"):
        names(("in", "out"))("up")
