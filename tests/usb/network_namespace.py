"""A network namespace for one end of a link, so that the two ends do not find each other inside the kernel."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class NetworkNamespace:
    """What runs in it runs in one thread, which alone lives there."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        self._id = thread.submit(threading.get_native_id).result()

    def take(self, interface: str, address: str) -> None:
        """Moves a network interface into it, gives it an address, and takes it up."""
        ip("link", "set", interface, "netns", str(self._id))
        self._thread.submit(_configure, interface, address).result()

    def ping(self, address: str, size: int = 1400, timeout: float = 30.0) -> None:
        """Sends ICMP echo requests until one is answered with the same bytes.

        Raises:
            TimeoutError: None was.
        """
        self._thread.submit(_ping, address, os.urandom(size), timeout).result()


def _configure(interface: str, address: str) -> None:
    ip("address", "add", address, "dev", interface)
    ip("link", "set", interface, "up")


def _ping(address: str, data: bytes, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
        icmp.settimeout(0.5)
        for sequence in range(0x10000):
            if time.monotonic() > deadline:
                break
            request = _echo(8, sequence, data)
            try:
                icmp.sendto(request, (address, 0))
                while True:
                    packet = icmp.recv(65536)
                    if packet[(packet[0] & 15) * 4 :] == _echo(0, sequence, data):
                        return
            except OSError:
                continue  # Too early: no carrier, no neighbour, no answer in time.
    raise TimeoutError(f"{address} has not answered in {timeout:g} s")


def _echo(kind: int, sequence: int, data: bytes) -> bytes:
    """An ICMP echo message (RFC 792)."""
    whole = struct.pack("!BBHHH", kind, 0, 0, os.getpid() & 0xFFFF, sequence) + data
    words = struct.unpack(f"!{len(whole) // 2}H", whole)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return whole[:2] + struct.pack("!H", ~total & 0xFFFF) + whole[4:]


@contextmanager
def network_namespace() -> Iterator[NetworkNamespace]:
    """One for the length of a ``with`` block."""
    libc = ctypes.CDLL(None, use_errno=True)

    def leave() -> None:
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(leave).result()
        yield NetworkNamespace(thread)
