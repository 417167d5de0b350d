"""A virtual machine with a USB bus in it: one boot that takes commands until it is closed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from gadget.errors import ClosedError, UsageError
from gadget.vm import boot, frames, prepare
from gadget.vm.command import Command, Completed
from gadget.vm.environment import guest_environment
from gadget.vm.errors import VmError, VmTimeoutError
from gadget.vm.kernel import Kernel, find_kernel
from gadget.vm.link import Link
from gadget.vm.module_build import build_module
from gadget.vm.module_load import load_command
from gadget.vm.streams import Exchange, Plumbing, Stream

#: Seconds that a boot may take; emulated on two slow cores it takes about seven. An emulated kernel has been seen to
#: hang there for good, so after half of it a guest is given up, and a new one has all of it.
BOOT_TIMEOUT = 120.0
#: Seconds that a guest may not answer; a busy host may keep an emulated one waiting for long.
HANG_TIMEOUT = 90.0
#: Seconds that a guest has to power off before QEMU is ended.
CLOSE_TIMEOUT = 5.0


class Machine:
    """A virtual machine on this machine's own root file system, with dummy_hcd, libcomposite and FunctionFS.

    Use it as a context manager: it boots when entered. Commands run as root, in ``folder`` unless said
    otherwise. What they write inside ``folder`` is written for real; all else they write is gone at the end.

    Args:
        speed: The bus's speed: ``full``, ``high`` or ``super``.
        controllers: How many pairs of host and device controller dummy_hcd makes.
        folder: The folder to share; the current one by default.
        only_read: Folders inside it that no program in the guest writes to, and nobody here while it runs; what is in
            them is then read much faster.
        kernel: A kernel's image; found or downloaded by default, see :func:`gadget.vm.kernel.find_kernel`.
        memory: As QEMU's ``-m`` takes it.
        cpus: How many processors the guest has.
        modules: Folders of kernel modules: built for the kernel, and loaded in this order after the boot; see
            :func:`gadget.vm.module_build.build_module`.
        accelerator: ``kvm`` or ``tcg``; by default KVM where a probe shows that it works.
        boot_timeout: Seconds that the boot may take; after half of it, it is begun anew once.
        hang_timeout: Seconds that the guest may not answer, before it is given up.
        say: Told what takes long, a line at a time.
        show_console: Told what the guest's console says, as it says it.
    """

    def __init__(
        self,
        *,
        speed: str = "super",
        controllers: int = 1,
        folder: Path | None = None,
        only_read: Sequence[Path] = (),
        kernel: Path | None = None,
        memory: str = "2G",
        cpus: int = 2,
        modules: Sequence[Path] = (),
        accelerator: str | None = None,
        boot_timeout: float = BOOT_TIMEOUT,
        hang_timeout: float = HANG_TIMEOUT,
        say: Callable[[str], None] = lambda line: None,
        show_console: Callable[[bytes], None] | None = None,
    ) -> None:
        boot.dummy_hcd_options(speed, controllers)
        self._speed, self._controllers = speed, controllers
        self._folder = (folder or Path.cwd()).resolve()
        self._shared = self._folder if self._folder != Path("/") else None
        self._only_read = tuple(only_read)
        self._kernel, self._memory, self._cpus = kernel, memory, cpus
        self._accelerator = accelerator
        self._module_folders, self._modules = tuple(modules), list[Path]()
        self._boot_timeout, self._hang_timeout = boot_timeout, hang_timeout
        self._say, self._show_console = say, show_console
        self._link: Link | None = None
        self._scratch: Path | None = None

    def __enter__(self) -> Machine:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Boots.

        Raises:
            VmError: Something that it needs is missing, or the guest does not come up.
            VmTimeoutError: The boot took longer than ``boot_timeout``.
        """
        if self._link is not None:
            raise UsageError("this machine is running already")
        prepare.find_program(prepare.architecture().qemu, "qemu")  # Before anything is downloaded.
        if not self._folder.is_dir():
            raise UsageError(f"{self._folder}: there is no such folder to share with the guest")
        try:
            self._boot(self._boot_timeout / 2)
        except VmTimeoutError as error:
            self._say(f"{error.args[0]}; starting another one")
            self._boot(self._boot_timeout)

    def _boot(self, timeout: float) -> None:
        self._link = self._start()
        try:
            self._await_boot(self._link, timeout)
            self._load_modules()
        except BaseException:
            self._link.kill()
            self._forget()
            raise

    def _start(self) -> Link:
        """Gets ready what a boot needs and starts the thread that owns QEMU."""
        kernel = find_kernel(self._kernel, self._say)
        self._modules = [build_module(folder, kernel, self._say) for folder in self._module_folders]
        image, initramfs = prepare.unpack_kernel(kernel), prepare.make_initramfs(kernel)
        accelerator = prepare.choose_accelerator(kernel, self._accelerator, self._say)
        self._scratch = Path(tempfile.mkdtemp(prefix="gadget-vm-"))
        script = self._scratch / "init"
        script.write_text(boot.guest_script(self._plan(kernel)))
        control, control_inside = socket.socketpair()
        console, console_inside = socket.socketpair()

        def spawn() -> subprocess.Popen[bytes]:
            with control_inside, console_inside:
                ends = (control_inside.fileno(), console_inside.fileno())
                return self._spawn(image, initramfs, accelerator, script, ends)

        link = Link(spawn, control, console, self._hang_timeout, self._show_console)
        link.start()
        return link

    def _plan(self, kernel: Kernel) -> boot.GuestPlan:
        return boot.GuestPlan(
            release=kernel.release,
            modules=kernel.modules.resolve(),
            folder=self._shared,
            cached=cached_folders(self._shared, self._only_read),
            python=Path(sys.executable),
            package_root=Path(__file__).resolve().parents[2],
            speed=self._speed,
            controllers=self._controllers,
        )

    def _spawn(
        self, image: Path, initramfs: Path, accelerator: str, script: Path, ends: tuple[int, int]
    ) -> subprocess.Popen[bytes]:
        architecture = prepare.architecture()
        busybox = prepare.find_program("busybox", "busybox").resolve()
        arguments = boot.qemu_arguments(
            architecture,
            accelerator=accelerator,
            kernel=image,
            initramfs=initramfs,
            append=boot.kernel_arguments(architecture, busybox, script),
            memory=self._memory,
            cpus=self._cpus,
            control=ends[0],
            console=ends[1],
            folder=self._shared,
        )
        return subprocess.Popen(
            [*_die_with_us(), str(prepare.find_program(architecture.qemu, "qemu")), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=ends,
            start_new_session=True,  # Ctrl-C is for the command in the guest, not for QEMU.
        )

    def _await_boot(self, link: Link, timeout: float) -> None:
        if not link.ready.wait(timeout):
            raise VmTimeoutError(f"the guest did not come up within {timeout:g} s", link.console)
        if link.lost is not None:
            raise link.lost
        if link.report:
            raise VmError(f"the guest came up without its USB bus: {link.report}", link.console)
        self._remove_scratch()

    def _load_modules(self) -> None:
        if self._modules:
            done = self.run(load_command(self._modules), capture=True)
            if done.returncode != 0:
                raise VmError(done.stderr.decode(errors="replace").strip(), self.console)

    @property
    def console(self) -> str:
        """What the guest's console said so far: the kernel's warnings, an oops, a panic."""
        return self._link.console if self._link is not None else ""

    def start(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        extra: Stream = subprocess.DEVNULL,
        tty: bool = False,
        size: tuple[int, int] | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        base_env: Mapping[str, str] | None = None,
    ) -> Command:
        """Starts a command; several can run at once.

        Args:
            argv: The program, looked for on the guest's PATH, and its arguments.
            stdin: Where its input comes from: nothing by default; None is our own standard input.
            stdout: Where its output goes: to our own by default; ``subprocess.PIPE`` to read it from the command.
            stderr: The same for its errors; ``subprocess.STDOUT`` sends them the way of ``stdout``.
            extra: Where what it writes to its file descriptor 3 goes; by default it has none.
            tty: Gives it a terminal, whose one output is ``stdout``.
            size: The terminal's rows and columns.
            cwd: The folder to run it in; the shared one by default.
            env: Variables to set beside those of ``base_env``.
            base_env: What to begin with, instead of what our own environment gives it.

        Raises:
            VmError: The guest was lost.
        """
        link = self._running()
        if base_env is None:
            base_env = guest_environment(os.environ, Path(sys.executable).parent)
        environment = {**base_env, **(env or {})}
        payload = frames.pack_start(
            [os.fsencode(part) for part in argv],
            os.fsencode(cwd.absolute() if cwd else self._folder),
            {os.fsencode(name): os.fsencode(value) for name, value in environment.items()},
            (size or (24, 80)) if tty else None,
            extra=extra != subprocess.DEVNULL,
        )
        plumbing = Plumbing()
        try:
            source = plumbing.source(stdin)
            out = plumbing.sink("stdout", stdout, 1)
            err = out if stderr == subprocess.STDOUT else plumbing.sink("stderr", stderr, 2)
            sinks = {frames.STDOUT: out, frames.STDERR: err, frames.EXTRA: plumbing.sink("extra", extra, 3)}
            command = link.start_command(
                [os.fspath(part) for part in argv],
                payload,
                source,
                {stream: descriptor for stream, descriptor in sinks.items() if descriptor is not None},
                plumbing.owned,
            )
        except BaseException:
            plumbing.close()
            raise
        for name, file in plumbing.files.items():
            setattr(command, name, file)
        return command

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        capture: bool = False,
        input: bytes | None = None,  # noqa: A002 - the name that subprocess.run gave it
        timeout: float | None = None,
        **options: Any,
    ) -> Completed:
        """Runs a command to its end.

        Args:
            argv: The program and its arguments.
            capture: Keeps what it writes, instead of passing it on.
            input: Its whole standard input.
            timeout: Seconds after which it is killed.
            options: As for :meth:`start`.

        Raises:
            VmTimeoutError: It took longer than ``timeout``.
        """
        if capture:
            options.update(stdout=subprocess.PIPE, stderr=options.get("stderr", subprocess.PIPE))
        if input is not None:
            options.update(stdin=subprocess.PIPE)
        command = self.start(argv, **options)
        exchange = Exchange(command, input)
        try:
            status = command.wait(timeout)
        except BaseException:
            command.kill()
            raise
        finally:
            exchange.close()
        return Completed(status, *exchange.results)

    def close(self) -> None:
        """Powers the guest off; what was written to the shared folder is there for good."""
        if self._link is not None:
            self._link.stop(CLOSE_TIMEOUT)
            self._forget()

    def kill(self) -> None:
        """Ends the guest at once."""
        if self._link is not None:
            self._link.kill()
            self._forget()

    def _forget(self) -> None:
        self._link = None
        self._remove_scratch()

    def _remove_scratch(self) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def _running(self) -> Link:
        if self._link is None:
            raise ClosedError("this virtual machine is not running; use it as a context manager")
        return self._link


def cached_folders(shared: Path | None, only_read: Sequence[Path] = ()) -> tuple[Path, ...]:
    """The parts of the shared folder that are only read: those that Python itself lives in, and others."""
    if shared is None:
        return ()
    folders = {folder.resolve() for folder in (Path(sys.prefix), Path(sys.base_prefix), *only_read)}
    return tuple(sorted(path for path in folders if shared in path.parents))


def _die_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
