"""The device written with python-functionfs, by its documented interface: ``peer.py UDC MODE SIZE DEPTH SERIAL``.

To be as good as that allows: IN transfers are submitted again by returning true from onComplete, which makes no new
block; an echo copies into buffers that are made once (an OUT buffer is armed again when onComplete returns, so it
has to be a copy); and everything runs in one process, without the subprocess that the package also offers.
"""

import functools
import mmap
import signal
import struct
import sys
from collections import deque
from types import FrameType
from typing import Any

import functionfs
import functionfs.ch9
from functionfs.gadget import ConfigFunctionFFS, Gadget

from benchmarks.programs import ANSWER, ANSWER_BYTES, COUNTS, PRODUCT_ID, TAKE, VENDOR_ID

VENDOR_TO_HOST = functionfs.ch9.USB_DIR_IN | functionfs.ch9.USB_TYPE_VENDOR | functionfs.ch9.USB_RECIP_INTERFACE
VENDOR_FROM_HOST = functionfs.ch9.USB_DIR_OUT | functionfs.ch9.USB_TYPE_VENDOR | functionfs.ch9.USB_RECIP_INTERFACE
BULK = functionfs.ch9.USB_ENDPOINT_XFER_BULK
PACKET = 1024  # At SuperSpeed; out_aio_blocks_max_packet_count counts these.

# The package has no types, so its classes are Any to the type checker: hence each ignore below.


class Source(functionfs.EndpointINFile):  # type: ignore[misc] # the package has no types
    """Sends the same buffer again and again."""

    sent = 0

    def prime(self, size: int, depth: int) -> None:
        buffer = mmap.mmap(-1, size)
        for _ in range(depth):
            self.submit(buffer_list=[buffer])

    def onComplete(self, buffer_list: Any, user_data: Any, status: int) -> bool:
        if status < 0:
            return False
        self.sent += status
        return True


class Sink(functionfs.EndpointOUTFile):  # type: ignore[misc] # the package has no types
    """Counts what arrives."""

    received = 0

    def onComplete(self, data: memoryview | None, status: int) -> None:
        if data is not None:
            self.received += len(data)


class EchoSource(functionfs.EndpointINFile):  # type: ignore[misc] # the package has no types
    """Sends back what the sink hands over, whole transfers; what finds no room waits until one has been sent."""

    sent = 0

    def prime(self, size: int, depth: int) -> None:
        self.free = [mmap.mmap(-1, size) for _ in range(2 * depth)]
        self.waiting: deque[list[mmap.mmap]] = deque()
        self.room = depth

    def send(self, data: memoryview) -> None:
        buffer = self.free.pop()
        buffer[:] = data
        if self.room:
            self.room -= 1
            self.submit(buffer_list=[buffer])
        else:
            self.waiting.append([buffer])

    def onComplete(self, buffer_list: list[mmap.mmap], user_data: Any, status: int) -> bool | list[mmap.mmap]:
        self.free += buffer_list
        if status >= 0:
            self.sent += status
            if self.waiting:
                return self.waiting.popleft()
        self.room += 1
        return False


class EchoSink(Sink):
    """Hands over what arrives."""

    source: EchoSource

    def onComplete(self, data: memoryview | None, status: int) -> None:
        if data is not None:
            self.received += len(data)
            self.source.send(data)


class Benchmark(functionfs.Function):  # type: ignore[misc] # the package has no types
    """A bulk endpoint each way, and the three requests."""

    def __init__(self, path: str, mode: str, size: int, depth: int) -> None:
        self.mode, self.size, self.depth = mode, size, depth
        fs_list, hs_list, ss_list = functionfs.getInterfaceInAllSpeeds(
            interface={"bInterfaceClass": functionfs.ch9.USB_CLASS_VENDOR_SPEC},
            endpoint_list=[
                {"endpoint": {"bEndpointAddress": functionfs.ch9.USB_DIR_IN, "bmAttributes": BULK}},
                {"endpoint": {"bEndpointAddress": functionfs.ch9.USB_DIR_OUT, "bmAttributes": BULK}},
            ],
        )
        super().__init__(
            path,
            fs_list=fs_list,
            hs_list=hs_list,
            ss_list=ss_list,
            in_aio_blocks_max=depth,
            out_aio_blocks_per_endpoint=depth,
            out_aio_blocks_max_packet_count=size // PACKET,
        )

    def getEndpointClass(self, is_in: bool, descriptor: Any) -> type[Any]:
        if self.mode == "echo":
            return EchoSource if is_in else EchoSink
        return Source if is_in else Sink

    def onEnable(self) -> None:
        source, sink = self.getEndpoint(1), self.getEndpoint(2)
        if self.mode == "echo":
            sink.source = source
        if self.mode in ("in", "echo"):
            source.prime(self.size, self.depth)
        super().onEnable()

    def onSetup(self, request_type: int, request: int, value: int, index: int, length: int) -> None:
        if request_type == VENDOR_TO_HOST and request == ANSWER:
            self.ep0.write(ANSWER_BYTES[:length])
        elif request_type == VENDOR_FROM_HOST and request == TAKE:
            self.ep0.read(length)
        elif request_type == VENDOR_TO_HOST and request == COUNTS:
            counts = struct.pack("<QQ", self.getEndpoint(2).received, self.getEndpoint(1).sent)
            self.ep0.write(counts[:length])
        else:
            super().onSetup(request_type, request, value, index, length)


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    udc, mode, size, depth, serial = sys.argv[1:]
    function = ConfigFunctionFFS(
        name=f"peer-{udc.replace('.', '-')}",
        getFunction=functools.partial(Benchmark, mode=mode, size=int(size), depth=int(depth)),
    )
    signal.signal(signal.SIGTERM, interrupt)
    device = Gadget(
        config_list=[{"function_list": [function], "MaxPower": 500}],
        idVendor=VENDOR_ID,
        idProduct=PRODUCT_ID,
        lang_dict={0x409: {"product": "benchmark", "serialnumber": serial}},
        name=f"bench-peer-{udc}",
        udc=udc,
    )
    try:
        with device:
            function.function.processEventsForever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
