from __future__ import annotations

from pathlib import Path

import pytest

from gadget.vm import kernel
from gadget.vm.errors import VmError
from tests.unit.vm.images import bz_image

NEEDED = "\n".join(f"kernel/drivers/{name}.ko.xz: kernel/x.ko" for name in kernel.NEEDED)


def install(root: Path, release: str, modules: str = NEEDED) -> Path:
    (root / "boot").mkdir(exist_ok=True)
    (root / "lib/modules" / release).mkdir(parents=True)
    (root / "lib/modules" / release / "modules.dep").write_text(modules)
    path = root / "boot" / f"vmlinuz-{release}"
    path.write_bytes(bz_image(release))
    return path


def test_a_kernel_is_found_with_its_modules(tmp_path: Path) -> None:
    path = install(tmp_path, "6.1.0-9-amd64")
    found = kernel.open_kernel(path)
    assert (found.release, found.modules) == ("6.1.0-9-amd64", tmp_path / "lib/modules/6.1.0-9-amd64")


def test_the_newest_installed_kernel_comes_first_and_one_without_dummy_hcd_does_not_count(tmp_path: Path) -> None:
    install(tmp_path, "6.9.0-1-amd64")
    install(tmp_path, "6.10.0-1-amd64")
    install(tmp_path, "6.11.0-1-cloud-amd64", NEEDED.replace("dummy_hcd", "dummy"))
    found = kernel.installed_kernels(tmp_path / "boot")
    assert [each.release for each in found] == ["6.10.0-1-amd64", "6.9.0-1-amd64"]


def test_a_module_that_is_built_in_is_not_missing(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text(NEEDED.replace("kernel/drivers/overlay.ko.xz: kernel/x.ko", ""))
    assert kernel.missing_modules(tmp_path) == ["overlay"]
    (tmp_path / "modules.builtin").write_text("kernel/fs/overlayfs/overlay.ko\n")
    assert kernel.missing_modules(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing", "cannot be read"), ("vmlinuz-6.1.0-no-modules", "its modules are not in")],
)
def test_what_cannot_be_booted_is_refused_with_the_reason(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "vmlinuz-6.1.0-no-modules").write_bytes(bz_image("6.1.0-no-modules"))
    with pytest.raises(VmError, match=message):
        kernel.open_kernel(tmp_path / name)


def test_a_kernel_named_by_the_environment_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GADGET_VM_KERNEL", str(install(tmp_path, "6.2.3-mine")))
    assert kernel.find_kernel().release == "6.2.3-mine"


def test_the_metapackage_leads_to_the_kernel_s_package() -> None:
    control = (
        "Package: linux-image-amd64\nVersion: 6.1.4-1\n"
        "Depends: foo, linux-image-6.1.0-9-amd64 (= 6.1.4-1)\nSuggests: linux-image-6.2-x\n"
    )
    assert kernel.package_from(control) == "linux-image-6.1.0-9-amd64"
    assert kernel.package_from("Package: linux-image-amd64\n") is None
