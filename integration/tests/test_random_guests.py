"""Random domains whose guest's root attacks: it removes all removable devices and no protected one, as the rules say.

A few, to see that a guest does what test_noise.py does to many more such domains without one.
"""

from __future__ import annotations

import time

import pytest

from integration.domains import domxml
from integration.domains.definitions import Definition
from integration.domains.madeup import made_up
from integration.domains.standin import stand_in
from integration.oracle.cases import Case
from integration.oracle.compare import evidence
from integration.oracle.rules import stays
from integration.oracle.runner import Pool
from integration.oracle.verdict import unattacked
from integration.paths import NIGHTLY

_MOST = 30
"""Devices that a guest has at most: under TCG each takes its time."""


def _number(index: int) -> int:
    """Number a domain: those of "make nightly" are other ones every day."""
    return index + int(time.strftime("%Y%m%d")) * 100 if NIGHTLY else index


@pytest.mark.guest
@pytest.mark.nightly("test_noise.py: test_random_domains")
@pytest.mark.parametrize("number", [_number(index) for index in range(10)])
def test_attacked(place: Definition, pool: Pool, number: int) -> None:
    """Root removes no protected device, and every device with hotplug='yes' that it sees."""
    domain, _ = stand_in(made_up(place, number, _MOST))
    xml = domxml.text(domain)
    arch, machine = domxml.arch_and_machine(xml)
    case = Case(f"random/{number}", xml, arch, machine, ())
    result = pool.result(case)
    with evidence(result, case):
        assert unattacked(result.verdicts.values(), result.layout, result.report) == []
        for verdict in result.verdicts.values():
            setting = verdict.device.setting or result.layout.default
            if verdict.unplugged:
                assert setting != "no", f"{verdict.device}: {verdict}\n{xml}"
                assert not stays(result.layout, verdict.device), f"{verdict.device}: {verdict}\n{xml}"
            elif setting == "yes":
                assert not verdict.guest_address, f"{verdict.device}: {verdict}\n{xml}"
