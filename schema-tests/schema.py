"""libvirt's RELAX NG schemas, and the domains that the tests try against them."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from lxml import etree

from integration.domains.devices import all_devices

SCHEMAS = Path("src/conf/schemas")
"""Where libvirt's source tree keeps its schemas."""

TEST_SCHEMAS = Path("tests/schemas")
"""Where it keeps the templates of those that only its tests use."""

DATA = Path(__file__).parent / "data"
"""The tables of cases, and whole domains."""

SMALL_DOMAIN = """
<domain type='qemu'>
  <name>small</name>
  <memory unit='KiB'>219100</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features/>
  <devices/>
</domain>
"""


def parse(path: Path) -> etree._Element:
    """Return the root element of an XML file."""
    return etree.parse(str(path)).getroot()


class Schemas:
    """The schemas of one directory, each parsed once."""

    def __init__(self, directory: Path) -> None:
        """Use the schemas in this directory."""
        self.directory = directory
        self._load = cache(self._parse)

    def _parse(self, name: str) -> etree.RelaxNG:
        return etree.RelaxNG(etree.parse(str(self.directory / name)))

    def error(self, xml: etree._Element, name: str = "domain.rng") -> str:
        """Return why the schema refuses the document, or an empty string if it accepts it."""
        schema = self._load(name)
        if schema.validate(etree.ElementTree(xml)):
            return ""
        return str(schema.error_log) or "refused"


def cases(table: str) -> list[etree._Element]:
    """Return the cases of a table in data/, comments left out."""
    return [case for case in parse(DATA / table) if isinstance(case.tag, str)]


def case_id(case: etree._Element) -> str:
    """Name a case by its line in its table or file."""
    return f"{case.sourceline}-{case.tag}"


def kind(device: etree._Element) -> str:
    """Name what decides whether a device element takes the attribute."""
    return f"controller {device.get('type')}" if device.tag == "controller" else str(device.tag)


PCI_DEVICES = [
    etree.fromstring(ElementTree.tostring(element))
    for device in all_devices().values()
    for element in device.elements(1)
]
"""The kinds of PCI devices, which all tests share."""

CARRIERS = PCI_DEVICES + cases("carriers.xml")
"""Devices that take the hotplug attribute; the table has variants for the schema alone."""

OTHERS = cases("others.xml")
"""Devices that never do."""

CARRIER_KINDS = frozenset(map(kind, CARRIERS))


def domain_with(part: etree._Element) -> etree._Element:
    """Return the small domain with its part of the same name replaced, or with the part added."""
    domain = etree.fromstring(SMALL_DOMAIN)
    for old in domain.findall(str(part.tag)):
        domain.remove(old)
    domain.append(deepcopy(part))
    return domain


def domain_with_device(device: etree._Element, hotplug: str | None = None) -> etree._Element:
    """Return the small domain with one device, with this hotplug attribute if not None."""
    devices = etree.Element("devices")
    devices.append(deepcopy(device))
    if hotplug is not None:
        devices[0].set("hotplug", hotplug)
    return domain_with(devices)


def without_new_xml(domain: etree._Element) -> etree._Element:
    """Return a copy of the domain without any hotplug element or attribute."""
    domain = deepcopy(domain)
    etree.strip_elements(domain, "hotplug", with_tail=False)
    etree.strip_attributes(domain, "hotplug")
    return domain
