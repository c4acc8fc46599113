"""Malformed and contradicting XML: refused with libvirt's own kind of error, and nothing changes.

A new case is two files in data/rejected: ``NAME.xml``, and ``NAME.error`` with the error code on
the first line and a text that the message must contain on each further one.
"""

from __future__ import annotations

from pathlib import Path

import libvirt
import pytest

from integration.domains.definitions import Definition
from integration.paths import DATA
from integration.tests.refused import refused, stated

CASES = sorted((DATA / "rejected").glob("*.xml"))
_BEFORE = "<domain><devices><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></domain>"

pytestmark = pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def _before(place: Definition) -> None:
    """A domain that is already defined."""
    place.define(place.xml(_BEFORE))


def test_define(place: Definition, path: Path) -> None:
    """The definition is refused, and the domain defined before is as it was."""
    before = place.dump()
    with refused(*stated(path)):
        place.define(place.xml(path.read_text()))
    assert place.dump() == before


def test_create(place: Definition, path: Path) -> None:
    """No guest is started of it either, and the domain defined before is as it was."""
    before = place.dump()
    with refused(*stated(path)):
        place.conn.createXML(place.xml(path.read_text()), libvirt.VIR_DOMAIN_START_AUTODESTROY)
    assert place.dump() == before
    assert not place.conn.lookupByUUIDString(place.uuid).isActive()
