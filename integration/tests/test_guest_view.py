"""The offers that a guest sees: ACPI ``_EJ0`` and the ports' Hot-Plug Capable bit.

They are what Windows goes by for "Safely Remove Hardware", so they speak for guests that we cannot
boot here.
"""

from __future__ import annotations

import pytest

from integration.domains.pci import Address, hotplug_capable
from integration.oracle.cases import Case, booted, directory
from integration.oracle.runner import Pool

SETTINGS = booted("settings")
PORTS = ("-root-port", "-downstream-port")
WITH_PORTS = [
    case
    for case in (*booted("facts"), *SETTINGS)
    # virt-ged is for the newest QEMUs alone.
    if case.name != "facts/virt-ged" and any(line.bus.partition("/")[0].endswith(PORTS) for line in case.expected)
]
# QEMU's native hotplug (all that there is on aarch64) needs no ACPI.
WITH_ACPI = [case for case in SETTINGS if case.arch == "x86_64" and "acpi-pci-hotplug" not in case.xml]


@pytest.mark.parametrize("case", WITH_ACPI, ids=lambda case: case.name)
def test_ej0(case: Case, pool: Pool) -> None:
    """The devices with an ``_EJ0`` method are those that the guest may unplug.

    The ports of an expander bus have native hotplug, which needs no ACPI: nothing has the method there.
    """
    result = pool.result(case)
    with_ej0, native = set(), set()
    for alias, verdict in result.verdicts.items():
        if any(controller.model == "pcie-expander-bus" for controller in verdict.path):
            native.add(alias)
        at = verdict.guest_address
        assert at, f"the guest does not see {alias}"
        # ACPI speaks of slots: what it offers for function 0 it does with all functions.
        first = result.report.before[Address(at.domain, at.bus, at.slot, 0)]
        if first.path in result.ejectable:
            with_ej0.add(alias)
    assert not with_ej0 & native
    assert with_ej0 == {line.alias for line in case.expected if line.unplugged(result.qemu)} - native


@pytest.mark.parametrize("case", [case for case in SETTINGS if case.name == "settings/domain-no"])
def test_no_ej0_at_all(case: Case, pool: Pool) -> None:
    """With all devices kept there is no ``_EJ0`` in any table, and the guest has no slot to eject."""
    result = pool.result(case)
    assert result.report.tables
    assert not result.ejectable
    assert not result.report.slots


@pytest.mark.parametrize("case", WITH_PORTS, ids=lambda case: case.name)
def test_hot_plug_capable(case: Case, pool: Pool) -> None:
    """A port's Slot Capabilities say Hot-Plug Capable unless it has ``<target hotplug='off'/>``.

    With pc-q35-6.1 none does: QEMU has turned native hotplug off for it (``x-native-hotplug``).
    """
    result = pool.result(case)
    ports = [port for port in result.layout.controllers.values() if port.model.endswith(PORTS) and port.address]
    assert ports
    for port in ports:
        assert port.address
        config = result.report.configs[result.layout.in_guest(port.address, result.report.configs)]
        assert hotplug_capable(config) == (port.hotplug != "off" and case.machine != "pc-q35-6.1"), port


@pytest.mark.parametrize("case", directory("acpi-index", ".index"), ids=lambda case: case.name)
def test_acpi_index(case: Case, pool: Pool) -> None:
    """The guest sees ``<acpi index>``, by which Linux names network devices, where the case says.

    ``NAME.index`` has a line per device: its alias, the index (``-`` for none), and the controller that it sits on.
    """
    result = pool.result(case)
    seen = {}
    for line in case.expected:
        address = result.verdicts[line.alias].guest_address
        assert address
        seen[line.alias] = result.report.before[address].index or "-"
    assert seen == {line.alias: line.answer(result.qemu) for line in case.expected}
