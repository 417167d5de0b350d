"""What is measured, and how it is known to be true."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.clock import cpu_time, idle_cpu_time
from benchmarks.options import names, numbers
from benchmarks.rounds import cells, wrong_counts


def test_the_device_in_c_comes_first_in_every_cell() -> None:
    assert cells(["ours"], ["in", "control"], [1024, 2048]) == [
        ("c", "in", 1024),
        ("ours", "in", 1024),
        ("c", "in", 2048),
        ("ours", "in", 2048),
        ("c", "control", 16),
        ("ours", "control", 16),
    ]


def test_a_device_is_not_asked_for_what_it_cannot_do() -> None:
    assert cells(["kernel"], ["control"], [1024]) == [("c", "control", 16)]


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
