"""The new settings, judged by real guests whose root tries to eject every slot."""

from __future__ import annotations

import pytest

from integration import check
from integration.cases import Case, directory
from integration.farm import Farm


@pytest.mark.parametrize("case", directory("settings"), ids=lambda case: case.name)
def test_who_can_be_unplugged(case: Case, farm: Farm) -> None:
    """The guest sees every device, and can unplug those that it may and no other."""
    result = farm.result(case)
    assert check.found(result, case) == check.expected(result, case)
    unseen = [alias for alias in check.found(result, case) if not result.verdicts[alias].guest_address]
    assert not unseen
