"""Runs several commands at once and prints what each says, line by line, as it comes.

python examples/aio_watch/watch.py 'ping -c 3 localhost' 'ls -l' ...

One context watches all their pipes: an AIO poll for each, started again when its pipe was read. There is no event loop.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from gadget.aio import Context, Operation


class Watched:
    """A command, and what of its last line has come."""

    def __init__(self, command: str) -> None:
        self.command, self._rest = command, b""
        self.process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self.process.stdout is not None
        self.pipe = self.process.stdout
        self.poll = Operation.poll(self.pipe, select.POLLIN)
        self.poll.user_data = self

    def read(self) -> Iterator[str] | None:
        """The lines that are there now; None at the end."""
        data = os.read(self.pipe.fileno(), 65536)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return (line.decode(errors="replace") for line in lines)

    @property
    def rest(self) -> str:
        """What comes after the last line, at the end."""
        return self._rest.decode(errors="replace")

    def close(self) -> int:
        """Returns the exit status."""
        self.pipe.close()
        return self.process.wait()


def watch(commands: list[str], tell: Callable[[str, str], None]) -> dict[str, int]:
    """Calls ``tell`` with a command and a line of its output; returns the exit status of each."""
    with ExitStack() as stack:
        context = stack.enter_context(Context(max(1, len(commands))))
        watched = [Watched(command) for command in commands]
        for each in watched:
            stack.callback(each.close)
        context.start(*(each.poll for each in watched))
        while context.in_flight:
            context.submit()
            for poll in context.wait():
                _read(context, poll, tell)
        return {each.command: each.close() for each in watched}


def _read(context: Context, poll: Operation, tell: Callable[[str, str], None]) -> None:
    poll.check()
    watched = poll.user_data
    assert isinstance(watched, Watched)
    lines = watched.read()
    if lines is None:
        if watched.rest:
            tell(watched.command, watched.rest)
        return
    for line in lines:
        tell(watched.command, line)
    context.start(poll)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", nargs="+")
    statuses = watch(parser.parse_args().command, lambda command, line: print(f"{command}: {line}", flush=True))
    raise SystemExit(max(statuses.values()))
