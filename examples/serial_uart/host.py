"""Prints what the sensor measures, after it has checked each sentence. Any program for serial ports will do."""

import argparse
from collections.abc import Iterator
from functools import reduce
from operator import xor

import serial

TIMEOUT = 60.0


def sentences(path: str) -> Iterator[list[str]]:
    """The fields of each sentence, as long as the port is open."""
    with serial.Serial(path, baudrate=4800, timeout=TIMEOUT) as port:
        while line := port.readline():
            body, _, checksum = line.strip().removeprefix(b"$").partition(b"*")
            if reduce(xor, body, 0) == int(checksum, 16):
                yield body.decode().split(",")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", help="as /dev/ttyUSB1")
    parser.add_argument("--count", type=int, default=3)
    options = parser.parse_args()
    for _, (kind, value, unit) in zip(range(options.count), sentences(options.port), strict=False):
        print(f"{kind}: {value} {unit}")


if __name__ == "__main__":
    main()
