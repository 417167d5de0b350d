"""What is to be reached, as ratios to the device in C: data."""

from __future__ import annotations

from collections.abc import Mapping

KIB = 1024

#: By mode and measure, by size (0: any).
Targets = Mapping[tuple[str, str], Mapping[int, float]]

OURS: Targets = {
    ("in", "throughput"): {1 * KIB: 0.85, 16 * KIB: 0.95, 64 * KIB: 0.97},
    ("out", "throughput"): {1 * KIB: 0.85, 16 * KIB: 0.95, 64 * KIB: 0.97},
    ("in", "cpu"): {1 * KIB: 3.0, 16 * KIB: 1.4, 64 * KIB: 1.15},
    ("out", "cpu"): {1 * KIB: 3.0, 16 * KIB: 1.4, 64 * KIB: 1.15},
    ("echo", "round trip"): {1 * KIB: 1.5, 16 * KIB: 1.4, 64 * KIB: 1.3},
    ("stream", "throughput"): {1 * KIB: 0.8, 16 * KIB: 0.9, 64 * KIB: 0.95},
    ("stream", "cpu"): {1 * KIB: 3.0, 16 * KIB: 1.4, 64 * KIB: 1.15},
    ("control", "requests"): {0: 0.85},
    ("control", "cpu"): {0: 4.0},
}

SPLICED: Targets = {
    ("in", "throughput"): {0: 0.97},
    ("out", "throughput"): {0: 0.97},
    ("stream", "throughput"): {0: 0.97},
    ("in", "cpu"): {0: 1.1},
    ("out", "cpu"): {0: 1.1},
    ("echo", "cpu"): {0: 1.1},
    ("stream", "cpu"): {0: 1.1},
    ("echo", "round trip"): {0: 1.1},
}

#: By the name of the device; the others have none.
TARGETS: Mapping[str, Targets] = {"ours": OURS, "spliced": SPLICED}


def target(device: str, mode: str, measure: str, size: int) -> float | None:
    """What a device is to reach there, if anything."""
    by_size = TARGETS.get(device, {}).get((mode, measure), {})
    return by_size.get(size, by_size.get(0))


#: What importing this package may take of what importing asyncio takes.
IMPORT_RATIO = 1.5
#: What this package may take from the end of the imports to being bound, in seconds, under emulation.
FRAMEWORK_SECONDS = 0.3

#: How much more a transfer may cost along the axes that are to be flat.
FLAT = 1.15
FLAT_AXES = ("pairs", "gadgets", "depth")

#: What reads may cost, as CPU time per operation beside C's, by contender, mode and depth.
READS: Mapping[str, Mapping[tuple[str, int], float]] = {
    "ours": {
        ("cached", 1): 2.5,
        ("cached", 32): 1.35,
        ("cached", 256): 1.35,
        ("direct", 32): 1.15,
        ("direct", 256): 1.15,
    },
    "ours-asyncio": {("direct", 32): 3.0},
}
#: The same beside another package, by ours and the other; everywhere else it is NOT_SLOWER.
READS_BESIDE: Mapping[tuple[str, str], Mapping[tuple[str, int], float]] = {
    ("ours-asyncio", "caio-asyncio"): {("cached", 32): 0.5},
}
#: No case is to be slower than with any other package for AIO.
NOT_SLOWER = 1.0


def read_target(contender: str, measure: str, mode: str, depth: int) -> float | None:
    """What a way to read is to reach there beside C, if anything."""
    return READS.get(contender, {}).get((mode, depth)) if measure == "cpu" else None


def beside_target(ours: str, other: str, measure: str, mode: str, depth: int) -> float:
    """What a way to read is to reach there beside that of another package."""
    special = READS_BESIDE.get((ours, other), {}).get((mode, depth)) if measure == "cpu" else None
    return NOT_SLOWER if special is None else special
