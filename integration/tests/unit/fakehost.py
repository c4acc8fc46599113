"""A make-believe libvirt for virt-pci-hotplug: domains are XML, and nothing else is behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree

import libvirt

ElementTree.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")

_MODELS = {
    "pc-q35": ("pcie-root", "pcie-root-port"),
    "pc-i440fx": ("pci-root",),
    "virt": ("pcie-root",),
}
"""What domain capabilities name for the machine types of our domains; others are not supported."""


_KINDS = ("disk", "controller", "filesystem", "interface", "rng", "memballoon")
"""The devices of our domains that get an address."""


def failure(code: int, text: str) -> libvirt.libvirtError:
    """Make an error of libvirt's with that code."""
    error = libvirt.libvirtError(text)
    error.err = (code, 0, text, 2, text, None, None, 0, 0)
    return error


@dataclass
class Snapshot:
    """A snapshot, which has a name and the definition of its time."""

    name: str
    xml: str

    def getName(self) -> str:
        return self.name

    def getXMLDesc(self, _flags: int) -> str:
        return f"<domainsnapshot>{self.xml}</domainsnapshot>"


@dataclass(eq=False)
class Domain:
    """A domain with the XML that is ``stored``, and is ``live`` if it runs; only one that is gone raises."""

    stored: str
    live: str = ""
    persistent: bool = True
    gone: bool = False
    saved: str = ""
    snapshots: list[Snapshot] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    elsewhere: str = ""
    """what somebody else stores after the first look"""

    def name(self) -> str:
        return ElementTree.fromstring(self.stored).findtext("name", "")

    def UUIDString(self) -> str:
        return ElementTree.fromstring(self.stored).findtext("uuid", "")

    def ID(self) -> int:
        return 1 if self.live else -1

    def _here(self) -> None:
        if self.gone:
            raise failure(libvirt.VIR_ERR_NO_DOMAIN, "Domain not found")

    def isPersistent(self) -> int:
        self._here()
        return int(self.persistent)

    def XMLDesc(self, flags: int = 0) -> str:
        self._here()
        xml = self.live if self.live and not flags & libvirt.VIR_DOMAIN_XML_INACTIVE else self.stored
        if self.elsewhere:
            self.stored, self.elsewhere = self.elsewhere, ""
        return xml if flags & libvirt.VIR_DOMAIN_XML_SECURE else re.sub(" passwd='[^']*'", "", xml)

    def hasManagedSaveImage(self) -> int:
        return int(bool(self.saved))

    def managedSaveGetXMLDesc(self, _flags: int) -> str:
        return self.saved

    def listAllSnapshots(self) -> list[Snapshot]:
        return self.snapshots

    def messages(self, _flags: int) -> list[str]:
        return self.said


@dataclass
class Host:
    """A connection. ``refuses`` is what the daemon says about a definition with that text in it."""

    domains: list[Domain]
    name: str = "host"
    knows: bool = True
    readonly: bool = False
    refuses: dict[str, str] = field(default_factory=dict)
    version: int = 10_000_000
    """QEMU's"""
    joins: str = ""
    """a part of the address that becomes multifunction, as another device joins its slot, if the setting is made"""
    defined: int = 0
    asked: int = 0

    def getURI(self) -> str:
        return f"qemu+ssh://{self.name}/system"

    def getHostname(self) -> str:
        return self.name

    def listAllDomains(self, flags: int = 0) -> list[Domain]:
        kinds = {
            libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE: lambda domain: bool(domain.saved),
            libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT: lambda domain: bool(domain.snapshots),
        }
        return [domain for domain in self.domains if not flags or kinds[flags](domain)]

    def getVersion(self) -> int:
        return self.version

    def getDomainCapabilities(
        self,
        emulator: str | None,
        arch: str | None = None,
        machine: str | None = None,
        virttype: str | None = None,
    ) -> str:
        """Tell what a machine can do; without arguments, what the default one can."""
        self.asked += 1
        if self.readonly:
            raise failure(libvirt.VIR_ERR_OPERATION_DENIED, "operation forbidden: read only access")
        assert (emulator and arch and virttype) or not (emulator or arch or machine or virttype)
        machine = machine or "pc-i440fx"
        if "gone" in machine:
            raise failure(libvirt.VIR_ERR_INVALID_ARG, f"the machine '{machine}' is not supported by emulator")
        models = next((names for start, names in _MODELS.items() if machine.startswith(start)), ())
        values = "".join(f"<value>{model}</value>" for model in models)
        enum = f"<enum name='controllerModel'>{values}</enum>" if models else ""
        hotplug = f"<hotplug supported='{'yes' if models else 'no'}'>{enum}</hotplug>" if self.knows else ""
        path = f"<path>{emulator or '/usr/bin/qemu-system-x86_64'}</path>"
        return f"<domainCapabilities>{path}<features>{hotplug}</features></domainCapabilities>"

    def defineXML(self, xml: str) -> None:
        for text, error in self.refuses.items():
            if text in xml:
                raise failure(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, error)
        root = ElementTree.fromstring(xml)
        for slot, device in enumerate(root.iterfind("devices/*"), 10):
            if device.find("address") is None and device.tag in _KINDS and device.get("type") != "pci":
                ElementTree.SubElement(device, "address", type="pci", bus="0", slot=str(slot), function="0")
        domain = next(domain for domain in self.domains if domain.UUIDString() == root.findtext("uuid"))
        if self.joins and root.find("features/hotplug") is not None:
            xml = ElementTree.tostring(root, encoding="unicode")
            root = ElementTree.fromstring(xml.replace(self.joins, f'{self.joins} multifunction="on"'))
        domain.stored = ElementTree.tostring(root, encoding="unicode").replace('"sekrit"', "'sekrit'")
        self.defined += 1
