"""The new settings, judged by real guests whose root tries to eject every slot."""

from __future__ import annotations

import subprocess

import pytest

from integration import check, virt
from integration.cases import Case, directory
from integration.farm import Farm


@pytest.mark.parametrize("case", directory("settings"), ids=lambda case: case.name)
def test_who_can_be_unplugged(case: Case, farm: Farm) -> None:
    """The guest sees every device, and can unplug those that it may and no other."""
    check.obeys(farm.result(case), case)


@pytest.mark.parametrize("case", directory("igb"), ids=lambda case: case.name)
def test_igb(case: Case, farm: Farm) -> None:
    """The same for the SR-IOV capable NIC, which QEMU has since 8.0."""
    emulator = virt.emulator(case.arch)
    if 'name "igb"' not in subprocess.run([emulator, "-device", "help"], capture_output=True, text=True).stdout:
        pytest.skip(f"{emulator} has no igb; 'make check QEMU=10.0' boots it")
    check.obeys(farm.result(case), case)
