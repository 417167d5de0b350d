import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import usb.core
from host import Host

from gadget.testing import Bus, Served

pytestmark = pytest.mark.usb

DEVICE = Path(__file__).parent / "device.py"


@pytest.fixture(scope="module")
def device(usb_bus: Bus) -> Iterator[Served]:
    """The device, served by a process of its own for all tests of this file, as on a board."""
    with usb_bus.serve(DEVICE, child=True) as served:
        yield served


@pytest.fixture
def host(device: Served) -> Iterator[Host]:
    """The host's side of it."""
    host = Host()
    yield host
    host.close()


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1023, 1024, 1025, 16383, 16384, 16385, 100_000])
def test_the_checksum_is_that_of_the_message(host: Host, size: int) -> None:
    message = bytes(range(256)) * (size // 256 + 1)
    assert host.checksum(message[:size]) == zlib.crc32(message[:size])


def test_messages_are_counted_until_the_count_is_reset(host: Host) -> None:
    host.reset()
    host.checksum(b"one")
    host.checksum(b"two")
    assert host.count() == 2


def test_a_reset_with_a_value_is_refused(host: Host) -> None:
    host.reset()
    host.checksum(b"one")
    with pytest.raises(usb.core.USBError, match="Pipe error"):
        host.reset(value=1)
    assert host.count() == 1
