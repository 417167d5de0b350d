"""What all tiers have in common."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gadget's own tests")
    group.addoption(
        "--soak",
        type=float,
        default=0.0,
        metavar="FACTOR",
        help="how often what is repeated is repeated: 1 for the full numbers, 0.1 for a tenth (default: a short form)",
    )
    group.addoption(
        "--soak-seed", type=int, default=1, metavar="SEED", help="what tests that draw at random draw (default: 1)"
    )


@dataclass(frozen=True)
class Soak:
    """How often a test repeats what it repeats, and what it draws.

    Attributes:
        factor: 1 for the full numbers; 0 for the short form.
        seed: The same seed draws the same.
    """

    factor: float
    seed: int

    def count(self, short: int, full: int) -> int:
        """How often; never less than in the short form."""
        return max(short, round(full * self.factor))

    def random(self) -> random.Random:
        """What to draw from."""
        return random.Random(self.seed)


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> Soak:
    """How often, and what is drawn; pytest shows what is printed here when the test fails."""
    chosen = Soak(request.config.getoption("--soak"), request.config.getoption("--soak-seed"))
    print(f"again: --soak {chosen.factor:g} --soak-seed {chosen.seed}")
    return chosen
