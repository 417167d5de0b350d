from __future__ import annotations

from gadget.vm.errors import VmError, last_lines


def test_the_last_lines_are_those_that_say_something() -> None:
    console = "\r\n".join(f"line {number}\r\n" for number in range(40)) + "\r\n \r\n"
    assert last_lines(console, 3) == "line 37\nline 38\nline 39"


def test_a_kernel_s_report_of_trouble_is_shown_from_its_beginning() -> None:
    report = ["Kernel panic - not syncing: because", *(f"frame {number}" for number in range(15))]
    lines = last_lines("\n".join([*(["hello"] * 30), *report])).split("\n")
    assert lines == report


def test_the_message_ends_with_what_the_guest_said() -> None:
    error = VmError("it is lost", "first\r\nsecond\r\n")
    assert str(error) == "it is lost\nThe guest's last lines:\n  | first\n  | second"
    assert str(VmError("it is lost")) == "it is lost"
