from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gadget import Association, BulkIn, Function, Gadget, Interface, Speed, vendor_in
from gadget.configfs.announced import MicrosoftOsString
from gadget.errors import ClosedError, ConfigurationError, DescriptorError, GadgetError
from gadget.protocol.microsoft_os import MicrosoftOs


class Echo(Function):
    tx = BulkIn()


class Winusb(Function):
    microsoft_os = (MicrosoftOs("WINUSB"),)


class LoopBackDevice(Function):
    pass


class _Hidden(Function):
    pass


def test_a_gadget_of_one_function_lends_its_name_to_everything() -> None:
    gadget = Gadget(Echo())
    assert gadget.name == "echo"
    assert gadget.path.name == "echo"
    assert gadget.model.instances == ("ffs.echo",)


@pytest.mark.parametrize(("function", "name"), [(LoopBackDevice, "loop-back-device"), (_Hidden, "hidden")])
def test_the_name_of_a_class_becomes_one_for_configfs(function: type[Function], name: str) -> None:
    assert Gadget(function()).name == name


def test_each_of_several_functions_has_an_instance_of_its_own() -> None:
    gadget = Gadget(Echo(), Echo(), LoopBackDevice(), name="all")
    assert gadget.name == "all"
    assert gadget.model.instances == ("ffs.all-0-echo", "ffs.all-1-echo", "ffs.all-2-loop-back-device")


def test_what_is_said_about_the_device_reaches_its_model() -> None:
    gadget = Gadget(
        Echo(),
        vendor_id=0x1234,
        product_id=0x5678,
        device_version=0x0210,
        manufacturer="Maker",
        product="Thing",
        serial_number="42",
        max_speed="high-speed",
        max_power_ma=100,
        self_powered=True,
    )
    model = gadget.model
    (configuration,) = model.configurations
    assert (model.vendor_id, model.product_id, model.device_version) == (0x1234, 0x5678, 0x0210)
    assert (model.manufacturer, model.product, model.serial_number) == ("Maker", "Thing", "42")
    assert model.max_speed is Speed.HIGH
    assert (configuration.max_power_ma, configuration.self_powered) == (100, True)


def test_what_is_not_said_has_the_defaults_of_the_linux_foundation() -> None:
    model = Gadget(Echo()).model
    assert (model.vendor_id, model.product_id) == (0x1D6B, 0x0104)
    assert (model.manufacturer, model.product, model.serial_number, model.max_speed) == (None, None, None, None)


def test_a_gadget_has_a_function() -> None:
    with pytest.raises(ConfigurationError, match=r"at least one function: Gadget\(MyFunction\(\)"):
        Gadget()


def test_the_same_function_twice_is_a_mistake() -> None:
    echo = Echo()
    with pytest.raises(ConfigurationError, match="same function object"):
        Gadget(echo, LoopBackDevice(), echo)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("product", {"product": "x" * 127}),
        ("manufacturer", {"manufacturer": "two\nlines"}),
        ("serialnumber", {"serial_number": "zero\0byte"}),
        ("idVendor", {"vendor_id": 0x10000}),
        ("idProduct", {"product_id": -1}),
        ("bcdDevice", {"device_version": 0x010A}),
        ("bMaxPower", {"max_power_ma": 901}),
    ],
)
def test_an_error_names_the_field(field: str, given: dict[str, Any]) -> None:
    with pytest.raises(DescriptorError) as caught:
        Gadget(Echo(), **given)
    assert caught.value.field == field
    assert field in str(caught.value)


def test_a_name_that_configfs_cannot_hold() -> None:
    for name in ("a/b", "-g", "x" * 65):
        with pytest.raises(ConfigurationError, match=f"gadget name {name!r}"):
            Gadget(Echo(), name=name)
    with pytest.raises(ConfigurationError, match="at most 39 characters"):
        Gadget(Echo(), name="g" * 40)


def test_a_speed_that_is_none() -> None:
    with pytest.raises(GadgetError, match="warp"):
        Gadget(Echo(), max_speed="warp")


def test_a_gadget_that_is_not_up_has_no_controller() -> None:
    with pytest.raises(ClosedError, match="gadget echo is not up"):
        _ = Gadget(Echo()).controller


def test_a_class_is_no_function() -> None:
    with pytest.raises(ConfigurationError, match=r"is no Function object: Gadget\(MyFunction\(\), \.\.\.\)"):
        Gadget(Echo)  # type: ignore[arg-type]


def test_a_class_name_that_makes_no_name() -> None:
    function = type("_", (Function,), {})()
    with pytest.raises(ConfigurationError, match=r"class name _ makes no name for configfs: pass name="):
        Gadget(function)
    assert Gadget(function, name="plain").name == "plain"


class Grouped(Function):
    association = Association(0xFF)
    first, second = Interface(), Interface()


def test_a_device_with_associations_says_so() -> None:
    """Without it, some hosts do not look for them (USB 3.2, Table 9-11)."""
    assert Gadget(Echo(), Grouped()).model.class_codes() == (
        ("bDeviceClass", 0xEF),
        ("bDeviceSubClass", 2),
        ("bDeviceProtocol", 1),
    )
    assert [code for _, code in Gadget(Echo()).model.class_codes()] == [0, 0, 0]
    own = Gadget(Grouped(), device_class=(0xFF, 1, 2))
    assert [code for _, code in own.model.class_codes()] == [0xFF, 1, 2]


def test_remote_wakeup_is_declared_to_the_host() -> None:
    assert Gadget(Echo()).model.configurations[0].attributes == 0x80
    assert Gadget(Echo(), remote_wakeup=True).model.configurations[0].attributes == 0xA0


def waits(gadget: Gadget) -> None:
    asyncio.run(gadget.wait_configured())


@pytest.mark.parametrize(
    "use", [lambda g: g.bind(), lambda g: g.unbind(), lambda g: g.link, lambda g: g.controller, waits]
)
def test_what_needs_a_gadget_that_is_up(use: Any) -> None:
    with pytest.raises(ClosedError, match="gadget echo is not up"):
        use(Gadget(Echo()))


def test_windows_is_told_how_to_ask_if_a_function_has_something_to_tell() -> None:
    assert Gadget(Echo()).model.microsoft_os is None
    assert Gadget(Echo(), Winusb()).model.microsoft_os == MicrosoftOsString()


def test_a_vendor_request_that_the_kernel_answers_for_windows_is_refused() -> None:
    class Clash(Function):
        @vendor_in(request=0xCD)
        async def mine(self, setup: object) -> bytes:
            return b""

    assert Gadget(Clash()).model.microsoft_os is None
    with pytest.raises(ConfigurationError, match="Clash would never get"):
        Gadget(Winusb(), Clash())
