"""Makes up domains: random machines, topologies, devices, addresses and settings, for hypothesis."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from integration.domains.snippets import ALL_OFF, NO, YES

# {h} is the attribute, {a} the address, {n} a number that no other device of the domain has.
ANY: dict[str, str] = {
    "rng": "<rng model='virtio'{h}><backend model='random'>/dev/urandom</backend>{a}</rng>",
    "nic": "<interface type='user'{h}><model type='virtio'/>{a}</interface>",
    "e1000": "<interface type='user'{h}><model type='e1000'/>{a}</interface>",
    "e1000e": "<interface type='user'{h}><model type='e1000e'/>{a}</interface>",
    "igb": "<interface type='user'{h}><model type='igb'/>{a}</interface>",
    "iommu-on": "<interface type='user'{h}><model type='virtio'/><driver iommu='on'/>{a}</interface>",
    "transitional": "<interface type='user'{h}><model type='virtio-transitional'/>{a}</interface>",
    "non-transitional": "<interface type='user'{h}><model type='virtio-non-transitional'/>{a}</interface>",
    "scsi": "<controller type='scsi' index='{n}' model='virtio-scsi'{h}>{a}</controller>",
    "serial": "<controller type='virtio-serial' index='{n}'{h}>{a}</controller>",
    "xhci": "<controller type='usb' index='{n}' model='qemu-xhci'{h}>{a}</controller>",
    "keyboard": "<input type='keyboard' bus='virtio'{h}>{a}</input>",
    "shmem": "<shmem name='s{n}'{h}><model type='ivshmem-plain'/><size unit='M'>1</size>{a}</shmem>",
    "hostdev": "<hostdev mode='subsystem' type='pci' managed='yes'{h}><source>"
    "<address domain='0' bus='0xfd' slot='{n}' function='0'/></source>{a}</hostdev>",
    "disk": "<disk type='file' device='disk'{h}><source file='/nowhere/{n}'/>"
    "<target dev='vd{letters}' bus='virtio'/>{a}</disk>",
    "optional": "<disk type='file' device='disk'{h}><source file='/nowhere/{n}' startupPolicy='optional'/>"
    "<target dev='vd{letters}' bus='virtio'/>{a}</disk>",
    "pci-serial": "<serial type='null'{h}><target type='pci-serial' port='{n}'/>{a}</serial>",
}
X86: dict[str, str] = {
    "sound": "<sound model='ich9'{h}>{a}</sound>",
    "ac97": "<sound model='ac97'{h}>{a}</sound>",
    "ehci": "<controller type='usb' index='{n}' model='ich9-ehci1'{h}>{a}</controller>",
    "sata-1": "<controller type='sata' index='{n}'{h}>{a}</controller>",
}
ONCE: dict[str, str] = {
    "balloon": "<memballoon model='virtio'{h}>{a}</memballoon>",
    "video": "<video{h}><model type='virtio'/>{a}</video>",
    "watchdog": "<watchdog model='i6300esb' action='none'{h}>{a}</watchdog>",
    "vsock": "<vsock model='virtio'{h}><cid auto='yes'/>{a}</vsock>",
    # a pair: the second one is unplugged for migration
    "teaming": "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/>"
    "<teaming type='persistent'/><alias name='ua-team'/></interface>"
    "<interface type='hostdev' managed='yes'{h}><mac address='52:54:00:00:00:01'/><source>"
    "<address type='pci' domain='0' bus='0xfc' slot='1' function='0'/></source>"
    "<teaming type='transient' persistent='ua-team'/>{a}</interface>",
}
ONCE_Q35: dict[str, str] = {
    "sata": "<controller type='sata' index='0'{h}>{a}</controller>",
    "intel-iommu": "<iommu model='intel'/>",
    "virtio-iommu": "<iommu model='virtio'{h}/>",
}
FEW = ("ehci", "sata-1", "disk", "optional", "pci-serial", "hostdev", "shmem")
"""Devices of which one domain cannot have many, or which are numbered."""

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
_HOTPLUG = st.sampled_from(["", "", "<target hotplug='off'/>", "<target hotplug='off'/>", "<target hotplug='on'/>"])
_SETTING = st.sampled_from(["", "", NO, YES])
_FIRMWARE = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"


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
def domains(draw: st.DrawFn) -> str:
    """Make up a domain. Each of its devices has an alias."""
    machine = draw(st.sampled_from(["q35", "q35", "q35", "pc", "virt"]))
    kinds = ANY | ({} if machine == "virt" else X86)
    once = ONCE | (ONCE_Q35 if machine == "q35" else {})
    numbers = iter(range(1, 1000))
    if machine != "pc":
        topology = draw(st.one_of(st.just(Topology([], ["pcie-root"])), topologies()))
    else:
        root = f"<controller type='pci' index='0' model='pci-root'>{draw(_HOTPLUG)}</controller>"
        bridge = "<controller type='pci' index='1' model='pci-bridge'/>"
        parts = draw(st.sampled_from([[], [], [root], [root, bridge], [bridge]]))
        topology = Topology(parts, ["pci-root", "pci-bridge"])
    parts = list(topology.parts)

    def device(pattern: str, setting: str, address: str) -> str:
        number = next(numbers)
        letters = chr(97 + number // 26 % 26) + chr(97 + number % 26)
        return pattern.format(h=setting, a=f"{address}<alias name='ua-{number}'/>", n=number, letters=letters)

    def anywhere() -> str:
        if draw(st.integers(0, 2)):
            return ""
        bus = draw(st.integers(0, len(topology.models)))
        slot = topology.slot(draw, bus)
        if (bus, slot) in topology.taken:
            return ""
        topology.taken.add((bus, slot))
        more = draw(st.sampled_from(["", "", " multifunction='on'", " multifunction='off'"]))
        return _pci(bus, slot, draw(st.sampled_from([0, 0, 0, 0, 0, 1, 7])), more)

    for kind in draw(st.lists(st.sampled_from(sorted(kinds)), max_size=12)):
        setting, address = draw(_SETTING), anywhere()
        copies = draw(st.sampled_from([1, 1, 1, 1, 1, 1, 30, 90])) if kind not in FEW and not address else 1
        parts += [device(kinds[kind], setting, address) for _ in range(copies)]
    # slots of several functions, whose devices may differ in their settings
    for _ in range(draw(st.integers(0, 2))):
        bus = draw(st.integers(0, len(topology.models) - 1))
        slot = topology.slot(draw, bus)
        if (bus, slot) in topology.taken:
            continue
        topology.taken.add((bus, slot))
        for function in draw(st.lists(st.integers(0, 7), unique=True, min_size=1, max_size=4)):
            more = " multifunction='on'" if function == 0 else ""
            kind = draw(st.sampled_from(["rng", "nic", "e1000e", "scsi", "optional"]))
            parts.append(device(kinds[kind], draw(_SETTING), _pci(bus, slot, function, more)))
    chosen = draw(st.lists(st.sampled_from(sorted(once)), unique=True, max_size=4))
    parts += [device(once[kind], draw(_SETTING), "") for kind in chosen]
    feature = draw(st.sampled_from(["", ALL_OFF, ALL_OFF, "<hotplug enable='yes'/>"]))
    firmware = _FIRMWARE if machine != "pc" and draw(st.integers(0, 4)) == 0 else ""
    arch = "aarch64" if machine == "virt" else "x86_64"
    system = f"<os><type arch='{arch}' machine='{machine}'>hvm</type>{firmware}</os>"
    apic = "<ioapic driver='qemu'/>" if "intel-iommu" in chosen else ""
    return f"<domain>{system}<features>{feature}{apic}</features><devices>{''.join(parts)}</devices></domain>"
