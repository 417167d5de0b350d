"""On ordinary folders that stand in for configfs, filled as a plan would have filled it."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

import pytest

from gadget import Configuration, Gadget, MicrosoftOs, Property, WebUsb
from gadget.configfs.announced import MicrosoftOsString
from gadget.configfs.plan import plan
from gadget.configfs.steps import MakeDirectory, MakeLink, Step, WriteAttribute
from gadget.errors import ClosedError, ConfigurationError, KernelError
from gadget.kernel_functions import Acm, Hid, Ncm, OtherFunction
from gadget.protocol.constants import Speed
from gadget.services.existing import ExistingGadget, list_gadgets


def make(root: Path, steps: Iterable[Step]) -> None:
    """As the kernel would, but that an attribute comes to be when it is written."""
    for step in steps:
        path = root / step.path
        path.parent.mkdir(parents=True, exist_ok=True)
        match step:
            case MakeDirectory():
                path.mkdir(exist_ok=True)
            case WriteAttribute(value=value):
                path.write_bytes(value)
            case MakeLink(target=target):
                path.symlink_to(root / target)


def network() -> Ncm:
    windows = MicrosoftOs("WINNCM", properties={"Label": Property.binary(b"x")})
    return Ncm(dev_addr="02:00:00:00:00:01", microsoft_os=windows)


def test_what_was_planned_is_read(tmp_path: Path) -> None:
    gadget = Gadget(
        configurations=[Configuration([network()], label={0x409: "only"}, remote_wakeup=True, max_power_ma=100)],
        name="g",
        product={0x0409: "Thing"},
        max_speed="high-speed",
        device_version=0x0234,
        webusb=WebUsb("https://example.org", 0x17),
    )
    make(tmp_path, plan(gadget.model))
    found = ExistingGadget("g", tmp_path).model()
    assert found.configurations == gadget.model.configurations
    assert found.product == {0x0409: "Thing"}
    assert (found.device_version, found.max_speed, found.webusb) == (0x0234, Speed.HIGH, gadget.model.webusb)
    assert found.class_codes() == gadget.model.class_codes()
    assert found.microsoft_os == MicrosoftOsString()
    assert plan(found)[0] == MakeDirectory(plan(gadget.model)[0].path)


def test_a_vendor_code_that_the_kernel_has_printed_as_a_negative_number(tmp_path: Path) -> None:
    make(tmp_path, plan(Gadget(network(), name="g").model))
    (tmp_path / "g/os_desc/b_vendor_code").write_text("0xffffffcd\n")
    assert ExistingGadget("g", tmp_path).model().microsoft_os == MicrosoftOsString(0xCD)


def test_its_functions_know_what_they_are(tmp_path: Path) -> None:
    make(tmp_path, plan(Gadget(Acm(), Ncm(qmult=7), OtherFunction(name="new", attributes={"a": 1}), name="g").model))
    functions = ExistingGadget("g", tmp_path).functions()
    assert functions["ncm.0"] == Ncm(instance="0", qmult=7)
    assert functions["acm.0"] == Acm(instance="0")
    assert functions["new.0"] == OtherFunction(name="new", instance="0", attributes={"a": b"1"})
    assert all(function.is_placed for function in functions.values())
    with pytest.raises(KernelError, match="no attribute port_num"):
        _ = functions["acm.0"].devices


def test_values_that_this_package_would_refuse_are_read_all_the_same(tmp_path: Path) -> None:
    """The kernel takes a keyboard without a report descriptor, and so will its copy."""
    hid = Hid(report_descriptor=b"x", report_length=8)
    make(tmp_path, plan(Gadget(hid, name="g").model))
    for name, value in (("report_desc", b""), ("report_length", b"0\n")):
        (tmp_path / "g/functions/hid.0" / name).write_bytes(value)
    (function,) = ExistingGadget("g", tmp_path).functions().values()
    assert function == OtherFunction(name="hid", instance="0", attributes={"report_length": b"0\n"})


def test_gadgets_that_are_there(tmp_path: Path) -> None:
    assert list_gadgets(tmp_path / "nothing") == []
    for name in ("a", "b"):
        make(tmp_path, plan(Gadget(Acm(), name=name).model))
    assert {each.name for each in list_gadgets(tmp_path)} == {"a", "b"}
    with pytest.raises(KernelError, match="there is no gadget c; there are") as caught:
        ExistingGadget("c", tmp_path)
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(ConfigurationError, match="gadget name"):
        ExistingGadget("../a", tmp_path)


def test_a_gadget_that_is_not_complete_has_no_model(tmp_path: Path) -> None:
    make(tmp_path, plan(Gadget(Acm(), name="g").model))
    (tmp_path / "g/configs/c.1/acm.0").unlink()
    with pytest.raises(ConfigurationError, match="no function"):
        ExistingGadget("g", tmp_path).model()


def test_a_function_that_was_declared_is_in_no_gadget() -> None:
    with pytest.raises(ClosedError):
        Acm().read_back()
