"""What can be served, and how it fails."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gadget import BulkIn, BulkOut, ControllerBusyError, Function, Gadget, GadgetError, UsageError
from gadget.testing import (
    BenchController,
    Bus,
    ChildError,
    LoopTroubleError,
    Served,
    ServedChild,
    ServedGadget,
    wait_for,
)
from tests.usb import loopback
from tests.usb.devices import Echo, echo_gadget
from tests.usb.test_faults import DEVICE, PROGRAM, assert_echoes

pytestmark = pytest.mark.usb

Serve = Callable[..., Served]


@pytest.mark.parametrize(
    "what",
    [Echo, Echo(), echo_gadget(), DEVICE, str(DEVICE), f"{DEVICE}:Echo"],
    ids=["class", "function", "gadget", "path", "file", "file and name"],
)
def test_in_this_process(serve: Serve, what: Any) -> None:
    served = serve(what)
    assert isinstance(served, ServedGadget)
    assert (type(served.function).__name__, served.pid) == ("Echo", None)
    assert served.tree == served.gadget.path == served.controller.tree
    assert_echoes(served)


@pytest.mark.parametrize("what", [DEVICE, f"{DEVICE}:echo"], ids=["file", "file and name"])
def test_by_a_process_of_its_own(serve: Serve, udc: BenchController, what: Any) -> None:
    served = serve(what, child=True)
    assert isinstance(served, ServedChild)
    assert served.pid == served.process.pid != os.getpid()
    assert served.process.poll() is None
    assert_echoes(served)
    served.stop()
    assert served.process.returncode == 0
    assert f"configured by the host on {udc.name}" in served.output


def test_by_a_program_that_knows_the_controller_by_its_command_line(
    serve: Callable[..., ServedChild], udc: BenchController
) -> None:
    served = serve([sys.executable, "-m", "gadget", "run", DEVICE, "--udc", "{udc}"])
    assert served.name.endswith(f"--udc {udc.name}")
    wait_for(lambda: f"configured by the host on {udc.name}" in served.output, "what it says")
    assert_echoes(served)


def test_a_tree_in_configfs(serve: Serve, udc: BenchController) -> None:
    loopback.make()
    try:
        served = serve(Path(loopback.TREE))
        assert served.device.identity == (0x1D6B, 0x0105)
        assert_echoes(served)
        served.stop()
        assert udc.sysfs.holder is None
        assert Path(loopback.TREE).is_dir(), "it is whose made it"
    finally:
        loopback.remove()


def test_what_cannot_be_served(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="42 cannot be served: a Gadget, a Function"):
        serve(42)
    with pytest.raises(UsageError, match="name it as FILE:NAME"):
        serve(Echo, child=True)
    with pytest.raises(UsageError, match=r"there is no file '.*/nothing\.py'"):
        serve(tmp_path / "nothing.py")
    with pytest.raises(UsageError, match="there is no Gadget or Function of this name"):
        serve(f"{DEVICE}:nothing")


def test_nothing_is_served_yet(usb_bus: Bus, request: pytest.FixtureRequest) -> None:
    for name in ("usb_device", "usb_handle", "faults"):
        with pytest.raises(UsageError, match="nothing is served yet"):
            request.getfixturevalue(name)


def test_a_file_that_is_not_there_for_a_child(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(ChildError, match=r"(?s)ended with status 2; it said:.*there is no file '.*/nothing\.py'"):
        serve(tmp_path / "nothing.py", child=True)


def test_a_program_that_is_not_there(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(ChildError, match=r"cannot start .*/nothing: No such file or directory"):
        serve([tmp_path / "nothing"])


def test_a_program_that_ends_at_once(serve: Serve) -> None:
    with pytest.raises(ChildError, match=r"ended with status 3; it said:\nno luck today\n") as failure:
        serve(["sh", "-c", "echo no luck today >&2; exit 3"])
    assert failure.value.__context__ is None, "it is told once"


def test_a_program_that_fails_when_it_is_ended(usb_bus: Bus) -> None:
    with pytest.raises(ChildError, match="ended with status 4"), usb_bus.serve([*PROGRAM, "4"]) as served:
        assert_echoes(served)
    assert served.controller.sysfs.holder is None


def test_a_program_that_does_not_end(serve: Callable[..., ServedChild], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended all the same, and its controller is free again; the rest of what it leaves is its own."""
    monkeypatch.setattr("gadget.testing.child.PATIENCE", 0.5)
    served = serve([*PROGRAM, "deaf"])
    with pytest.raises(ChildError, match=r"(?s)does not end after SIGTERM; it said:.*what was that\?"):
        served.stop()
    assert served.process.returncode == -signal.SIGKILL
    assert served.controller.sysfs.holder is None
    loopback.remove()


def test_a_program_that_is_told_to_end(serve: Callable[..., ServedChild]) -> None:
    served = serve(PROGRAM)
    assert served.usage().threads == 1
    assert 0 < served.end(signal.SIGTERM) < 60
    assert served.process.returncode == 0
    served.stop()


def test_a_program_that_ends_in_another_way_than_it_should(serve: Callable[..., ServedChild]) -> None:
    served = serve([*PROGRAM, "4"])
    with pytest.raises(ChildError, match="ended with status 4"):
        served.end()
    served.stop()


@pytest.mark.usb(needs="interrupted unbind")
def test_a_program_that_dies_while_it_is_up(usb_bus: Bus) -> None:
    with (
        pytest.raises(ChildError, match=f"ended with status {-signal.SIGKILL}"),
        usb_bus.serve(DEVICE, child=True) as served,
    ):
        served.send_signal(signal.SIGKILL)
    assert served.controller.sysfs.holder is None
    assert not served.tree.exists(), "it could not remove it, so that is no second fault of its"


class Failing(Function):
    """Fails as soon as something arrives, or leaves things behind in its loop, as it is told."""

    rx = BulkOut()
    tx = BulkIn()

    async def run(self) -> None:
        async for data in self.rx:
            match bytes(data):
                case b"fail":
                    raise ZeroDivisionError("on purpose")
                case b"leave":
                    self.left = asyncio.create_task(asyncio.Event().wait())
                case b"drop":
                    asyncio.get_running_loop().call_soon(lambda: 1 // 0)
            await self.tx.write(data)


@pytest.fixture
def failing(serve: Callable[..., ServedGadget]) -> ServedGadget:
    return serve(Failing)


def tell(served: ServedGadget, what: bytes) -> None:
    assert isinstance(served.function, Failing)
    with served.pyusb() as device:
        device.write(served.function.rx.address, what)
        if what != b"fail":
            assert bytes(device.read(served.function.tx.address, 64)) == what


def test_a_gadget_that_fails_while_it_is_up(failing: ServedGadget) -> None:
    tell(failing, b"fail")
    failing.wait_over()
    assert not failing.tree.exists()
    for look in (failing.check, failing.wait_configured, failing.stop):
        with pytest.raises(ZeroDivisionError, match="on purpose"):
            look()


@pytest.mark.parametrize(
    ("what", "told"), [(b"leave", r"a task was left running: .*Event\.wait"), (b"drop", "ZeroDivisionError")]
)
def test_trouble_in_the_loop_of_a_gadget(failing: ServedGadget, what: bytes, told: str) -> None:
    tell(failing, what)
    with pytest.raises(LoopTroubleError, match=told):
        failing.stop()


def test_an_error_of_the_test_is_not_hidden(usb_bus: Bus) -> None:
    with pytest.raises(LookupError, match="the test's own"), usb_bus.serve(Echo):
        raise LookupError("the test's own")


class Refused(Function):
    """More than any controller has."""

    for number in range(31):
        locals()[f"tx{number}"] = BulkIn(depth=1)


def test_a_gadget_that_never_comes_up(serve: Serve, udc: BenchController) -> None:
    with pytest.raises(GadgetError, match="endpoint") as failure:
        serve(Refused)
    assert not isinstance(failure.value, TimeoutError), "it waited instead of looking"
    assert udc.sysfs.holder is None


@pytest.mark.usb(controllers=2)
def test_two_at_a_time(serve: Serve, usb_bus: Bus, udcs: list[BenchController]) -> None:
    first, second = serve(echo_gadget()), serve(DEVICE, child=True)
    assert [first.controller, second.controller] == udcs
    assert first.device.path != second.device.path
    assert first.device.identity == second.device.identity, "only their places on the bus tell them apart"
    assert usb_bus.latest is second
    for served in (first, second):
        assert_echoes(served)
        with served.pyusb() as device:
            assert (device.bus, device.address) == (served.device.bus, served.device.address)
    second.stop()
    assert_echoes(first)


@pytest.mark.usb(controllers=2)
def test_the_test_chooses_the_controller(serve: Serve, udcs: list[BenchController]) -> None:
    served = serve(Echo, udc=udcs[1])
    assert udcs[1].tree == served.tree
    assert udcs[0].tree is None


@pytest.mark.parametrize("what", [Echo, DEVICE], ids=["in this process", "child"])
def test_more_than_there_are_controllers(serve: Serve, what: Any) -> None:
    served = serve(Gadget(Echo(), name="first"))
    with pytest.raises(ControllerBusyError, match=r"is held by gadget first: .*@pytest\.mark\.usb\(controllers=2\)"):
        serve(what, child=what is DEVICE)
    assert_echoes(served)


class TestForAWholeClass:
    """Served once, by a fixture of wider scope than a test."""

    @pytest.fixture(scope="class")
    @staticmethod
    def served(usb_bus: Bus) -> Iterator[Served]:
        with usb_bus.serve(Gadget(Echo(), name="for-all")) as served:
            yield served

    @pytest.fixture(scope="class")
    @staticmethod
    def addresses() -> list[int]:
        return []

    @pytest.mark.parametrize("number", [1, 2])
    def test_every_test_sees_the_same_device(
        self, served: Served, addresses: list[int], usb_device: Any, number: int
    ) -> None:
        addresses.append(usb_device.address)
        assert addresses == [served.device.address] * number
        assert_echoes(served)


def test_a_controller_is_free_after_that(serve: Serve) -> None:
    assert serve(Echo).tree.name == "echo"
