"""Definitions that were filled or changed after their devices had places, booted as they then are."""

from __future__ import annotations

from collections import defaultdict

import libvirt
import pytest

from integration.domains import definitions
from integration.domains.definitions import Definition
from integration.domains.snippets import NO, PC, YES, addresses, append, domain, rng, without
from integration.oracle import compare, rules
from integration.oracle.cases import Case, Expected
from integration.oracle.runner import Pool
from integration.tests.refused import refused

_MANY, _MORE = 200, 16


def _case(name: str, xml: str, machine: str, answers: dict[str, tuple[str, str]]) -> Case:
    """Make a case of a stored definition: alias, whether it can be unplugged, and where it sits."""
    expected = tuple(Expected(alias, *row) for alias, row in answers.items())
    return Case(f"stored/{name}", definitions.anonymous(xml), "x86_64", machine, expected)


@pytest.mark.nightly("test_placement.py has as many; test_functions_lost_from_shared_slots boots 60")
def test_many_and_some_more(place: Definition, pool: Pool) -> None:
    """Many protected devices, and removable ones added later: the guest sees all, and ejects only the latter."""
    numbers = range(_MANY), range(_MANY, _MANY + _MORE)
    stay, go = ([f"ua-rng{number}" for number in some] for some in numbers)
    xml = place.define(place.xml(domain("".join(map(rng, numbers[0])))))
    before = addresses(xml)
    xml = place.define(append(xml, "".join(rng(number, YES) for number in numbers[1])))
    assert {alias: addresses(xml)[alias] for alias in stay} == before
    answers = {alias: ("no", "pcie-root") for alias in stay} | {alias: ("yes", "pcie-root-port") for alias in go}
    case = _case("many-and-some-more", xml, "q35", answers)
    compare.assert_matches(pool.result(case), case)


def test_functions_lost_from_shared_slots(place: Definition, pool: Pool) -> None:
    """One shared slot loses its function 0, another one an other: the guest sees all that is left, and ejects none."""
    xml = place.define(place.xml(domain("".join(rng(number) for number in range(60)))))
    slots: dict[int, dict[int, str]] = defaultdict(dict)
    for alias, address in addresses(xml).items():
        slots[address.slot][address.function] = alias
    first, second, *_ = (slot for slot, functions in slots.items() if len(functions) == 8)
    # with virsh detach-device --config, and with virsh edit
    stored = place.conn.lookupByUUIDString(place.uuid)
    stored.detachDeviceFlags(
        f"<rng model='virtio'><alias name='{slots[first][0]}'/><backend model='builtin'/></rng>",
        libvirt.VIR_DOMAIN_AFFECT_CONFIG,
    )
    before = addresses(place.dump())
    xml = place.define(without(place.dump(), slots[second][3]))
    layout = rules.assert_placed(xml)
    left = set(addresses(xml))
    assert (
        left
        == set(before) - {slots[second][3]}
        == {f"ua-rng{number}" for number in range(60)}
        - {
            slots[first][0],
            slots[second][3],
        }
    )
    assert addresses(xml) == {alias: before[alias] for alias in left}
    stand_in = next(item for item in layout.controllers.values() if item.address and item.address.slot == first)
    assert (stand_in.model, stand_in.hotplug) == ("pcie-root-port", "off")
    case = _case("lost-functions", xml, "q35", {alias: ("no", "pcie-root") for alias in left})
    compare.assert_matches(pool.result(case), case)


def test_i440fx_full(place: Definition, pool: Pool) -> None:
    """A full i440fx starts with nothing to eject; one device more is refused by name, and nothing changes."""
    devices, xml = "", ""
    for number in range(32):
        devices += rng(number)
        try:
            xml = place.define(place.xml(domain(devices).replace("<features>", PC + "<features>")))
        except libvirt.libvirtError as refusal:
            assert refusal.get_error_code() == libvirt.VIR_ERR_CONFIG_UNSUPPORTED
            assert f"'ua-rng{number}'" in str(refusal)
            break
    assert place.dump() == xml
    fitting = addresses(xml)
    # all 32 slots but the host bridge, PIIX, and the one that is kept for a first video card
    assert len(fitting) >= 29
    case = _case("pc-full", xml, "pc", {alias: ("no", "pci-root/off") for alias in fitting})
    compare.assert_matches(pool.result(case), case)


def test_room_taken_by_hand(place: Definition) -> None:
    """With all of the root bus taken by addresses given by hand, the device that finds no place is named."""
    taken = "".join(
        rng(slot).replace("<alias", f"<address type='pci' bus='0' slot='{slot:#x}' multifunction='off'/><alias")
        for slot in range(1, 31)
    )
    before = place.define(place.xml(domain(taken)))
    e1000 = "<interface type='user'><model type='e1000'/><alias name='ua-late'/></interface>"
    for late in (e1000, rng(31), e1000.replace("'user'", "'user'" + NO)):
        with refused(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "'ua-rng31'" if late == rng(31) else "'ua-late'"):
            place.define(append(before, late))
        assert place.dump() == before
