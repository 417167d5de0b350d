"""On ordinary folders: attributes are files that lie there already, as configfs would have made them."""

from __future__ import annotations

import errno
from pathlib import Path, PurePosixPath as P

import pytest

from gadget import Configuration, Gadget, MicrosoftOs, Property
from gadget.configfs.apply import applied, apply, listing, revert, write_attribute
from gadget.configfs.plan import plan
from gadget.configfs.steps import (
    Entry,
    MakeDirectory,
    MakeLink,
    RemoveDirectory,
    RemoveLink,
    Step,
    UndoStep,
    WriteAttribute,
)
from gadget.errors import KernelError, MissingModuleError, NotUndoneError, UnsupportedError
from gadget.kernel_functions import Lun, MassStorage, Mjpeg, Rndis, Uncompressed, Uvc, VideoFrame

ECHO: tuple[Step, ...] = (
    MakeDirectory(P("g")),
    MakeDirectory(P("g/functions")),
    MakeDirectory(P("g/functions/ffs.echo")),
    MakeLink(P("g/ffs.echo"), P("g/functions/ffs.echo")),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "attributes").mkdir()
    (tmp_path / "attributes" / "idVendor").write_bytes(b"")
    return tmp_path


def left(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")} - {"attributes", "attributes/idVendor"}


def test_a_tree_is_there_inside_the_block_and_gone_after_it(root: Path) -> None:
    write = WriteAttribute(P("attributes/idVendor"), b"0x1d6b")
    with applied((*ECHO, write), root) as tree:
        assert tree == root / "g"
        assert (tree / "ffs.echo").readlink() == tree / "functions" / "ffs.echo"
        assert (root / "attributes/idVendor").read_bytes() == b"0x1d6b"
    assert not left(root)


def test_the_target_of_a_link_is_absolute(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with applied(ECHO, Path()):
        assert (root / "g/ffs.echo").readlink() == root / "g/functions/ffs.echo"


def test_an_error_in_the_block_still_takes_the_tree_down(root: Path) -> None:
    with pytest.raises(ZeroDivisionError), applied(ECHO, root):
        raise ZeroDivisionError
    assert not left(root)


@pytest.mark.parametrize("made", range(len(ECHO) + 1))
def test_a_refusal_at_any_point_takes_back_what_was_done(root: Path, made: int) -> None:
    refused = WriteAttribute(P("attributes/nosuch"), b"1")
    with pytest.raises(KernelError, match="nosuch"):
        apply((*ECHO[:made], refused, *ECHO[made:]), root)
    assert not left(root)


def whole_gadget() -> list[Step]:
    """The tree of a gadget with folders and links inside its functions; attributes lie in one place for all."""
    size = VideoFrame(width=640, height=360)
    disks = MassStorage(luns=(Lun(file="/a"), Lun(cdrom=True), Lun()))
    camera = Uvc(formats=(Uncompressed(frames=(size,)), Mjpeg(frames=(size, VideoFrame(width=1, height=1)))))
    network = Rndis(microsoft_os=MicrosoftOs("RNDIS", properties={"Label": Property.text("x")}))
    gadget = Gadget(
        configurations=[
            Configuration([disks, camera, network], label={0x0409: "all", 0x0407: "alles"}),
            Configuration([disks], label={0x0409: "disks", 0x0407: "Platten"}),
        ],
        name="g",
    )
    kept = P("attributes/idVendor")
    return [WriteAttribute(kept, b"1") if isinstance(each, WriteAttribute) else each for each in plan(gadget.model)]


WHOLE = whole_gadget()

#: The folders that the kernel makes with others. They are made before, so that they are left alone.
DEFAULTS = [
    *("g/strings", "g/functions", "g/configs", "g/configs/c.1/strings", "g/configs/c.2/strings", "g/os_desc"),
    "g/functions/rndis.0/os_desc/interface.rndis",
    *(f"g/functions/uvc.0/control/{name}" for name in ("header", "class/fs", "class/ss")),
    *(f"g/functions/uvc.0/streaming/{name}" for name in ("header", "uncompressed", "mjpeg")),
    *(f"g/functions/uvc.0/streaming/class/{name}" for name in ("fs", "hs", "ss")),
]


def with_defaults(steps: list[Step]) -> list[Step]:
    """Makes the kernel's own folders, each right behind the folder that it comes with."""
    made: list[Step] = []
    for step in steps:
        made.append(step)
        if isinstance(step, MakeDirectory):
            own = sorted(P(name) for name in DEFAULTS)
            parents = {path for each in own for path in (*each.parents, each)}
            top = [path for path in sorted(parents) if step.path in path.parents]
            nearer = {other.path for other in WHOLE if isinstance(other, MakeDirectory)} - {step.path}
            made += [MakeDirectory(path) for path in top if not nearer & {path, *path.parents} - set(step.path.parents)]
    return made


FULL = with_defaults(WHOLE)


@pytest.mark.parametrize("made", range(len(FULL) + 1))
def test_a_refusal_at_any_step_of_a_whole_gadget_leaves_nothing(root: Path, made: int) -> None:
    (root / "foreign/functions/acm.0").mkdir(parents=True)
    before = left(root)
    refused = MakeLink(P("foreign/functions/acm.0"), P("foreign"))
    with pytest.raises(KernelError, match="cannot link"):
        apply([*FULL[:made], refused, *FULL[made:]], root)
    assert left(root) == before
    assert len(FULL) > 60


def test_what_was_there_before_is_left_alone(root: Path) -> None:
    (root / "g/functions").mkdir(parents=True)
    with pytest.raises(KernelError) as caught:
        apply(ECHO, root)
    assert caught.value.errno == errno.EEXIST
    assert left(root) == {"g", "g/functions"}


def test_a_gadget_of_that_name_is_described(root: Path) -> None:
    (root / "g/functions/acm.0").mkdir(parents=True)
    (root / "g/UDC").write_text("dummy_udc.3\n")
    with pytest.raises(KernelError, match=rf"cannot make {root / 'g'}.*bound to dummy_udc\.3.*acm\.0.*another name"):
        apply(ECHO, root)


def test_a_refused_value_is_named_with_its_path(root: Path) -> None:
    (root / "attributes/folder").mkdir()
    with pytest.raises(KernelError) as caught:
        apply([WriteAttribute(P("attributes/folder"), b"0x1d6b")], root)
    assert caught.value.errno == errno.EISDIR
    assert caught.value.filename == str(root / "attributes/folder")
    assert f"cannot write '0x1d6b' to {root / 'attributes/folder'}" in str(caught.value)


def test_an_attribute_is_never_made(root: Path) -> None:
    with pytest.raises(KernelError, match="this kernel has no attribute 'max_speed'") as caught:
        apply([WriteAttribute(P("attributes/max_speed"), b"high-speed")], root)
    assert caught.value.errno == errno.ENOENT
    assert not left(root)


def test_a_link_that_is_refused_names_both_ends(root: Path) -> None:
    (root / "g").write_bytes(b"")
    message = f"cannot link {root / 'g/ffs.echo'} to {root / 'g/functions/ffs.echo'}"
    with pytest.raises(KernelError, match=message) as caught:
        apply(ECHO[-1:], root)
    assert caught.value.errno == errno.ENOTDIR


def test_without_libcomposite_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingModuleError, match="modprobe libcomposite"):
        apply(ECHO, tmp_path / "usb_gadget")


def test_a_folder_that_is_gone_is_no_missing_module(root: Path) -> None:
    with pytest.raises(KernelError, match="did something else remove the gadget") as caught:
        apply(ECHO[2:], root)
    assert not isinstance(caught.value, MissingModuleError)


def test_what_cannot_be_removed_is_reported_and_the_rest_removed(root: Path) -> None:
    apply(ECHO, root)
    (root / "g/functions/left").write_bytes(b"")
    steps: list[UndoStep] = [RemoveLink(P("g/ffs.echo")), *(RemoveDirectory(step.path) for step in ECHO[2::-1])]
    with pytest.raises(NotUndoneError, match="functions: Directory not empty") as caught:
        revert(steps, root)
    assert caught.value.errno == errno.ENOTEMPTY
    assert left(root) == {"g", "g/functions", "g/functions/left"}


def test_leaving_the_block_reports_what_is_left(root: Path) -> None:
    with pytest.raises(NotUndoneError), applied(ECHO, root) as tree:
        (tree / "functions/left").write_bytes(b"")
    assert left(root) == {"g", "g/functions", "g/functions/left"}


def test_what_somebody_else_removed_is_no_failure(root: Path) -> None:
    with applied(ECHO, root) as tree:
        (tree / "ffs.echo").unlink()
        (tree / "functions/ffs.echo").rmdir()
    assert not left(root)


def test_listing_a_tree(root: Path) -> None:
    apply(ECHO, root)
    (root / "g/UDC").write_bytes(b"")
    assert sorted(listing("g", root), key=str) == sorted(
        [
            Entry(P("g")),
            Entry(P("g/functions")),
            Entry(P("g/functions/ffs.echo")),
            Entry(P("g/ffs.echo"), is_link=True),
        ],
        key=str,
    )
    assert listing("nosuch", root) == []


def test_an_attribute_is_written_in_one_call(root: Path) -> None:
    (root / "attributes/idVendor").write_bytes(b"0xffff")
    write_attribute(root / "attributes/idVendor", b"0x")
    assert (root / "attributes/idVendor").read_bytes() == b"0xffff"


def test_a_kernel_without_webusb_is_told_by_name(root: Path) -> None:
    (root / "g").mkdir()
    with pytest.raises(UnsupportedError, match=r"no WebUSB, which came with Linux 6\.3"):
        apply([WriteAttribute(P("g/webusb/use"), b"1")], root)
