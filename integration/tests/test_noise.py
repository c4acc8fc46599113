"""Attacks without a guest: registers of paused machines are written over qtest, in the known ways and at random.

Domain N of an architecture is always the same, and so are the writes. A device that is lost is printed with a short
list of writes that removes it. QEMU ending by itself is no failure here: how often it did is said in the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import libvirt
import pytest

from integration.host import connection
from integration.noise.facts import removed
from integration.noise.places import PLACES, Place, domain, exceptions
from integration.noise.run import one
from integration.oracle.cases import Case, directory
from integration.paths import NIGHTLY
from integration.tests.refused import refused

pytestmark = pytest.mark.noise

_DOMAINS = {"loongarch64": 8, "riscv64": 8, "armv7l": 8, "aarch64": 16, "x86_64": 60}
"""How many domains of each architecture "make check" attacks; "make nightly" 1000 of each, others every day.

The first one's come first, as libvirt waits for 30 s when a QEMU ends while its state is saved.
"""

_NUMBERS = [
    (arch, int(time.strftime("%Y%m%d")) * 1000 + index if NIGHTLY else index)
    for arch, count in _DOMAINS.items()
    for index in range(1000 if NIGHTLY else count)
]
_OTHER_VIRT = ("armv7l", "riscv64", "loongarch64")
_CASES = [
    (case, arch)
    for case in [*directory("facts"), *directory("settings")]
    for arch in (case.arch, *_OTHER_VIRT * (case.name == "facts/virt"))
]
_TURNS = range(8 if NIGHTLY else 1)


@pytest.mark.parametrize(("arch", "number"), _NUMBERS)
def test_random_domains(
    conn: libvirt.virConnect,
    lost: connection.Events,
    record_property: Callable[[str, object], None],
    arch: str,
    number: int,
) -> None:
    """No write removes a device that must stay; known ways remove every one that may go and that software sees."""
    outcome, xml = one(conn, lost, arch, number)
    for name in ("stayed", "left", "writes", "unsaved"):
        record_property(f"noise {name}", getattr(outcome, name))
    record_property("noise ended", len(outcome.ended))
    assert not outcome.losses, "\n".join([*map(str, outcome.losses), xml])
    assert not outcome.remained, f"{outcome.remained} could be removed, and were not\n{xml}"
    assert outcome.writes, f"QEMU ended by itself each time: {outcome.ended}"


@pytest.mark.parametrize(("case", "arch"), _CASES, ids=[f"{case.name}-{arch}" for case, arch in _CASES])
def test_cases(conn: libvirt.virConnect, lost: connection.Events, case: Case, arch: str) -> None:
    """Without a guest the known ways remove what a guest's root does (test_facts.py, test_settings.py).

    That is so on all virt machines.
    """
    qemu = connection.version(connection.emulator(arch))
    if case.name == "facts/virt-ged" and qemu < (10, 1):
        with refused(None, "not found"):
            removed(conn, lost, case.xml)
        return
    expected = {line.alias for line in case.expected if line.unplugged(".".join(map(str, qemu[:2])))}
    assert set(removed(conn, lost, case.xml.replace(f"arch='{case.arch}'", f"arch='{arch}'"))) == expected


_PLACED = [(machine, place, turn) for place in PLACES for machine in place.machines for turn in _TURNS]


@pytest.mark.parametrize(
    ("machine", "place", "turn"), _PLACED, ids=[f"{machine}-{place.name}-{turn}" for machine, place, turn in _PLACED]
)
def test_every_kind_in_every_place(
    conn: libvirt.virConnect, lost: connection.Events, machine: str, place: Place, turn: int
) -> None:
    """In a safe place no kind is removed, in others every one but those in the list of exceptions.

    Each turn has the kinds at other functions of their slots; "make nightly" has all eight.
    """
    emulator = connection.emulator("aarch64" if machine == "virt" else "x86_64")
    lacking = frozenset() if connection.has_device(emulator, "igb") else frozenset({"nic-igb"})
    xml, there = domain(machine, place, turn, lacking)
    gone = there & {alias.removeprefix("ua-") for alias in removed(conn, lost, xml)}
    assert gone == (set() if place.safe else there - exceptions(place))
