"""Running domains after calls that once ended the daemon, or changed what runs although they failed.

Not beside definitions on a daemon with sanitizers: GCC 12's can hang in a forked child while another thread allocates.
"""

from __future__ import annotations

from collections.abc import Iterator

import libvirt
import pytest

from integration.domains import definitions
from integration.domains.definitions import Definition
from integration.domains.devices import all_devices
from integration.domains.snippets import ALL_OFF, MEMORY, domain
from integration.tests.refused import refused
from integration.tests.test_survives import NOT_ATTACHED, STATED

pytestmark = pytest.mark.sanitized

_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
_PAUSED = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY
_PORT = "<controller type='pci' index='0' model='pcie-root'/><controller type='pci' index='1' model='pcie-root-port'/>"


@pytest.fixture(scope="module")
def paused(conn: libvirt.virConnect) -> Iterator[libvirt.virDomain]:
    """A guest with enable='no', a free port and a controller of each kind that others need, which does not run."""
    others = "<controller type='scsi' index='0' model='virtio-scsi'/><controller type='usb' model='qemu-xhci'/>"
    with definitions.defined(conn, "survives") as place:
        place.define(place.xml(domain(_PORT + others).replace("<features>", MEMORY + "<features>")))
        running = conn.lookupByUUIDString(place.uuid)
        running.createWithFlags(_PAUSED)
        yield running


_CODES = (
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_XML_ERROR,
    libvirt.VIR_ERR_OPERATION_INVALID,
    libvirt.VIR_ERR_INTERNAL_ERROR,  # libvirt's own, of hostdevs
)


@pytest.mark.parametrize("setting", ["", "no"], ids=["as the domain", "no"])
@pytest.mark.parametrize("stated", STATED.values(), ids=STATED)
def test_attach_with_an_address_of_another_type(paused: libvirt.virDomain, stated: str, setting: str) -> None:
    """A protected device of any kind is not attached to a running guest, whatever type of address it states."""
    before = paused.XMLDesc()
    for name, device in all_devices().items():
        (element, *more) = device.elements(1)
        if "q35" not in device.machines or more or element.tag in NOT_ATTACHED:
            continue
        given = device.xml(1, setting, f"<address {stated}/><alias name='ua-new'/>")
        with refused(_CODES) as refusal:
            paused.attachDeviceFlags(given, _LIVE)
        assert refusal.code != libvirt.VIR_ERR_INTERNAL_ERROR or "address type" in refusal.text, (name, refusal)
        assert paused.XMLDesc() == before, name


_FULL = """
<controller type='virtio-serial' index='0' ports='2'><alias name='ua-serial'/></controller>
<channel type='null'><target type='virtio' name='one'/></channel>
"""


@pytest.mark.parametrize("feature", ["", ALL_OFF], ids=["unset", "no"])
def test_channel_without_a_port(place: Definition, feature: str) -> None:
    """A channel for which no virtio-serial port is left leaves nothing behind in the XML of a running guest."""
    place.define(place.xml(domain(_PORT + _FULL, feature)))
    running = place.conn.lookupByUUIDString(place.uuid)
    running.createWithFlags(_PAUSED)
    before = running.XMLDesc()
    with refused(None):
        running.attachDeviceFlags("<channel type='null'><target type='virtio' name='two'/></channel>", _LIVE)
    assert running.XMLDesc() == before
    assert before.count("<controller type='virtio-serial'") == 1
