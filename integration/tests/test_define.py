"""Defining, dumping and defining again: the settings are kept, and nothing moves.

A new case is an XML file in data/define.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from integration.domains.definitions import Definition
from integration.domains.layout import Layout
from integration.domains.pci import Address
from integration.paths import DATA

CASES = sorted((DATA / "define").glob("*.xml"))
_NEW = "<rng model='virtio'><backend model='random'>/dev/urandom</backend><alias name='ua-new'/></rng>"

pytestmark = pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)


def _settings(xml: str) -> dict[str, str | None]:
    """Return the domain's setting (key "") and each device's, by alias."""
    domain = ElementTree.fromstring(xml)
    feature = domain.find("features/hotplug")
    found = {"": None if feature is None else feature.get("enable")}
    for device in domain.iterfind("devices/*"):
        alias = device.find("alias")
        if alias is not None and device.get("type") != "pci":
            found[alias.get("name", "")] = device.get("hotplug")
    return found


def _addresses(xml: str) -> dict[str, Address]:
    return {device.alias: device.address for device in Layout(xml).devices}


def test_settings_are_kept(place: Definition, path: Path) -> None:
    """The dump has the settings of the definition: those, and no more."""
    given = place.xml(path.read_text())
    assert _settings(place.define(given)) == _settings(given)


def test_given_addresses_are_kept(place: Definition, path: Path) -> None:
    """An address that the definition states is the device's address."""
    given = place.xml(path.read_text())
    kept = _addresses(place.define(given))
    assert {alias: kept[alias] for alias in _addresses(given)} == _addresses(given)


def test_no_address_twice(place: Definition, path: Path) -> None:
    """No two devices or controllers share an address."""
    layout = Layout(place.define(place.xml(path.read_text())))
    controllers = [controller.address for controller in layout.controllers.values() if controller.address]
    addresses = [*(device.address for device in layout.devices), *controllers]
    assert len(addresses) == len(set(addresses))


def test_defined_again(place: Definition, path: Path) -> None:
    """Defining a dumped domain again changes nothing."""
    dumped = place.define(place.xml(path.read_text()))
    assert place.define(dumped) == dumped
    assert place.dump() == dumped


def test_edited(place: Definition, path: Path) -> None:
    """Adding a device (as virsh edit does) moves no other; taking it out again gives the same places."""
    dumped = place.define(place.xml(path.read_text()))
    edited = place.define(dumped.replace("</devices>", f"{_NEW}</devices>"))
    places = _addresses(edited)
    assert places.pop("ua-new")
    assert places == _addresses(dumped)
    assert _addresses(place.define(dumped)) == _addresses(dumped)
