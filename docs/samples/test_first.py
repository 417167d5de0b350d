import pytest

from gadget import BulkIn, BulkOut, Function

pytestmark = pytest.mark.usb


class Echo(Function):
    rx = BulkOut()
    tx = BulkIn()

    async def run(self) -> None:
        async for message in self.rx.messages():
            await self.tx.write_message(message)


@pytest.fixture
def echo(serve):
    return serve(Echo())


def test_echo(echo, usb_device):
    usb_device.write(echo.function.rx.address, b"hello")
    assert bytes(usb_device.read(echo.function.tx.address, 1024)) == b"hello"


def test_echo_again(echo, usb_handle):
    usb_handle.bulkWrite(echo.function.rx.address, b"hello")
    assert usb_handle.bulkRead(echo.function.tx.address, 1024) == b"hello"
