"""Stored definitions through a restart of the daemon.

These tests stop and start a daemon of their own.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libvirt
import pytest

from integration.domains import definitions, domxml
from integration.domains.snippets import cut, unplaced
from integration.host import connection
from integration.host.exchanged import Exchanged
from integration.host.scratch import scratch
from integration.paths import DATA
from integration.tests.refused import refused, stated


@contextmanager
def _stored(daemon: Exchanged, partial: str) -> Iterator[libvirt.virDomain]:
    """Have a definition stored by hand, as the daemon finds it when it starts; it is gone in the end."""
    name = f"{connection.PREFIX}{os.getpid()}-stored"
    kept = daemon.definitions / f"{name}.xml"
    kept.write_text(domxml.text(definitions.named(partial, name, str(uuid.uuid4()))))
    try:
        conn = daemon.become()
        assert name in {found.name() for found in conn.listAllDomains()}
        domain = conn.lookupByName(name)
        yield domain
        connection.discard(domain)
    finally:
        kept.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "path",
    [
        DATA / "rejected" / f"{name}.xml"
        for name in ("every-conflict-is-named", "on-target-on-port", "switch-off-behind-default", "yes-on-pcie-root")
    ],
    ids=lambda path: path.stem,
)
def test_a_contradicting_definition_stays(daemon: Exchanged, path: Path) -> None:
    """A stored definition that contradicts itself stays listed, and says at start why it cannot."""
    with _stored(daemon, path.read_text()) as listed:
        before = listed.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        with refused(*stated(path)):
            listed.create()
        assert listed.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) == before
        # What the message says to do is what mends it.
        listed.connect().defineXML(unplaced(before))


_OLD = """
<domain>
  <maxMemory slots='4' unit='MiB'>1024</maxMemory>
  <features><hotplug enable='no'/></features>
  <devices>
    <interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/><alias name='ua-one'/></interface>
    <interface type='user'><mac address='52:54:00:00:00:02'/><model type='virtio'/><alias name='ua-two'/></interface>
  </devices>
</domain>
"""


def test_a_change_leaves_the_rest_alone(daemon: Exchanged) -> None:
    """An update or detach of a device adds nothing else to an old domain, such as the NUMA node that a new one gets."""
    with _stored(daemon, _OLD) as domain:
        before = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        assert "<numa>" not in before
        one = cut(before, "ua-one")
        domain.updateDeviceFlags(one.replace("<model", "<link state='down'/><model"), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        domain.detachDeviceFlags(cut(before, "ua-two"), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        after = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        assert "<link state='down'/>" in after and "ua-two" not in after
        assert "<numa>" not in after


_PROPERTY = "<flag name='pcie-root-port.hotplug'/>"
_OFF_PORT = """
<domain>
  <features><hotplug enable='no'/></features>
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='pci' index='0' model='pcie-root'/>
    <controller type='pci' index='1' model='pcie-root-port'><target hotplug='off'/></controller>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend><address type='pci' bus='1' slot='0'/></rng>
  </devices>
</domain>
"""


@pytest.fixture
def _one_cpu() -> Iterator[None]:
    """Start daemons on one CPU: on some hosts CPUID differs between CPUs, and then libvirt forgets what QEMU can do."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    yield
    os.sched_setaffinity(0, cpus)


@pytest.mark.both
@pytest.mark.usefixtures("_one_cpu")
def test_a_qemu_without_the_property(daemon: Exchanged) -> None:
    """With a QEMU that cannot turn hotplug off, a stored domain stays listed, and says why it does not start."""
    with scratch("no-property") as (name, directory):
        emulator = directory / "qemu"
        emulator.write_text(f'#!/bin/sh\nexec {definitions.default_machine().emulator} "$@"\n')
        emulator.chmod(0o755)
        xml = domxml.text(definitions.named(_OFF_PORT.format(emulator=emulator), name, str(uuid.uuid4())))
        daemon.become().defineXML(xml)
        known = daemon.capabilities(emulator)
        able = known.read_text()
        known.write_text(able.replace(_PROPERTY, ""))
        assert known.read_text() != able
        try:
            conn = daemon.become()
            listed = conn.lookupByName(name)
            before = listed.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
            with refused(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "hotplug"):
                listed.create()
            assert listed.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) == before
            # As with 'virsh edit'.
            conn.defineXML(before.replace(str(emulator), definitions.default_machine().emulator)).create()
            connection.discard(listed)
        finally:
            known.unlink(missing_ok=True)
