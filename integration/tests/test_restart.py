"""Stored definitions through a restart of the daemon.

These tests stop and start the private daemon, through ./run, so they are the last ones.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import libvirt
import pytest

from integration.domains import definitions, domxml
from integration.guest.running import home
from integration.host import connection
from integration.host.daemons import held, run
from integration.paths import BUILD, DATA
from integration.tests.test_life import unplaced

pytestmark = [pytest.mark.restarts, pytest.mark.live]


def stored() -> Path:
    """Give the directory of the private daemon's definitions (PRIVATE_CONFIG_DIR, if that is set)."""
    if "PRIVATE_CONFIG_DIR" in os.environ:
        return Path(os.environ["PRIVATE_CONFIG_DIR"])
    return BUILD / ("etc/libvirt/qemu" if os.geteuid() == 0 else "user/cfg/libvirt/qemu")


def _capabilities(emulator: Path) -> Path:
    """Give the file in which the private daemon remembers what an emulator can do."""
    directory = "var/cache" if os.geteuid() == 0 else "user/cache"
    name = hashlib.sha256(os.fsencode(emulator)).hexdigest()
    return BUILD / directory / f"libvirt/qemu/capabilities/{name}.xml"


@pytest.fixture
def restart() -> Iterator[Callable[[], None]]:
    """A function that ends the private daemon and starts it again."""
    if "PRIVATE_CONFIG_DIR" not in os.environ and not os.environ.get("LIBVIRT_DEFAULT_URI", "").endswith("-sock"):
        pytest.skip("not run by ./run: no daemon of ours to restart")

    with ExitStack() as holders:

        def again() -> None:
            run("--stop")
            # ./run lets an idle daemon end; this one is wanted until the test is over.
            holders.enter_context(held())

        yield again


@pytest.mark.parametrize(
    "path",
    [
        DATA / "rejected" / f"{name}.xml"
        for name in ("every-conflict-is-named", "on-target-on-port", "switch-off-behind-default", "yes-on-pcie-root")
    ],
    ids=lambda path: path.stem,
)
def test_a_contradicting_definition_stays(restart: Callable[[], None], path: Path) -> None:
    """A stored definition that contradicts itself stays listed, and says at start why it cannot."""
    name = f"{connection.PREFIX}{os.getpid()}-stored"
    domain = definitions.named(path.read_text(), name, str(uuid.uuid4()))
    kept = stored() / f"{name}.xml"
    kept.write_text(domxml.text(domain))
    try:
        restart()
        conn = connection.connect()
        assert name in {found.name() for found in conn.listAllDomains()}
        listed = conn.lookupByName(name)
        before = listed.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        with pytest.raises(libvirt.libvirtError) as refusal:
            listed.create()
        code, *texts = path.with_suffix(".expected").read_text().splitlines()
        message = refusal.value.get_error_message()
        assert refusal.value.get_error_code() == getattr(libvirt, code), message
        assert [text for text in texts if text not in message] == [], message
        assert listed.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) == before
        # What the message says to do is what mends it.
        conn.defineXML(unplaced(before))
        connection.discard(listed)
        conn.close()
    finally:
        kept.unlink(missing_ok=True)


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


def test_a_qemu_without_the_property(restart: Callable[[], None]) -> None:
    """With a QEMU that cannot turn hotplug off, a stored domain stays listed, and says why it does not start."""
    with home("no-property") as (name, directory):
        emulator = directory / "qemu"
        emulator.write_text(f'#!/bin/sh\nexec {definitions.machine().emulator} "$@"\n')
        emulator.chmod(0o755)
        xml = domxml.text(definitions.named(_OFF_PORT.format(emulator=emulator), name, str(uuid.uuid4())))
        connection.connect().defineXML(xml)
        known = _capabilities(emulator)
        able = known.read_text()
        known.write_text(able.replace(_PROPERTY, ""))
        assert known.read_text() != able
        try:
            restart()
            conn = connection.connect()
            listed = conn.lookupByName(name)
            before = listed.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
            with pytest.raises(libvirt.libvirtError) as refusal:
                listed.create()
            assert refusal.value.get_error_code() == libvirt.VIR_ERR_CONFIG_UNSUPPORTED, refusal.value
            assert "hotplug" in str(refusal.value), refusal.value
            assert listed.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) == before
            # As with 'virsh edit'.
            conn.defineXML(before.replace(str(emulator), definitions.machine().emulator)).create()
            connection.discard(listed)
            conn.close()
        finally:
            known.unlink(missing_ok=True)
