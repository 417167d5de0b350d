"""Talks to the two serial ports: sends lines to the first, and has the second calculate.

Any program for serial ports will do; this one uses pyserial.
"""

import argparse

import serial
from serial.tools import list_ports

TIMEOUT = 60.0


def ports() -> list[str]:
    """The terminals of the device, in the order of its interfaces."""
    found = [port for port in list_ports.comports() if (port.vid, port.pid) == (0x1209, 0x0001)]
    return [port.device for port in sorted(found, key=lambda port: port.location or "")]


def echo(path: str, text: str) -> str:
    """Sends a line, and returns the one that comes back."""
    with serial.Serial(path, timeout=TIMEOUT) as port:
        port.write(f"{text}\n".encode())
        return port.readline().decode().rstrip("\n")


class Python:
    """The interpreter at the other end."""

    def __init__(self, path: str) -> None:
        self.port = serial.Serial(path, timeout=TIMEOUT)
        # What the terminals have said to each other before this one was raw is a line that makes no sense.
        self.port.write(b"\rprint('re' + 'ady')\r")
        self.port.read_until(b"ready\r\n>>> ")

    def _answer(self) -> str:
        text = self.port.read_until(b">>> ")
        return text.decode().removesuffix(">>> ").replace("\r\n", "\n").strip()

    def run(self, line: str) -> str:
        """Runs a line there, and returns what it has printed."""
        self.port.write(f"{line}\r".encode())
        return self._answer()

    def close(self) -> None:
        self.port.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("expressions", nargs="*", default=["6 * 7", "__import__('platform').release()"])
    first, second = ports()
    python = Python(second)
    print(echo(first, "hello"))
    for expression in parser.parse_args().expressions:
        print(f">>> {expression}\n{python.run(expression)}")
    python.close()


if __name__ == "__main__":
    main()
