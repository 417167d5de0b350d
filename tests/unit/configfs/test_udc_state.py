"""What needs no controller: there is none to follow, or one that is free already."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gadget.configfs.udc_state import StateWatch, wait_controller, watch_controller
from gadget.errors import NoControllerError


def test_a_controller_that_is_not_there(tmp_path: Path) -> None:
    async def watch() -> None:
        async for _ in watch_controller("nothing.0", tmp_path, tmp_path):
            raise AssertionError("it has been seen")

    with pytest.raises(NoControllerError, match=r"no USB device controller 'nothing\.0'"):
        StateWatch("nothing.0", tmp_path)
    with pytest.raises(NoControllerError):
        asyncio.run(watch())


def test_one_that_is_free_need_not_be_waited_for(tmp_path: Path) -> None:
    sysfs, root = tmp_path / "udc", tmp_path / "usb_gadget"
    for name, holder in (("busy.0", "g\n"), ("free.0", "\n")):
        (sysfs / name).mkdir(parents=True)
        (sysfs / name / "state").write_text("not attached\n")
        (sysfs / name / "function").write_text(holder)
    root.mkdir()
    assert asyncio.run(wait_controller(sysfs=sysfs, root=root)).name == "free.0"

    async def busy() -> None:
        async with asyncio.timeout(0.05):
            await wait_controller("busy.0", sysfs, root)

    with pytest.raises(TimeoutError):
        asyncio.run(busy())
