"""Domains that platforms write anew, without addresses, at every start: one more device moves no network card.

A file in data/rewritten is the devices of such a domain, whose network cards have an alias. Its first line says on
which machines it is tried. The tests add disks, random number generators, assigned devices and filesystems.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import libvirt
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from integration.arch import of_machine
from integration.domains import domxml
from integration.domains.arbitrary import domains, examples
from integration.domains.definitions import Definition
from integration.domains.devices import all_devices
from integration.domains.layout import Layout
from integration.domains.pci import Address
from integration.domains.rewriting import anew
from integration.domains.snippets import ALL_OFF, stripped
from integration.oracle.rules import assert_placed, is_pci
from integration.paths import DATA, NIGHTLY

_FIRST = re.compile(r"<!-- ([a-z0-9. -]+) -->\n")
_FILES = {path.stem: path for path in sorted((DATA / "rewritten").glob("*.xml"))}


def _machines(path: Path) -> list[str]:
    """Return the machines of a file's first line. Raises ValueError if it has none."""
    first = _FIRST.match(path.read_text())
    if not first:
        raise ValueError(f"{path}: the first line is no comment with machines")
    return first[1].split()


_CASES = [
    pytest.param(path, machine, id=f"{name}-{machine}") for name, path in _FILES.items() for machine in _machines(path)
]
files = pytest.mark.parametrize(("path", "machine"), _CASES)
settings = pytest.mark.parametrize("each", [False, True], ids=["domain says no", "each device says no"])

_DISKS, _RNGS = range(1, 13), range(4)


def _add(devices: Element, kind: str, numbers: Iterator[int]) -> None:
    number = next(numbers)
    more = all_devices()[kind].xml(number, "", f"<alias name='ua-{kind}-{number}'/>")
    devices.extend(ElementTree.fromstring(f"<more>{more}</more>"))


def _written(path: Path, machine: str, kinds: list[str], each: bool = False) -> str:
    """Write a domain anew, with more devices of ``kinds``; either it says no, or each of its PCI devices does."""
    domain = Element("domain")
    system = SubElement(SubElement(domain, "os"), "type", arch=of_machine(machine), machine=machine)
    system.text = "hvm"
    domain.append(ElementTree.fromstring(f"<features>{'' if each else ALL_OFF}</features>"))
    devices = ElementTree.fromstring(path.read_text())
    domain.append(devices)
    numbers = iter(range(1, 400))
    for kind in kinds:
        _add(devices, kind, numbers)
    if each:
        for device in devices:
            if not (device.tag == "controller" and device.get("type") == "pci") and is_pci(device):
                device.set("hotplug", "no")
        if machine == "pc":
            root = SubElement(devices, "controller", type="pci", index="0", model="pci-root")
            SubElement(root, "target", hotplug="off")
    return domxml.text(domain)


def _cards(xml: str) -> dict[str, Address]:
    cards = {device.alias: device.address for device in Layout(xml).devices if device.tag == "interface"}
    assert cards and "" not in cards
    return cards


def _more(disks: int, rngs: int, hostdevs: int, filesystems: int) -> list[str]:
    kinds = {"disk-virtio": disks, "rng": rngs, "hostdev": hostdevs, "filesystem-9p": filesystems}
    return [kind for kind, count in kinds.items() for _ in range(count)]


@settings
@pytest.mark.parametrize("filesystems", [0, 2])
@files
def test_network_cards_stay(place: Definition, path: Path, machine: str, filesystems: int, each: bool) -> None:
    """With 1 to 12 disks, 0 to 3 random number generators and an assigned device each card is at the same address.

    Filesystems come before network cards, in libvirt without the setting, too: with one more of those cards do move.
    """
    first = _cards(place.define(place.xml(_written(path, machine, _more(1, 0, 0, filesystems), each))))
    # A third has each count of disks, and each pair of the others.
    for disks, rngs, hostdevs in [*product(_DISKS, _RNGS, (0, 1))][:: 1 if NIGHTLY else 3]:
        kinds = _more(disks, rngs, hostdevs, filesystems)
        xml = place.define(place.xml(_written(path, machine, kinds, each)))
        assert _cards(xml) == first, kinds
        if rngs == 3:
            assert_placed(xml)


@pytest.mark.parametrize("filesystems", [0, 1])
@files
def test_removable_cards_keep_their_bus(place: Definition, path: Path, machine: str, filesystems: int) -> None:
    """Network cards that say yes are behind the same buses, however many protected devices there are."""
    found = []
    for disks, rngs, hostdevs in product(_DISKS, (0, 2), (0, 1)):
        xml = _written(path, machine, _more(disks, rngs, hostdevs, filesystems))
        xml = place.define(place.xml(xml.replace("<interface ", "<interface hotplug='yes' ")))
        assert_placed(xml)
        found.append(_cards(xml))
    assert {at.bus for at in found[0].values()} != {0}
    assert found == [found[0]] * len(found)


@settings
@pytest.mark.parametrize("filesystems", [0, 1])
@pytest.mark.parametrize("path", [path for path, machine in (case.values for case in _CASES) if machine == "pc"])
def test_i440fx_as_without(place: Definition, path: Path, filesystems: int, each: bool) -> None:
    """On i440fx every device is where it is without the setting."""
    for disks, rngs, hostdevs in product((1, 2, 3, 7, 12), _RNGS, (0, 2)):
        whole = _written(path, "pc", _more(disks, rngs, hostdevs, filesystems), each)
        with_setting = place.define(place.xml(whole))
        without = place.define(place.xml(re.sub('<target hotplug="off" ?/>', "", stripped(whole))))
        assert "hotplug=" not in without
        protected, plain = Layout(with_setting), Layout(without)
        assert len(protected.devices) == len(plain.devices) > 0
        assert {device.alias: device.address for device in protected.devices} == {
            device.alias: device.address for device in plain.devices
        }
        assert {index: bus.hotplug for index, bus in protected.controllers.items()} == {0: "off"}


_ONE_MORE: dict[str, list[str]] = {
    "a disk": ["disk-virtio"],
    "an optional disk": ["disk-optional"],
    "an assigned device": ["hostdev"],
    "another kind": ["rng"],
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("machine", ["q35", "virt"])
def test_up_to_185_disks(place: Definition, machine: str) -> None:
    """However full the root bus is, one disk, optional disk or assigned device more moves no network card."""
    path = _FILES["plain"]
    first: dict[str, Address] = {}
    for disks in [*range(0, 32), *range(32, 186, 9), 185]:
        for kinds in ([], *_ONE_MORE.values()):
            xml = place.define(place.xml(_written(path, machine, ["disk-virtio"] * disks + kinds)))
            first = first or _cards(xml)
            assert _cards(xml) == first, (disks, kinds)


@pytest.fixture
def outcomes() -> Iterator[Counter[str]]:
    """Enough domains must have had protected cards, and removable ones."""
    counted: Counter[str] = Counter()
    yield counted
    if counted["compared"] > 100:
        assert counted["no"] > 50 and counted["yes"] > 10, counted


@pytest.mark.timeout(7200 if NIGHTLY else 900)
@examples("RANDOM_REWRITTEN", usual=300, nightly=5000)
@given(partial=domains().map(anew), more=st.sampled_from(["disk-virtio", "rng", "memballoon"]))
def test_random(place: Definition, outcomes: Counter[str], partial: str, more: str) -> None:
    """One disk more, or one device that comes after disks, moves no network card of a random domain that says no.

    Protected cards that need a root port get theirs after devices without a setting, of which it may be one.
    """
    note(partial)
    extra = all_devices()[more].xml(600, "", "<alias name='ua-more'/>")
    if more == "memballoon" and "<memballoon" in partial:
        return
    try:
        before = Layout(place.define(place.xml(partial)))
        after = Layout(place.define(place.xml(partial.replace("</devices>", f"{extra}</devices>"))))
    except libvirt.libvirtError:
        assert place.conn.isAlive()
        return
    if not before.says_no:
        return
    outcomes["compared"] += 1
    for device in before.devices:
        setting = device.setting or before.default
        if device.tag == "interface" and device.alias and not (setting == "no" and device.address.bus):
            outcomes[setting or "absent"] += 1
            assert after.device(device.alias).address == device.address
