"""The demo at the speeds that the usb tier, which has one boot, does not run at."""

from __future__ import annotations

from pathlib import Path

import pytest

from gadget.vm import Machine

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize(("speed", "packet"), [("full", 64), ("high", 512)])
def test_the_demo_holds_at(speed: str, packet: int) -> None:
    with Machine(speed=speed, folder=CHECKOUT) as machine:
        done = machine.run(["python", "examples/echo/demo.py", "--total", "1"], capture=True, timeout=400)
    out = done.stdout.decode()
    assert done.returncode == 0, out + done.stderr.decode()
    assert f"1d6b:0104 at {speed} speed" in out
    assert out.count(f"of {packet} bytes\n") == 2
    assert "nothing is left of it" in out
