"""What starts a guest: QEMU's arguments, and the script that turns its root into ours. Pure: text in, text out.

The guest's root is this machine's own root file system, exported read-only over 9p and cached in the guest,
with a tmpfs over it: a command may write anywhere, and all of it is gone at power-off. Only the shared
folder is the real one, uncached, so that both sides see each other's writes at once.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from gadget.errors import UsageError

#: The name of the virtio-serial port that the agent talks on.
CONTROL_PORT = "gadget.control"
SPEEDS = ("full", "high", "super")
MAX_CONTROLLERS = 32  # MAX_NUM_UDC in drivers/usb/gadget/udc/dummy_hcd.c

_MOUNT_9P = "trans=virtio,version=9p2000.L,msize=524288,access=any"


@dataclass(frozen=True)
class Architecture:
    """How QEMU and the kernel name the parts of one kind of machine; ``emulated_cpu`` is the processor without KVM."""

    qemu: str
    machine: str
    console: str
    emulated_cpu: str = "max"


ARCHITECTURES = {
    # A processor with "enhanced rep movsb" has the kernel and libc copy and clear memory with that, which QEMU carries
    # out byte by byte.
    "x86_64": Architecture("qemu-system-x86_64", "q35", "ttyS0", "max,-erms,-fsrm"),
    "aarch64": Architecture("qemu-system-aarch64", "virt", "ttyAMA0"),
}


@dataclass(frozen=True)
class GuestPlan:
    """Everything that the guest's set-up depends on.

    Attributes:
        release: The kernel's release, as ``uname -r`` says it.
        modules: The folder of its modules on this machine, ``.../lib/modules/RELEASE``.
        folder: The folder to share writable, or None for none.
        cached: Folders inside it that are bound back over it from the cached root, read-only: the Python
            environment, whose many small files would be slow to read uncached.
        python: The interpreter that runs the agent.
        package_root: The folder that contains the ``gadget`` package.
        speed: One of ``SPEEDS``.
        controllers: How many host controllers and device controllers dummy_hcd makes.
    """

    release: str
    modules: Path
    folder: Path | None
    cached: tuple[Path, ...]
    python: Path
    package_root: Path
    speed: str = "super"
    controllers: int = 1


def dummy_hcd_options(speed: str, controllers: int) -> list[str]:
    """The module parameters of dummy_hcd (drivers/usb/gadget/udc/dummy_hcd.c, mod_data).

    Raises:
        UsageError: No such speed, or a number of controllers that the driver doesn't take.
    """
    if speed not in SPEEDS:
        raise UsageError(f"speed {speed!r}: choose one of {', '.join(SPEEDS)}")
    if not 1 <= controllers <= MAX_CONTROLLERS:
        raise UsageError(f"{controllers} controllers: dummy_hcd takes 1 to {MAX_CONTROLLERS}")
    return [
        f"is_super_speed={int(speed == 'super')}",
        f"is_high_speed={int(speed != 'full')}",
        f"num={controllers}",
    ]


def quote_option(value: str) -> str:
    """Escapes a value inside a QEMU option list, where a comma would end it."""
    return value.replace(",", ",,")


def export(name: str, path: Path, *, readonly: bool) -> list[str]:
    """QEMU's arguments that export a folder over 9p under the mount tag ``name``.

    ``multidevs=remap`` keeps inode numbers apart where the folder spans several file systems.
    """
    identity = "fs" + name.strip("/").replace(".", "_").replace("/", "_")
    options = f"local,id={identity},path={quote_option(str(path))},security_model=none,multidevs=remap"
    return [
        *("-fsdev", options + (",readonly=on" if readonly else "")),
        *("-device", f"virtio-9p-pci,fsdev={identity},mount_tag={name}"),
    ]


def kernel_arguments(architecture: Architecture, busybox: Path, script: Path) -> str:
    """The kernel's command line: quiet but for warnings, a reboot on panic, and our script as init.

    virtme-ng's initramfs has loaded the virtio and 9p drivers and mounted the root uncached when init starts.
    A shell and three mounts later everything is read through the cached mount: starting programs from the
    uncached one would take most of the boot's time.
    """
    for path in (busybox, script):
        if set(str(path)) & set("\"'"):
            raise UsageError(f"{path}: a path with a quote in it cannot be passed to the kernel")
    prelude = (
        "mount -t proc proc /proc; mount -t tmpfs run /run; mkdir /run/lower; "
        f"mount -t 9p -o ro,cache=loose,{_MOUNT_9P} gadget.root /run/lower; "
        f"exec '{busybox}' sh '{script}'"
    )
    # Nothing untrusted runs in there; nokaslr and mitigations=off make an emulated boot shorter.
    # maxcpus=1: _start_processors() says why.
    options = "panic=-1 loglevel=5 nokaslr mitigations=off audit=0 apparmor=0 random.trust_cpu=on maxcpus=1"
    return f'console={architecture.console} {options} init=/bin/sh -- -c "{prelude}"'


def qemu_arguments(
    architecture: Architecture,
    *,
    accelerator: str,
    kernel: Path,
    initramfs: Path,
    append: str,
    memory: str,
    cpus: int,
    control: int,
    console: int,
    folder: Path | None,
) -> list[str]:
    """QEMU's command line, without QEMU itself.

    Args:
        architecture: Of this machine and of the guest.
        accelerator: ``kvm`` or ``tcg``.
        kernel: The kernel's image.
        initramfs: virtme-ng's, for this kernel.
        append: The kernel's command line.
        memory: As QEMU's -m takes it.
        cpus: How many processors the guest sees.
        control: The file descriptor of the socket that becomes the control port.
        console: The file descriptor of the socket that becomes the serial console.
        folder: The folder to share writable, or None.
    """
    root = Path("/")
    return [
        *("-machine", architecture.machine, "-accel", accelerator),
        *("-cpu", "host" if accelerator == "kvm" else architecture.emulated_cpu),
        *("-m", memory, "-smp", str(cpus)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *export("/dev/root", root, readonly=True),  # The tag that virtme-ng's initramfs mounts.
        *export("gadget.root", root, readonly=True),
        *(export("gadget.folder", folder, readonly=False) if folder else ()),
        *("-chardev", f"socket,id=console,fd={console}", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=control,fd={control}"),
        *("-device", "virtio-serial-pci", "-device", f"virtserialport,name={CONTROL_PORT},chardev=control"),
        *("-kernel", str(kernel), "-initrd", str(initramfs), "-append", append),
    ]


def guest_script(plan: GuestPlan) -> str:
    """The script that init becomes: builds the root, loads the modules, runs the agent, powers off.

    busybox's shell runs it, so that mount, mkdir and the rest are built in and nothing is read for them. It
    is one function, so that the shell has read all of it before it starts and the file may go.
    """
    lines = [
        "set_up() {",
        "set -e",
        'fail() { echo "gadget: the guest\'s set-up failed: $1" >/dev/console; poweroff -f; }',
        "trap 'fail \"line $LINENO\"' EXIT",
        *_make_root(plan),
        *_share_folder(plan),
        *_enter_root(),
        "trap - EXIT; set +e",
        *_run_agent(plan),
        "}",
        "set_up",
    ]
    return "\n".join(lines) + "\n"


def _make_root(plan: GuestPlan) -> list[str]:
    modules = shlex.quote(str(plan.modules.parent.parent.parent))
    return [
        *_start_processors(),
        "mount -t devtmpfs dev /dev",
        f"chroot /run/lower /sbin/modprobe -d {modules} overlay",
        "mkdir /run/scratch /run/root",
        "mount -t tmpfs scratch /run/scratch",
        "mkdir /run/scratch/upper /run/scratch/work",
        "mount -t overlay -o lowerdir=/run/lower,upperdir=/run/scratch/upper,workdir=/run/scratch/work root /run/root",
        "cd /run/root",
        "for d in proc sys dev run tmp root; do [ -d $d ] || mkdir $d; done",
        "mount -t tmpfs -o mode=755,nosuid,nodev run run",
        # QEMU reads with the rights of the user who started it, to whom root's home is mostly closed.
        "ls root >/dev/null 2>&1 || mount -t tmpfs -o mode=700 home root",
        "mount -t proc -o nosuid,noexec,nodev proc proc",
        "mount -t sysfs -o nosuid,noexec,nodev sys sys",
        "mount -t devtmpfs -o mode=755,nosuid dev dev",
        "mkdir -p dev/pts dev/shm run/lock",
        "mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts dev/pts",
        "mount -t tmpfs -o mode=1777,nosuid,nodev shm dev/shm",
        "for n in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do "
        "[ -e dev/${n%%:*} ] || ln -s /proc/self/${n#*:} dev/${n%%:*}; done",
        "mkdir -p lib/modules",
        f"[ -e lib/modules/{plan.release} ] || ln -s {shlex.quote(str(plan.modules))} lib/modules/",
    ]


def _start_processors() -> list[str]:
    """Starts the other processors, which ``maxcpus=1`` has held back, now that the kernel has found its PCI devices.

    To find their sizes it takes the memory of each off the bus and puts it back. In QEMU 7.2 what another emulated
    processor writes meanwhile may reach the wrong device, whose MSI-X table then ends QEMU by an assertion: most likely
    by a table that no longer holds (``tcg_commit`` in softmmu/physmem.c), which the processor that changes the bus does
    not meet. That a guest has been seen to hang in its boot may be the same.
    """
    return [
        "mount -t sysfs sys /sys",
        "for c in /sys/devices/system/cpu/cpu[1-9]*/online; do [ ! -e $c ] || echo 1 >$c; done",
    ]


def _share_folder(plan: GuestPlan) -> list[str]:
    if plan.folder is None:
        return []
    target = shlex.quote("/run/root" + str(plan.folder))
    lines = [
        f"mkdir -p {target}",
        # cache=mmap is no cache but for mappings, which uncached files could not have shared and writable.
        f"mount -t 9p -o rw,cache=mmap,{_MOUNT_9P} gadget.folder {target}",
    ]
    for path in plan.cached:
        lower, upper = shlex.quote("/run/lower" + str(path)), shlex.quote("/run/root" + str(path))
        lines += [f"mount --bind {lower} {upper}", f"mount -o remount,bind,ro {upper}"]
    return lines


def _enter_root() -> list[str]:
    """Makes the new root the root of everything, so that the mount table shows nothing of how it was built."""
    return [
        "mkdir run/old",
        "pivot_root . run/old",
        "cd /",
        "umount -l /run/old",
        "rmdir /run/old",
        "hostname gadget-vm; ip link set lo up",
    ]


def _run_agent(plan: GuestPlan) -> list[str]:
    options = " ".join(dummy_hcd_options(plan.speed, plan.controllers))
    program = (
        "import sys; sys.path.append(sys.argv[1]); "
        "from gadget.vm.agent import main; main(sys.argv[2])"
    )  # fmt: skip
    agent = shlex.join(
        [str(plan.python), "-I", "-S", "-c", program, str(plan.package_root), CONTROL_PORT],
    )
    return [
        "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        # configfs first: its mount point appears with the module.
        "prepare() {",
        "  /sbin/modprobe -a configfs libcomposite usb_f_fs || return",
        f"  /sbin/modprobe dummy_hcd {options} || return",
        "  mount -t configfs configfs /sys/kernel/config || return",
        "  mount -t debugfs debugfs /sys/kernel/debug || true",
        "}",
        f'{{ report=$(prepare 2>&1) || echo "${{report:-no reason given}}"; }} | {agent} >/dev/console 2>&1',
        'echo "gadget: the agent ended with status $?" >/dev/console',
        "sync",
        "poweroff -f",
    ]
