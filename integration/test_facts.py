"""The measured facts that the placement rests on, measured again with XML that upstream knows.

Each guest's root tries to eject every slot. No flag of libvirt's is asked: what counts is what
QEMU lost.
"""

from __future__ import annotations

import pytest

from integration import check
from integration.cases import Case, directory
from integration.farm import Farm

CASES = directory("facts")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_who_can_be_unplugged(case: Case, farm: Farm) -> None:
    """The guest can unplug the devices that the table says it can, and no other."""
    result = farm.result(case)
    assert check.found(result, case) == check.expected(result, case)
