"""The hotplug feature, and the new XML where it does not belong."""

from __future__ import annotations

import pytest
from lxml import etree
from schema import Schemas, case_id, cases, domain_with, without_new_xml


@pytest.mark.parametrize("part", cases("accepted.xml"), ids=case_id)
def test_accepted(part: etree._Element, patched: Schemas, stock: Schemas) -> None:
    """The case is good, and it is the series that makes it so."""
    domain = domain_with(part)
    assert not patched.error(domain)
    assert stock.error(domain)
    assert not stock.error(without_new_xml(domain))


@pytest.mark.parametrize("part", cases("rejected.xml"), ids=case_id)
def test_rejected(part: etree._Element, patched: Schemas) -> None:
    """The case is refused, and for nothing but the new XML in it."""
    domain = domain_with(part)
    assert patched.error(domain)
    assert not patched.error(without_new_xml(domain))
