"""Serves the echo device, runs its host against it, and checks that it leaves nothing behind.

This is what scripts/demo runs in the virtual machine. It needs root and a USB device controller whose host is this
machine itself, such as dummy_hcd's. Exit status 0 means that all of it held.
"""

import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def left_behind() -> list[str]:
    """What a gadget would leave, were it not taken down in order."""
    gadgets = [str(path) for path in Path("/sys/kernel/config/usb_gadget").glob("*")]
    records = [str(path) for path in Path("/run/gadget").glob("*")]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if "functionfs" in line]
    return gadgets + records + mounts


def main() -> int:
    print("== the device: gadget run examples/echo/device.py", flush=True)
    command = [sys.executable, "-m", "gadget", "run", str(HERE / "device.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as device:
        assert device.stdout is not None
        configured = device.stdout.readline()
        print(configured or "FAILED: the device is not configured", end="", flush=True)
        status = 1
        if configured:
            print("== the host: examples/echo/host.py", flush=True)
            status = subprocess.run([sys.executable, HERE / "host.py", *sys.argv[1:]], check=False).returncode
        print("== teardown: SIGINT to the device", flush=True)
        device.send_signal(signal.SIGINT)
        status = device.wait(30) or status
    if left := left_behind():
        print("FAILED: left behind:", *left, sep="\n  ")
        return 1
    print("nothing is left of it in configfs, in /run or in the mount table")
    print("the demo held" if status == 0 else f"FAILED: status {status}")
    return status


if __name__ == "__main__":
    sys.exit(main())
