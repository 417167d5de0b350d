"""A gadget served in this process, in a thread with an event loop of its own, and the host's two views of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import usb.backend.libusb1
import usb.core
import usb.util
import usb1

from gadget import Gadget, Speed

T = TypeVar("T")

#: How long anything may take that should take no time; under emulation, on a machine shared with others.
PATIENCE = 30.0

CONFIGFS = Path("/sys/kernel/config/usb_gadget")


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Waits until the condition is true, and returns what it returned."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        threading.Event().wait(0.01)
    return value


@contextmanager
def open_pyusb(vendor_id: int, product_id: int) -> Iterator[Any]:
    """A device through pyusb, with a libusb of its own: without udev, libusb looks for devices only when it starts."""
    usb.backend.libusb1._lib_object = None
    backend = usb.backend.libusb1.get_backend()
    try:
        device = usb.core.find(idVendor=vendor_id, idProduct=product_id, backend=backend)
        assert device is not None, "pyusb does not see the device"
        yield device
        usb.util.dispose_resources(device)
        del device
    finally:
        usb.backend.libusb1._lib_object = None
        backend.finalize()


class Served:
    """A gadget that is up and configured, until stopped."""

    def __init__(self, gadget: Gadget, udc: str | None = None) -> None:
        self.gadget = gadget
        self._udc = udc
        self.error: BaseException | None = None
        self.loop: asyncio.AbstractEventLoop
        self._configured = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="device")

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self.error = error
        finally:
            self._over.set()
            self._configured.set()

    async def _serve(self) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self.gadget.up(self._udc):
            await self.gadget.wait_configured()
            self._configured.set()
            await self._stop.wait()

    def start(self) -> None:
        self._thread.start()
        assert self._configured.wait(PATIENCE), "the host did not configure the gadget"
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Takes it down, and raises what went wrong in it."""
        if not self._over.is_set():
            self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the gadget does not go down"
        if self.error is not None:
            raise self.error

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the device's loop, and waits for it."""
        return self.begin(coroutine).result(PATIENCE)

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Runs a coroutine in the device's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def wait_over(self) -> None:
        assert self._over.wait(PATIENCE)

    def wait_reconfigured(self, generation: int) -> None:
        """Waits until the functions are in at least this generation."""
        functions = self.gadget.functions
        wait_for(lambda: all(f.__dict__["_lifecycle"].generation >= generation for f in functions), "a new generation")

    def pyusb(self) -> AbstractContextManager[Any]:
        """The device through pyusb."""
        return open_pyusb(self.gadget.model.vendor_id, self.gadget.model.product_id)

    @contextmanager
    def libusb1(self) -> Iterator[tuple[usb1.USBContext, usb1.USBDeviceHandle]]:
        """The device through libusb1, its first interface claimed."""
        with usb1.USBContext() as context:
            model = self.gadget.model
            handle = context.openByVendorIDAndProductID(model.vendor_id, model.product_id)
            assert handle is not None, "libusb1 does not see the device"
            with closing(handle), handle.claimInterface(0):
                yield context, handle


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Serves a gadget for the length of the test; afterwards nothing of it may be left."""
    running: list[Served] = []

    def start(gadget: Gadget) -> Served:
        served = Served(gadget)
        running.append(served)
        served.start()
        return served

    yield start
    for served in running:
        served.stop()


@pytest.fixture(params=[Speed.HIGH, Speed.SUPER], ids=lambda speed: speed.name.lower())
def speed(request: pytest.FixtureRequest) -> Speed:
    """The speed of the connection: what dummy_hcd can do, and one below it."""
    chosen: Speed = request.param
    return chosen


def traces() -> dict[str, object]:
    """What serving a gadget must leave as it was: configfs, mounts, records, descriptors, threads."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if "functionfs" in line]
    records = Path("/run/gadget")
    return {
        "configfs": sorted(path.name for path in CONFIGFS.iterdir()),
        "mounts": mounts,
        "records": sorted(path.name for path in records.iterdir()) if records.exists() else [],
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "udc": [path.read_text() for path in Path("/sys/class/udc").glob("*/function")],
        "aio": Path("/proc/sys/fs/aio-nr").read_text(),
    }


def descriptors() -> dict[str, str]:
    """The open file descriptors of this process, and what they are."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            found[path.name] = str(path.readlink())
        except FileNotFoundError:
            continue  # the one that lists the folder
    return found


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test of this tier leaves the machine as it found it."""
    before, open_before = traces(), descriptors()
    yield
    assert traces() == before
    leaked = {number: what for number, what in descriptors().items() if number not in open_before}
    assert not [what for what in leaked.values() if "ep" in what or "eventfd" in what or "aio" in what], leaked
