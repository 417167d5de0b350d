"""Trees in configfs: refused half-way, left behind by a killed process, found there, moved between controllers."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath as P
from pkgutil import resolve_name

import pytest

from gadget import Access, BulkIn, BulkOut, Configuration, Function, Gadget, LinkState, MicrosoftOs, Property, WebUsb
from gadget.configfs.apply import USB_GADGET_ROOT, applied, apply, listing, revert
from gadget.configfs.ownership import Ownership
from gadget.configfs.plan import plan, tree_undo
from gadget.configfs.steps import WriteAttribute
from gadget.configfs.udc import Controller, set_connected
from gadget.configfs.udc_state import wait_controller, watch_controller
from gadget.errors import GadgetError, KernelError, NoControllerError, NotUndoneError, UnsupportedError
from gadget.kernel_functions import (
    Acm,
    Ffs,
    Hid,
    Loopback,
    Lun,
    MassStorage,
    Midi,
    Mjpeg,
    Ncm,
    OtherFunction,
    Uncompressed,
    Uvc,
    VideoFrame,
)
from gadget.mounted import serve_mounted
from gadget.services.existing import ExistingGadget, list_gadgets
from gadget.testing import BenchController, Bus, ServedGadget
from tests.usb.devices import Echo, echo_gadget

pytestmark = pytest.mark.usb

SIZE = VideoFrame(width=640, height=360)
#: How often a gadget is killed; ``GADGET_KILLS=100`` to be sure.
KILLS = int(os.environ.get("GADGET_KILLS", "4"))


def whole_gadget() -> Gadget:
    """One with everything that configfs knows, and of which not all binds together."""
    disks = MassStorage(luns=(Lun(inquiry_string="gadget"), Lun(cdrom=True), Lun(ro=True)), stall=True)
    camera = Uvc(formats=(Uncompressed(frames=(SIZE,)), Mjpeg(frames=(SIZE, VideoFrame(width=320, height=180)))))
    windows = MicrosoftOs("WINNCM", properties={"Label": Property.text("gadget")})
    network = Ncm(dev_addr="02:00:00:00:00:01", host_addr="02:00:00:00:00:02", microsoft_os=windows)
    keyboard = Hid(report_descriptor=bytes.fromhex("05010906a101c0"), report_length=8, attributes={"protocol": 1})
    other = OtherFunction(name="Loopback", instance="other", attributes={"qlen": 3})
    return Gadget(
        configurations=[
            Configuration([disks, camera, network, keyboard, other], label={0x0409: "all", 0x0407: "alles"}),
            Configuration([disks, network], label={0x0409: "few", 0x0407: "wenig"}, self_powered=True, max_power_ma=0),
        ],
        name="whole",
        product={0x0409: "Whole", 0x0407: "Ganz"},
        serial_number="0123456789AB",
        max_speed="high-speed",
    )


#: Overruled by the kernel when a gadget is bound, and kept (composite.c, composite_setup).
KERNELS_OWN = ("bcdUSB", "bMaxPacketSize0")


def state(name: str) -> dict[str, bytes | None]:
    """All that can be read of a gadget."""

    def value(path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except OSError:
            return None

    paths = [path for path in (USB_GADGET_ROOT / name).rglob("*") if path.name not in KERNELS_OWN]
    return {str(path): value(path) if path.is_file() else b"" for path in paths}


@pytest.fixture
def foreign() -> Iterator[dict[str, bytes | None]]:
    """A gadget of somebody else, which nothing here may touch."""
    steps = plan(Gadget(Acm(instance="foreign"), name="foreign", product="Foreign").model)
    with applied(steps):
        before = state("foreign")
        yield before
        assert state("foreign") == before


def test_a_refusal_at_any_step_leaves_nothing(usb_bus: Bus, foreign: dict[str, bytes | None]) -> None:
    steps = plan(whole_gadget().model)
    assert len(steps) > 90
    refused = WriteAttribute(P("foreign/nothing"), b"1")
    for made in range(len(steps) + 1):
        with pytest.raises(KernelError, match="no attribute 'nothing'"):
            apply([*steps[:made], refused, *steps[made:]])
        assert [each.name for each in list_gadgets()] == ["foreign"], f"after {made} steps"


def test_what_is_left_of_a_whole_gadget_is_removed_wherever_it_ended(usb_bus: Bus) -> None:
    """As after a SIGKILL: nothing is known but what is there."""
    steps = plan(whole_gadget().model)
    for made in range(1, len(steps) + 1, 7):
        for step in steps[:made]:
            apply([step])
        revert(tree_undo(listing("whole")))
        assert not (USB_GADGET_ROOT / "whole").exists(), f"after {made} steps"


def test_a_whole_gadget_reads_back_as_what_it_was(usb_bus: Bus) -> None:
    gadget = whole_gadget()
    with applied(plan(gadget.model)):
        existing = ExistingGadget("whole")
        assert existing.controller is None
        found = existing.model()
        assert (found.strings(), found.max_speed) == (
            (
                ("manufacturer", {0x0409: "", 0x0407: ""}),
                ("product", {0x0409: "Whole", 0x0407: "Ganz"}),
                ("serialnumber", dict.fromkeys((0x0409, 0x0407), "0123456789AB")),
            ),
            gadget.model.max_speed,
        )
        assert found.configurations == gadget.model.configurations
        assert found.microsoft_os == gadget.model.microsoft_os
        assert found.instances == gadget.model.instances
        before = state("whole")
    with applied(plan(found)):
        again = {path: value for path, value in state("whole").items() if not path.endswith(("ifname", "/dev"))}
        assert again == {path: value for path, value in before.items() if path in again}


def test_a_kernel_without_webusb_says_so(udc: BenchController) -> None:
    async def go_up() -> None:
        async with Gadget(Loopback(), webusb=WebUsb("https://example.org")).up(udc.name):
            pass

    with pytest.raises(UnsupportedError, match="no WebUSB"):
        asyncio.run(asyncio.wait_for(go_up(), 60))
    assert not (USB_GADGET_ROOT / "loopback").exists()


def test_a_third_language_is_the_kernels_to_refuse(udc: BenchController) -> None:
    async def go_up() -> None:
        async with Gadget(Loopback(), product={0x0409: "a", 0x0407: "b", 0x040C: "c"}).up(udc.name):
            pass

    with pytest.raises(UnsupportedError, match="takes no more languages"):
        asyncio.run(asyncio.wait_for(go_up(), 60))


# ---- configurations --------------------------------------------------------------------------------------------------


def test_the_host_selects_one_of_several_configurations(serve: Callable[..., ServedGadget]) -> None:
    echo, loopback = Echo(), Loopback()
    served = serve(
        Gadget(
            configurations=[
                Configuration([loopback], label="kernel", max_power_ma=100),
                Configuration([loopback, echo], label="both", number=5, self_powered=True, max_power_ma=0),
            ],
            name="several",
        )
    )
    device = served.device
    assert device.configuration == 1
    assert len(device.interfaces()) == 1
    assert (device.path / "bNumConfigurations").read_text().strip() == "2"
    assert (device.path / "configuration").read_text().strip() == "kernel"
    device.select_configuration(5)
    assert (device.path / "configuration").read_text().strip() == "both"
    assert (device.path / "bMaxPower").read_text().strip() == "0mA"
    served.call(echo.wait_link(LinkState.ENABLED))
    with served.pyusb() as opened:
        opened.write(echo.rx.address, b"number two", 10_000)
        assert bytes(opened.read(echo.tx.address, 64, 10_000)) == b"number two"
    device.select_configuration(1)
    served.call(echo.wait_link(LinkState.BOUND))


@contextmanager
def refusing(monkeypatch: pytest.MonkeyPatch, bind: str, controller: BenchController) -> Iterator[None]:
    """A controller that the kernel cannot bind a gadget to: all that there are here are alike."""
    real = resolve_name(bind.replace(".bind", ":bind"))

    def refuse(path: Path, udc: str, *arguments: object) -> None:
        if udc == controller.name:
            raise KernelError(errno.ENODEV, "refused on purpose")
        real(path, udc, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(bind, refuse)
        yield


# ---- controllers -----------------------------------------------------------------------------------------------------


@pytest.mark.usb(controllers=2)
def test_a_gadget_moves_between_controllers(udcs: list[BenchController], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = udcs
    acm = Acm()

    async def move() -> None:
        async with Gadget(acm, name="mover").up(first.name) as gadget:
            await gadget.wait_configured()
            node = acm.terminal
            with pytest.raises(NoControllerError):
                gadget.move("nothing.0")
            assert gadget.controller.name == first.name
            gadget.move(second.name)
            await gadget.wait_configured()
            assert gadget.controller.name == second.name
            assert gadget.link.state.name == "ENABLED"
            assert acm.terminal == node
            with refusing(monkeypatch, "gadget.device.bind", first), pytest.raises(KernelError, match="refused"):
                gadget.move(first.name)
            assert gadget.controller.name == second.name
            await gadget.wait_configured()
            gadget.unbind()
            assert gadget.link.state.name == "UNBOUND"
            gadget.bind(second.name)
            await gadget.wait_configured()

    asyncio.run(asyncio.wait_for(move(), 60))


@pytest.mark.usb(controllers=2)
def test_a_gadget_that_is_there_is_adopted(udcs: list[BenchController], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = udcs
    apply(plan(Gadget(Acm(), Midi(), name="there", product="There").model))
    existing = ExistingGadget("there")
    with pytest.raises(KernelError, match="there is no gadget nowhere; there are: there"):
        ExistingGadget("nowhere")
    try:
        existing.bind(first.name)
        first.wait_configured()
        assert existing.controller is not None
        assert existing.controller.name == first.name
        functions = existing.functions()
        assert list(functions) == ["acm.0", "midi.0"]
        assert functions["acm.0"].devices[0].startswith("/dev/ttyGS")
        assert any("/midiC" in device for device in functions["midi.0"].devices)
        existing.move(second.name)
        second.wait_configured()
        with pytest.raises(NoControllerError):
            existing.move("nothing.0")
        with refusing(monkeypatch, "gadget.services.existing.bind", first), pytest.raises(KernelError, match="refused"):
            existing.move(first.name)
        second.wait_configured()
        existing.unbind()
        assert existing.controller is None
    finally:
        existing.remove()
    assert list_gadgets() == []


def test_a_controller_tells_what_happens_to_it(udc: BenchController) -> None:
    seen: list[Controller] = []
    news: asyncio.Queue[Controller] = asyncio.Queue()

    async def follow() -> None:
        async for now in watch_controller(udc.name):
            await news.put(now)

    async def until(reached: Callable[[Controller], bool]) -> None:
        while not (seen and reached(seen[-1])):
            seen.append(await news.get())

    async def go() -> None:
        with pytest.raises(KernelError, match="no gadget is bound") as caught:
            set_connected(udc.name, True)
        assert caught.value.errno == errno.EOPNOTSUPP
        following = asyncio.create_task(follow())
        await until(lambda now: now.gadget is None)
        async with Gadget(Loopback(), name="watched").up(udc.name) as gadget:
            await gadget.wait_configured()
            waiting = asyncio.create_task(wait_controller(udc.name))
            await until(lambda now: (now.state, now.gadget) == ("configured", "watched"))
            assert not waiting.done()
        assert (await waiting).name == udc.name
        await until(lambda now: now.gadget is None)
        following.cancel()

    asyncio.run(asyncio.wait_for(go(), 60))
    assert any(now.current_speed for now in seen)


# ---- other users, and nobody -----------------------------------------------------------------------------------------


class Nobody(Function):
    rx = BulkOut()
    tx = BulkIn()

    async def run(self) -> None:
        async for data in self.rx:
            await self.tx.write(data)


NOBODY = 65534


@contextmanager
def served_by_nobody(folder: Path) -> Iterator[None]:
    """A process without any rights serves a function in that folder until the end of the block."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            asyncio.run(_serve_as_nobody(folder, told))
        except BaseException as error:
            os.write(told, repr(error).encode())
        finally:
            os._exit(0)
    os.close(told)
    try:
        said = os.read(ready, 4096)
        if said != b"ready":
            raise GadgetError(f"nobody cannot serve it: {said.decode()}")
        yield
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        os.close(ready)


async def _serve_as_nobody(folder: Path, told: int) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with serve_mounted(Nobody(), folder):
        os.write(told, b"ready")
        await over.wait()


def test_a_function_is_served_without_any_rights(udc: BenchController, tmp_path: Path) -> None:
    folder = Path("/run/gadget-of-nobody")
    access = Access(uid=NOBODY, gid=NOBODY, mode=0o600)
    gadget = Gadget(Ffs(instance="nobody", folder=str(folder), access=access, interface_count=1), Loopback(), name="n")

    async def go() -> bytes:
        async with gadget.up(bind=False):
            status = (folder / "ep0").stat()
            assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (NOBODY, NOBODY, 0o600)
            with served_by_nobody(folder):
                gadget.bind(udc.name)
                await gadget.wait_configured()
                device = await asyncio.to_thread(udc.wait_configured)
                data = await asyncio.to_thread(_through, device)
                gadget.unbind()
            return data

    assert asyncio.run(asyncio.wait_for(go(), 60)) == b"nobody's"
    assert not folder.exists()


def _through(device: object) -> bytes:
    with device.pyusb() as opened:  # type: ignore[attr-defined]
        interface = opened.get_active_configuration()[(0, 0)]
        (out,) = (each.bEndpointAddress for each in interface if not each.bEndpointAddress & 0x80)
        (back,) = (each.bEndpointAddress for each in interface if each.bEndpointAddress & 0x80)
        opened.write(out, b"nobody's", 10_000)
        return bytes(opened.read(back, 64, 10_000))


# ---- terminals -------------------------------------------------------------------------------------------------------


def test_a_terminal_that_is_open_keeps_its_function_and_hangs_nobody(udc: BenchController) -> None:
    """The kernel would wait for the last close, in this very process, and no signal would wake it."""
    acm = Acm()
    kept: list[int] = []

    async def go() -> None:
        async with Gadget(acm, Loopback(), name="kept").up(udc.name):
            kept.append(os.open(acm.terminal, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))

    with pytest.raises(NotUndoneError, match=r"this process has /dev/ttyGS\d open"):
        asyncio.run(asyncio.wait_for(go(), 60))
    tree = USB_GADGET_ROOT / "kept"
    assert [path.name for path in (tree / "functions").iterdir()] == ["acm.0"]
    assert udc.sysfs.holder is None
    os.close(kept[0])
    with Ownership.acquire("kept") as ownership:
        ownership.reclaim()
    assert not tree.exists()


# ---- killed ----------------------------------------------------------------------------------------------------------


@pytest.mark.usb(controllers=2, timeout=300 + 20 * KILLS)
def test_kills_at_random_moments_leave_a_start_that_works(
    udcs: list[BenchController], foreign: dict[str, bytes | None]
) -> None:
    """A gadget of somebody else, bound beside them, does not notice."""
    ExistingGadget("foreign").bind(udcs[1].name)
    try:
        udcs[1].wait_configured()
        address = udcs[1].device
        assert address is not None
        command = [sys.executable, "-m", "tests.usb.starts", udcs[0].name, str(KILLS), "20221111"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120 + 15 * KILLS, check=False)
        assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["done"]), done.stdout + done.stderr
        assert "a start has failed" not in done.stdout, done.stdout
        assert address.present
        assert [each.name for each in list_gadgets()] == ["foreign"]
    finally:
        ExistingGadget("foreign").unbind()


def test_a_name_that_another_process_holds(udc: BenchController) -> None:
    """The tree of a living owner is not removed under it."""

    async def go() -> None:
        async with echo_gadget().up(udc.name) as gadget:
            with pytest.raises(GadgetError, match="served by process"):
                ExistingGadget(gadget.name).remove()
            with pytest.raises(KernelError) as caught:
                ExistingGadget(gadget.name).bind()
            assert caught.value.errno == errno.EBUSY

    asyncio.run(asyncio.wait_for(go(), 60))
