"""What a real system said: the lines ``@@ KIND KEY=VALUE ...`` of integration/systems/guest/report, as data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Card:
    """A network card: its name, and its IPv4 address, which is empty for none."""

    name: str
    address: str


@dataclass(frozen=True)
class Mount:
    """What is mounted somewhere: the UUID of the file system, and the serial number of its disk."""

    uuid: str
    serial: str


@dataclass
class System:
    """All that a system said of itself; ``complete`` is set when nothing more comes."""

    version: str = ""
    systemd: str = ""
    firmware: str = ""
    cards: dict[str, Card] = field(default_factory=dict)
    """by MAC"""
    mounts: dict[str, Mount] = field(default_factory=dict)
    """by directory"""
    disks: list[str] = field(default_factory=list)
    """the serial numbers of virtio disks, vda first"""
    netboot: bool = False
    """it was started by the network"""
    complete: bool = False


def parse(console: str) -> System:
    """Read a console; lines of other kinds are passed over."""
    system = System()
    for line in console.splitlines():
        mark, _, rest = line.strip().partition("@@ ")
        if mark or not rest:
            continue
        kind, *pairs = rest.split()
        values = {key: "" if value == "-" else value for key, _, value in (pair.partition("=") for pair in pairs)}
        match kind:
            case "system":
                system.version, system.systemd, system.firmware = values["id"], values["systemd"], values["firmware"]
            case "netboot":
                system.netboot = True
            case "card":
                system.cards[values["mac"]] = Card(values["name"], values["addr"])
            case "block":
                system.disks.append(values["serial"])
            case "mount":
                system.mounts[values["target"]] = Mount(values["uuid"], values["serial"])
            case "listed":
                system.complete |= values["when"] == "system"
    return system
