"""A virtual network that a domain boots from: the private virtnetworkd's dnsmasq serves a boot program by TFTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libvirt

from integration.host import connection

_XML = """
<network>
  <name>{name}</name>
  <forward mode='open'/>
  <bridge name='hotplug%d' stp='off' delay='0'/>
  <ip address='10.213.{number}.1' netmask='255.255.255.0'>
    <tftp root='{directory}'/>
    <dhcp>
      <range start='10.213.{number}.10' end='10.213.{number}.20'/>
      <bootp file='{program}'/>
    </dhcp>
  </ip>
</network>
"""


def _sweep(conn: libvirt.virConnect) -> None:
    """Remove the networks of processes that were killed before they could do it."""
    for network in conn.listAllNetworks():
        if connection.stale(network.name()):
            network.destroy()


@contextmanager
def serving(conn: libvirt.virConnect, program: Path) -> Iterator[str]:
    """Return the name of a network that serves the boot program, and remove it in the end. It takes root."""
    _sweep(conn)
    pid = os.getpid()
    name = f"{connection.PREFIX}{pid}-netboot"
    xml = _XML.format(name=name, number=pid % 256, directory=program.parent, program=program.name)
    network = conn.networkCreateXML(xml)
    try:
        yield name
    finally:
        network.destroy()
