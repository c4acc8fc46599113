"""Whole domains with the new XML, by themselves and inside the XML that holds domains."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
from lxml import etree
from schema import DATA, Schemas, parse

DOMAINS = sorted((DATA / "domains").glob("*.xml"))

HOLDERS = (
    ("domain.rng", "domain"),
    ("inactiveDomain.rng", "inactiveDomain"),
    ("domainsnapshot.rng", "domainsnapshot/domain"),
    ("domainsnapshot.rng", "domainsnapshot/inactiveDomain"),
    ("domaincheckpoint.rng", "domaincheckpoint/domain"),
)
"""Schemas with a domain in them, and where it is."""


def held(domain: etree._Element, path: str) -> etree._Element:
    """Return a copy of the domain, renamed and inside another element as the path says."""
    holder, _, tag = path.rpartition("/")
    domain = deepcopy(domain)
    domain.tag = tag
    if not holder:
        return domain
    root = etree.Element(holder)
    root.append(domain)
    return root


@pytest.mark.parametrize(("schema", "path"), HOLDERS)
@pytest.mark.parametrize("file", DOMAINS, ids=lambda file: file.stem)
def test_domain(file: Path, schema: str, path: str, patched: Schemas, stock: Schemas) -> None:
    """The series makes the domain good, and a bad value anywhere in it is refused."""
    xml = held(parse(file), path)
    assert not patched.error(xml, schema)
    assert stock.error(xml, schema)
    settings = [e.attrib for e in xml.iterfind(".//devices/*[@hotplug]")]
    settings += [e.attrib for e in xml.iterfind(".//features/hotplug")]
    assert settings
    for attributes in settings:
        name = "hotplug" if "hotplug" in attributes else "enable"
        good, attributes[name] = attributes[name], "maybe"
        assert patched.error(xml, schema)
        attributes[name] = good
    assert not patched.error(xml, schema)
