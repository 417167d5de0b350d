from __future__ import annotations

from pathlib import Path

from gadget.vm.module_load import load_command, module_name


def test_a_module_has_the_name_that_the_kernel_gives_it() -> None:
    assert module_name(Path("/cache/x/my-driver.ko")) == "my_driver"


def test_the_command_s_own_words_come_after_the_modules() -> None:
    command = load_command([Path("/a b/one.ko"), Path("/two-2.ko")], ["echo", "--", "x y"])
    assert command[4:] == ["/a b/one.ko", "one", "/two-2.ko", "two_2", "--", "echo", "--", "x y"]
