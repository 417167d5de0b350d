from __future__ import annotations

import pytest

from gadget.cli.boot_configuration import lines_that_count

#: As Raspberry Pi OS has it (Bookworm), in short.
TEXT = """\
dtparam = audio=on  # a comment
#dtoverlay=dwc2
[cm4]
otg_mode=1

[cm5]
dtoverlay=dwc2,dr_mode=host
[pi4]
arm_boost=1
[EDID=VSC-TD2220]
hdmi_group=2
[none]
never=1
[all]
enable_uart=1
"""


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("Raspberry Pi Zero 2 W Rev 1.0", []),
        ("Raspberry Pi Model B Rev 2", []),
        ("Raspberry Pi 4 Model B Rev 1.1", ["arm_boost=1"]),
        ("Raspberry Pi 400 Rev 1.0", ["arm_boost=1"]),
        ("Raspberry Pi Compute Module 4 Rev 1.0", ["otg_mode=1", "arm_boost=1"]),
        ("Raspberry Pi Compute Module 5 Rev 1.0", ["dtoverlay=dwc2,dr_mode=host"]),
        ("Raspberry Pi 5 Model B Rev 1.0", []),
    ],
)
def test_a_file_for_all_models(model: str, more: list[str]) -> None:
    assert list(lines_that_count(TEXT, model)) == ["dtparam=audio=on", *more, "enable_uart=1"]


def test_a_model_that_sees_the_filters_of_others() -> None:
    text = "[pi0]\na=1\n[pi0w]\nb=1\n[pi02]\nc=1\n[pi3]\nd=1\n"
    assert list(lines_that_count(text, "Raspberry Pi Zero 2 W Rev 1.0")) == ["a=1", "b=1", "c=1"]
    assert list(lines_that_count(text, "Raspberry Pi Zero W Rev 1.1")) == ["a=1", "b=1"]
    assert list(lines_that_count(text, "Raspberry Pi 3 Model B Plus Rev 1.3")) == ["d=1"]
    assert list(lines_that_count(text, "Raspberry Pi 9")) == []
