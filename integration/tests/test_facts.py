"""The measured facts that the placement rests on, measured again with XML that upstream knows.

Each guest's root tries all that there is, one after the other. No flag of libvirt's is asked: what counts is what QEMU
lost.
"""

from __future__ import annotations

import pytest

from integration.guest.pool import Pool
from integration.oracle import expectations
from integration.oracle.cases import Case, directory
from integration.oracle.verdict import ATTEMPTS

CASES = directory("facts")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_who_can_be_unplugged(case: Case, pool: Pool) -> None:
    """Root removes the devices that the table says it can, by that attempt first, and no other."""
    assert len(case.attacks) == len(ATTEMPTS) - 1
    expectations.obeys(pool.result(case), case)
