from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gadget.configfs.announced import MicrosoftOsString, WebUsb
from gadget.configfs.interfaces import allocate_interfaces
from gadget.configfs.model import ConfigurationModel, FunctionModel, GadgetModel
from gadget.errors import ConfigurationError, DescriptorError


def echo(**changes: Any) -> GadgetModel:
    return replace(GadgetModel("g", configurations=(ConfigurationModel(functions=("ffs.echo",)),)), **changes)


LABELLED = ConfigurationModel(label={0x0409: "Echo"}, functions=("ffs.echo",))


@pytest.mark.parametrize("name", ["", ".", "..", "-g", ".hidden", "a/b", "a b", "a\n", "ä", "g" * 65])
def test_a_gadget_name_that_cannot_be(name: str) -> None:
    with pytest.raises(ConfigurationError, match="gadget name"):
        echo(name=name)


@pytest.mark.parametrize(
    "function", ["ffs", "ffs.", ".echo", "ffs.a/b", "ffs.a b", "f-s.a", "ffs.\n", "ffs." + "a" * 36]
)
def test_a_function_name_that_cannot_be(function: str) -> None:
    with pytest.raises(ConfigurationError, match=r"FAMILY\.NAME"):
        ConfigurationModel(functions=(function,))


def test_the_longest_function_name() -> None:
    assert ConfigurationModel(functions=("ffs." + "a" * 35,)).functions == ("ffs." + "a" * 35,)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("idVendor", {"vendor_id": 0x10000}),
        ("idVendor", {"vendor_id": -1}),
        ("idProduct", {"product_id": 0x10000}),
        ("bcdDevice", {"device_version": 0x010A}),
        ("bcdDevice", {"device_version": 0x10000}),
        ("bcdUSB", {"usb_version": 0xF000}),
        ("bDeviceClass", {"device_class": 256}),
        ("bDeviceSubClass", {"device_subclass": 256}),
        ("bDeviceProtocol", {"device_protocol": -1}),
        ("product", {"product": "two\nlines"}),
        ("manufacturer", {"manufacturer": "zero\0byte"}),
        ("serialnumber", {"serial_number": "lone\ud800"}),
        ("product", {"product": "x" * 127}),
        ("product", {"product": "é" * 64}),
        ("product", {"product": {0x0409: "x" * 127}}),
        ("manufacturer", {"product": {0x0409: "Echo"}, "manufacturer": {0x0407: "wir"}}),
        ("iConfiguration", {"product": {0x0409: "Echo", 0x0407: "Echo!"}, "configurations": (LABELLED,)}),
    ],
)
def test_a_device_field_out_of_range_is_named(field: str, changes: dict[str, object]) -> None:
    with pytest.raises(DescriptorError) as caught:
        echo(**changes)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("bConfigurationValue", {"number": 0}),
        ("bConfigurationValue", {"number": 256}),
        ("bMaxPower", {"max_power_ma": 901}),
        ("bMaxPower", {"max_power_ma": -1}),
        ("bMaxPower", {"max_power_ma": 0}),
        ("iConfiguration", {"label": "x" * 127}),
        ("wLANGID", {"label": {9: "x"}}),
    ],
)
def test_a_configuration_field_out_of_range_is_named(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(DescriptorError) as caught:
        ConfigurationModel(functions=("ffs.a",), **changes)
    assert caught.value.field == field


def test_a_self_powered_device_may_draw_nothing() -> None:
    assert ConfigurationModel(max_power_ma=0, self_powered=True, functions=("ffs.a",)).attributes == 0xC0


def test_the_longest_strings() -> None:
    assert echo(product="é" * 63, manufacturer="x" * 126).product == "é" * 63


@pytest.mark.parametrize("name", ["", "c.1", "a b", "c" * 38])
def test_a_configuration_name_that_cannot_be(name: str) -> None:
    with pytest.raises(ConfigurationError, match="configuration name"):
        ConfigurationModel(name=name, functions=("ffs.a",))


def test_what_is_missing_or_there_twice() -> None:
    with pytest.raises(ConfigurationError, match="no configuration"):
        GadgetModel("g")
    with pytest.raises(ConfigurationError, match="no function"):
        ConfigurationModel()
    with pytest.raises(ConfigurationError, match=r"more than once: ffs\.a"):
        ConfigurationModel(functions=("ffs.a", "acm.0", "ffs.a"))
    with pytest.raises(ConfigurationError, match="more than once: 1"):
        echo(
            configurations=(
                ConfigurationModel(functions=("ffs.a",)),
                ConfigurationModel(name="d", functions=("ffs.b",)),
            )
        )


def test_strings_in_languages_stay_as_they_were_given() -> None:
    product = {0x0407: "Echo!", 0x0409: "Echo"}
    model = echo(product=product, configurations=(replace(LABELLED, label={0x0409: "a", 0x0407: "b"}),))
    product.clear()
    assert model.product == {0x0407: "Echo!", 0x0409: "Echo"}
    assert model.languages == (0x0407, 0x0409)
    assert echo(product="Echo").languages == (0x0409,)
    assert echo().languages == ()


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("bMS_VendorCode", {"vendor_code": 256}),
        ("bMS_VendorCode", {"vendor_code": -1}),
        ("qwSignature", {"signature": "MSFT"}),
        ("qwSignature", {"signature": "MSFT1000"}),
        ("qwSignature", {"signature": "MSFT10é"}),
        ("qwSignature", {"signature": "MSFT10\n"}),
    ],
)
def test_a_microsoft_os_string_that_cannot_be(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(DescriptorError) as caught:
        MicrosoftOsString(**changes)
    assert caught.value.field == field


def test_microsoft_os_descriptors_of_a_configuration_that_is_missing() -> None:
    assert echo(microsoft_os=MicrosoftOsString()).microsoft_os == MicrosoftOsString(0xCD, "MSFT100", 1)
    with pytest.raises(ConfigurationError, match="has no configuration 2"):
        echo(microsoft_os=MicrosoftOsString(configuration=2))


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("bVendorCode", {"vendor_code": 256}),
        ("bcdVersion", {"version": 0x010A}),
        ("iLandingPage", {"landing_page": "https://" + "x" * 253}),
        ("iLandingPage", {"landing_page": "x" * 253}),
        ("iLandingPage", {"landing_page": "https://exämple.org"}),
        ("iLandingPage", {"landing_page": "two words"}),
    ],
)
def test_a_webusb_capability_that_cannot_be(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(DescriptorError) as caught:
        WebUsb(**changes)
    assert caught.value.field == field
    assert WebUsb("https://" + "x" * 252).landing_page


def test_a_packet_size_of_endpoint_0() -> None:
    assert echo(max_packet_size0=9).max_packet_size0 == 9
    with pytest.raises(DescriptorError, match="bMaxPacketSize0"):
        echo(max_packet_size0=12)


def test_functions_that_are_told_something_stand_before_those_that_are_only_linked() -> None:
    configuration = ConfigurationModel(functions=("ffs.a", "acm.b"))
    model = echo(functions=(FunctionModel("acm.b"), FunctionModel("acm.idle")), configurations=(configuration,))
    assert model.instances == ("acm.b", "acm.idle", "ffs.a")
    assert [function.family for function in model.complete_functions()] == ["acm", "acm", "ffs"]
    with pytest.raises(ConfigurationError, match=r"more than once: acm\.b"):
        echo(functions=(FunctionModel("acm.b"), FunctionModel("acm.b")))
    with pytest.raises(ConfigurationError, match=r"FAMILY\.NAME"):
        FunctionModel("acm")


@given(st.lists(st.integers(1, 5), max_size=8))
def test_interfaces_are_numbered_through(counts: list[int]) -> None:
    named = [(f"f.{index}", count) for index, count in enumerate(counts)]
    if sum(counts) > 16:
        with pytest.raises(ConfigurationError, match="room for 16"):
            allocate_interfaces(named)
    else:
        first = [0, *accumulate(counts)][: len(counts)]
        assert list(allocate_interfaces(named).items()) == [(f"f.{i}", number) for i, number in enumerate(first)]


def test_interfaces_of_a_function_that_is_empty_or_there_twice() -> None:
    with pytest.raises(ConfigurationError, match=r"ffs\.a has 0 interfaces"):
        allocate_interfaces([("ffs.a", 0)])
    with pytest.raises(ConfigurationError, match=r"more than once: ffs\.a"):
        allocate_interfaces([("ffs.a", 1), ("ffs.a", 1)])


def test_interfaces_behind_a_function_whose_number_nobody_knows() -> None:
    assert allocate_interfaces([("a.0", 2), ("new.0", None), ("b.0", 1)]) == {"a.0": 0, "new.0": 2}
    with pytest.raises(ConfigurationError, match="17 interfaces"):
        allocate_interfaces([("a.0", 15), ("new.0", None), ("b.0", 1)])
