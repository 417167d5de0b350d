"""The tables of starts, imports and memory."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.startup import tables
from benchmarks.startup_guest import PARTS, RESTING


def memory(size: int) -> dict[str, int]:
    return {"RSS": size, "private": size, "RSS when used": size, "private when used": size}


@pytest.fixture
def results() -> dict[str, Any]:
    resting = {
        f"gadget, depth {depth}, pairs of endpoints {pairs}": memory(1000 + 10 * pairs + 2 * depth)
        for depth, pairs in RESTING
    }
    imports = {"asyncio": [0.1, 0.1], "gadget": [0.14, 0.14]}
    return {
        "starts": [dict.fromkeys(PARTS.values(), 0.09)] * 3,
        "imports": imports,
        "imports here": {**imports, "gadget": [0.2, 0.2]},
        "memory": {**resting, "an interpreter with asyncio": {"RSS": 9, "private": 8}},
    }


def row(table: tuple[str, Any, list[list[str]]], name: str) -> list[str]:
    return next(cells for first, *cells in table[2] if first == name)


def test_the_framework_is_judged_by_its_parts_together(results: dict[str, Any]) -> None:
    starts = tables(results)[0]
    own = "configfs, mounting + descriptors, endpoints + binding"
    assert row(starts, own) == ["270 (270-270)", "<= 300", "reached"]
    assert row(starts, "everything")[0] == "540 (540-540)"


def test_imports_are_judged_beside_asyncio(results: dict[str, Any]) -> None:
    _, there, here, _ = tables(results)
    assert row(there, "gadget") == ["140.0", "1.40 (1.40-1.40)", "<= 1.5", "reached"]
    assert row(here, "gadget")[-1] == "missed"


def test_memory_grows_by_pair_and_by_depth(results: dict[str, Any]) -> None:
    found = tables(results)[3]
    assert row(found, "each further pair of endpoints, depth 16") == ["10.0"] * 4
    assert row(found, "each further transfer in depth, of a pair of endpoints") == ["2.0"] * 4
    assert row(found, "an interpreter with asyncio") == ["9", "8", "", ""]
