from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gadget.vm import headers
from gadget.vm.errors import VmError
from gadget.vm.kernel import Kernel
from tests.unit.vm.images import bz_image

RELEASE, VERSION = "6.1.0-9-amd64", "6.1.27-1~bpo11+1"
BANNER = f"{RELEASE} (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian {VERSION} (2023-05-08)"


def test_the_package_s_version_is_read_from_the_image() -> None:
    assert headers.package_version(b"\0noise" + BANNER.encode() + b"\0", RELEASE) == VERSION
    text = f"Linux version {RELEASE} (a@b) (gcc-12 (Debian 12.2.0-14) 12.2.0) #1 SMP Debian 6.1.27-1 (2023-05-08)\n"
    assert headers.package_version(text.encode(), RELEASE) == "6.1.27-1"


@pytest.mark.parametrize("image", [b"", bz_image(RELEASE), BANNER.replace("-9-", "-8-").encode()])
def test_an_image_that_is_not_debian_s_has_no_version(image: bytes) -> None:
    assert headers.package_version(image, RELEASE) is None


def test_the_packages_are_those_of_the_kernel_s_own_version() -> None:
    control = (
        f"Package: linux-headers-{RELEASE}\nVersion: {VERSION}\n"
        f"Depends: linux-headers-6.1.0-9-common (= {VERSION}), linux-kbuild-6.1 (>= {VERSION}), "
        f"linux-image-{RELEASE} (= {VERSION}) | linux-image-{RELEASE}-unsigned, linux-compiler-gcc-12-x86\n"
        "Description: about linux-headers-nothing\n"
    )
    names = (f"linux-headers-{RELEASE}", "linux-headers-6.1.0-9-common", "linux-kbuild-6.1")
    assert headers.header_packages(RELEASE, VERSION, control) == [f"{name}={VERSION}" for name in names]


def test_a_package_without_dependencies_is_all_there_is() -> None:
    assert headers.header_packages("6.2", "1", "Package: linux-headers-6.2\n") == ["linux-headers-6.2=1"]


def test_a_relocated_makefile_finds_its_neighbours_where_the_tree_is(tmp_path: Path) -> None:
    build, common = tmp_path / "moved/usr/src/headers", tmp_path / "moved/usr/src/common"
    kbuild = tmp_path / "moved/usr/lib/linux-kbuild-6.1"
    for folder in (build, common, kbuild):
        folder.mkdir(parents=True)
    (common / "Makefile").write_text("all:\n\t@echo reached $(SCRIPTS)\n")
    makefile = "SCRIPTS := /usr/lib/linux-kbuild-6.1\ninclude /usr/src/common/Makefile\n"
    (build / "Makefile").write_text(headers.relocated(makefile))
    done = subprocess.run(["make", "-s", "-C", str(build)], capture_output=True, text=True, check=True)
    assert done.stdout == f"reached {kbuild}\n"


def test_a_makefile_that_names_no_place_is_left_alone() -> None:
    assert headers.relocated("include ../common/Makefile\n") == "include ../common/Makefile\n"
    assert headers.relocated(headers.relocated("include /usr/src/x\n")) == headers.relocated("include /usr/src/x\n")


def kernel_in(root: Path, image: bytes = b"") -> Kernel:
    modules = root / "lib/modules/6.1.0-none"
    modules.mkdir(parents=True)
    (root / "vmlinuz").write_bytes(image)
    return Kernel(root / "vmlinuz", "6.1.0-none", modules)


def test_a_build_folder_beside_the_modules_is_taken(tmp_path: Path) -> None:
    kernel = kernel_in(tmp_path)
    tree = tmp_path / "linux"
    (tree / "include/generated").mkdir(parents=True)
    (tree / "Makefile").touch()
    (kernel.modules / "build").symlink_to(tree)
    with pytest.raises(VmError, match="install the headers"):
        headers.find_headers(kernel)  # Sources that were never configured build nothing.
    (tree / "include/generated/autoconf.h").touch()
    assert headers.find_headers(kernel) == tree


def test_what_was_downloaded_before_is_taken_if_it_is_the_kernel_s_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")  # No apt: what is not there cannot be fetched.
    kernel = kernel_in(tmp_path, b"6.1.0-none (x) #1 SMP Debian 6.1.2-1 (2023-01-01)")
    root = tmp_path / "gadget/headers/6.1.0-none"
    (root / "usr/src/linux-headers-6.1.0-none").mkdir(parents=True)
    (root / "package-version").write_text("6.1.2-1")
    assert headers.find_headers(kernel) == root / "usr/src/linux-headers-6.1.0-none"
    (root / "package-version").write_text("6.1.1-1")
    with pytest.raises(VmError, match="no apt to get Debian's"):
        headers.find_headers(kernel)
