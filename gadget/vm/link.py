"""The host's side of the channel: one thread that moves the bytes of every command of one machine.

It watches the control socket, the guest's console, QEMU's own messages, and the local ends of all streams.
All of them are file descriptors, so that a command's streams may be pipes, terminals, files, or what another
process handed over, and nothing needs a thread of its own.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from gadget.errors import GadgetError
from gadget.vm import frames
from gadget.vm.command import Command, Sink, Source
from gadget.vm.console import Console
from gadget.vm.errors import CommandNotStartedError, VmError
from gadget.vm.frames import Frame

#: Seconds between two questions whether the guest is alive.
PING_INTERVAL = 5.0


class _Streams:
    """The local ends of one command's streams."""

    def __init__(self, command: Command, source: Source | None, sinks: dict[int, Sink]) -> None:
        self.command = command
        self.source = source
        self.sinks = sinks
        self.owned: list[int] = []  # Descriptors to close when the command has ended.
        self.status: int | None = None

    def drained(self) -> bool:
        return self.status is not None and not any(sink.pending for sink in self.sinks.values())


class Link(threading.Thread):
    """Owns QEMU's process and everything that goes to and from the guest.

    QEMU is started by this thread, since the kernel kills it (PR_SET_PDEATHSIG) when the thread that started it
    ends: a machine whose owner was killed must not stay behind.

    Args:
        spawn: Starts QEMU.
        control: Our end of the control port.
        console: Our end of the serial console.
        hang_timeout: Seconds that the guest may stay silent.
        show: Told what the console says, as it says it.
    """

    def __init__(
        self,
        spawn: Callable[[], subprocess.Popen[bytes]],
        control: socket.socket,
        console: socket.socket,
        hang_timeout: float,
        show: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__(name="gadget-vm", daemon=True)
        self._spawn = spawn
        self._control = control
        self._console_socket = console
        for connection in (control, console):
            connection.setblocking(False)
        self._decoder = frames.Decoder()
        self._outgoing = bytearray()
        self._commands: dict[int, _Streams] = {}
        self._count = 0
        # For what other threads touch; re-entrant, since signal handlers call in as well.
        self._lock = threading.RLock()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stopping = False
        self._hang_timeout = hang_timeout
        self._interval = min(PING_INTERVAL, hang_timeout / 4)
        self._heard = self._asked = self._looked = time.monotonic()
        self._console = Console(show)
        self.ready = threading.Event()  # The guest is up, or it is lost.
        self.report = ""
        self.lost: VmError | None = None

    @property
    def console(self) -> str:
        """What the guest's console and QEMU said so far."""
        return self._console.text

    # What other threads call.

    def send(self, kind: int, command: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        """Queues a frame for the guest."""
        with self._lock:
            self._outgoing += bytes(Frame(kind, command, stream, payload))
        self._wake()

    def start_command(
        self, argv: list[str], start: bytes, source: int | None, sinks: dict[int, int], owned: list[int]
    ) -> Command:
        """Starts a command.

        Args:
            argv: For messages.
            start: The payload of START.
            source: The descriptor that its input is read from; None ends the input at once.
            sinks: The descriptor that each of its outputs is written to; the same one may be given twice.
            owned: Which of them to close when it has ended.
        """
        with self._lock:
            if self.lost is not None:
                raise self.lost
            self._count += 1
            command = Command(self, self._count, argv)
            streams = _Streams(
                command,
                Source(source) if source is not None else None,
                {stream: Sink(descriptor) for stream, descriptor in sinks.items()},
            )
            streams.owned = owned
            self._commands[self._count] = streams
            self._outgoing += bytes(Frame(frames.START, self._count, 0, start))
            if source is None:
                self._outgoing += bytes(Frame(frames.DATA, self._count, frames.STDIN))
        self._wake()
        return command

    def stop(self, patience: float) -> None:
        """Powers the guest off and waits for the thread; QEMU is killed if the guest doesn't in time."""
        self.send(frames.POWER_OFF)
        self.join(patience)
        self._stopping = True
        self._wake()
        self.join()

    def kill(self) -> None:
        """Ends QEMU at once."""
        self._stopping = True
        self._wake()
        self.join()

    def _wake(self) -> None:
        with self._lock:  # Else the number could be another file's by now.
            if self._wake_write >= 0:
                with suppress(BlockingIOError):  # It is full of wake-ups.
                    os.write(self._wake_write, b"\0")

    # The thread.

    def run(self) -> None:
        """Starts QEMU and serves it until it ends."""
        try:
            process = self._spawn()
        except OSError as error:
            self._lose(VmError(f"QEMU cannot be started: {error}"))
            return
        except GadgetError as error:
            self._lose(VmError(str(error)))
            return
        try:
            reason = self._serve(process)
        except Exception as error:  # Whoever waits for a command must hear of it.
            reason = f"the connection to the guest broke: {error!r}"
        finally:
            process.kill()
            process.wait()
        self._read_rest(process)
        self._lose(VmError(reason, self.console))

    def _serve(self, process: subprocess.Popen[bytes]) -> str:
        """Moves bytes until QEMU ends; returns why it did."""
        assert process.stderr is not None
        messages = process.stderr.fileno()
        exit_watch = os.pidfd_open(process.pid)
        try:
            while not self._stopping:
                poller = select.poll()
                for descriptor in (self._wake_read, exit_watch, messages, self._console_socket.fileno()):
                    if descriptor >= 0:
                        poller.register(descriptor, select.POLLIN)
                self._register(poller)
                ready = dict(poller.poll(self._interval * 1000))
                if ready.get(self._wake_read):
                    os.read(self._wake_read, 4096)
                if ready.get(messages) and not self._console.take(os.read(messages, 65536)):
                    messages = -1
                if ready.get(self._console_socket.fileno()):
                    self._console.take(self._receive(self._console_socket))
                self._serve_control(ready)
                self._serve_streams(ready)
                if ready.get(exit_watch):
                    return self._console.why_it_ended(process.wait())
                if self._silent_too_long():
                    return f"the guest has not answered for {self._hang_timeout:g} s: it hangs"
        finally:
            os.close(exit_watch)
        return "the virtual machine was closed"

    def _register(self, poller: select.poll) -> None:
        wanted = {self._control.fileno(): select.POLLIN | (select.POLLOUT if self._outgoing else 0)}
        with self._lock:
            for streams in self._commands.values():
                source = streams.source
                if source is not None and not source.ended and source.credit > 0 and streams.status is None:
                    wanted[source.descriptor] = wanted.get(source.descriptor, 0) | select.POLLIN
                for sink in streams.sinks.values():
                    if sink.pending:
                        wanted[sink.descriptor] = wanted.get(sink.descriptor, 0) | select.POLLOUT
        for descriptor, events in wanted.items():
            poller.register(descriptor, events)

    def _serve_control(self, ready: dict[int, int]) -> None:
        events = ready.get(self._control.fileno(), 0)
        if events & select.POLLOUT:
            with self._lock:
                sent = self._send_some()
                del self._outgoing[:sent]
        if events & ~select.POLLOUT:
            for frame in self._decoder.feed(self._receive(self._control)):
                self._serve_frame(frame)

    def _send_some(self) -> int:
        try:
            return self._control.send(self._outgoing)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return 0

    @staticmethod
    def _receive(connection: socket.socket) -> bytes:
        try:
            return connection.recv(256 * 1024)
        except (BlockingIOError, ConnectionResetError):
            return b""

    def _serve_frame(self, frame: Frame) -> None:
        self._heard = time.monotonic()
        streams = self._commands.get(frame.command)
        if frame.kind == frames.READY:
            self.report = frame.payload.decode("utf-8", "replace").strip()
            self.ready.set()
        elif streams is None:
            return
        elif frame.kind == frames.DATA:
            self._output(streams, frame)
        elif frame.kind == frames.CREDIT and streams.source is not None:
            streams.source.credit += frames.COUNT.unpack(frame.payload)[0]
        elif frame.kind == frames.EXIT:
            streams.status = frames.COUNT.unpack(frame.payload)[0]
        elif frame.kind == frames.FAILED:
            code = frames.COUNT.unpack(frame.payload)[0]
            self._end(frame.command, error=CommandNotStartedError(code, os.strerror(code), streams.command.argv[0]))

    def _output(self, streams: _Streams, frame: Frame) -> None:
        sink = streams.sinks.get(frame.stream)
        dropped = sink.put(frame.payload) if sink is not None else len(frame.payload)
        if dropped:
            self._grant(streams.command, frame.stream, dropped)

    def _grant(self, command: Command, stream: int, count: int) -> None:
        self.send(frames.CREDIT, command._number, stream, frames.COUNT.pack(count))

    def _serve_streams(self, ready: dict[int, int]) -> None:
        with self._lock:
            current = list(self._commands.items())
        for number, streams in current:
            source = streams.source
            if source is not None and source.credit > 0 and not source.ended and ready.get(source.descriptor):
                data = source.read()
                if data or source.ended:
                    self.send(frames.DATA, number, frames.STDIN, data)
            for stream, sink in streams.sinks.items():
                if sink.pending and ready.get(sink.descriptor):
                    gone = sink.flush()
                    self._grant(streams.command, stream, gone)
                    ready.pop(sink.descriptor, None)  # It may be full now, and serve two streams.
            if streams.drained():
                self._end(number)

    def _end(self, number: int, error: BaseException | None = None) -> None:
        with self._lock:
            streams = self._commands.pop(number)
        for descriptor in streams.owned:
            os.close(descriptor)
        streams.command._finish(streams.status, error)

    def _read_rest(self, process: subprocess.Popen[bytes]) -> None:
        """What QEMU and the console said last."""
        assert process.stderr is not None
        while self._console.take(self._receive(self._console_socket)):
            pass
        with process.stderr as messages:
            self._console.take(messages.read())

    def _silent_too_long(self) -> bool:
        now = time.monotonic()
        # The boot has its own limit; and it was not the guest that stood still if this process was stopped.
        if not self.ready.is_set() or now - self._looked > 2 * self._interval + 1:
            self._heard = self._asked = now
        elif now - self._asked > self._interval:
            self._asked = now
            self.send(frames.PING)
        self._looked = now
        return now - self._heard > self._hang_timeout

    def _lose(self, error: VmError) -> None:
        with self._lock:
            self.lost = error
            numbers = list(self._commands)
        self.ready.set()
        for number in numbers:
            streams = self._commands[number]
            streams.status = None
            self._end(number, error)
        with self._lock:
            for descriptor in (self._wake_read, self._wake_write):
                os.close(descriptor)
            self._wake_write = -1
        self._control.close()
        self._console_socket.close()
