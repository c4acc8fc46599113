"""What the guest said: the lines ``@@ KIND KEY=VALUE ...`` of integration/guest/init, as data."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass, field

from integration.domains.pci import Address


@dataclass(frozen=True)
class Seen:
    """A PCI device as the guest sees it; ``driver``, ``index`` and ``path`` are empty for none."""

    address: Address
    ident: str
    """vendor:device in hexadecimal, such as 1af4:1041"""
    kind: int
    """the class code, 24 bits"""
    driver: str
    used: bool
    """the driver works; of a virtio device that of what it is, not just virtio-pci"""
    index: str
    """acpi_index, which Linux names network devices by"""
    path: str
    """the device's path in the ACPI name space"""

    @classmethod
    def parse(cls, values: dict[str, str]) -> Seen:
        """Read the values of a line "@@ pci"."""
        ident = f"{values['vendor']}:{values['device']}"
        kind = int(values["class"], 16)
        used = values["used"] == "yes"
        return cls(Address.parse(values["addr"]), ident, kind, values["driver"], used, values["index"], values["path"])


@dataclass(frozen=True)
class Ejected:
    """An attempt of the guest's root: the slot's address (0000:01:00), and gone, there or refused."""

    slot: str
    result: str


@dataclass(frozen=True)
class Attack:
    """What root wrote to: slot-control, acpi or shpc; an address, empty for none; done, refused, gone or absent."""

    kind: str
    target: str
    result: str


@dataclass
class Report:
    """All that the guest has said so far."""

    kernel: str = ""
    secure_boot: bool = False
    """the guest's kernel found Secure Boot turned on"""
    before: dict[Address, Seen] = field(default_factory=dict)
    after: dict[Address, Seen] = field(default_factory=dict)
    configs: dict[Address, bytes] = field(default_factory=dict)
    slots: dict[str, str] = field(default_factory=dict)
    """the slots that the guest may eject: address (0000:01:00) and name"""
    nets: dict[str, Address] = field(default_factory=dict)
    """network devices: MAC and address"""
    tables: dict[str, bytes] = field(default_factory=dict)
    ejects: list[Ejected] = field(default_factory=list)
    attacks: list[Attack] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    """the lines that it was told, and has done"""
    disks: list[tuple[str, str]] = field(default_factory=list)
    """SCSI disks that came or went: (start, added or removed; name)"""
    plugs: list[tuple[str, Address, str]] = field(default_factory=list)
    """PCI devices that came or went: (start, added or removed; address; vendor:device, empty if removed)"""
    reached: set[str] = field(default_factory=set)
    """milestones: boot, before, after, done, start"""

    def feed(self, line: str) -> None:
        """Take in one line of the console; lines without the mark are passed over."""
        mark, _, rest = line.strip().partition("@@ ")
        if mark or not rest:
            return
        kind, *pairs = rest.split()
        values = {key: "" if value == "-" else value for key, _, value in (p.partition("=") for p in pairs)}
        match kind:
            case "boot":
                self.kernel = values["kernel"]
                self.secure_boot = values["secureboot"] == "yes"
                self.reached.add("boot")
            case "pci":
                seen = Seen.parse(values)
                (self.before if values["when"] == "before" else self.after)[seen.address] = seen
            case "config":
                self.configs[Address.parse(values["addr"])] = bytes.fromhex(values["hex"])
            case "slot":
                self.slots[values["addr"]] = values["name"]
            case "net":
                if values["addr"]:
                    self.nets[values["mac"]] = Address.parse(values["addr"])
            case "table":
                self.tables[values["name"]] = gzip.decompress(base64.b64decode(values["gz"]))
            case "eject":
                self.ejects.append(Ejected(values["addr"], values["result"]))
            case "attack":
                self.attacks.append(Attack(values["kind"], values["target"], values["result"]))
            case "tried":
                self.tried.append(values["what"])
            case "disk":
                self.disks.append((values["when"], values["name"]))
            case "plug":
                ident = f"{values['vendor']}:{values['device']}" if values["vendor"] else ""
                self.plugs.append((values["when"], Address.parse(values["addr"]), ident))
            case "listed":
                self.reached.add(values["when"])
            case "done":
                self.reached.add("done")
