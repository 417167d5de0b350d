"""Functions of both kinds, and several configurations, in one gadget; nothing is bound to anything."""

from __future__ import annotations

import pytest

from gadget import (
    Association,
    BulkIn,
    Configuration,
    Function,
    Gadget,
    Interface,
    MicrosoftOs,
    Recipient,
    Setup,
    Speed,
    WebUsb,
    vendor_in,
)
from gadget.composition import first_interfaces, instance_names
from gadget.configfs.announced import MicrosoftOsString
from gadget.configfs.model import FunctionModel
from gadget.errors import ClosedError, ConfigurationError
from gadget.kernel_functions import (
    Acm,
    Ffs,
    Hid,
    KernelFunction,
    Lun,
    MassStorage,
    Ncm,
    OtherFunction,
    Phonet,
    Printer,
    Rndis,
    Uac1,
)


class Echo(Function):
    tx = BulkIn()


class Grouped(Function):
    association = Association(0xFF)
    first, second = Interface(), Interface()


class Winusb(Function):
    microsoft_os = (MicrosoftOs("WINUSB"),)


def interfaces(gadget: Gadget) -> dict[str, int]:
    return first_interfaces(gadget.configurations, gadget.model.instances, gadget.functions)


def test_functions_of_both_kinds_keep_their_order() -> None:
    echo, acm, disk = Echo(), Acm(), MassStorage(luns=(Lun(file="/disk.img"),))
    gadget = Gadget(echo, acm, disk, Acm(), name="all")
    assert gadget.own_functions == (echo,)
    assert [type(each) for each in gadget.kernel_functions] == [Acm, MassStorage, Acm]
    assert gadget.model.instances == ("ffs.all-0-echo", "acm.0", "mass_storage.0", "acm.1")
    assert gadget.model.configurations[0].functions == gadget.model.instances
    assert gadget.model.functions[2] == FunctionModel("mass_storage.0", disk.steps())


def test_a_gadget_of_kernel_functions_alone() -> None:
    gadget = Gadget(MassStorage())
    assert gadget.name == "mass-storage"
    assert gadget.model.instances == ("mass_storage.0",)
    assert gadget.own_functions == ()


def test_names_that_were_given_are_left_free_by_the_others() -> None:
    functions = (Acm(), Acm(instance="0"), Acm(), Ffs(instance="adb"))
    assert instance_names("g", functions) == ("acm.1", "acm.0", "acm.2", "ffs.adb")
    with pytest.raises(ConfigurationError, match=r"called acm\.a"):
        instance_names("g", (Acm(instance="a"), Acm(instance="a")))


def test_interfaces_of_the_kernels_functions_are_counted() -> None:
    assert interfaces(Gadget(Acm(), Echo(), Ncm(), Grouped(), name="g")) == {"ffs.g-1-echo": 2, "ffs.g-3-grouped": 5}


def test_a_function_behind_one_of_which_little_is_known() -> None:
    assert interfaces(Gadget(Echo(), OtherFunction(name="new"), name="g")) == {"ffs.g-0-echo": 0}
    with pytest.raises(ConfigurationError, match=r"Echo are not known.*OtherFunction has: give it an interface_count"):
        interfaces(Gadget(OtherFunction(name="new"), Echo()))
    known = Gadget(OtherFunction(name="new", interface_count=3), Echo(), name="g")
    assert interfaces(known) == {"ffs.g-1-echo": 3}


@pytest.mark.parametrize(("function", "codes"), [(Acm(), (0xEF, 2, 1)), (Printer(), (0, 0, 0)), (Ncm(), (0xEF, 2, 1))])
def test_the_class_of_the_device_tells_of_associations(function: KernelFunction, codes: tuple[int, ...]) -> None:
    assert tuple(code for _, code in Gadget(Echo(), function).model.class_codes()) == codes


def test_several_configurations_share_their_functions() -> None:
    echo, acm = Echo(), Acm()
    gadget = Gadget(
        configurations=[
            Configuration([echo, acm], label="both", max_power_ma=100, remote_wakeup=True),
            Configuration([acm], label={0x0409: "port"}, number=7, self_powered=True),
        ],
        name="g",
    )
    assert gadget.functions == (echo, acm)
    both, port = gadget.model.configurations
    assert (both.number, both.label, both.max_power_ma, both.remote_wakeup) == (1, "both", 100, True)
    assert (port.number, port.self_powered, port.functions) == (7, True, ("acm.0",))
    assert both.functions == ("ffs.g-0-echo", "acm.0")


def test_configurations_that_cannot_be() -> None:
    hid = Hid(report_descriptor=b"x", report_length=1)
    with pytest.raises(ConfigurationError, match="stand in the configurations"):
        Gadget(Echo(), configurations=[Configuration([Echo()])])
    with pytest.raises(ConfigurationError, match=r"Hid cannot be in two configurations.*hidg_bind"):
        Gadget(configurations=[Configuration([hid]), Configuration([hid])])
    with pytest.raises(ConfigurationError, match="at least one function"):
        Gadget(configurations=[Configuration([])])
    with pytest.raises(ConfigurationError, match="same function object"):
        Gadget(configurations=[Configuration([hid, hid])])
    with pytest.raises(ConfigurationError, match="number given more than once: 1"):
        Gadget(configurations=[Configuration([Echo()]), Configuration([Echo()], number=1)])


def test_an_association_has_the_same_numbers_in_every_configuration() -> None:
    """It stands in the function's descriptors, which are the same in each."""
    grouped, plain, acm = Grouped(), Echo(), Acm()
    same = [Configuration([grouped, acm]), Configuration([grouped])]
    assert interfaces(Gadget(configurations=same, name="g")) == {"ffs.g-0-grouped": 0}
    moved = [Configuration([grouped, acm]), Configuration([acm, grouped])]
    with pytest.raises(ConfigurationError, match="Grouped has an association"):
        interfaces(Gadget(configurations=moved))
    assert interfaces(Gadget(configurations=[Configuration([plain]), Configuration([acm, plain])], name="g")) == {
        "ffs.g-0-echo": 0
    }


def test_windows_is_told_of_the_first_configuration_with_something_to_tell() -> None:
    quiet, telling = Configuration([Echo()]), Configuration([Winusb()], number=5)
    assert Gadget(configurations=[quiet, telling]).model.microsoft_os == MicrosoftOsString(configuration=5)
    assert Gadget(Rndis(microsoft_os=MicrosoftOs("RNDIS", "5162001"))).model.microsoft_os == MicrosoftOsString()
    assert Gadget(Rndis()).model.microsoft_os is None


def test_a_handler_for_what_the_kernel_answers_would_never_be_called() -> None:
    class Own(Function):
        @vendor_in(0xCE, recipient=Recipient.DEVICE)
        async def url(self, setup: Setup) -> bytes:
            return b""

    assert Gadget(Own()).model.webusb is None
    with pytest.raises(ConfigurationError, match=r"Own would never get .* browser"):
        Gadget(Own(), webusb=WebUsb("https://example.org"))
    assert Gadget(Own(), webusb=WebUsb(vendor_code=1)).model.webusb == WebUsb(vendor_code=1)


def test_a_function_without_superspeed_holds_the_others_back() -> None:
    assert Gadget(Echo(), Phonet()).model.max_speed is Speed.HIGH
    assert Gadget(Echo(), Phonet(), max_speed=Speed.FULL).model.max_speed is Speed.FULL
    assert Gadget(Echo(), Acm()).model.max_speed is None
    assert Gadget(Acm(), max_speed="super").model.max_speed is Speed.SUPER
    with pytest.raises(ConfigurationError, match="Uac1 has no descriptors for super-speed"):
        Gadget(Uac1(), max_speed="super")


def test_what_is_no_function() -> None:
    with pytest.raises(ConfigurationError, match="is no Function object"):
        Gadget(Acm)  # type: ignore[arg-type]


def test_a_gadget_that_is_not_up_cannot_be_moved() -> None:
    with pytest.raises(ClosedError, match="not up"):
        Gadget(Acm()).move("dummy_udc.0")
