"""The table of serial ports."""

from __future__ import annotations

import pytest

from benchmarks.classes import MODES, TITLES, rows
from benchmarks.classes_guest import TERMINALS
from benchmarks.programs.serial_port import PRODUCT_IDS


def test_each_figure_stands_beside_its_ratio() -> None:
    slices = {"own": {"rate": 2e6, "cpu": 30e-9}, "floor": {"rate": 8e6, "cpu": 10e-9}}
    (row,) = rows([{"device": "cp210x", "mode": "in", "rounds": [slices] * 3}])
    assert row == [TITLES["cp210x"], MODES["in"], "2.00", "0.25 (0.25-0.25)", "30", "3.00 (3.00-3.00)"]


@pytest.mark.parametrize("table", [TERMINALS, PRODUCT_IDS])
def test_every_device_is_known_everywhere(table: dict[str, object]) -> None:
    assert set(table) == set(TITLES)
