"""A USB thermometer: it tells what a file says, in thousandths of a degree Celsius, as the kernel's own sensors do.

On a board this is the temperature of its processor. SENSOR names another file. A sensor that cannot be read is told to
the host by refusing the request.
"""

import os
from pathlib import Path

from gadget import Function, Gadget, Setup, Stall, vendor_in

SENSOR = Path(os.environ.get("SENSOR", "/sys/class/thermal/thermal_zone0/temp"))


class Thermometer(Function):
    interface_string = "Thermometer"
    # These two are ours to choose, and what the driver recognises us by.
    interface_subclass = 0x54
    interface_protocol = 0x01

    def __init__(self, sensor: Path) -> None:
        self.sensor = sensor

    @vendor_in(request=1)
    async def temperature(self, setup: Setup) -> bytes:
        try:
            return int(self.sensor.read_text()).to_bytes(4, "little", signed=True)
        except (OSError, ValueError, OverflowError) as error:
            raise Stall from error


thermometer = Gadget(
    Thermometer(SENSOR),
    vendor_id=0x1D6B,
    product_id=0x0104,
    product="Thermometer",
)
