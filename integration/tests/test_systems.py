"""Debian as it is installed, converted by virt-pci-hotplug: cards have the names that it said, and nothing is lost."""

from __future__ import annotations

import pytest

from integration.guest.boot import bootable_machine
from integration.host import connection
from integration.systems.case import Case, cases
from integration.systems.installed import installed
from integration.systems.life import LIMIT, Card, Life, lived

_CONFIGURED = "52:54:00:00:00:01"
"""The card that integration/systems/guest/10-card.network configures, by MAC."""

pytestmark = [pytest.mark.system, pytest.mark.timeout(4 * LIMIT)]


def _predicted(life: Life, case: Case, card: Card, when: str) -> str:
    """Return the name that a card must have, as the tool says, or the case where it does not know."""
    said: str | None = card[when][life.before.systemd]
    stated = case.names.get((life.qemu, card["name"]), ("-", "-"))[when == "new"]
    # It knows the version of the host's own QEMU only.
    assert stated in ("-", said or stated), f"{card['name']}, {when}: the tool says {said}, the case {stated}"
    return said or stated


def _wrong_names(life: Life, case: Case, when: str) -> list[str]:
    """Return the cards whose name is not the predicted one, ``old`` or ``new``."""
    wrong, system = [], life.before if when == "old" else life.after
    for card in life.cards:
        predicted, name = _predicted(life, case, card, when), system.cards[card["name"]].name
        # Of cards that want the same name one gets it.
        usual, _, other = predicted.partition(" or ")
        if name != usual and not (other and name.startswith("eth")):
            wrong.append(f"{card['name']} is {name}, said was {predicted}")
    return wrong


def _fine(life: Life, case: Case) -> None:
    """Assert all that must be true of a system that was converted."""
    assert bool(life.refused) == ("--rename-nics" in case.words)
    assert {card["name"] for card in life.cards} == life.before.cards.keys() == life.after.cards.keys()
    assert _wrong_names(life, case, "old") == []
    assert _wrong_names(life, case, "new") == []
    for system in (life.before, life.after):
        assert system.firmware == ("efi" if "<loader" in case.xml else "bios")
        assert system.netboot == case.netboot
        assert system.cards[_CONFIGURED].address
    assert life.after.mounts == life.before.mounts
    assert life.reordered == case.reordered == (life.after.disks != life.before.disks)
    assert [mount.serial for mount in life.after.mounts.values()] == ["disk", "disk", "data"]
    assert life.missed == []
    assert life.removed == life.removable


_CASES = [pytest.param(case, suite, id=f"{case.name}-{suite}") for case in cases() for suite in case.suites]


@pytest.mark.parametrize(("case", "suite"), _CASES)
def test_converted(events: connection.Events, case: Case, suite: str) -> None:
    """A system keeps its disks and its network, its cards have the names that were said, and root removes nothing."""
    arch, kind = case.kind
    with lived(events, case, bootable_machine(events, arch, kind), installed(suite, arch)) as life:
        _fine(life, case)
