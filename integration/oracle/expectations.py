"""What the tests of real guests compare: the verdicts found, with those that a case expects."""

from __future__ import annotations

from integration.guest.pool import Result
from integration.oracle.cases import Case, place

Row = tuple[bool, str]


def found(result: Result, case: Case) -> dict[str, Row]:
    """Give, for the devices that the case names, whether each was unplugged, and where it sat."""
    return {
        alias: (verdict.unplugged, place(verdict.path[-1]))
        for alias, verdict in result.verdicts.items()
        if alias in {line.alias for line in case.expected}
    }


def expected(result: Result, case: Case) -> dict[str, Row]:
    """Give the same as the case expects it of the QEMU that it ran on."""
    return {line.alias: (line.unplugged(result.qemu), line.place) for line in case.expected}


def obeys(result: Result, case: Case) -> None:
    """Assert that the guest saw every device of the case, and could unplug those that it may and no other."""
    assert found(result, case) == expected(result, case)
    assert [line.alias for line in case.expected if not result.verdicts[line.alias].guest_address] == []
