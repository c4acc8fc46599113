"""The cases of real guests: a directory of partial domain XML, with what is expected beside each.

``NAME.xml`` states the devices; an ``<os><type>`` in it chooses the machine (else x86_64 q35).
``NAME.expected`` has a line per device: its alias, ``yes`` or ``no`` (whether the guest's root can
unplug it; ``7.2:yes,no`` where it can on QEMU 7.2 only), and the controller that it sits on, as
``place`` names it. A new case is these two files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from integration.domains import domxml
from integration.domains.layout import Controller
from integration.paths import DATA


@dataclass(frozen=True)
class Expected:
    """A line of a ``.expected`` file."""

    alias: str
    answers: str
    place: str

    def unplugged(self, qemu: str) -> bool:
        """Say whether the guest can unplug the device on that version of QEMU."""
        for answer in self.answers.split(","):
            version, _, word = answer.rpartition(":")
            if version in ("", qemu):
                return {"yes": True, "no": False}[word]
        raise ValueError(f"{self.alias}: nothing expected of QEMU {qemu}")


@dataclass(frozen=True)
class Case:
    """A guest to boot, and what is expected of it."""

    name: str
    xml: str
    arch: str
    machine: str
    expected: tuple[Expected, ...]


def place(controller: Controller) -> str:
    """Name the kind of bus that a controller makes, such as pcie-root-port/off."""
    return f"{controller.model}/{controller.hotplug}" if controller.hotplug else controller.model


def _expected(path: Path) -> tuple[Expected, ...]:
    lines = (line.partition("#")[0].split() for line in path.read_text().splitlines())
    return tuple(Expected(alias, answers, where) for alias, answers, where in filter(None, lines))


def load(path: Path) -> Case:
    """Read the case whose XML file is ``path``. A line that is no expectation raises an error."""
    xml = path.read_text()
    return Case(
        f"{path.parent.name}/{path.stem}",
        xml,
        *domxml.kind(xml),
        _expected(path.with_suffix(".expected")),
    )


def directory(name: str) -> list[Case]:
    """Give all cases of the directory ``name`` below integration/data, by name."""
    return [load(path) for path in sorted((DATA / name).glob("*.xml"))]
