"""Loads kernel modules in the guest. Pure: paths in, a command out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

#: The exit status if a module could not be loaded; what follows it is not run then.
LOAD_FAILED = 125

# Takes pairs of a module's file and its name, then "--", then a command. A mark remembers which build is loaded, so
# that in a machine that is used again a module is replaced when it was built anew, and left alone when it was not.
# insmod knows nothing of what a module depends on; modinfo does.
_SCRIPT = """\
load() {
  mark=/run/gadget-module.$2
  if [ -d "/sys/module/$2" ]; then
    [ "$(cat "$mark" 2>/dev/null)" != "$1" ] || return 0
    rmmod "$2" || return
  fi
  for needed in $(modinfo -F depends "$1" | tr , ' '); do modprobe "$needed" || return; done
  insmod "$1" && echo "$1" >"$mark"
}
while [ "$1" != -- ]; do
  load "$1" "$2" || { echo "the kernel module $2 could not be loaded; dmesg may say why" >&2; exit 125; }
  shift 2
done
shift
[ $# = 0 ] || exec "$@"
"""


def module_name(module: Path) -> str:
    """The name that the kernel gives to a module, as /proc/modules and /sys/module have it."""
    return module.stem.replace("-", "_")


def load_command(modules: Sequence[Path], argv: Sequence[str] = ()) -> list[str]:
    """A command for the guest that loads modules, in this order, and then becomes another command.

    Args:
        modules: Their ``.ko`` files.
        argv: The command to become, if any.
    """
    pairs = [part for module in modules for part in (str(module), module_name(module))]
    return ["sh", "-c", _SCRIPT, "gadget-load", *pairs, "--", *argv]
