import errno
import os
import signal
import threading
import warnings
from pathlib import Path

import pytest
import usb.core
from counter_device import Counter

pytestmark = pytest.mark.usb

DEVICE = str(Path(__file__).parents[1] / "counter_device.py")


@pytest.fixture
def counter(serve):
    return serve(Counter())


def count(device, data, counter):
    device.write(counter.function.rx.address, data)
    return int.from_bytes(device.read(counter.function.tx.address, 64), "little")


@pytest.mark.usb(speed=["full", "high", "super"])
def test_counts_at_every_speed(counter, usb_device, usb_speed, first_byte, record_property):
    record_property("speed", usb_speed.name)
    assert count(usb_device, bytes([first_byte, 2]), counter) == first_byte + 2
    assert count(usb_device, b"\x04", counter) == first_byte + 6
    assert usb_device.ctrl_transfer(0xC1, 1, 0, 0, 4)[0] == first_byte + 6
    assert counter.device.speed is usb_speed


@pytest.mark.parametrize("value", ["a", "b::c", "ü [x]"])
def test_node_ids_of_all_kinds(value):
    print("printed in the guest:", value, os.environ["GADGET_VM"])


def test_survives_faults(counter, faults):
    faults.play(count=6, seed=1, after_each=lambda: still_counts(counter))
    assert len(faults.history) >= 6


def still_counts(counter):
    with counter.pyusb() as device:
        assert count(device, b"\x01", counter) == counter.function.sum


@pytest.mark.usb(controller="usbip-vudc")
def test_the_host_sees_a_stall(counter, faults, usb_device):
    faults.stall(counter.function.rx.address)
    with pytest.raises(usb.core.USBError) as failure:
        usb_device.write(counter.function.rx.address, b"\x01")
    assert failure.value.errno == errno.EPIPE
    usb_device.clear_halt(counter.function.rx.address)
    assert count(usb_device, b"\x01", counter) == 1


def test_is_killed_and_comes_back(serve, faults_of):
    served = serve(DEVICE, child=True)
    faults_of(served).kill()
    served.start_again()
    with served.pyusb() as device:
        assert bytes(device.ctrl_transfer(0xC1, 1, 0, 0, 4)) == bytes(4)


@pytest.fixture
def faults_of():
    from gadget.testing import Faults

    return Faults


def test_warns():
    warnings.warn("only a remark", stacklevel=2)


def test_is_skipped():
    pytest.skip("of a reason of its own")


@pytest.mark.xfail(reason="known")
def test_is_expected_to_fail(counter, usb_device):
    usb_device.ctrl_transfer(0xC1, 1, 1, 0, 4)


def test_must_fail(counter, usb_device):
    print("about to fail")
    assert count(usb_device, b"\x02", counter) == 3


def test_leaves_a_descriptor_open():
    os.open("/dev/null", os.O_RDONLY)


def test_leaves_a_thread_running():
    threading.Thread(target=signal.pause, daemon=True, name="left-behind").start()


def test_leaves_a_gadget_in_configfs():
    Path("/sys/kernel/config/usb_gadget/left-behind").mkdir()


def test_the_kernel_complains(guest_log):
    Path("/dev/kmsg").write_text("WARNING: CPU: 0 PID: 1 at a test, which only says so\n")
    assert guest_log.wait_for("which only says so", 10)


def test_panics_the_guest():
    Path("/proc/sys/kernel/sysrq").write_text("1")
    Path("/proc/sysrq-trigger").write_text("c")


def test_goes_on_after_a_new_boot(counter, usb_device):
    assert count(usb_device, b"\x09", counter) == 9


@pytest.mark.usb(timeout=5)
def test_hangs():
    print("it hangs now")
    threading.Event().wait()


def test_is_the_last(counter):
    assert counter.device.configuration == 1
