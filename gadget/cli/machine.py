"""What ``gadget doctor`` can find out about the machine that it runs on."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path

from gadget.cli.boot_configuration import lines_that_count
from gadget.configfs.udc import Controller, list_controllers

#: SIOCGIFADDR of ``include/uapi/linux/sockios.h``.
_SIOCGIFADDR = 0x8915


@dataclass(frozen=True)
class Machine:
    """A machine, or a folder that stands in for one.

    Attributes:
        root: The folder of its files.
        uid: Whose rights the command has.
        environment: The environment of the command.
        prefix: Where this Python's packages are.
        is_virtual_environment: Whether that is a virtual environment.
    """

    root: Path = Path("/")
    uid: int = field(default_factory=os.geteuid)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    prefix: Path = Path(sys.prefix)
    is_virtual_environment: bool = sys.prefix != sys.base_prefix

    def text(self, path: str) -> str:
        """What a file says; nothing if it is not there."""
        try:
            return (self.root / path).read_text(errors="replace").strip("\0\n ")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return (self.root / path).exists()

    @property
    def release(self) -> str:
        """The kernel's release."""
        return self.text("proc/sys/kernel/osrelease")

    @property
    def version(self) -> tuple[int, ...]:
        """The first two numbers of that."""
        parts = self.release.replace("-", ".").split(".")[:2]
        return tuple(int(part) for part in parts if part.isdecimal())

    @property
    def loaded(self) -> set[str]:
        """The modules that are loaded."""
        return {line.partition(" ")[0] for line in self.text("proc/modules").splitlines()}

    def has_module(self, name: str) -> bool:
        """Whether the kernel has a module: loaded, built in, or to be loaded."""
        folder = f"lib/modules/{self.release}"
        listed = (self.text(f"{folder}/{file}") for file in ("modules.builtin", "modules.dep"))
        files = (line.partition(":")[0].rpartition("/")[2] for text in listed for line in text.splitlines())
        names = {file.partition(".")[0].replace("-", "_") for file in files}
        return name in self.loaded or name in names or self.exists(f"sys/module/{name}")

    @property
    def controllers(self) -> list[Controller]:
        """Its controllers."""
        return list_controllers(self.root / "sys/class/udc", self.root / "sys/kernel/config/usb_gadget")

    @property
    def raspberry_pi(self) -> str:
        """Which Raspberry Pi it is; empty for none."""
        model = self.text("proc/device-tree/model")
        return model if model.startswith("Raspberry Pi") else ""

    def boot_configuration(self) -> tuple[str, list[str]]:
        """The firmware's configuration file of a Raspberry Pi, and the lines of it that count on this model."""
        for path in ("boot/firmware/config.txt", "boot/config.txt"):
            if self.exists(path):
                return f"/{path}", list(lines_that_count(self.text(path), self.raspberry_pi))
        return "/boot/firmware/config.txt", []

    @property
    def distribution(self) -> str:
        """What os-release(5) calls the distribution: "debian", "ubuntu"."""
        lines = self.text("etc/os-release").splitlines()
        return next((line.removeprefix("ID=").strip('"') for line in lines if line.startswith("ID=")), "")

    def module_lists(self) -> Iterator[tuple[str, list[str]]]:
        """The files that name modules to load at boot (modules-load.d(5)), each with those that it names."""
        found = sorted((self.root / "etc/modules-load.d").glob("*.conf"))
        for path in ["etc/modules", *(str(each.relative_to(self.root)) for each in found)]:
            words = (line.split() for line in self.text(path).splitlines())
            yield f"/{path}", [each[0] for each in words if each and each[0][0] not in "#;"]
        for path in ("boot/firmware/cmdline.txt", "boot/cmdline.txt"):
            for word in self.text(path).split():
                name, _, modules = word.partition("=")
                if name in ("modules-load", "rd.modules-load"):
                    yield f"/{path}", modules.split(",")

    def own_address(self) -> str:
        """The address of this side of the SSH connection that the command runs in; empty if there is none."""
        words = self.environment.get("SSH_CONNECTION", "").split()
        return words[2] if len(words) == 4 else self._address_of_parents()

    def _address_of_parents(self) -> str:
        """What sudo has left out of the environment, a parent still has."""
        process = self.text("proc/self/stat").rpartition(")")[2].split()
        parent = process[1] if len(process) > 1 else "0"
        while parent not in ("0", "1", ""):
            for line in self.text(f"proc/{parent}/environ").split("\0"):
                words = line.removeprefix("SSH_CONNECTION=").split()
                if line.startswith("SSH_CONNECTION=") and len(words) == 4:
                    return words[2]
            fields = self.text(f"proc/{parent}/stat").rpartition(")")[2].split()
            parent = fields[1] if len(fields) > 1 else "0"
        return ""

    def interface_of(self, address: str) -> str:
        """The network interface that has an address; empty if none has it."""
        return next((name for name, each in self.addresses() if each == address.partition("%")[0]), "")

    def addresses(self) -> Iterator[tuple[str, str]]:
        """The network interfaces with their addresses."""
        for line in self.text("proc/net/if_inet6").splitlines():
            digits, *_, name = line.split()
            yield name, socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
        for path in sorted((self.root / "sys/class/net").glob("*")):
            if address := _ipv4(path.name):
                yield path.name, address

    def is_gadgets(self, interface: str) -> bool:
        """Whether a network interface is one that a gadget has made."""
        device = self.root / "sys/class/net" / interface / "device"
        return device.exists() and any(part.startswith("gadget") for part in device.resolve().parts)


def _ipv4(interface: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = ioctl(asking, _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError:
            return ""
    return socket.inet_ntoa(answer[20:24])
