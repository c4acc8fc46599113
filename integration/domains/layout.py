"""Where libvirt put a domain's PCI devices, read from its XML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from integration.domains.pci import Address, secondary_bus

ROOTS = ("pcie-root", "pci-root")


@dataclass(frozen=True)
class Controller:
    """A PCI controller. ``hotplug`` is its ``<target hotplug>``, empty if it does not say."""

    index: int
    model: str
    address: Address | None
    hotplug: str
    bus_nr: int | None
    """the number of its bus, for expander buses"""


@dataclass(frozen=True)
class Device:
    """A device with a PCI address that is not a PCI controller. ``setting`` is its ``hotplug``."""

    alias: str
    tag: str
    label: str
    address: Address
    setting: str
    kind: str
    """its element, and of a controller its type, such as "ide controller\""""


def _label(element: Element) -> str:
    """Name a device for people: its kind and model, such as "virtio disk" or "e1000e NIC"."""
    tag = {"interface": "NIC", "memballoon": "balloon", "controller": ""}.get(element.tag, element.tag)
    model = element.find("model")
    kind = element.get("model") or (model.get("type") if model is not None else None) or ""
    target = element.find("target")
    if element.tag == "disk" and target is not None:
        kind = target.get("bus", "")
    if element.tag == "controller":
        tag = f"{element.get('type')} controller"
    return f"{kind} {tag}".strip()


class Layout:
    """A domain's PCI controllers and devices, by libvirt's addresses."""

    def __init__(self, xml: str) -> None:
        domain = ElementTree.fromstring(xml)
        devices = domain.find("devices")
        kind = domain.find("os/type")
        self.machine = kind.get("machine", "") if kind is not None else ""
        self.emulator = domain.findtext("devices/emulator", "")
        self.x86 = kind is None or kind.get("arch", "x86_64") == "x86_64"
        feature = domain.find("features/hotplug")
        self.default = "no" if feature is not None and feature.get("enable") == "no" else ""
        """the setting of a device that has none of its own: no or empty"""
        self.controllers: dict[int, Controller] = {}
        self.devices: list[Device] = []
        for element in devices if devices is not None else ():
            address = Address.of(element)
            alias = element.find("alias")
            if element.tag == "controller" and element.get("type") == "pci":
                target = element.find("target")
                settings = target.attrib if target is not None else {}
                controller = Controller(
                    int(element.get("index", "0")),
                    element.get("model", ""),
                    address,
                    settings.get("hotplug", ""),
                    int(settings["busNr"]) if "busNr" in settings else None,
                )
                self.controllers[controller.index] = controller
            elif address is not None:
                self.devices.append(
                    Device(
                        alias.get("name", "") if alias is not None else "",
                        element.tag,
                        _label(element),
                        address,
                        element.get("hotplug", ""),
                        f"{element.get('type')} controller" if element.tag == "controller" else element.tag,
                    )
                )

        self.says_no = self.default == "no" or domain.find("devices/*[@hotplug='no']") is not None
        """whether no device may be unplugged, or one device, whether it has an address or not"""

    def device(self, alias: str) -> Device:
        """Return the device called ``alias``. Raises KeyError if there is none."""
        for device in self.devices:
            if device.alias == alias:
                return device
        raise KeyError(alias)

    def path(self, address: Address) -> list[Controller]:
        """Return the controllers above ``address``, the outermost first."""
        above: list[Controller] = []
        at: Address | None = address
        while at is not None:
            controller = self.controllers[at.bus]
            above.insert(0, controller)
            at = controller.address
        return above

    def children(self, index: int) -> Iterator[Controller | Device]:
        """Return what sits on the bus of controller ``index``, by address."""
        items: list[Controller | Device] = [*self.controllers.values(), *self.devices]
        below = [(item.address, item) for item in items if item.address is not None and item.address.bus == index]
        yield from (item for _, item in sorted(below, key=lambda pair: pair[0]))

    def in_guest(self, address: Address, configs: dict[Address, bytes]) -> Address:
        """Translate libvirt's address into the guest's.

        ``configs`` are the guest's bridges with their configuration space, whose bus numbers tell
        the way. Raises KeyError if the guest does not see a bridge on that way.
        """
        bus = 0
        for controller in self.path(address):
            if controller.model in ROOTS:
                continue
            if controller.model == "pci-expander-bus" and controller.bus_nr is not None:
                # QEMU has a bridge there that libvirt knows nothing of.
                bus = secondary_bus(configs[Address(0, controller.bus_nr, 0, 0)])
            elif controller.bus_nr is not None:
                bus = controller.bus_nr
            elif controller.address is not None:
                here = Address(0, bus, controller.address.slot, controller.address.function)
                bus = secondary_bus(configs[here])
        return Address(0, bus, address.slot, address.function)
