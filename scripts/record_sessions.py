"""Runs the commands of recorded terminal sessions and writes down what they say; see scripts/record.

A session is a text: what begins with "$ " is a command, and the rest is what the commands have said. A command that
ends in "&" runs on until the session ends, or until "kill -9 %1"; its first line is what it says.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
SESSIONS = DOCS / "sessions"
#: How long a command may take, in seconds: the machine is slow.
PATIENCE = 120


def commands(text: str) -> list[str]:
    """The commands of a session."""
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]


def record(text: str, folder: Path) -> str:
    """Runs a session, and returns it with what its commands say now.

    Args:
        text: The session.
        folder: Where its commands run; the samples of the documentation lie there.
    """
    environment = {**os.environ, "NO_COLOR": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment["COLUMNS"] = "100"
    parts: list[str] = []
    running: list[subprocess.Popen[str]] = []
    with ExitStack() as stack:
        stack.callback(_remove_all)
        for command in commands(text):
            parts.append(f"$ {command}\n{_said(command, folder, environment, stack, running)}")
            _wait_for_hosts()
    # What a gadget's record says of who has made it names the programs of this installation.
    return "".join(parts).replace(f"{Path(sys.executable).parent}/", ".venv/bin/")


def _said(
    command: str, folder: Path, environment: dict[str, str], stack: ExitStack, running: list[subprocess.Popen[str]]
) -> str:
    if command == "kill -9 %1":
        running[0].kill()
        running[0].wait(PATIENCE)
        return ""
    if command.endswith("&"):
        words = command.removesuffix("&").split()
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        stack.callback(_end, process)
        running.append(process)
        assert process.stdout is not None
        return process.stdout.readline()
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(PATIENCE)
    if process.stdout is not None:
        process.stdout.close()


def _wait_for_hosts() -> None:
    """As somebody at a terminal does, who does not type the next command within a millisecond."""
    from gadget.configfs.udc import list_controllers

    end = time.monotonic() + PATIENCE
    while left := [each.name for each in list_controllers() if each.gadget is not None and each.state != "configured"]:
        if time.monotonic() > end:
            raise TimeoutError(f"the host has not configured the device on {', '.join(left)} within {PATIENCE} s")
        time.sleep(0.1)  # The controllers of several processes are asked, and tell nobody.


def _remove_all() -> None:
    """What sessions have made must not be in the next one's way."""
    from gadget.services.existing import list_gadgets

    for gadget in list_gadgets():
        gadget.remove()


def comparable(text: str) -> str:
    """A session without what is another one each time: numbers of processes, addresses, the kernel's release."""
    return re.sub(r"process \d+|[0-9a-f]{2}(:[0-9a-f]{2}){5}|Linux \S+", "", text)


def _sessions(names: list[str]) -> Iterator[Path]:
    for path in sorted(SESSIONS.glob("*.txt")):
        if not names or path.stem in names:
            yield path


def main() -> int:
    """Records them, or says which of those on file are not true any more."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", metavar="NAME", nargs="*", help="which of docs/sessions; all of them")
    parser.add_argument("--check", action="store_true", help="only say which are not true any more")
    options = parser.parse_args()
    status = 0
    for path in _sessions(options.names):
        before = path.read_text()
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(DOCS / "samples", folder, dirs_exist_ok=True)
            now = record(before, Path(folder))
        if options.check and comparable(now) != comparable(before):
            print(f"{path.stem}: it says something else now\n{now}", flush=True)
            status = 1
        elif not options.check:
            path.write_text(now)
            print(f"recorded {path.stem}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
