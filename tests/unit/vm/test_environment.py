from __future__ import annotations

from pathlib import Path

from gadget.vm.environment import guest_environment


def test_the_python_environment_comes_first_on_path_and_administration_is_on_it() -> None:
    path = guest_environment({"PATH": "/home/me/bin:/usr/bin"}, Path("/v/bin"))["PATH"].split(":")
    assert path[:3] == ["/v/bin", "/home/me/bin", "/usr/bin"]
    assert "/usr/sbin" in path
    assert len(path) == len(set(path))


def test_what_belongs_to_this_login_stays_here_and_the_rest_passes() -> None:
    ours = {"SSH_AUTH_SOCK": "/x", "DISPLAY": ":0", "PWD": "/", "SUDO_USER": "me", "LANG": "de_DE.UTF-8", "CI": "1"}
    theirs = guest_environment(ours, Path("/v/bin"))
    assert {"SSH_AUTH_SOCK", "DISPLAY", "PWD", "SUDO_USER"}.isdisjoint(theirs)
    assert (theirs["LANG"], theirs["CI"], theirs["USER"], theirs["GADGET_VM"]) == ("de_DE.UTF-8", "1", "root", "1")


def test_a_virtual_environment_is_named_even_if_it_was_not_activated(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").touch()
    assert guest_environment({}, tmp_path / "bin")["VIRTUAL_ENV"] == str(tmp_path)
