"""The measured facts that the placement rests on, measured again with XML that upstream knows.

Each guest's root tries all that there is, one after the other. No flag of libvirt's is asked: what counts is what QEMU
lost.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.domains import domxml
from integration.domains.definitions import Definition
from integration.domains.layout import Layout
from integration.guest.boot import boot
from integration.host import connection
from integration.oracle import compare
from integration.oracle.cases import Case, booted, directory
from integration.oracle.rules import stays
from integration.oracle.runner import Pool
from integration.oracle.verdict import ATTEMPTS, attack
from integration.tests.refused import refused

CASES = booted("facts")
NAMED = {case.name.removeprefix("facts/"): case for case in directory("facts")}

# What happened to a guest before the attack changes nothing.
HISTORIES = ("reset", "restore")
CANNOT_SAVE = connection.version(connection.emulator("x86_64")) >= (11, 0)
"""libvirt 11.3.0 saves no guest of these QEMUs: they do not know migrate's parameter "detach" any more."""
UNKNOWN = {"facts/virt-ged"} if connection.version(connection.emulator("aarch64")) < (10, 1) else set()
"""Guests that this QEMU does not have."""
AGED = [case for case in NAMED.values() if case.name not in UNKNOWN]

NATIVE = {"facts/q35-6.0", "facts/q35-native", "facts/q35-native-no-drivers"}
"""Without ACPI PCI hotplug, which libvirt turns on in a domain that says no."""
STRICTER = {
    "pci-root": "not off: without ACPI nothing removes a device there",
    "pci-expander-bus": "some QEMUs' ACPI does not reach it",
    "pci-bridge": "the same, behind that expander bus",
    "pcie-switch-downstream-port/off": "with ACPI PCI hotplug, on some QEMUs",
    "dmi-to-pci-bridge": "it has no SHPC: only ACPI removes a device there",
}
"""Where the rules say that a device can be removed although some guest could not do it."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_who_can_be_unplugged(case: Case, pool: Pool) -> None:
    """Root removes the devices that the table says it can, by that attempt first, and no other."""
    assert len(case.attacks) == len(ATTEMPTS) - 1
    if case.name in UNKNOWN:
        with refused(None, "not found"):
            pool.result(case)
        return
    compare.assert_matches(pool.result(case), case)


@pytest.mark.nightly("test_noise.py: test_random_domains")
@pytest.mark.parametrize(
    "case", [case.after(history) for case in AGED for history in HISTORIES], ids=lambda case: case.name
)
def test_after(case: Case, pool: Pool) -> None:
    """A guest that was reset, or saved and restored, can remove the same devices."""
    if case.history == "restore" and CANNOT_SAVE:
        with refused(None, "detach"):
            pool.result(case)
        return
    result = pool.result(case)
    found, expected = compare.found(result, case), compare.expected(result, case)
    with compare.evidence(result, case):
        assert {alias for alias, row in found.items() if row[0] != "no"} == {
            alias for alias, row in expected.items() if row[0] != "no"
        }


@pytest.mark.parametrize("qemu", ["7.2", "10.0", "11.1"])
@pytest.mark.parametrize(
    "case",
    # virt-ged takes options that libvirt never gives
    [case for case in NAMED.values() if case.name != "facts/virt-ged"],
    ids=lambda case: case.name,
)
def test_rules(place: Definition, case: Case, tmp_path: Path, qemu: str) -> None:
    """The rules call removable what a guest can remove; where they are stricter, the reason is known."""
    whole = domxml.parse(place.xml(case.xml))
    domxml.give_disks(whole, tmp_path)
    layout = Layout(place.define(domxml.text(whole)))
    layout.says_no = case.name not in NATIVE
    devices = {device.alias: device for device in layout.devices}
    for line in case.expected:
        remains = stays(layout, devices[line.alias])
        if line.unplugged(qemu):
            assert not remains, line
        elif not remains:
            assert line.bus in STRICTER, line


@pytest.mark.skipif(CANNOT_SAVE, reason="libvirt 11.3.0 saves no guest of this QEMU")
def test_saved_without_acpi_hotplug(events: connection.Events) -> None:
    """State of pc-q35-6.0 saved without ACPI PCI hotplug must not meet it.

    QEMU 7.2 refuses it; later ones load a Presence Detect bit with it that lets root remove what is behind an off port.
    """
    before, then = NAMED["q35-6.0"], NAMED["q35-6.0-on"]
    options = then.xml[then.xml.index("<qemu:commandline") : then.xml.index("</domain>")]

    def on(xml: str) -> str:
        xml = xml.replace("<domain ", "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' ", 1)
        return xml.replace("</domain>", f"{options}</domain>")

    with boot(events, before.xml, "saved-without", defined=True) as guest:
        guest.done()
        if connection.version(connection.emulator(before.arch)) < (10, 0):
            with refused(None, "load of migration failed"):
                guest.restore(on)
            return
        guest.restore(on)
        verdicts = attack(guest)
    assert verdicts["ua-port-off-0"].unplugged
    assert not verdicts["ua-root-alone"].unplugged
