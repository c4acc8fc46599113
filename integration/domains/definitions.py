"""Domains that are only defined, under names of our own, and removed in the end."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree.ElementTree import Element, SubElement

import libvirt

from integration.domains import domxml
from integration.domains.domxml import Machine
from integration.host import connection
from integration.host.scratch import scratch


def default_machine(arch: str = "x86_64", kind: str = "q35") -> Machine:
    """Return the machine that definitions are for unless they say otherwise."""
    return Machine(arch, kind, connection.emulator(arch))


def named(partial: str, name: str, ident: str) -> Element:
    """Complete a domain with a name and a UUID."""
    domain = domxml.complete(partial, name, default_machine(*domxml.arch_and_machine(partial)))
    SubElement(domain, "uuid").text = ident
    return domain


def anonymous(xml: str) -> str:
    """Take the name and the UUID out of a stored definition: a partial domain that has all else."""
    domain = domxml.parse(xml)
    for tag in ("name", "uuid"):
        for element in domain.findall(tag):
            domain.remove(element)
    return domxml.text(domain)


class Definition:
    """A place for one definition: a name and a UUID that nothing else has."""

    def __init__(self, conn: libvirt.virConnect, name: str) -> None:
        self.conn, self.name, self.uuid = conn, name, str(uuid.uuid4())

    def xml(self, partial: str) -> str:
        """Complete a domain with this name and UUID."""
        return domxml.text(named(partial, self.name, self.uuid))

    def define(self, xml: str) -> str:
        """Define a whole domain, and return its XML as libvirt keeps it."""
        return self.conn.defineXMLFlags(xml).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)

    def dump(self) -> str:
        """Return the XML that libvirt keeps."""
        return self.conn.lookupByUUIDString(self.uuid).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)


@contextmanager
def defined(conn: libvirt.virConnect, label: str) -> Iterator[Definition]:
    """Return a place for one definition, and remove what is defined there in the end."""
    with scratch(label) as (name, _):
        definition = Definition(conn, name)
        try:
            yield definition
        finally:
            for domain in conn.listAllDomains():
                if domain.name() == name:
                    connection.discard(domain)
