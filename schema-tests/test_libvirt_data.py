"""The XML under libvirt's own test data: still valid, and able to take the new XML."""

from __future__ import annotations

from pathlib import Path

from lxml import etree
from schema import CARRIER_KINDS, Schemas, kind, parse
from virschematest import Entry

EMPTY = {"src/network", "tests/chxml2xmlout"}
"""Directories that virschematest.c lists, but that have a template or symbolic links only."""


def valid_domains(entry: Entry, libvirt: Path) -> dict[str, etree._Element]:
    """Return the valid domains of the entry by file name."""
    domains = {path.name: parse(path) for path, valid in entry.files(libvirt) if valid}
    assert domains
    return domains


def test_valid_as_before(entry: Entry, libvirt: Path, patched: Schemas, internal: Schemas) -> None:
    """What virschematest.c calls valid is, and what it calls invalid is not."""
    schemas = internal if entry.internal else patched
    files = entry.files(libvirt)
    assert bool(files) == (entry.directory not in EMPTY)
    wrong = {
        path.name: error or "accepted"
        for path, valid in files
        for error in [schemas.error(parse(path), entry.schema)]
        if valid == bool(error)
    }
    assert not wrong


def test_everything_set(domain_entry: Entry, libvirt: Path, patched: Schemas) -> None:
    """Any domain may have the feature, and the attribute on every device that takes it."""
    wrong = {}
    for name, domain in valid_domains(domain_entry, libvirt).items():
        features = domain.find("features")
        if features is None:
            features = etree.SubElement(domain, "features")
        if features.find("hotplug") is None:
            etree.SubElement(features, "hotplug", enable="no")
        for device in domain.iterfind("devices/*"):
            if kind(device) in CARRIER_KINDS:
                device.set("hotplug", "no")
        if error := patched.error(domain):
            wrong[name] = error
    assert not wrong


def test_other_devices_refuse(domain_entry: Entry, libvirt: Path, patched: Schemas) -> None:
    """The attribute is refused on every other device, whatever else the domain has."""
    wrong = []
    for name, domain in valid_domains(domain_entry, libvirt).items():
        for device in domain.iterfind("devices/*"):
            if kind(device) not in CARRIER_KINDS:
                device.set("hotplug", "no")
                if not patched.error(domain):
                    wrong.append(f"{name}:{device.sourceline}")
                del device.attrib["hotplug"]
    assert not wrong
