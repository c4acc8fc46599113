"""The new settings in real guests, whose root tries to have every device removed."""

from __future__ import annotations

import pytest

from integration.host import connection
from integration.oracle import compare
from integration.oracle.cases import Case, booted, directory
from integration.oracle.runner import Pool
from integration.tests.refused import refused


@pytest.mark.parametrize("case", booted("settings"), ids=lambda case: case.name)
def test_who_can_be_unplugged(case: Case, pool: Pool) -> None:
    """The guest sees every device, and can unplug those that it may and no other."""
    compare.assert_matches(pool.result(case), case)


@pytest.mark.parametrize("case", directory("igb"), ids=lambda case: case.name)
def test_igb(case: Case, pool: Pool) -> None:
    """The guest cannot unplug a protected igb, the SR-IOV capable NIC of QEMU 8.0 and later (stage "qemus" has one)."""
    if not connection.has_device(connection.emulator(case.arch), "igb"):
        with refused(None, "igb"):
            pool.result(case)
        return
    compare.assert_matches(pool.result(case), case)
