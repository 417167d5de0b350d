import pytest

from gadget.testing import Faults, ServedChild, check_steady

pytestmark = pytest.mark.usb


@pytest.fixture
def echo(serve):
    return serve("examples/echo/device.py", child=True)


def test_nothing_is_lost_with_a_reset(echo: ServedChild, faults: Faults) -> None:
    samples = []
    for _ in range(9):
        faults.reset()
        samples.append(echo.usage())
    check_steady(samples)
