"""A program that serves a device and uses nothing of this package: the kernel's loopback function, by hand in configfs.

``loopback.py [STATUS]``: serves on the controller $GADGET_UDC until SIGTERM, removes what it made, and exits with
STATUS; ``loopback.py deaf`` ignores SIGTERM.
"""

import os
import signal
import sys

TREE = "/sys/kernel/config/usb_gadget/loopback"
FUNCTION, CONFIGURATION = f"{TREE}/functions/Loopback.0", f"{TREE}/configs/c.1"
LINK = f"{CONFIGURATION}/Loopback.0"


def write(name: str, value: str) -> None:
    with open(f"{TREE}/{name}", "w") as file:  # noqa: PTH123 - it starts sooner without pathlib
        file.write(value)


def make() -> None:
    """Makes the gadget, bound to nothing."""
    for folder in (TREE, FUNCTION, CONFIGURATION):
        os.mkdir(folder)  # noqa: PTH102
    write("idVendor", "0x1d6b")
    write("idProduct", "0x0105")
    os.symlink(FUNCTION, LINK)  # noqa: PTH211


def remove() -> None:
    """Removes the gadget, bound to nothing."""
    os.unlink(LINK)  # noqa: PTH108
    for folder in (CONFIGURATION, FUNCTION, TREE):
        os.rmdir(folder)  # noqa: PTH106


def main(argument: str = "0") -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if os.path.isdir(TREE):  # noqa: PTH112
        print("removing what an earlier run has left", flush=True)
        write("UDC", "\n")
        remove()
    make()
    write("UDC", os.environ["GADGET_UDC"])
    while signal.sigwait({signal.SIGTERM}) and argument == "deaf":
        print("what was that?", flush=True)
    write("UDC", "\n")
    remove()
    return int(argument)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
