"""One random domain, attacked: what the tests do, and the command of __main__.py."""

from __future__ import annotations

import libvirt

from integration.domains import definitions, domxml
from integration.domains.madeup import made_up
from integration.domains.standin import stand_in
from integration.host import connection
from integration.noise.campaign import WRITES, attack, minimised
from integration.noise.session import Outcome

ARCHES = ("x86_64", "aarch64", "armv7l", "riscv64", "loongarch64")
_MOST = 30
"""Devices that a domain has at most."""


def _savable(arch: str) -> bool:
    """Say whether libvirt 11.3.0 saves a guest: not with QEMU 11 and later, whose "migrate" it does not know."""
    return connection.version(connection.emulator(arch)) < (11, 0)


def one(
    conn: libvirt.virConnect, events: connection.Events, arch: str, number: int, writes: int = WRITES
) -> tuple[Outcome, str]:
    """Attack domain ``number`` of an architecture; return what became of it, and its XML.

    Raises libvirtError if it does not start.
    """
    with definitions.defined(conn, f"{arch}-{number}") as definition:
        domain, _ = stand_in(made_up(definition, number, _MOST, arch))
    xml = domxml.text(domain)
    outcome = attack(conn, events, xml, f"{arch} {number}", writes, _savable(arch))
    if outcome.losses:
        outcome.losses[:1] = [minimised(conn, events, xml, outcome.losses[0])]
    return outcome, xml
