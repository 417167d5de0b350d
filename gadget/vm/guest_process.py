"""A command's process in the guest, on pipes or on a terminal. Part of the agent; the same thrift applies."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from gadget.vm import frames

_signal = __import__("_signal")  # The C part of the signal module, whose Python part would import enum.

TYPE_CHECKING = False  # What typing.TYPE_CHECKING says, without importing typing.
if TYPE_CHECKING:
    from collections.abc import Callable


def _try_write(descriptor: int, data: bytes) -> None:
    try:
        os.write(descriptor, data)
    except OSError:
        return  # A terminal that nobody has open any more, or whose input queue is full.


class ExtraOutput:
    """The pipe behind a command's descriptor 3, where one is wanted: what it reports beside its output."""

    def __init__(self, outputs: dict[int, int], *, wanted: bool) -> None:
        self._outputs = outputs
        self._inside = -1
        if wanted:
            outputs[frames.EXTRA], self._inside = os.pipe()

    def become(self) -> None:
        """Makes it descriptor 3 of the child, which exec keeps open."""
        if self._inside >= 0:
            os.dup2(self._inside, frames.EXTRA)

    def __enter__(self) -> ExtraOutput:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Only the child writes to it; and a command that could not be started has no outputs."""
        if self._inside >= 0:
            os.close(self._inside)
            if kind is not None:
                os.close(self._outputs.pop(frames.EXTRA))


class Process:
    """One command: its process and what is on its way to and from it."""

    def __init__(self, number: int, payload: bytes) -> None:
        self.number = number
        self.status: int | None = None
        self.input = bytearray()
        self.input_ended = False
        self.stdin = self.master = -1
        self.outputs: dict[int, int] = {}  # stream -> file descriptor
        self.credit = dict.fromkeys((frames.STDOUT, frames.STDERR, frames.EXTRA), frames.WINDOW)
        argv, cwd, environment, size, extra = frames.unpack_start(payload)
        with ExtraOutput(self.outputs, wanted=extra) as output:
            if size is not None:
                self._spawn_on_terminal(argv, cwd, environment, size, output)
            else:
                self._spawn_on_pipes(argv, cwd, environment, output)
        self.pidfd = os.pidfd_open(self.pid)
        for descriptor in {self.stdin, *self.outputs.values()}:
            os.set_blocking(descriptor, False)

    def _spawn_on_terminal(
        self,
        argv: list[bytes],
        cwd: bytes,
        environment: dict[bytes, bytes],
        size: tuple[int, int],
        extra: ExtraOutput,
    ) -> None:
        master, slave = os.openpty()
        self.stdin = self.master = master
        self.outputs[frames.STDOUT] = master
        self.resize(*size)

        def become() -> None:
            os.login_tty(slave)
            extra.become()

        try:
            self._spawn(argv, cwd, environment, become)
        except OSError:
            os.close(master)
            raise
        finally:
            os.close(slave)

    def _spawn_on_pipes(
        self, argv: list[bytes], cwd: bytes, environment: dict[bytes, bytes], extra: ExtraOutput
    ) -> None:
        inside, self.stdin = os.pipe()
        out, out_inside = os.pipe()
        err, err_inside = os.pipe()
        self.outputs.update({frames.STDOUT: out, frames.STDERR: err})

        def become() -> None:
            os.setsid()
            for target, source in enumerate((inside, out_inside, err_inside)):
                os.dup2(source, target)
            extra.become()

        try:
            self._spawn(argv, cwd, environment, become)
        except OSError:
            for descriptor in (self.stdin, out, err):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (inside, out_inside, err_inside):
                os.close(descriptor)

    def _spawn(
        self, argv: list[bytes], cwd: bytes, environment: dict[bytes, bytes], become: Callable[[], None]
    ) -> None:
        """Forks and executes; an error on the child's side comes back through a pipe that exec closes."""
        watch, report = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                become()
                # Python ignores these two, and what is ignored stays ignored across exec.
                _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
                _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
                os.chdir(cwd)
                os.execvpe(argv[0], argv, environment)
            except OSError as error:
                os.write(report, frames.COUNT.pack(error.errno or 1))
            finally:
                os._exit(127)
        os.close(report)
        failure = os.read(watch, frames.COUNT.size)
        os.close(watch)
        if failure:
            os.waitpid(self.pid, 0)
            code: int = frames.COUNT.unpack(failure)[0]
            raise OSError(code, os.strerror(code))

    def resize(self, rows: int, columns: int) -> None:
        """Gives the terminal another size; the kernel tells the foreground group with SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def signal(self, number: int) -> None:
        """Sends a signal to the command and everything in its process group."""
        if self.status is None:
            os.killpg(self.pid, number)  # The leader is not reaped yet, so its group exists.

    def reap(self) -> None:
        """Notes how the process ended, once its pidfd is readable."""
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self.status = code if code >= 0 else 128 - code
        os.close(self.pidfd)

    def end_input(self) -> None:
        """Tells the command that its input is over."""
        if self.stdin < 0:
            return
        if self.master >= 0:
            _try_write(self.master, b"\x04")  # VEOF; the master has to stay open for the output.
        else:
            os.close(self.stdin)
        self.stdin = -1

    def close(self) -> None:
        """Lets go of every descriptor. What still runs in the group and holds a terminal gets SIGHUP."""
        for descriptor in {self.stdin, self.master, *self.outputs.values()} - {-1}:
            os.close(descriptor)
        self.outputs = {}
