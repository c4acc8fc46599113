"""Helpers for the tests of guests' lives: the guests, and which properties must survive."""

from __future__ import annotations

import dataclasses
import re
import struct
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from xml.etree import ElementTree

import libvirt

from integration.domains import definitions
from integration.domains.layout import Layout
from integration.domains.snippets import cut
from integration.guest.boot import boot
from integration.guest.running import Guest
from integration.host import connection
from integration.host.scratch import scratch
from integration.oracle import compare
from integration.oracle.cases import Case, directory
from integration.oracle.runner import Result
from integration.oracle.verdict import attack
from integration.tests.refused import refused

INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
"""Flags for all of the XML that the daemon keeps for the next start."""

_USER = "<interface type='user'>"
_UDP = """
<interface type='udp'>
  <source address='127.0.0.1' port='20901'><local address='127.0.0.1' port='20902'/></source>
"""


def _one_slirp(case: Case) -> Case:
    """Leave user networking to the card that is unplugged and plugged again.

    QEMU numbers such networks in its saved state, and some versions (10.0) in such an order that the number is another
    one after the card was plugged again. A network of UDP packets has no state.
    """
    return dataclasses.replace(case, xml=case.xml.replace(_USER, _UDP))


CASES = {case.name.removeprefix("settings/"): _one_slirp(case) for case in directory("settings")}
"""The cases in data/settings; tests here use those in which only the network card is removable."""

_NIC = "ua-nic"


def essence(xml: str) -> tuple[object, ...]:
    """Return what must survive: the settings, and where everything is."""
    layout = Layout(xml)
    feature = ElementTree.fromstring(xml).find("features/hotplug")
    devices = sorted((device.alias, device.address, device.setting) for device in layout.devices)
    return None if feature is None else feature.get("enable"), devices, layout.controllers


def assert_still_protected(guest: Guest, case: Case) -> None:
    """Let the guest try to eject everything, compare with what the case expects, and plug in again what went."""
    verdicts = attack(guest, settle=1.5)
    result = Result(guest.layout, verdicts, guest.report, set(), guest.qemu_version(), guest.console(), guest.xml)
    with compare.evidence(result, case):
        assert compare.found(result, case) == compare.expected(result, case)
    guest.domain.attachDeviceFlags(cut(guest.domain.XMLDesc(INACTIVE), _NIC), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def alive(events: connection.Events, case: Case) -> AbstractContextManager[Guest]:
    """Start the guest of a case."""
    return boot(events, case.xml, case.name.replace("/", "-"), defined=True)


_HEADER = struct.Struct("=16s5I56x")
"""The header of a saved image: magic, version, length of what follows, whether it ran, format, offset of the cookie."""


def edit_image(image: Path, old: str, new: str) -> None:
    """Write another XML into a saved image than libvirt would let anybody; ``new`` may be longer than ``old``."""
    with image.open("r+b") as file:
        cookie = _HEADER.unpack(file.read(_HEADER.size))[-1]
        xml = file.read(cookie).rstrip(b"\0").decode()
        assert old in xml, xml
        edited = re.sub(r"^ +", "", xml, flags=re.MULTILINE).replace(old, new).encode()
        assert len(edited) < cookie
        file.seek(_HEADER.size)
        file.write(edited.ljust(cookie - 1, b"\n") + b"\0")


_CHANGES = (
    ("<hotplug enable='no'/>", ""),  # the feature goes
    ("<hotplug enable='no'/>", "<hotplug enable='yes'/>"),  # the feature turns
    ("<rng model='virtio'>", "<rng model='virtio' hotplug='yes'>"),  # a setting comes
    ("user' hotplug='yes'>", "user' hotplug='no'>"),  # an exception turns
    ("user' hotplug='yes'>", "user'>"),  # an exception goes
    ("<target chassis='1' ", "<target chassis='1' hotplug='off' "),  # a port turns
)
"""Changes of the settings that leave the guest's hardware alone."""


def assert_changes_refused(xml: str, action: Callable[[str], object]) -> None:
    """Assert that the action is refused with each of the changes in its XML, as other changes of the hardware are."""
    for old, new in _CHANGES:
        assert xml.count(old) == 1, old
        with refused(libvirt.VIR_ERR_CONFIG_UNSUPPORTED):
            action(xml.replace(old, new))


FEATURE = "<features><hotplug enable='no'/></features>"
RNG = """
<domain>
  {feature}
  <devices>
    <controller type='usb' model='qemu-xhci'/>
    <rng model='virtio'{setting}>
      <backend model='random'>/dev/urandom</backend>
      <alias name='ua-rng'/>
    </rng>
  </devices>
</domain>
"""
UNSET = """
<domain>
  {feature}
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='{format}'/>
      {source}
      <target dev='vda' bus='virtio'/>
      <alias name='ua-disk'/>
    </disk>
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
      <alias name='ua-rng'/>
    </rng>
  </devices>
</domain>
"""

INTERNAL_REVERT = "is writable but does not support snapshots"
"""The error of libvirt 11.3.0, stock or patched, when it reverts to an internal snapshot; 11.4 has this mended."""


def revert_to_internal(conn: libvirt.virConnect, feature: str) -> None:
    """Make an internal snapshot of a domain that runs nothing but its firmware, and go back to it."""
    with definitions.defined(conn, "internal") as place, scratch("qcow2") as (_, directory):
        disk = directory / "disk.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "8M"], check=True)
        place.define(place.xml(UNSET.format(feature=feature, format="qcow2", source=f"<source file='{disk}'/>")))
        domain = conn.lookupByUUIDString(place.uuid)
        domain.create()
        snapshot = domain.snapshotCreateXML("<domainsnapshot><name>internal</name></domainsnapshot>")
        before = domain.XMLDesc()
        domain.revertToSnapshot(snapshot)
        assert essence(domain.XMLDesc()) == essence(before)
