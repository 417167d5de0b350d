"""Serial numbers and MAC addresses that stay the same on a machine, and differ between machines.

They are derived from ``/etc/machine-id``, which must not be given away itself (machine-id(5)): it is the key of a hash,
so that nothing leads back to it.
"""

from __future__ import annotations

import errno
import hmac
from pathlib import Path

from gadget.errors import KernelError, UsageError

MACHINE_ID = Path("/etc/machine-id")

#: Says what the hash is for, so that no other program's is the same.
_APPLICATION = b"gadget (USB) identity 1\0"


def machine_serial(purpose: str = "", *, machine_id: Path = MACHINE_ID) -> str:
    """A serial number of 16 hexadecimal digits.

    Args:
        purpose: What it is for: another purpose, another number.
        machine_id: The file with the identity.

    Raises:
        KernelError: The machine has no identity (ENOENT), or not yet.
    """
    return _derived(f"serial {purpose}", machine_id)[:8].hex().upper()


def machine_mac(purpose: str, *, machine_id: Path = MACHINE_ID) -> str:
    """A MAC address, locally administered, so that it is nobody's who has bought some (IEEE 802, 8.2).

    Args:
        purpose: What it is for, ``"ncm device"`` and ``"ncm host"``: the ends of a link need two.
        machine_id: The file with the identity.

    Raises:
        UsageError: It is for nothing.
        KernelError: The machine has no identity (ENOENT), or not yet.
    """
    if not purpose:
        raise UsageError("machine_mac() wants to know what for: each interface needs an address of its own")
    first, *rest = _derived(f"mac {purpose}", machine_id)[:6]
    return ":".join(f"{byte:02x}" for byte in (first & 0xFC | 0x02, *rest))


def _derived(purpose: str, machine_id: Path) -> bytes:
    try:
        identity = bytes.fromhex(machine_id.read_text().strip())
    except (OSError, ValueError) as error:
        code = error.errno if isinstance(error, OSError) and error.errno else errno.ENOENT
        message = f"this machine has no identity in {machine_id}; systemd-machine-id-setup makes one"
        raise KernelError(code, message, str(machine_id)) from error
    if len(identity) != 16:
        message = f"{machine_id} holds no identity of 32 hexadecimal digits; systemd-machine-id-setup makes one"
        raise KernelError(errno.ENOENT, message, str(machine_id))
    return hmac.digest(identity, _APPLICATION + purpose.encode(), "sha256")
