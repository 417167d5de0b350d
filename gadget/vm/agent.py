"""The guest's side: starts commands and carries their streams over one virtio-serial port.

It runs inside the virtual machine as ``python -I -S``, started by the script of :mod:`gadget.vm.boot`, and
imports next to nothing, because under emulation every module costs time at each boot. One loop, one
``poll``, no threads. When the host goes away, it returns, and the guest powers off.
"""

from __future__ import annotations

import os
import select
import sys
import time

from gadget.vm import frames
from gadget.vm.frames import Frame
from gadget.vm.guest_process import Process

_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


def find_port(name: str) -> str:
    """The device node of a virtio-serial port. There is no udev here that would make a link of its name."""
    root = "/sys/class/virtio-ports"
    for entry in os.listdir(root):  # noqa: PTH208 - pathlib is far too slow to import here
        with open(f"{root}/{entry}/name") as file:  # noqa: PTH123
            if file.read().strip() == name:
                return f"/dev/{entry}"
    raise FileNotFoundError(f"there is no virtio-serial port named {name}")


class Agent:
    """The loop over the port and every command's descriptors."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.decoder = frames.Decoder()
        self.outgoing = bytearray()
        self.processes: dict[int, Process] = {}
        self.running = True

    def send(self, kind: int, command: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        """Queues a frame. The windows bound how much can be queued."""
        self.outgoing += bytes(Frame(kind, command, stream, payload))

    def run(self) -> None:
        """Works until the host says so or goes away."""
        while self.running:
            poller = select.poll()
            self._register(poller)
            ready = dict(poller.poll())
            if ready.get(self.port, 0):
                self._serve_port(ready[self.port])
            for process in list(self.processes.values()):
                self._serve_process(process, ready)
        os.sync()

    def _register(self, poller: select.poll) -> None:
        poller.register(self.port, select.POLLIN | (select.POLLOUT if self.outgoing else 0))
        for process in self.processes.values():
            if process.status is None:
                poller.register(process.pidfd, select.POLLIN)
            wanted: dict[int, int] = {}
            for stream, descriptor in process.outputs.items():
                if process.credit[stream] > 0:
                    wanted[descriptor] = wanted.get(descriptor, 0) | select.POLLIN
            if process.input:
                wanted[process.stdin] = wanted.get(process.stdin, 0) | select.POLLOUT
            for descriptor, events in wanted.items():
                poller.register(descriptor, events)

    def _serve_port(self, events: int) -> None:
        if events & select.POLLOUT and self.outgoing:
            self._flush()
        if events & select.POLLIN:
            try:
                data = os.read(self.port, 64 * 1024)
            except BlockingIOError:
                return
            for frame in self.decoder.feed(data):
                self._serve_frame(frame)
        elif events & (select.POLLHUP | select.POLLERR):
            self.running = False

    def _flush(self) -> None:
        try:
            sent = os.write(self.port, self.outgoing[: frames.CHUNK])
        except BlockingIOError:
            return
        del self.outgoing[:sent]

    def _serve_frame(self, frame: Frame) -> None:
        process = self.processes.get(frame.command)
        if frame.kind == frames.START:
            self._start(frame)
        elif frame.kind == frames.PING:
            self.send(frames.PONG)
        elif frame.kind == frames.POWER_OFF:
            self.running = False
        elif process is None:
            return  # It ended while this frame was on its way.
        elif frame.kind == frames.DATA and process.stdin >= 0:
            process.input += frame.payload
            process.input_ended = process.input_ended or not frame.payload
            self._feed(process)
        elif frame.kind == frames.CREDIT:
            process.credit[frame.stream] += frames.COUNT.unpack(frame.payload)[0]
        elif frame.kind == frames.SIGNAL:
            process.signal(frame.payload[0])
        elif frame.kind == frames.RESIZE and process.master >= 0:
            process.resize(*frames.SIZE.unpack(frame.payload))

    def _start(self, frame: Frame) -> None:
        try:
            self.processes[frame.command] = Process(frame.command, frame.payload)
        except OSError as error:
            self.send(frames.FAILED, frame.command, payload=frames.COUNT.pack(error.errno or 1))

    def _serve_process(self, process: Process, ready: dict[int, int]) -> None:
        if process.status is None and ready.get(process.pidfd):
            process.reap()
        if process.input and ready.get(process.stdin, 0) & (select.POLLOUT | select.POLLERR):
            self._feed(process)
        for stream, descriptor in list(process.outputs.items()):
            if process.status is not None:
                while stream in process.outputs and process.credit[stream] > 0:
                    self._fetch(process, stream, descriptor)
            elif ready.get(descriptor, 0) & _READABLE:
                self._fetch(process, stream, descriptor)
        if process.status is not None and not process.outputs:
            self.send(frames.EXIT, process.number, payload=frames.COUNT.pack(process.status))
            process.close()
            del self.processes[process.number]

    def _feed(self, process: Process) -> None:
        """Writes what has arrived for the command, and grants the host as much more."""
        if process.input:
            try:
                taken = os.write(process.stdin, process.input)
            except BlockingIOError:
                return
            except OSError:  # EPIPE: the command closed its input. What it doesn't want is dropped.
                process.input_ended = True
                taken = len(process.input)
            del process.input[:taken]
            self.send(frames.CREDIT, process.number, frames.STDIN, frames.COUNT.pack(taken))
        if process.input_ended and not process.input:
            process.end_input()

    def _fetch(self, process: Process, stream: int, descriptor: int) -> None:
        """Reads what the command wrote, as far as the host grants.

        Once the command has ended, its streams end with what is in them: something that it left running in
        the background may hold them open for ever.
        """
        try:
            data = os.read(descriptor, min(process.credit[stream], frames.CHUNK))
        except BlockingIOError:
            if process.status is None:
                return
            data = b""
        except OSError:  # EIO: nobody has the other side of the terminal open any more.
            data = b""
        process.credit[stream] -= len(data)
        self.send(frames.DATA, process.number, stream, data)
        if not data:
            del process.outputs[stream]
            if descriptor != process.master:
                os.close(descriptor)


def open_port(name: str, patience: float = 10.0) -> int:
    """Opens the port and waits until the host is there: before, it only reports a hang-up."""
    port = os.open(find_port(name), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    poller = select.poll()
    poller.register(port, select.POLLOUT)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if any(events & select.POLLOUT and not events & select.POLLHUP for _, events in poller.poll(100)):
            return port
        time.sleep(0.01)  # poll returns at once while the hang-up lasts.
    raise TimeoutError("the host is not listening")


def main(name: str) -> None:
    """Runs the agent.

    Args:
        name: The port's name. Standard input carries what the set-up of the guest has to report.
    """
    os.umask(0o022)
    agent = Agent(open_port(name))
    report = b"".join(iter(lambda: os.read(0, 4096), b""))
    agent.send(frames.READY, payload=report)
    agent.run()


if __name__ == "__main__":
    main(sys.argv[1])
