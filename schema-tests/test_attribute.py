"""The hotplug attribute: which devices take it, with which values."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from lxml import etree
from schema import (
    CARRIERS,
    OTHERS,
    PCI_DEVICES,
    SCHEMAS,
    Schemas,
    case_id,
    domain_with_device,
    parse,
)

GOOD = ("yes", "no")
BAD = ("", "maybe", "on", "off", "default", "YES", "No", "true", "0", "1", "yes no")

RNG = "{http://relaxng.org/ns/structure/1.0}"

carriers = pytest.mark.parametrize("device", CARRIERS, ids=case_id)
others = pytest.mark.parametrize("device", OTHERS, ids=case_id)


@carriers
def test_device_takes_it(device: etree._Element, patched: Schemas) -> None:
    """The device is good without the attribute and with either value, and with no other."""
    assert not patched.error(domain_with_device(device))
    for value in GOOD:
        assert not patched.error(domain_with_device(device, value)), value
    for value in BAD:
        assert patched.error(domain_with_device(device, value)), value


@others
def test_device_refuses_it(device: etree._Element, patched: Schemas) -> None:
    """The device is good without the attribute, and refused with it."""
    assert not patched.error(domain_with_device(device))
    for value in GOOD + BAD:
        assert patched.error(domain_with_device(device, value)), value


@carriers
def test_stock_refuses_it(device: etree._Element, stock: Schemas) -> None:
    """It is the series that lets the attribute in: the device was good without it only."""
    assert not stock.error(domain_with_device(device))
    for value in GOOD:
        assert stock.error(domain_with_device(device, value)), value


@others
def test_stock_knows_the_others(device: etree._Element, stock: Schemas) -> None:
    """What the attribute is refused on was good before the series too."""
    assert not stock.error(domain_with_device(device))


def test_tables_are_complete(libvirt: Path) -> None:
    """Every element that the schema allows in <devices>, and every controller, is in a table."""
    common = parse(libvirt / SCHEMAS / "domaincommon.rng")

    def define(name: str) -> etree._Element:
        found = common.find(f"{RNG}define[@name='{name}']")
        assert found is not None, name
        return found

    elements = {define(ref.get("name", "")).find(f"{RNG}element") for ref in define("devices").iter(f"{RNG}ref")}
    assert {e.get("name") for e in elements if e is not None} == {d.tag for d in CARRIERS + OTHERS}
    types = define("controller").iterfind(f".//{RNG}attribute[@name='type']//{RNG}value")
    tables = [d.get("type") for d in CARRIERS + OTHERS if d.tag == "controller"]
    assert {value.text for value in types} == set(tables)


def test_each_element_has_a_device(libvirt: Path) -> None:
    """Every element that the schema gives the attribute is that of a kind in integration/data/devices."""
    common = parse(libvirt / SCHEMAS / "domaincommon.rng")
    carrying = [
        define
        for define in common.iterfind(f"{RNG}define")
        if define.find(f".//{RNG}ref[@name='deviceHotplug']") is not None
    ]
    found = {element.get("name") for define in carrying for element in define.iterfind(f"{RNG}element")}
    assert found - {None} == {device.tag for device in PCI_DEVICES}, [define.get("name") for define in carrying]


def test_every_place_in_the_schema_is_needed(libvirt: Path, tmp_path: Path) -> None:
    """Without any one of its references, the attribute is missed by a case of the table."""
    reference = r'<ref name="deviceHotplug"/>'
    shutil.copytree(libvirt / SCHEMAS, tmp_path / "schemas")
    common = tmp_path / "schemas/domaincommon.rng"
    text = common.read_text()
    places = list(re.finditer(reference, text))
    assert len(places) > 1
    for place in places:
        common.write_text(text[: place.start()] + text[place.end() :])
        mutant = Schemas(tmp_path / "schemas")
        line = text.count("\n", 0, place.start()) + 1
        assert any(mutant.error(domain_with_device(device, "no")) for device in CARRIERS), line
