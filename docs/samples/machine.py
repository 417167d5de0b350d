"""Boots, and looks at the USB bus in there."""

from gadget.vm import Machine

with Machine(speed="high", controllers=2) as machine:
    listing = machine.run(["ls", "/sys/class/udc"], capture=True)
    print(listing.stdout.decode())
    machine.run(["sh", "-c", "uname -r; id -un"])
