"""The cases of real guests: a directory of partial domain XML, with what is expected beside each.

``NAME.xml`` states the devices, or includes them (XInclude) from ``NAME.devices``, for machines that have the same; an
``<os><type>`` in it chooses the machine (else x86_64 q35).
``NAME.verdicts`` has a line per device: its alias; whether the guest's root can have QEMU remove it: ``yes``, or more
exactly by which of verdict.ATTEMPTS first, or ``no`` (``7.2:yes,no`` where it can on QEMU 7.2 only; ``cured`` is
of integration/cure.py); and the controller that it sits on, as ``bus_label`` names it. A line ``attack:KIND`` has
``done``, ``refused`` or ``absent``, and how many targets root found to attack, or ``-``. A new case is these two files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import compress
from operator import not_
from pathlib import Path

from integration.domains import domxml
from integration.domains.layout import Controller
from integration.oracle.verdict import ATTEMPTS
from integration.paths import DATA, NIGHTLY

_WORDS = {"yes", "no", "-", "done", "refused", "absent", *ATTEMPTS}


@dataclass(frozen=True)
class Expected:
    """A line of a file of expectations."""

    alias: str
    answers: str
    bus: str

    def answer(self, qemu: str) -> str:
        """Return the word that is expected of that version of QEMU."""
        for answer in self.answers.split(","):
            version, _, word = answer.rpartition(":")
            if version in ("", qemu):
                return word
        raise ValueError(f"{self.alias}: nothing expected of QEMU {qemu}")

    def unplugged(self, qemu: str) -> bool:
        """Say whether the guest can have the device removed on that version of QEMU."""
        return {"yes": True, "no": False}.get(self.answer(qemu), True)

    def check(self) -> None:
        """Raise ValueError for a word that is no answer."""
        words = {answer.rpartition(":")[2] for answer in self.answers.split(",")}
        if odd := {word for word in words - _WORDS if not word.isdigit()}:
            raise ValueError(f"{self.alias}: {', '.join(sorted(odd))} is no answer")


@dataclass(frozen=True)
class Case:
    """A guest to boot, and what is expected of it."""

    name: str
    xml: str
    arch: str
    machine: str
    expected: tuple[Expected, ...]
    attacks: tuple[Expected, ...] = ()
    """for each kind of attack done, refused or absent, and as ``bus`` the number of targets"""
    history: str = ""
    """what the guest has been through before it tries: reset, restore, or nothing"""

    def after(self, history: str) -> Case:
        """Return the same case for a guest that has been reset, or saved and restored, before."""
        xml = self.xml
        if history == "reset":
            xml = xml.replace("</domain>", "<on_reboot>restart</on_reboot></domain>")
        return replace(self, xml=xml, name=f"{self.name}/{history}", history=history)


def bus_label(controller: Controller) -> str:
    """Name the kind of bus that a controller makes, such as pcie-root-port/off."""
    return f"{controller.model}/{controller.hotplug}" if controller.hotplug else controller.model


def expected_lines(path: Path) -> list[str]:
    """Return the lines of a file of expectations without comments. Raises ValueError if there is none."""
    text = path.read_text()
    lines = [line for line in (line.partition("#")[0].rstrip() for line in text.splitlines()) if line]
    if not lines:
        raise ValueError(f"{path}: nothing is expected of it")
    return lines


def load(path: Path, extension: str = ".verdicts") -> Case:
    """Read the case whose XML file is ``path``, and the file beside it that has what is expected.

    A line that is no expectation raises an error, and so does a device with an alias of which nothing is expected.
    """
    xml = domxml.read(path)
    domain = domxml.parse(xml)
    lines = expected_lines(path.with_suffix(extension))
    expected = [Expected(alias, answers, where) for alias, answers, where in map(str.split, lines)]
    for line in expected:
        line.check()
    attack = [line.alias.startswith("attack:") for line in expected]
    ports = domain.findall("devices/controller[@type='pci']")
    devices = [device for device in domain.iterfind("devices/*") if device not in ports]
    named = {alias.get("name") for device in devices for alias in device.iterfind("alias")}
    if odd := named ^ {line.alias for line in compress(expected, map(not_, attack))}:
        raise ValueError(f"{path}: {odd} is in one of XML and expectations")
    return Case(
        f"{path.parent.name}/{path.stem}",
        xml,
        *domxml.arch_and_machine(xml),
        tuple(compress(expected, map(not_, attack))),
        tuple(compress(expected, attack)),
    )


def directory(name: str, extension: str = ".verdicts") -> list[Case]:
    """Return all cases of the directory ``name`` below integration/data, by name."""
    return [load(path, extension) for path in sorted((DATA / name).glob("*.xml"))]


def booted(name: str) -> list[Case]:
    """Return the facts, or the settings, that a guest is booted for: a choice of them but for "make nightly".

    The attacks on registers are made on all of them without a guest (test_noise.py). What is chosen has each machine,
    and each attack, by the guest's kernel and past it.
    """
    return [case for case in directory(name) if NIGHTLY or case.name.removeprefix(f"{name}/") in _BOOTED[name]]


_BOOTED = {
    "facts": "pc-kernel-without-acpi q35 q35-native-no-drivers virt".split(),
    "settings": "domain-no native-all-but-the-nic one-device pc-all-but-the-nic pc-domain-no pc-q35-6.0 topology "
    "virt-all-but-the-nic".split(),
}
