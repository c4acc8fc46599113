"""The VMware driver, which has VMware's own setting: the feature is in its .vmx files, exceptions are impossible.

No VMware product is needed. Apart from .vmx files, libvirt only wants to know a version and which guests run; the
stand-ins for those two tools say it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import libvirt
import pytest

Open = Callable[[], libvirt.virConnect]


@pytest.fixture
def player(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open a new connection, which lists as running what was defined through an earlier one."""
    tools = {"vmplayer": "echo VMware Player 6.0.1 build-1379776", "vmrun": f"ls {tmp_path}/*.vmx 2>/dev/null; true"}
    for name, command in tools.items():
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/sh\n{command}\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    (tmp_path / "vmware.log").write_text("started pid=1 \n")
    return lambda: libvirt.open("vmwareplayer:///session")


def _xml(directory: Path, features: str = "", device: str = "") -> str:
    return f"""<domain type='vmware'><name>guest</name><memory unit='MiB'>4</memory><os><type>hvm</type></os>
        <features>{features}</features>
        <devices><disk type='file' device='disk' {device}><source file='{directory}/guest.vmdk'/>
        <target dev='hda' bus='ide'/></disk></devices></domain>"""


@pytest.mark.parametrize(("setting", "entry"), [("no", "FALSE"), ("yes", "TRUE"), ("", "")])
def test_feature(player: Open, tmp_path: Path, setting: str, entry: str) -> None:
    """The feature gets into the .vmx file, and back into the XML of whoever reads that file."""
    feature = f"<hotplug enable='{setting}'/>" if setting else ""
    defined = player().defineXMLFlags(_xml(tmp_path, feature), 0).XMLDesc()
    read = player().lookupByName("guest").XMLDesc()
    assert [re.findall("<hotplug.*/>", xml) for xml in (defined, read)] == [[feature] if feature else []] * 2
    entries = re.findall('^devices.hotplug = "(.*)"$', (tmp_path / "guest.vmx").read_text(), re.MULTILINE)
    assert entries == ([entry] if entry else [])


@pytest.mark.parametrize("setting", ["no", "yes"])
def test_device(player: Open, tmp_path: Path, setting: str) -> None:
    """The attribute of a device is refused, as a .vmx file has no place for it."""
    with pytest.raises(libvirt.libvirtError, match="'hotplug' attribute of device 'disk'") as refusal:
        player().defineXMLFlags(_xml(tmp_path, device=f"hotplug='{setting}'"), 0)
    assert refusal.value.get_error_code() == libvirt.VIR_ERR_CONFIG_UNSUPPORTED
    assert not list(tmp_path.glob("*.vmx"))


def test_malformed_entry(player: Open, tmp_path: Path) -> None:
    """A value that is none makes no domain unreadable: it is as if the entry were missing."""
    player().defineXMLFlags(_xml(tmp_path, "<hotplug enable='no'/>"), 0)
    file = tmp_path / "guest.vmx"
    file.write_text(file.read_text().replace('devices.hotplug = "FALSE"', 'devices.hotplug = "perhaps"'))
    assert "perhaps" in file.read_text()
    assert "<hotplug" not in player().lookupByName("guest").XMLDesc()
