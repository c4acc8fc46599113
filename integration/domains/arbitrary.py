"""Domains that hypothesis makes up: machines, topologies, devices of the table, settings, some with addresses."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from integration.arch import of_machine
from integration.domains.devices import all_devices, names
from integration.domains.snippets import ALL_OFF
from integration.paths import NIGHTLY

_PIIX = ("ide", "usb-piix3")
"""i440fx's own functions: the first of them is the one device of pci-root that a guest cannot remove."""

_TEAM = (
    "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/>"
    "<teaming type='persistent'/><alias name='ua-team'/></interface>"
    "<interface type='hostdev' managed='yes'{}><mac address='52:54:00:00:00:01'/><source>"
    "<address type='pci' domain='0' bus='0xfc' slot='1' function='0'/></source>"
    "<teaming type='transient' persistent='ua-team'/></interface>"
)
"""A pair, of which the second one is unplugged for migration."""

# Each PCIe controller, and those that it plugs into.
PARENTS: dict[str, tuple[str, ...]] = {
    "pcie-root-port": ("pcie-root", "pcie-expander-bus"),
    "pcie-expander-bus": ("pcie-root",),
    "pcie-switch-upstream-port": ("pcie-root-port", "pcie-switch-downstream-port"),
    "pcie-switch-downstream-port": ("pcie-switch-upstream-port",),
    "pcie-to-pci-bridge": ("pcie-root-port", "pcie-switch-downstream-port", "pcie-root"),
    "dmi-to-pci-bridge": ("pcie-root", "pcie-expander-bus"),
    "pci-bridge": ("dmi-to-pci-bridge", "pcie-to-pci-bridge"),
}
_VIRT = ["virt"]
_OF = {
    "": ["q35", "q35", "q35", "pc", "virt"],
    "x86_64": ["q35", "q35", "pc"],
    "aarch64": _VIRT,
    "armv7l": _VIRT,
    "riscv64": _VIRT,
    "loongarch64": _VIRT,
}
"""The machine types to choose from, by architecture."""
_HOTPLUG = st.sampled_from(["", "", "<target hotplug='off'/>", "<target hotplug='off'/>", "<target hotplug='on'/>"])
_SETTING = st.sampled_from(["", "", "no", "yes"])
_FIRMWARE = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"


def examples(variable: str, usual: int, nightly: int) -> settings:
    """Say how many examples a test makes up: always the same ``usual``, or others each time, as many as asked for."""
    count = int(os.environ.get(variable) or (nightly if NIGHTLY else 0))
    return settings(
        max_examples=count or usual,
        deadline=None,
        derandomize=not count,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def _pci(bus: int, slot: int, function: int = 0, more: str = "") -> str:
    return f"<address type='pci' bus='{bus:#x}' slot='{slot:#x}' function='{function:#x}'{more}/>"


@dataclass
class Topology:
    """Controllers that a domain states: their XML and models, and the slots that are taken."""

    parts: list[str]
    models: list[str]
    taken: set[tuple[int, int]] = field(default_factory=set)

    def slot(self, draw: st.DrawFn, bus: int) -> int:
        """Choose a slot of a bus; for one without a stated controller any is as good."""
        model = self.models[bus] if bus < len(self.models) else ""
        if model.endswith(("root-port", "downstream-port")):
            return 0
        slots = {"pcie-root": range(2, 31), "pci-root": range(3, 32), "": (0, 0, 1)}.get(model, range(1, 6))
        return draw(st.sampled_from(slots))


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Make up PCIe controllers, each below an earlier one that it fits, if its place is said at all."""
    made = Topology(["<controller type='pci' index='0' model='pcie-root'/>"], ["pcie-root"])
    for index in range(1, draw(st.integers(0, 8)) + 1):
        fitting = sorted(model for model, above in PARENTS.items() if set(above) & set(made.models))
        model = draw(st.sampled_from([*fitting, "pcie-root-port", "pcie-root-port"]))
        target = draw(_HOTPLUG) if model.endswith(("root-port", "downstream-port")) else ""
        if model == "pcie-expander-bus":
            target = f"<target busNr='{60 + 20 * index}'/>"
        address = ""
        if draw(st.booleans()):
            bus = draw(st.sampled_from([i for i, above in enumerate(made.models) if above in PARENTS[model]]))
            slot = made.slot(draw, bus)
            if (bus, slot) not in made.taken:
                made.taken.add((bus, slot))
                address = _pci(bus, slot)
        number = "" if draw(st.integers(0, 9)) == 0 else f" index='{index}'"
        made.parts.append(f"<controller type='pci'{number} model='{model}'>{target}{address}</controller>")
        made.models.append(model)
    return made


@st.composite
def expanders(draw: st.DrawFn) -> Topology:
    """Make up root ports on an expander bus, on which topologies() seldom has a device: off ones are not safe there."""
    expander = f"model='pcie-expander-bus'><target busNr='128'/>{_pci(0, 2)}</controller>"
    made = Topology(
        ["<controller type='pci' index='0' model='pcie-root'/>", f"<controller type='pci' index='1' {expander}"],
        ["pcie-root", "pcie-expander-bus"],
        # There is no room for devices on the expander bus itself.
        {(0, 2), *((1, slot) for slot in range(32))},
    )
    for index in range(2, draw(st.integers(2, 5)) + 1):
        bus = draw(st.sampled_from([1, 1, 0]))
        made.taken.add((bus, index + 1))
        made.parts.append(
            f"<controller type='pci' index='{index}' model='pcie-root-port'>{draw(_HOTPLUG)}{_pci(bus, index + 1)}"
            "</controller>"
        )
        made.models.append("pcie-root-port")
    return made


def _topology(draw: st.DrawFn, machine: str, of: str) -> Topology:
    if machine != "pc":
        ways = [st.just(Topology([], ["pcie-root"])), topologies(), *[expanders()] * (machine == "q35")]
        return draw(st.one_of(ways))
    root = f"<controller type='pci' index='0' model='pci-root'>{draw(_HOTPLUG)}</controller>"
    bridge = "<controller type='pci' index='1' model='pci-bridge'/>"
    parts = draw(st.sampled_from([[], [], [root], [root, bridge], [bridge]]))
    return Topology(parts, ["pci-root", "pci-bridge"])


class _Draft:
    """The devices of a domain that is being made up."""

    def __init__(self, draw: st.DrawFn, topology: Topology, lone: bool) -> None:
        self._draw, self._topology, self._lone = draw, topology, lone
        self.parts = list(topology.parts)
        self._numbers = iter(range(1, 1000))

    def _device(self, name: str, setting: str, address: str) -> str:
        number = next(self._numbers)
        return all_devices()[name].xml(number, setting, f"{address}<alias name='ua-{number}'/>")

    def _setting(self) -> str:
        return "" if self._lone else self._draw(_SETTING)

    def _take(self, bus: int) -> int | None:
        """Choose a slot of a bus, and return it unless it is taken already."""
        slot = self._topology.slot(self._draw, bus)
        if (bus, slot) in self._topology.taken:
            return None
        self._topology.taken.add((bus, slot))
        return slot

    def _anywhere(self) -> str:
        draw = self._draw
        if draw(st.integers(0, 2)):
            return ""
        bus = draw(st.integers(0, len(self._topology.models)))
        slot = self._take(bus)
        if slot is None:
            return ""
        more = draw(st.sampled_from(["", "", " multifunction='on'", " multifunction='off'"]))
        return _pci(bus, slot, draw(st.sampled_from([0, 0, 0, 0, 0, 1, 7])), more)

    def add_any(self, kinds: list[str]) -> None:
        """Add devices of these kinds, some of them many times."""
        few, draw = names("few"), self._draw
        for kind in draw(st.lists(st.sampled_from(kinds), max_size=12)):
            setting, address = self._setting(), self._anywhere()
            copies = draw(st.sampled_from([1, 1, 1, 1, 1, 1, 30, 90])) if kind not in few and not address else 1
            self.parts += [self._device(kind, setting, address) for _ in range(copies)]

    def add_slots(self) -> None:
        """Add slots of several functions, whose devices may differ in their settings."""
        draw = self._draw
        for _ in range(draw(st.integers(0, 2))):
            bus = draw(st.integers(0, len(self._topology.models) - 1))
            slot = self._take(bus)
            if slot is None:
                continue
            for function in draw(st.lists(st.integers(0, 7), unique=True, min_size=1, max_size=4)):
                more = " multifunction='on'" if function == 0 else ""
                kind = draw(st.sampled_from(["rng", "nic-virtio", "nic-e1000e", "scsi-virtio-scsi", "disk-optional"]))
                self.parts.append(self._device(kind, self._setting(), _pci(bus, slot, function, more)))

    def add_once(self, kinds: list[str]) -> list[str]:
        """Add devices of which a domain has one at most, and return their kinds."""
        draw = self._draw
        chosen = draw(st.lists(st.sampled_from(kinds), unique=True, max_size=4))
        if self._lone:
            chosen = [draw(st.sampled_from(_PIIX)), *(kind for kind in chosen if kind not in (*_PIIX, "teaming"))]
        for kind in chosen:
            setting = draw(_SETTING) if not self._lone else "no" if kind == chosen[0] else ""
            if kind == "teaming":
                self.parts.append(_TEAM.format(f" hotplug='{setting}'" if setting else ""))
            elif kind == "intel-iommu":
                self.parts.append("<iommu model='intel'/>")
            else:
                self.parts.append(self._device(kind, setting, ""))
        return chosen


@st.composite
def domains(draw: st.DrawFn, of: str = "") -> str:
    """Make up a domain, of the architecture ``of`` if that is not empty. Each of its devices has an alias."""
    machine = draw(st.sampled_from(_OF[of]))
    # i440fx with a setting on just one of PIIX's functions: others of the domain would have it refused
    lone = bool(of) and machine == "pc" and draw(st.booleans())
    here = [device for device in map(all_devices().get, names("random")) if device and machine in device.machines]
    once = sorted(device.name for device in here if "once" in device.special and "few" not in device.special)
    draft = _Draft(draw, _topology(draw, machine, of), lone)
    draft.add_any(sorted(device.name for device in here if device.name not in once))
    draft.add_slots()
    # An IOMMU of Intel's is no PCI device.
    chosen = draft.add_once([*once, "teaming", *(["intel-iommu"] if machine == "q35" else [])])
    feature = "" if lone else draw(st.sampled_from(["", ALL_OFF, ALL_OFF, "<hotplug enable='yes'/>"]))
    firmware = _FIRMWARE if machine != "pc" and draw(st.integers(0, 4)) == 0 and not of else ""
    system = f"<os><type arch='{of or of_machine(machine)}' machine='{machine}'>hvm</type>{firmware}</os>"
    apic = "<ioapic driver='qemu'/>" if "intel-iommu" in chosen else ""
    return f"<domain>{system}<features>{feature}{apic}</features><devices>{''.join(draft.parts)}</devices></domain>"
