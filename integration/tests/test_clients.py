"""The commands that docs/clients.md gives for clients, run for real against the private daemon.

A case is ``data/clients/NAME.sh``, which defines the guest called ``$GUEST`` (its disk: ``$DISK``, a file for XML:
``$XML``), and ``NAME.placed`` beside it: a line per device with its ``hotplug`` attribute (``-`` if it has none)
and the controller that it sits on, and the number of PCI controllers.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import libvirt
import pytest

from integration.domains import definitions
from integration.domains.layout import Layout
from integration.oracle.cases import bus_label, expected_lines
from integration.paths import DATA, RUNS

CASES = sorted((DATA / "clients").glob("*.sh"))


def _found(xml: str) -> list[list[str]]:
    layout = Layout(xml)
    devices = [
        [device.tag, device.setting or "-", bus_label(layout.controllers[device.address.bus])]
        for device in layout.devices
        if device.tag != "controller"
    ]
    return sorted([*devices, ["controllers", str(len(layout.controllers))]])


def run(conn: libvirt.virConnect, path: Path, first: Path | None = None, **more: str) -> None:
    """Run a case, with the programs in the directory ``first`` before others, and ``more`` in the environment."""
    with definitions.defined(conn, path.stem) as definition:
        home = RUNS / definition.name
        (home / "disk.raw").write_bytes(bytes(1 << 20))
        programs = f"{first}:{os.environ['PATH']}" if first else os.environ["PATH"]
        names = {
            "PATH": programs,
            "GUEST": definition.name,
            "DISK": str(home / "disk.raw"),
            "XML": str(home / "guest.xml"),
        }
        done = subprocess.run(
            ["sh", "-eu", path], env=os.environ | names | more, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        xml = conn.lookupByName(definition.name).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    assert _found(xml) == sorted(map(str.split, expected_lines(path.with_suffix(".placed"))))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_client(conn: libvirt.virConnect, path: Path) -> None:
    """The commands succeed, and the devices sit where the case says."""
    run(conn, path)
