"""Turns a user's domain into one that boots our guest: its PCI devices at their addresses, with nothing behind them.

It takes a domain as ``virsh dumpxml`` prints it and keeps the machine type, PCI controllers, devices, addresses and
hotplug settings. Disks, networks and the like are empty ones; what needs the host it comes from is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element, SubElement

from integration.arch import find
from integration.domains.devices import kind_of
from integration.domains.domxml import arch_and_machine, attribute, parse

_FEATURES = ("acpi", "hotplug", "ioapic")
_PLACE = ("address", "alias", "model", "target")
_QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"


def _only(device: Element, *tags: str) -> Element:
    """Keep only these children of a device, and what says where it sits and of which model it is."""
    for child in list(device):
        if child.tag not in (*_PLACE, *tags):
            device.remove(child)
    return device


def _driver(device: Element, **more: str) -> None:
    """Keep of a device's driver what the guest sees: IOMMU and ATS. Says the rest in ``more``."""
    old = device.find("driver")
    kept = {name: old.get(name, "") for name in ("iommu", "ats") if old is not None and old.get(name)} | more
    if old is not None:
        device.remove(old)
    if kept:
        SubElement(device, "driver", kept)


def _disk(disk: Element) -> bool:
    _only(disk, "driver")
    kind = "disk" if disk.get("device") == "lun" else disk.get("device", "disk")
    setting = {"hotplug": disk.get("hotplug", "")} if disk.get("hotplug") else {}
    disk.attrib = {"type": "file", "device": kind} | setting
    _driver(disk, name="qemu", type="raw")
    return True


def _interface(nic: Element) -> bool:
    if nic.get("type") == "hostdev":
        return False
    _only(nic, "mac", "driver")
    nic.set("type", "user")
    for target in nic.findall("target"):
        nic.remove(target)
    _driver(nic)
    return True


def _controller(controller: Element) -> bool:
    _only(controller, "driver", "master")
    _driver(controller)
    return True


def _rng(rng: Element) -> bool:
    _only(rng, "driver")
    _driver(rng)
    SubElement(rng, "backend", model="random").text = "/dev/urandom"
    return True


def _shmem(shmem: Element) -> bool:
    shmem.set("name", f"hotplug-test-{shmem.get('name')}")
    return attribute(shmem, "model", "type") != "ivshmem-doorbell"


def _serial(serial: Element) -> bool:
    _only(serial)
    serial.set("type", "null")
    return attribute(serial, "target", "type") == "pci-serial"


def _input(device: Element) -> bool:
    return device.get("type") not in ("passthrough", "evdev")


def _video(video: Element) -> bool:
    _only(video, "driver")
    _driver(video)
    for acceleration in video.iterfind("model/acceleration"):
        acceleration.set("accel3d", "no")
    return True


def _watchdog(watchdog: Element) -> bool:
    watchdog.set("action", "none")
    return True


def _plain(device: Element) -> bool:
    _only(device, "driver")
    _driver(device)
    return True


def _whole(_device: Element) -> bool:
    return True


# What a device needs changed; False if it must be left out.
_DEVICES: dict[str, Callable[[Element], bool]] = {
    "controller": _controller,
    "crypto": _whole,
    "disk": _disk,
    "input": _input,
    "interface": _interface,
    "iommu": _whole,
    "memballoon": _plain,
    "panic": _whole,
    "rng": _rng,
    "serial": _serial,
    "shmem": _shmem,
    "sound": _plain,
    "video": _video,
    "watchdog": _watchdog,
}


def _may_be_pci(device: Element) -> bool:
    try:
        return kind_of(device) is not None
    except ValueError:  # a kind that the table lacks
        return device.tag != "emulator"


def stand_in(xml: str) -> tuple[Element, list[str]]:
    """Return the domain that stands in for the one in ``xml``, without a name, and the names of what it leaves out."""
    given, made = parse(xml), Element("domain")
    system = SubElement(made, "os")
    system.extend(given.findall("os/type"))
    features = SubElement(made, "features")
    features.extend(feature for feature in given.iterfind("features/*") if feature.tag in _FEATURES)
    # Without the firmware that is left out libvirt knows no ACPI there.
    for acpi in features.findall("acpi") if not find(arch_and_machine(xml)[0]).acpi else ():
        features.remove(acpi)
    left_out = []
    devices = SubElement(made, "devices")
    for device in given.iterfind("devices/*"):
        name = attribute(device, "alias", "name") or device.tag
        if device.tag in _DEVICES and _DEVICES[device.tag](device):
            devices.append(device)
        elif _may_be_pci(device):
            left_out.append(name)
    for options in given.findall(f"{_QEMU}commandline"):
        words = [argument.get("value", "") for argument in options.findall(f"{_QEMU}arg")]
        if words[::2] == ["-global"] * (len(words) // 2):
            made.append(options)
        else:
            left_out.append("qemu:commandline")
    return made, left_out
