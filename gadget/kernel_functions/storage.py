"""Mass storage: files and block devices of this side become disks of the host."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, ClassVar

from gadget.configfs.steps import MakeDirectory, Step
from gadget.errors import DescriptorError, KernelError, UsageError
from gadget.kernel_functions.attributes import Attribute, Flag, Line, Number, attribute
from gadget.kernel_functions.kernel_function import (
    BULK_PAIR,
    EndpointNeed,
    KernelFunction,
    Reader,
    read_values,
    written,
)

#: FSG_MAX_LUNS of ``storage_common.h``.
MAX_LUNS = 16

_PATH = Line(4095, pattern=r"/[^\0\n]*", rule="must be an absolute path: the kernel opens it, from anywhere")


@dataclass(frozen=True, kw_only=True)
class Lun:
    """One disk (logical unit) of a mass storage function.

    Attributes:
        cdrom: It is a CD-ROM, which implies ``ro``.
        ro: The host cannot write to it.
        removable: Its medium can be taken out; the kernel says yes.
        nofua: Writes of the host that should reach the medium at once (FUA) may wait, all the same.
        inquiry_string: What it is called: vendor (8 characters), product (16), version (4).
        file: The file or block device that is in it, by its absolute path; None for none.

    Raises:
        DescriptorError: A value breaks a rule of the kernel.
    """

    # The order is that of writing: what the host may do with a medium is settled before that is put in.
    ro: bool | None = attribute(Flag(), "storage_common.c, fsg_store_ro")
    cdrom: bool | None = attribute(Flag(), "storage_common.c, fsg_store_cdrom")
    removable: bool | None = attribute(Flag(), "storage_common.c, fsg_store_removable")
    nofua: bool | None = attribute(Flag(), "storage_common.c, fsg_store_nofua")
    inquiry_string: str | None = attribute(Line(28), "storage_common.c, fsg_store_inquiry_string")
    file: str | None = attribute(_PATH, "storage_common.c, fsg_store_file")

    def __post_init__(self) -> None:
        for name, known in LUN_ATTRIBUTES.items():
            if (value := getattr(self, name)) is not None:
                known.check(value)
        if self.removable is False and self.file is None:
            rule = "must be True without a file: what cannot be taken out is always there"
            raise DescriptorError(
                "removable", False, rule, "Documentation/ABI/testing/configfs-usb-gadget-mass-storage"
            )
        if self.cdrom and self.ro is False:
            rule = "must not be False for a CD-ROM"
            raise DescriptorError("ro", False, rule, "drivers/usb/gadget/function/storage_common.c, fsg_store_cdrom")


#: The fields of :class:`Lun` that are attributes in configfs.
LUN_ATTRIBUTES: Mapping[str, Attribute] = MappingProxyType(
    {
        each.name: Attribute(each.name, kind, f"drivers/usb/gadget/function/{source}")
        for each in fields(Lun)
        for _, kind, source in [each.metadata["attribute"]]
    }
)


@dataclass(frozen=True, kw_only=True)
class MassStorage(KernelFunction):
    """Disks: USB Mass Storage, bulk-only (``f_mass_storage.c``).

    Attributes:
        luns: The disks, in the order of their numbers; one without a medium by default.
        stall: It halts its bulk endpoints where the protocol says so. The kernel does not; the specification and the
            kernel's documentation want it, and some controllers cannot.
        num_buffers: Buffers, 2 to 4; only where the kernel was built with CONFIG_USB_GADGET_DEBUG_FILES.
    """

    FAMILY: ClassVar[str] = "mass_storage"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = BULK_PAIR
    INTERFACES: ClassVar[int | None] = 1

    luns: tuple[Lun, ...] = (Lun(),)
    stall: bool | None = attribute(Flag(), "f_mass_storage.c, fsg_opts_stall_store")
    num_buffers: int | None = attribute(Number(2, 4), "f_mass_storage.c, fsg_common_set_num_buffers")

    def _check(self) -> None:
        object.__setattr__(self, "luns", tuple(self.luns))
        if not 1 <= len(self.luns) <= MAX_LUNS:
            source = "drivers/usb/gadget/function/storage_common.h, FSG_MAX_LUNS"
            raise DescriptorError("luns", len(self.luns), f"must be 1 to {MAX_LUNS}", source)

    def _own_steps(self) -> Iterator[Step]:
        yield from super()._own_steps()
        for number, lun in enumerate(self.luns):
            folder = PurePosixPath(f"lun.{number}")
            if number > 0:  # The kernel made the first one with the function.
                yield MakeDirectory(folder)
            yield from written(lun, LUN_ATTRIBUTES, folder)

    @classmethod
    def _read_fields(cls, reader: Reader) -> dict[str, Any]:
        numbers = [int(name.removeprefix("lun.")) for name in reader.folders("") if re.fullmatch(r"lun\.\d+", name)]
        count = max(numbers, default=0) + 1
        luns = tuple(Lun(**read_values(LUN_ATTRIBUTES, reader, f"lun.{number}/")) for number in range(count))
        return {**super()._read_fields(reader), "luns": luns}

    @classmethod
    def attribute_at(cls, path: str) -> Attribute | None:
        """Those of its disks as well."""
        folder, _, name = path.rpartition("/")
        return LUN_ATTRIBUTES.get(name) if folder.startswith("lun.") else super().attribute_at(path)

    # ---- while it is up ----------------------------------------------------------------------------------------------

    def insert(self, file: str, lun: int = 0) -> None:
        """Puts a medium in, in place of what is there; the host is told that it has changed.

        Args:
            file: The file or block device, by its absolute path.
            lun: The number of the disk.

        Raises:
            ClosedError: It is not up.
            UsageError: There is no disk of that number, or the path is none.
            KernelError: The kernel cannot use the file; or the host has locked the medium, EBUSY.
        """
        LUN_ATTRIBUTES["file"].check(file)
        self._change(lun, "file", file.encode(), f"cannot insert {file}")

    def eject(self, lun: int = 0, *, force: bool = False) -> None:
        """Takes the medium out.

        Args:
            lun: The number of the disk.
            force: Also if the host has locked it, as it does while a file system is mounted; Linux 5.18 and newer.

        Raises:
            ClosedError: It is not up.
            UsageError: There is no disk of that number.
            KernelError: The host has locked the medium, EBUSY.
        """
        name, value = ("forced_eject", b"1") if force else ("file", b"\n")
        self._change(lun, name, value, "cannot eject the medium")

    def inserted(self, lun: int = 0) -> str | None:
        """The file that is in a disk now; the host can take it out as well.

        Args:
            lun: The number of the disk.

        Raises:
            ClosedError: It is not up.
            UsageError: There is no disk of that number.
        """
        self._check_number(lun)
        data = self._up().read(f"lun.{lun}/file")
        return data.decode(errors="surrogateescape").rstrip("\n") or None if data else None

    def _check_number(self, lun: int) -> None:
        if not 0 <= lun < len(self.luns):
            raise UsageError(f"there is no LUN {lun}: they are numbered from 0 to {len(self.luns) - 1}")

    def _change(self, lun: int, name: str, value: bytes, what: str) -> None:
        self._check_number(lun)
        try:
            self._up().write(f"lun.{lun}/{name}", value)
        except KernelError as error:
            if error.errno == errno.EBUSY:
                message = f"{what} of LUN {lun}: the host has locked it; eject(force=True) takes it out all the same"
                raise KernelError(errno.EBUSY, message, error.filename) from error
            raise
