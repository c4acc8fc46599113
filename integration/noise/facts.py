"""What the known ways remove from the domains of integration/data/facts, without a guest."""

from __future__ import annotations

import libvirt

from integration.host import connection
from integration.noise import attacks
from integration.noise.session import PREPARE, session


def removed(conn: libvirt.virConnect, events: connection.Events, xml: str, label: str = "known") -> dict[str, str]:
    """Return by which of the known ways each device of a partial domain was removed, by alias."""
    by: dict[str, str] = {}
    with session(conn, events, xml, label) as one:
        one.do([PREPARE])
        for kind in attacks.KNOWN:
            one.do(attacks.known(one.hardware, kind))
            by |= dict.fromkeys(one.guest.started_with - one.ids() - by.keys(), kind)
    return by
