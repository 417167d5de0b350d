"""The host of ``native.c`` and ``native.py``: ``fifo_host.py FIFO COUNT EVENTFD`` sends requests through a FIFO.

A FIFO has one queue, so an answer is told from the request by its length.
"""

import fcntl
import os
import sys
import termios

from benchmarks.programs.native_requests import ANSWER, EVENT


def waiting(fd: int) -> int:
    """How many bytes are in the queue."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def main() -> None:
    path, count, eventfd = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    fd = os.open(path, os.O_RDWR)
    for _ in range(count):
        os.write(fd, EVENT)
        os.eventfd_write(eventfd, 1)
        while waiting(fd) != len(ANSWER):
            os.sched_yield()
        if os.read(fd, len(ANSWER)) != ANSWER:
            sys.exit("this is not the answer")


if __name__ == "__main__":
    main()
