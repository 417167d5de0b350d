"""``gadget vm``: runs a command as root in a virtual machine that has a USB bus of its own."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gadget.cli.arguments import number
from gadget.errors import GadgetError, UsageError
from gadget.vm.attend import TIMED_OUT, Interrupted, attend, is_interactive, leave_in_order, window_size
from gadget.vm.boot import MAX_CONTROLLERS, SPEEDS
from gadget.vm.errors import TROUBLE, CommandNotStartedError, last_lines

#: Exit statuses when it is not the command that failed, as env(1), timeout(1) and other wrappers have them.
BENCH_FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127

_DESCRIPTION = """\
Runs COMMAND as root inside a virtual machine, in the current folder, on this machine's own root file system
and Python environment, with dummy_hcd, libcomposite, FunctionFS and configfs ready. Without COMMAND: a shell.
The current folder is shared and writable; whatever is written elsewhere is gone when the machine powers off.
"""
_EPILOG = """\
The exit status is the command's own, 124 after --timeout, 125 when the virtual machine fails, 126 or 127
when the command cannot be started. Ctrl-C goes to the command; a second one ends the machine.

examples:
  gadget vm                                    a shell with a USB bus
  gadget vm python -m pytest tests/usb         a test suite
  gadget vm --speed high gadget run echo.py    a gadget at high speed
  gadget vm --module my_driver pytest          a test suite with a kernel module loaded
  gadget vm --session ci make check            boots, or uses the machine "ci" that is up
  gadget vm --session ci --stop                ends it
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds ``vm`` to the command's parser."""
    parser = subparsers.add_parser(
        "vm",
        help="run a command in a virtual machine that has a USB bus",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="gadget vm [options] [--] [COMMAND [ARG ...]]",
    )
    add_arguments(parser)
    parser.set_defaults(handler=run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options; what follows the first word that is none belongs to the command."""
    bus = parser.add_argument_group("the USB bus")
    bus.add_argument("--speed", choices=SPEEDS, default="super", help="its speed (default: %(default)s)")
    bus.add_argument("--controllers", type=_count, default=1, metavar="N", help="how many controllers dummy_hcd makes")
    machine = parser.add_argument_group("the machine")
    machine.add_argument("--memory", default="2G", metavar="SIZE", help="its memory (default: %(default)s)")
    machine.add_argument("--cpus", type=_count, default=2, metavar="N", help="its processors (default: 2)")
    machine.add_argument(
        "--module",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="build the kernel module in DIR (a Kbuild) and load it; may be repeated",
    )
    machine.add_argument("--kernel", type=Path, metavar="IMAGE", help="the kernel to boot (or GADGET_VM_KERNEL)")
    machine.add_argument(
        "--accelerator", choices=("kvm", "tcg"), help="do not probe for KVM (or GADGET_VM_ACCELERATOR)"
    )
    machine.add_argument(
        "--here", action="store_true", help="no machine: this kernel and its own dummy_hcd; needs root"
    )
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="end the command after that long")
    parser.add_argument("--session", metavar="NAME", help="use the machine of that name; boot it if it is not up")
    parser.add_argument("--stop", action="store_true", help="with --session: end that machine")
    parser.add_argument(
        "--prepare", action="store_true", help="only get ready: kernel, initramfs, and whether KVM works"
    )
    voice = parser.add_mutually_exclusive_group()
    voice.add_argument("-q", "--quiet", action="store_true", help="say nothing but what the command says")
    voice.add_argument("-v", "--verbose", action="store_true", help="show the guest's console on stderr")
    parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND", help=argparse.SUPPRESS)


def _count(text: str) -> int:
    found = number(text)
    if not 1 <= found <= MAX_CONTROLLERS:
        raise argparse.ArgumentTypeError(f"{found} is not between 1 and {MAX_CONTROLLERS}")
    return found


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no time to wait")
    return found


def run(args: argparse.Namespace) -> int:
    """Does what the command line says; returns the exit status."""
    argv = command_of(args)
    way = _choose(args, argv)
    try:
        return way(args, argv or _shell())
    except UsageError:
        raise
    except CommandNotStartedError as error:
        complain(f"{error.filename}: {error.strerror}")
        return NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE
    except GadgetError as error:
        complain(error.strerror if isinstance(error, OSError) and error.strerror else str(error))
        return BENCH_FAILED
    except Interrupted as error:
        complain("interrupted.")
        return 128 + int(error.args[0])


def command_of(args: argparse.Namespace) -> list[str]:
    """The command and its arguments; empty if none was given."""
    argv: list[str] = args.argv
    return argv[1:] if argv[:1] == ["--"] else argv


def _choose(args: argparse.Namespace, argv: list[str]) -> Callable[[argparse.Namespace, list[str]], int]:
    if args.stop and not args.session:
        raise UsageError("--stop ends a session: name it with --session")
    if args.here and (args.session or args.prepare or args.module):
        raise UsageError("--here uses no machine: it goes with neither --session nor --prepare nor --module")
    if (args.stop or args.prepare) and argv:
        raise UsageError("--stop and --prepare run no command")
    if args.stop:
        return _stop
    if args.prepare:
        return _prepare
    if args.here:
        return _run_here
    return _run_in_session if args.session else _run_in_machine


def _machine_options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "speed": args.speed,
        "controllers": args.controllers,
        "memory": args.memory,
        "cpus": args.cpus,
        "accelerator": args.accelerator,
    }


def _run_in_machine(args: argparse.Namespace, argv: list[str]) -> int:
    from gadget.vm.machine import Machine

    if Path.cwd() == Path("/"):
        speaker(args)("the current folder is /, which is not shared: what the command writes is gone at the end.")
    machine = Machine(
        **_machine_options(args),
        kernel=args.kernel,
        modules=args.module,
        say=speaker(args),
        show_console=_show if args.verbose else None,
    )
    with leave_in_order(), machine:
        size = window_size() if is_interactive() else None
        command = machine.start(argv, stdin=None, tty=size is not None, size=size)
        try:
            return attend(command, terminal=size is not None, timeout=args.timeout, complain=complain)
        except Interrupted:
            machine.kill()
            raise
        finally:
            if not args.verbose:
                _tell_trouble(machine.console)


def _run_in_session(args: argparse.Namespace, argv: list[str]) -> int:
    from gadget.vm.session import session_command

    options = {**_machine_options(args), "kernel": str(args.kernel.absolute()) if args.kernel else None}
    size = window_size() if is_interactive() else None
    argv = _with_modules(args, argv)
    with leave_in_order(), session_command(args.session, options, argv, size, speaker(args)) as command:
        return attend(command, terminal=size is not None, timeout=args.timeout, complain=complain)


def _with_modules(args: argparse.Namespace, argv: list[str]) -> list[str]:
    """The command after the modules were built; in the machine that is up it begins with loading what is new."""
    if not args.module:
        return argv
    from gadget.vm.kernel import find_kernel
    from gadget.vm.module_build import build_module
    from gadget.vm.module_load import load_command

    found = find_kernel(args.kernel, speaker(args))
    return load_command([build_module(folder, found, speaker(args)) for folder in args.module], argv)


def _stop(args: argparse.Namespace, argv: list[str]) -> int:
    from gadget.vm.session import stop_session

    if not stop_session(args.session):
        speaker(args)(f"session {args.session!r} is not running.")
    return 0


def _run_here(args: argparse.Namespace, argv: list[str]) -> int:
    from gadget.vm.here import prepare_bus

    prepare_bus(args.speed, args.controllers)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"}
    try:
        process = subprocess.Popen(argv, env=environment)
    except OSError as error:
        raise CommandNotStartedError(error.errno or 0, error.strerror or "", argv[0]) from error
    with process:
        try:
            status = process.wait(args.timeout)
        except subprocess.TimeoutExpired:
            process.terminate()
            complain(f"the command still ran after {args.timeout:g} s and was ended (--timeout).")
            return TIMED_OUT
    return status if status >= 0 else 128 - status


def _prepare(args: argparse.Namespace, argv: list[str]) -> int:
    from gadget.vm import kernel, module_build, prepare

    say = speaker(args)
    prepare.find_program(prepare.architecture().qemu, "qemu")
    found = kernel.find_kernel(args.kernel, say)
    prepare.make_initramfs(found)
    prepare.unpack_kernel(found)
    for folder in args.module:
        module_build.build_module(folder, found, say)
    accelerator = prepare.choose_accelerator(found, args.accelerator, say)
    print(f"ready: Linux {found.release}, {accelerator.upper()}")
    return 0


def _show(data: bytes) -> None:
    os.write(2, data)


def _tell_trouble(console: str) -> None:
    """An oops does not end the guest, but whoever sees a command fail has to know of it."""
    if TROUBLE.search(console):
        complain("the guest's kernel reported a problem. Its last lines:\n" + last_lines(console, 20))


def speaker(args: argparse.Namespace) -> Callable[[str], None]:
    """What tells the user about things that take long: a line on stderr, unless asked to be quiet."""
    if args.quiet:
        return lambda line: None
    return lambda line: print(f"gadget vm: {line}", file=sys.stderr, flush=True)


def complain(message: str) -> None:
    """Says on stderr what went wrong."""
    print(f"gadget vm: {message}", file=sys.stderr, flush=True)


def _shell() -> list[str]:
    """What runs if no command is given."""
    shell = os.environ.get("SHELL", "")
    return [shell if shell and Path(shell).is_file() else "/bin/sh"]
