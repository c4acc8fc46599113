"""The platforms of docs/clients.md that are on PyPI or in Debian, run for real against the private daemon.

tools/platforms.sh brings them; "make nightly STAGES=platforms" is both.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt
import pytest

from integration.domains import domxml
from integration.domains.definitions import Definition
from integration.domains.devices import all_devices
from integration.domains.layout import Layout
from integration.host import connection, daemons
from integration.host.scratch import scratch, through
from integration.oracle import rules
from integration.paths import BUILD, DATA, ROOT, RUNS
from integration.tests import test_clients
from integration.tests.refused import refused

pytestmark = [pytest.mark.platform, pytest.mark.timeout(600)]

_PLATFORMS = BUILD / "platforms"
_OURS = "libvirt_hotplug.LibvirtDriver"
_NO = {"libvirt:pci_hotplug": "no"}


def _nova(action: str, *instances: dict[str, Any]) -> list[str]:
    """Have Nova's driver do something; return its XML. What it logs is shown if it fails."""
    command: list[str | Path] = [_PLATFORMS / "nova/bin/python", ROOT / "integration/platforms/nova_driver.py", action]
    done = subprocess.run(
        [*command, *map(json.dumps, instances)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    answers: list[str] = json.loads(done.stdout)
    return answers


def _instance(place: Definition, **given: object) -> dict[str, Any]:
    usual = {"driver": _OURS, "disks": 1, "nics": 1, "machine": "q35", "ports": 0, "flavor": _NO}
    return usual | {"name": place.name, "uuid": place.uuid, "home": str(RUNS / place.name)} | given


def _redefined(place: Definition, xml: str) -> Layout:
    """Define a domain as Nova does at every power-on: the one before is gone, and no address is given."""
    for domain in place.conn.listAllDomains():
        if domain.name() == place.name:
            connection.discard(domain)
    return Layout(place.define(xml))


def _card(layout: Layout) -> str:
    (card,) = (device for device in layout.devices if device.tag == "interface")
    return str(card.address)


def _ports(layout: Layout) -> int:
    return sum(controller.model == "pcie-root-port" for controller in layout.controllers.values())


@pytest.mark.parametrize(
    ("machine", "ports"), [("q35", 0), ("q35", 8), ("pc", 0)], ids=["q35", "q35-num-pcie-ports", "pc"]
)
def test_nova_places(place: Definition, machine: str, ports: int) -> None:
    """Every device stays, no port is made, and a volume more or less does not move the network card."""
    instances = [_instance(place, disks=disks, machine=machine, ports=ports) for disks in (1, 2, 3)]
    layouts = [_redefined(place, xml) for xml in _nova("xml", *instances)]
    for disks, layout in enumerate(layouts, 1):
        assert sum(device.tag == "disk" for device in layout.devices) == disks
        assert {device.tag for device in layout.devices} >= {"interface", "video", "rng", "memballoon"}
        assert [device for device in layout.devices if not rules.stays(layout, device)] == []
        assert _ports(layout) == ports
    assert len(set(map(_card, layouts))) == 1, [_card(layout) for layout in layouts]


def test_nova_without(place: Definition) -> None:
    """Other flavors are as they were, with the driver of this repository as with Nova's own."""
    instances = [_instance(place, driver=kind, flavor={}) for kind in (_OURS, "libvirt.LibvirtDriver")]
    ours, stock = (re.sub("<nova:creationTime>.*", "", xml) for xml in _nova("xml", *instances))
    assert ours == stock
    layout = _redefined(place, ours)
    assert [device.tag for device in layout.devices if not rules.stays(layout, device)]


def test_nova_refuses(place: Definition) -> None:
    """A flavor with another word than yes or no does not give an instance that can be unplugged."""
    with pytest.raises(AssertionError, match="ValueError: Unrecognized value 'never'"):
        _nova("xml", _instance(place, flavor={"libvirt:pci_hotplug": "never"}))


@pytest.fixture
def taps(place: Definition) -> Iterator[tuple[str, str]]:
    """The tap device of an instance's card, which Neutron would make, and one for the other host. It takes root."""
    names = f"tap{place.uuid[:8]}0", f"tap{place.uuid[:8]}0b"
    for name in names:
        subprocess.run(["ip", "tuntap", "add", "dev", name, "mode", "tap"], check=True)
    yield names
    for name in names:
        subprocess.run(["ip", "link", "delete", name], check=True)


@pytest.mark.usefixtures("taps")
def test_nova_loses(place: Definition) -> None:
    """A hard reboot keeps the setting of a flavor, and loses one that was put into the definition."""
    instance = _instance(place)
    (before,) = _nova("spawn", instance)
    assert Layout(before).default == "no"
    (after,) = _nova("reboot", instance)
    assert Layout(after).default == "no"
    assert _card(Layout(after)) == _card(Layout(before))
    (stock,) = _nova("reboot", instance | {"driver": "libvirt.LibvirtDriver"})
    assert Layout(stock).default == ""


@pytest.fixture
def other() -> Iterator[libvirt.virConnect]:
    """Another host, to migrate to."""
    with daemons.held("--host=n") as uri:
        conn = connection.connect(uri)
        yield conn
        connection.sweep(conn, own=True)
        conn.close()


def _migrated(place: Definition, taps: tuple[str, str], other: libvirt.virConnect, setting: str) -> Layout:
    """Migrate an instance whose card has an attribute, which Nova drops; return where its devices are then."""
    instance = _instance(place)
    (xml,) = _nova("xml", instance)
    marked = xml.replace("<interface ", f"<interface hotplug='{setting}' ")
    here = place.conn.createXML(marked, libvirt.VIR_DOMAIN_START_PAUSED)
    (sent,) = _nova("migrate", instance)
    assert [device.setting for device in Layout(sent).devices if device.tag == "interface"] == [""]
    there = {libvirt.VIR_MIGRATE_PARAM_DEST_XML: sent.replace(*taps)}
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_UNSAFE
    arrived = here.migrate3(other, through(RUNS / place.name) | there, flags)
    try:
        return Layout(arrived.XMLDesc())
    finally:
        connection.discard(arrived)


def test_nova_migrates(place: Definition, taps: tuple[str, str], other: libvirt.virConnect) -> None:
    """Nova writes each card anew for a live migration: its own attribute is lost, what it amounts to is not."""
    layout = _migrated(place, taps, other, "no")
    assert layout.default == "no"
    assert [device for device in layout.devices if not rules.stays(layout, device)] == []


def test_nova_migrates_no_exception(place: Definition, taps: tuple[str, str], other: libvirt.virConnect) -> None:
    """A card that says yes would be protected on the other host: the migration is refused, and the guest runs on."""
    with refused(None, "hotplug"):
        _migrated(place, taps, other, "yes")
    assert place.conn.lookupByName(place.name).isActive()


def test_nova_extra_spec() -> None:
    """Nova's API accepts the flavor's name for it, and not one that only a changed Nova knows."""
    check = "import sys; from nova.api.validation.extra_specs import validators; validators.validate(sys.argv[1], 'no')"
    python = _PLATFORMS / "nova/bin/python"
    subprocess.run([python, "-c", check, "libvirt:pci_hotplug"], check=True, capture_output=True)
    done = subprocess.run([python, "-c", check, "hw:pci_hotplug"], check=False, capture_output=True, text=True)
    assert done.returncode
    assert "hw:pci_hotplug" in done.stderr


@dataclass(frozen=True)
class Ansible:
    """An inventory of two hosts, and a place for a guest on each."""

    home: Path
    conns: dict[str, libvirt.virConnect]
    name: str

    def play(self, book: Path, **variables: object) -> dict[str, Any]:
        """Run a playbook on both hosts; return what Ansible's JSON says, with its exit status in ``rc``."""
        environment = {
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_HOME": str(self.home),
            "ANSIBLE_LOCAL_TEMP": str(self.home / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self.home / "tmp"),
        }
        done = subprocess.run(
            [_PLATFORMS / "venv/bin/ansible-playbook", "-i", self.home / "hosts", "-e", json.dumps(variables), book],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert "{" in done.stdout, done.stdout + done.stderr
        said: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
        return said | {"rc": done.returncode}

    def layouts(self, name: str) -> list[Layout]:
        """Return where the devices of the guest ``name`` are on each host."""
        domains = [conn.lookupByName(name) for conn in self.conns.values()]
        return [Layout(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)) for domain in domains]


@pytest.fixture
def ansible() -> Iterator[Ansible]:
    """Two make-believe hosts."""
    with ExitStack() as stack:
        name, directory = stack.enter_context(scratch("ansible"))
        uris = {host: stack.enter_context(daemons.held(f"--host={host}")) for host in ("y", "z")}
        conns = {host: connection.connect(uri) for host, uri in uris.items()}
        lines = [f"{host} libvirt_uri='{uri}'" for host, uri in uris.items()]
        python = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
        (directory / "hosts").write_text(
            "\n".join(["[hypervisors]", *lines, "[hypervisors:vars]", *python.split(), ""])
        )
        yield Ansible(directory, conns, name)
        for conn in conns.values():
            connection.sweep(conn, own=True)
            conn.close()


_hosts = pytest.mark.xdist_group("ansible")
"""One at a time: each checks all guests of the two hosts."""

_PLAYBOOK = ROOT / "docs/platforms/ansible/playbook.yml"
_FEATURE = "<hotplug enable='no'/>"


def _template(guests: Ansible, **changed: object) -> dict[str, object]:
    """Return the playbook's variables for a guest from the template."""
    return {
        "hotplug_templates": [str(DATA / "platforms/guest.xml.j2")],
        "guest_name": guests.name,
        "guest_uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, guests.name)),
        "hotplug": _FEATURE,
        "disks": 1,
        "address": "",
    } | changed


def _results(said: dict[str, Any], task: str) -> list[dict[str, Any]]:
    """Return what a task came to on each host."""
    (found,) = (one for play in said["plays"] for one in play["tasks"] if one["task"]["name"].startswith(task))
    return list(found["hosts"].values())


def _changed(said: dict[str, Any]) -> list[int]:
    assert said["rc"] == 0, json.dumps(said, indent=1)
    return [host["changed"] for host in said["stats"].values()]


@_hosts
def test_ansible_defines_and_converts(ansible: Ansible) -> None:
    """A guest from a template and one that was there are protected on both hosts; the second time nothing changes."""
    old = f"{ansible.name}-old"
    for conn in ansible.conns.values():
        conn.defineXML((ROOT / "docs/example.xml").read_text().replace("<name>my<", f"<name>{old}<"))
    variables = _template(ansible, hotplug_convert=[old])
    assert _changed(ansible.play(_PLAYBOOK, **variables)) == [2, 2]
    assert _changed(ansible.play(_PLAYBOOK, **variables)) == [0, 0]
    for layout in [*ansible.layouts(ansible.name), *ansible.layouts(old)]:
        assert layout.default == "no"
        assert [device for device in layout.devices if not rules.stays(layout, device)] == []


@_hosts
def test_ansible_one_more_disk(ansible: Ansible) -> None:
    """A template with one disk more does not move the network card."""
    cards: list[str] = []
    for disks in (1, 2, 3):
        assert _changed(ansible.play(_PLAYBOOK, **_template(ansible, disks=disks))) == [1, 1]
        cards += map(_card, ansible.layouts(ansible.name))
    assert len(set(cards)) == 1, cards


@_hosts
def test_ansible_refused(ansible: Ansible) -> None:
    """A change that libvirt refuses fails on each host with libvirt's error, and nothing is changed."""
    # Bus 1 is that of a port that can unplug; libvirt would make one that is off, but not for a port that says on.
    port = "<controller type='pci' model='pcie-root-port' index='1'><target hotplug='on'/></controller>"
    address = f"<address type='pci' bus='1' slot='0' function='0'/></interface>{port}<interface type='user'>"
    said = ansible.play(_PLAYBOOK, **_template(ansible, address=address))
    assert said["rc"]
    for result in _results(said, "Define"):
        assert "contradict the hotplug settings: interface" in json.dumps(result)
    assert [conn.listAllDomains() for conn in ansible.conns.values()] == [[], []]


@_hosts
def test_ansible_forgotten(ansible: Ansible) -> None:
    """The template is the truth: one that lost the setting is defined without a word, and found by the check."""
    assert _changed(ansible.play(_PLAYBOOK, **_template(ansible))) == [1, 1]
    said = ansible.play(_PLAYBOOK, **_template(ansible, hotplug=""))
    assert said["rc"]
    assert [result["changed"] for result in _results(said, "Define")] == [True, True]
    for result in _results(said, "Check"):
        assert result["rc"] == 1
        assert ansible.name in result["stdout"] + result["stderr"]


@_hosts
def test_ansible_virt_install(ansible: Ansible) -> None:
    """The module that runs virt-install makes guests none of whose devices can be unplugged, and no port."""
    disk = ansible.home / "disk.raw"
    for host in ansible.conns:
        Path(f"{disk}-{host}").write_bytes(bytes(1 << 20))
    said = ansible.play(DATA / "platforms/virt-install.yml", guest_name=ansible.name, guest_disk=str(disk))
    assert _changed(said) == [1, 1]
    for layout in ansible.layouts(ansible.name):
        assert layout.default == "no"
        assert _ports(layout) == 0
        assert [device for device in layout.devices if not rules.stays(layout, device)] == []


_VIRT_INSTALL = [path for path in test_clients.CASES if "virt-install " in path.read_text()]


@pytest.mark.parametrize("name", ["jq", "vagrant"])
def test_commands(conn: libvirt.virConnect, name: str) -> None:
    """As in test_clients.py, with what tools/platforms.sh brings."""
    test_clients.run(conn, DATA / f"platforms/{name}.sh")


def test_kcli() -> None:
    """kcli's commands succeed, on a host of their own: it waits for every pool, and virt-install leaves some."""
    with daemons.held("--host=k") as uri:
        conn = connection.connect(uri)
        test_clients.run(conn, DATA / "platforms/kcli.sh", _PLATFORMS / "kcli", LIBVIRT_DEFAULT_URI=uri)
        conn.close()


@pytest.mark.parametrize("path", _VIRT_INSTALL, ids=lambda path: path.stem)
def test_newest_virt_install(conn: libvirt.virConnect, path: Path) -> None:
    """The commands of virt-install and virt-xml do the same with Debian testing's as with the machine's own."""
    said = subprocess.run([_PLATFORMS / "bin/virt-install", "--version"], capture_output=True, text=True, check=True)
    assert tuple(map(int, said.stdout.split("."))) >= (5, 1), said.stdout
    test_clients.run(conn, path, _PLATFORMS / "bin")


def _words(xml: str) -> list[tuple[str, str]]:
    """Return the setting of each element that has one."""
    found = [(element.tag, element.get("hotplug", "")) for element in domxml.parse(xml).iterfind("devices/*")]
    return [*((tag, setting) for tag, setting in found if setting), ("feature", Layout(xml).default)]


def _through_go(kind: str, xml: str) -> str:
    program = _PLATFORMS / "go" / kind / "roundtrip"
    return subprocess.run([program], input=xml, capture_output=True, text=True, check=True).stdout


def _one_of_each() -> str:
    """Return a domain with a device of every kind that can have the attribute, and the attribute on each."""
    domain = domxml.parse(f"<domain type='qemu'><name>x</name><features>{_FEATURE}</features><devices/></domain>")
    devices = domain.find("devices")
    assert devices is not None
    for kind in all_devices().values():
        element = kind.elements(1)[0]
        # Debian's release of the library has neither.
        if devices.find(element.tag) is None and element.tag not in ("crypto", "pstore"):
            element.set("hotplug", "no" if len(devices) % 2 else "yes")
            devices.append(element)
    return domxml.text(domain)


def test_go_library() -> None:
    """The Go library for libvirt's XML, which KubeVirt uses, drops all settings; the patched one drops none."""
    xml = _one_of_each()
    assert len(_words(xml)) == 17 + 1
    assert _words(_through_go("stock", xml)) == [("feature", "")]
    assert sorted(_words(_through_go("patched", xml))) == sorted(_words(xml))
    patch = (ROOT / "docs/libvirt-go-xml.patch").read_text()
    for kind in ("Crypto", "PStore"):
        assert f"type Domain{kind} struct {{\n+\tHotplug string" in patch


def test_go_migration(place: Definition) -> None:
    """To libvirt a running guest's XML is the same one after the patched library, and not after the stock one."""
    text = (ROOT / "docs/example.xml").read_text().replace("<features>", f"<features>{_FEATURE}")
    domain = place.conn.createXML(
        re.sub("<name>.*</name>", f"<name>{place.name}</name>", text), libvirt.VIR_DOMAIN_START_PAUSED
    )
    xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
    image = str(RUNS / place.name / "image")
    with refused(None, "hotplug"):
        domain.saveFlags(image, _through_go("stock", xml))
    domain.saveFlags(image, _through_go("patched", xml))


def test_go_capabilities(conn: libvirt.virConnect) -> None:
    """The patched library keeps what the domain capabilities say of the setting."""
    capabilities = conn.getDomainCapabilities(None, "x86_64", "q35", "qemu")
    assert "<hotplug supported='yes'>" in capabilities
    assert "hotplug" not in _through_go("stock", capabilities)
    element = domxml.parse(_through_go("patched", capabilities)).find("features/hotplug")
    assert element is not None
    assert element.get("supported") == "yes"
    assert [value.text for value in element.iterfind("enum[@name='controllerModel']/value")]
