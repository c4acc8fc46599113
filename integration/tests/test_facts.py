"""The measured facts that the placement rests on, measured again with XML that upstream knows.

Each guest's root tries to eject every slot. No flag of libvirt's is asked: what counts is what
QEMU lost.
"""

from __future__ import annotations

import pytest

from integration.guest.pool import Pool
from integration.oracle import expectations
from integration.oracle.cases import Case, directory

CASES = directory("facts")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_who_can_be_unplugged(case: Case, pool: Pool) -> None:
    """The guest can unplug the devices that the table says it can, and no other."""
    result = pool.result(case)
    assert expectations.found(result, case) == expectations.expected(result, case)
