"""Who may open the files of a FunctionFS. Nothing here touches the kernel."""

from __future__ import annotations

from dataclasses import dataclass

from gadget.errors import DescriptorError

_SOURCE = "drivers/usb/gadget/function/f_fs.c, ffs_fs_parse_param"


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """The owner and the permissions of a FunctionFS's files; root's alone by default.

    Attributes:
        uid: The user that they belong to.
        gid: The group that they belong to.
        mode: The permissions of the files; who may read them may also enter the folder. The kernel has 0o600.

    Raises:
        DescriptorError: A number is out of its range.
    """

    uid: int | None = None
    gid: int | None = None
    mode: int | None = None

    def __post_init__(self) -> None:
        for field, value in (("uid", self.uid), ("gid", self.gid)):
            if value is not None and not 0 <= value < 2**32 - 1:
                raise DescriptorError(field, value, f"must be from 0 to {2**32 - 2}", _SOURCE)
        if self.mode is not None and self.mode & ~0o666:
            raise DescriptorError("mode", f"{self.mode:#o}", "must be permissions to read and to write, 0o666", _SOURCE)

    @property
    def options(self) -> str:
        """What mount(2) is told."""
        options = [f"{name}={value}" for name, value in (("uid", self.uid), ("gid", self.gid)) if value is not None]
        if self.mode is not None:
            readable = self.mode & 0o444
            # With a leading zero: the kernel takes other numbers for decimal.
            options += [f"fmode=0{self.mode:o}", f"rmode=0{readable | readable >> 2:o}"]
        return ",".join(options)
