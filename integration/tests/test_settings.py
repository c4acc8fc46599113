"""The new settings, judged by real guests whose root tries to eject every slot."""

from __future__ import annotations

import subprocess

import pytest

from integration.guest.pool import Pool
from integration.host import connection
from integration.oracle import expectations
from integration.oracle.cases import Case, directory


@pytest.mark.parametrize("case", directory("settings"), ids=lambda case: case.name)
def test_who_can_be_unplugged(case: Case, pool: Pool) -> None:
    """The guest sees every device, and can unplug those that it may and no other."""
    expectations.obeys(pool.result(case), case)


@pytest.mark.parametrize("case", directory("igb"), ids=lambda case: case.name)
def test_igb(case: Case, pool: Pool) -> None:
    """The same for the SR-IOV capable NIC, which QEMU has since 8.0."""
    emulator = connection.emulator(case.arch)
    if 'name "igb"' not in subprocess.run([emulator, "-device", "help"], capture_output=True, text=True).stdout:
        pytest.skip(f"{emulator} has no igb; 'make check QEMU=10.0' boots it")
    expectations.obeys(pool.result(case), case)
