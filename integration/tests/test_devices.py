"""Every kind of PCI device, in every model: alone and together, with each setting, on three machines.

A new kind is one line in DEVICES: the machines that have it, and its XML with ``{h}`` where the
attribute goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import SubElement

import libvirt
import pytest

from integration.domains import definitions, domxml
from integration.domains.definitions import Definition
from integration.domains.domxml import Machine
from integration.host import connection
from integration.oracle.rules import ALL_OFF, assert_placed
from integration.tests.test_placement import NO, YES

ALL, X86, Q35, PC = "q35 pc virt", "q35 pc", "q35", "pc"
BUILTIN = "builtin"
"""Devices whose place is fixed: hotplug='yes' is refused."""

DEVICES: dict[str, tuple[str, str]] = {
    **{
        f"disk-{model}": (
            ALL,
            f"<disk type='file' device='disk' model='{model}'{{h}}><source file='/nowhere'/>"
            "<target dev='vd{n}' bus='virtio'/></disk>",
        )
        for model in ("virtio", "virtio-transitional", "virtio-non-transitional")
    },
    "disk-optional": (
        ALL,
        "<disk type='file' device='disk'{h}><source file='/nowhere' startupPolicy='optional'/>"
        "<target dev='vd{n}' bus='virtio'/></disk>",
    ),
    **{
        f"nic-{model}": (ALL, f"<interface type='user'{{h}}><model type='{model}'/></interface>")
        for model in ("virtio", "virtio-transitional", "virtio-non-transitional", "e1000", "e1000e", "rtl8139", "igb")
    },
    "nic-iommu": (Q35, "<interface type='user'{h}><model type='virtio'/><driver iommu='on'/></interface>"),
    "nic-network": (ALL, "<interface type='network'{h}><source network='pool'/></interface>"),
    "nic-hostdev": (
        ALL,
        "<interface type='hostdev' managed='yes'{h}><source>"
        "<address type='pci' domain='0' bus='0xfd' slot='1' function='0'/></source></interface>",
    ),
    "hostdev": (
        ALL,
        "<hostdev mode='subsystem' type='pci' managed='yes'{h}><source>"
        "<address domain='0' bus='0xfe' slot='1' function='0'/></source></hostdev>",
    ),
    "hostdev-mdev": (
        X86,
        "<hostdev mode='subsystem' type='mdev' model='vfio-pci'{h}><source>"
        "<address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>",
    ),
    "hostdev-vhost-scsi": (
        ALL,
        "<hostdev mode='subsystem' type='scsi_host'{h}>"
        "<source protocol='vhost' wwpn='naa.5123456789abcde0'/></hostdev>",
    ),
    **{f"sound-{model}": (X86, f"<sound model='{model}'{{h}}/>") for model in ("ich6", "ich9", "ac97", "es1370")},
    **{
        f"video-{model}": (machines, f"<video{{h}}><model type='{model}'/></video>")
        for model, machines in (("virtio", ALL), ("vga", X86), ("cirrus", X86), ("qxl", X86), ("bochs", Q35))
    },
    **{
        f"scsi-{model}": (ALL, f"<controller type='scsi' index='{{i}}' model='{model}'{{h}}/>")
        for model in ("virtio-scsi", "virtio-transitional", "virtio-non-transitional", "lsilogic", "lsisas1078")
    },
    **{
        f"usb-{model}": (ALL, f"<controller type='usb' index='{{i}}' model='{model}'{{h}}/>")
        for model in ("qemu-xhci", "nec-xhci", "ehci", "pci-ohci", "piix4-uhci")
    },
    "usb-ich9": (
        X86,
        "".join(
            f"<controller type='usb' index='{{i}}' model='ich9-{model}'{{h}}/>"
            for model in ("ehci1", "uhci1", "uhci2", "uhci3")
        ),
    ),
    "usb-piix3": (PC + " " + BUILTIN, "<controller type='usb' index='0' model='piix3-uhci'{h}/>"),
    "ide": (PC + " " + BUILTIN, "<controller type='ide' index='0'{h}/>"),
    "sata": (Q35 + " " + BUILTIN, "<controller type='sata' index='0'{h}/>"),
    "sata-1": (X86, "<controller type='sata' index='1'{h}/>"),
    **{
        f"virtio-serial-{model}": (ALL, f"<controller type='virtio-serial' index='{{i}}' model='{model}'{{h}}/>")
        for model in ("virtio", "virtio-transitional", "virtio-non-transitional")
    },
    "filesystem-9p": (ALL, "<filesystem{h}><source dir='/nowhere'/><target dir='tag{i}'/></filesystem>"),
    "filesystem-virtiofs": (
        X86,
        "<filesystem{h}><driver type='virtiofs'/><source dir='/nowhere'/><target dir='tag{i}'/></filesystem>",
    ),
    "shmem-plain": (ALL, "<shmem name='s{i}'{h}><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>"),
    "shmem-doorbell": (ALL, "<shmem name='s{i}'{h}><model type='ivshmem-doorbell'/><server path='/nowhere'/></shmem>"),
    **{f"input-{kind}": (ALL, f"<input type='{kind}' bus='virtio'{{h}}/>") for kind in ("mouse", "keyboard", "tablet")},
    "watchdog": (ALL, "<watchdog model='i6300esb' action='none'{h}/>"),
    "memballoon": (ALL, "<memballoon model='virtio'{h}/>"),
    "rng": (ALL, "<rng model='virtio'{h}><backend model='random'>/dev/urandom</backend></rng>"),
    "vsock": (ALL, "<vsock model='virtio'{h}><cid auto='yes'/></vsock>"),
    "crypto": (ALL, "<crypto model='virtio' type='qemu'{h}><backend model='builtin' queues='1'/></crypto>"),
    "pci-serial": (ALL, "<serial type='null'{h}><target type='pci-serial' port='{i}'/></serial>"),
    "pstore": (X86, "<pstore backend='acpi-erst'{h}><path>/nowhere</path><size unit='KiB'>8</size></pstore>"),
    "virtio-mem": (
        X86,
        "<memory model='virtio-mem'{h}><target><size unit='MiB'>128</size><node>0</node>"
        "<block unit='MiB'>2</block><requested unit='MiB'>0</requested></target></memory>",
    ),
    "virtio-pmem": (
        X86,
        "<memory model='virtio-pmem'{h}><source><path>/nowhere</path></source>"
        "<target><size unit='MiB'>128</size></target></memory>",
    ),
    "virtio-iommu": (Q35 + " " + BUILTIN, "<iommu model='virtio'{h}/>"),
    "pvpanic-pci": ("virt " + BUILTIN, "<panic model='pvpanic'{h}/>"),
}
MACHINES = {"q35": ("x86_64", "q35"), "pc": ("x86_64", "pc"), "virt": ("aarch64", "virt")}
CASES = [
    pytest.param(machine, name, id=f"{machine}-{name}")
    for machine in MACHINES
    for name, (machines, _) in DEVICES.items()
    if machine in machines.split()
]
_MEMORY = (
    "<maxMemory slots='4' unit='MiB'>2048</maxMemory><memory unit='MiB'>512</memory>"
    "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    "<cpu><numa><cell id='0' cpus='0' memory='512' unit='MiB'/></numa></cpu>"
)


@pytest.fixture
def place(conn: libvirt.virConnect) -> Iterator[Definition]:
    """A place to define a domain at."""
    with definitions.place(conn, "devices") as definition:
        yield definition


def _xml(place: Definition, machine: str, names: list[str], feature: str, setting: str) -> str:
    arch, kind = MACHINES[machine]
    devices = "".join(DEVICES[name][1].format(h=setting, i=i, n=chr(97 + i)) for i, name in enumerate(names, 1))
    # A controller that is not asked for would be one more device.
    if "type='usb'" not in devices:
        devices += "<controller type='usb' index='0' model='none'/>"
    memory = "" if machine == "virt" else _MEMORY
    partial = f"<domain>{memory}<features>{feature}</features><devices>{devices}</devices></domain>"
    complete = domxml.complete(partial, place.name, Machine(arch, kind, connection.emulator(arch)))
    SubElement(complete, "uuid").text = place.uuid
    return domxml.text(complete)


def _define(place: Definition, machine: str, names: list[str], feature: str, setting: str) -> str:
    xml = place.define(_xml(place, machine, names, feature, setting))
    assert_placed(xml)
    assert place.define(xml) == xml
    return xml


@pytest.mark.parametrize(("machine", "name"), CASES)
def test_alone(place: Definition, machine: str, name: str) -> None:
    """Alone in its domain, the device obeys the domain's setting and its own."""
    try:
        _define(place, machine, [name], "", "")
    except libvirt.libvirtError as error:
        if "not supported by this QEMU" in str(error) or "is not supported" in str(error):
            pytest.skip(f"this QEMU does not have it: {error}")
        raise
    _define(place, machine, [name], ALL_OFF, "")
    assert _define(place, machine, [name], "<hotplug enable='yes'/>", "").count("hotplug=") == 0
    if BUILTIN in DEVICES[name][0]:
        with pytest.raises(libvirt.libvirtError) as refusal:
            _define(place, machine, [name], "", YES)
        assert refusal.value.get_error_code() == libvirt.VIR_ERR_CONFIG_UNSUPPORTED
    else:
        _define(place, machine, [name], "", YES)
        _define(place, machine, [name], ALL_OFF, YES)
    if machine == "pc" and BUILTIN not in DEVICES[name][0]:
        with pytest.raises(libvirt.libvirtError, match="pci-root"):
            _define(place, machine, [name], "", NO)
    else:
        _define(place, machine, [name], "", NO)


TOGETHER = {
    "q35": [name for name in DEVICES if name not in ("virtio-iommu", "nic-iommu")],
    "virt": list(DEVICES),
    # as many as fit on the root bus
    "pc": (
        "usb-piix3 ide disk-virtio nic-virtio nic-e1000 sound-ich6 video-vga scsi-virtio-scsi virtio-serial-virtio "
        "watchdog memballoon rng vsock pci-serial shmem-plain hostdev"
    ).split(),
}


def _together(machine: str) -> list[str]:
    """Choose the devices for one domain: all that the machine has, but just one video card."""
    names = [name for name in TOGETHER[machine] if machine in DEVICES[name][0].split()]
    spare = [name for name in names if name.startswith("video-")][1:]
    return [name for name in names if name not in spare]


@pytest.mark.parametrize("machine", MACHINES)
def test_together(place: Definition, machine: str) -> None:
    """All of them in one domain: none can be unplugged, or all but one."""
    names = _together(machine)
    _define(place, machine, names, ALL_OFF, "")
    xml = _xml(place, machine, names, ALL_OFF, "")
    xml = xml.replace('<rng model="virtio"', '<rng model="virtio" hotplug="yes"')
    assert_placed(place.define(xml))
