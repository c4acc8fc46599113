"""virt-manager's window, for real: a guest with the setting is opened, its XML edited, the daemon's error read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import libvirt
import pytest

from integration.domains import definitions
from integration.domains.snippets import ALL_OFF, YES, cut, domain
from integration.paths import BUILD, RUNS

pytestmark = pytest.mark.window

PICTURE = BUILD / "virt-manager.png"
"""The window with the error: docs/virt-manager.png is one of these, with fewer colours."""


def _apply(guest: str, xml: str) -> str:
    """Put XML into the window's XML tab and press Apply; return what the error dialog says."""
    home = RUNS / guest
    (home / "edited.xml").write_text(xml)
    (home / "config/glib-2.0/settings").mkdir(parents=True, exist_ok=True)
    env = os.environ | {
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_DATA_HOME": str(home / "data"),
        "GSETTINGS_BACKEND": "keyfile",
        # Not build/venv's python3: virt-manager needs Debian's.
        "PATH": f"/usr/bin:{os.environ['PATH']}",
    }
    window = Path(__file__).parents[1] / "host/window.py"
    screen = ["xvfb-run", "-a", "-s", "-screen 0 1024x600x24", "dbus-run-session", "--"]
    done = subprocess.run(
        [*screen, "/usr/bin/python3", window, os.environ["LIBVIRT_DEFAULT_URI"], guest, home / "edited.xml", PICTURE],
        env=env, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix("said: ") for line in done.stdout.splitlines() if line.startswith("said: ")]
    return "".join(lines)


@pytest.mark.timeout(500)
def test_edit(conn: libvirt.virConnect) -> None:
    """An edit that contradicts is refused with the daemon's words and changes nothing; one that does not is taken."""
    with definitions.defined(conn, "window") as place:
        devices = "<rng model='virtio'><backend model='random'>/dev/urandom</backend><alias name='ua-rng'/></rng>"
        before = place.define(place.xml(domain(devices, ALL_OFF)))
        edited = before.replace("<rng ", f"<rng{YES} ")
        assert edited != before
        said = _apply(place.name, edited)
        assert "PCI addresses contradict the hotplug settings: rng" in said
        assert "remove these addresses" in said
        assert place.dump() == before

        element = cut(edited, "ua-rng")
        address = element[element.index("<address") : element.index("</rng>")]
        assert _apply(place.name, edited.replace(address, "")) == ""
        assert YES in cut(place.dump(), "ua-rng")
