"""virt-pci-hotplug on XML alone: in data/tool, NAME.session is what it says of NAME.xml, command by command.

GUEST is the domain's name. NAME.live.xml is what runs, where that is something else. What a command writes to
standard error stands with the rest, and a last line ``[1]`` is its exit status, if not 0.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree.ElementTree import canonicalize

import libvirt
import pytest

from integration.paths import DATA, ROOT
from integration.tests.unit.fakehost import Domain, Host, Snapshot, failure

CASES = sorted(path.with_suffix(".xml") for path in (DATA / "tool").glob("*.session"))
_SETTING = "<hotplug enable='no'/>"


def read(name: str) -> str:
    """Read the XML of a case."""
    return (DATA / f"tool/{name}.xml").read_text()


class Shell:
    """Runs commands of the tool in this process, on make-believe hosts by the names of their URIs."""

    def __init__(self, tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._tool, self._patch, self._capsys = tool, monkeypatch, capsys
        self.hosts: dict[str | None, Host] = {}
        for function in ("open", "openReadOnly"):
            monkeypatch.setattr(libvirt, function, self._open)

    def _open(self, uri: str | None) -> Host:
        if uri not in self.hosts:
            raise failure(libvirt.VIR_ERR_NO_CONNECT, "cannot connect")
        return self.hosts[uri]

    def __call__(self, *words: str) -> tuple[str, int]:
        """Run a command; return what it says and its exit status."""
        self._patch.setattr("sys.argv", ["virt-pci-hotplug", *words])
        try:
            status = self._tool.main()
        except SystemExit as end:
            status = end.code
        said = self._capsys.readouterr()
        return said.out + said.err, status

    def json(self, *words: str) -> dict[str, Any]:
        """Run a command that must print JSON and nothing else."""
        said: dict[str, Any] = json.loads(self(*words, "--json")[0])
        return said


@pytest.fixture
def shell(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The tool's commands, without a host yet."""
    return Shell(tool, monkeypatch, capsys)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_transcript(shell: Shell, path: Path, request: pytest.FixtureRequest) -> None:
    """Each command says what is expected, and acts on what the earlier ones have left."""
    live = path.with_suffix(".live.xml")
    domain = Domain(path.read_text(), live.read_text() if live.exists() else "")
    shell.hosts[None] = Host([domain])
    expected = path.with_suffix(".session").read_text()
    transcript = ""
    for line in expected.splitlines():
        if line.startswith("$ "):
            words = [domain.name() if word == "GUEST" else word for word in shlex.split(line[2:])]
            said, status = shell(*words)
            transcript += f"{line}\n{said}" + (f"[{status}]\n" if status else "")
    if request.config.getoption("--regenerate", False):
        path.with_suffix(".session").write_text(transcript)
    else:
        assert transcript == expected
    assert transcript, f"{path}: no command"
    assert "sekrit" not in transcript
    assert path.stem != "q35" or "passwd='sekrit'" in domain.stored


def _spoken(names: dict[str, str | None]) -> str:
    old, new = (name or "?" for name in names.values())
    return (old if old == new else f"{old}|{new}").replace(" ", "-")


@pytest.mark.parametrize("path", sorted((DATA / "tool/names").glob("*.xml")), ids=lambda path: path.stem)
def test_names(shell: Shell, path: Path, request: pytest.FixtureRequest) -> None:
    """Each card has the names of real-systems' measurements, before and after ``set no``, by QEMU and systemd.

    ``NAME.names``: QEMU, card, name now, name after (252|257 where they differ, ? is not known or moves), and
    whether --rename-nics is asked for.
    """
    told = []
    for version, number in (("7.2", 7_002_022), ("9.0", 9_000_000), ("10.0", 10_000_013), ("11.1", 11_001_003)):
        shell.hosts[None] = Host([Domain(path.read_text())], version=number)
        (record,) = shell.json("list")["domains"]
        for card in record["cards"]:
            asked = "renamed" if card["renamed"] else "kept"
            told.append(f"{version} {card['name']} {_spoken(card['old'])} {_spoken(card['new'])} {asked}\n")
    expected = path.with_suffix(".names")
    if request.config.getoption("--regenerate", False):
        expected.write_text("".join(told))
    assert told, f"{path}: no network card has an address"
    assert expected.read_text() == "".join(told)


def _many(count: int) -> list[Domain]:
    xml = read("places").replace("<name>places<", "<name>NAME<").replace("11111111-", "NUMBER-")
    return [Domain(xml.replace("NAME", f"guest {n}").replace("NUMBER", f"{n:08}")) for n in range(count)]


def _plain(name: str = "plain", setting: str = "") -> Domain:
    """Return a q35 domain with one device behind a port."""
    return Domain(
        f"<domain type='kvm'><name>{name}</name><uuid>{abs(hash(name)):08x}</uuid><os><type arch='x86_64'"
        f" machine='pc-q35-7.2'>hvm</type></os><features>{setting}</features><devices><emulator>/q</emulator>"
        "<controller type='pci' index='0' model='pcie-root'/><controller type='pci' index='1' model='pcie-root-port'>"
        "<address type='pci' bus='0' slot='1' function='0'/></controller><rng model='virtio'><alias name='ua-rng'/>"
        "<address type='pci' bus='1' slot='0' function='0'/></rng></devices></domain>"
    )


def test_one_bad_guest_of_fifty(shell: Shell) -> None:
    """One guest that is refused, and one that fails, do not stop the others; they are named in the end."""
    host = shell.hosts[None] = Host([_plain(f"guest {n:02}") for n in range(50)], refuses={"guest 07<": "not this one"})
    said, status = shell("set", "--all", "no", "--yes")
    assert status == 1
    assert "guest 07: refused: not this one" in said
    assert said.splitlines()[-1] == "50 domains: 49 changed, 1 refused; not done: guest 07"
    assert host.defined == 49
    assert [domain.name() for domain in host.domains if "hotplug" not in domain.stored] == ["guest 07"]


def test_capabilities_are_asked_once(shell: Shell) -> None:
    """There is one query for each emulator, architecture, machine and virt type, however many domains."""
    host = shell.hosts[None] = Host([_plain(f"{n}") for n in range(20)] + [Domain(read("virt"))])
    shell("list")
    assert host.asked == 2


@pytest.mark.parametrize(
    ("host", "reason", "listed", "changed"),
    [
        (Host([], knows=False), "this daemon does not know the setting", 3, 3),
        (Host([], readonly=True), "read only access", 0, 1),
    ],
    ids=["old", "read-only"],
)
def test_cannot_tell(shell: Shell, host: Host, reason: str, listed: int, changed: int) -> None:
    """Without capabilities places are shown, but no verdict; check exits 3, and set changes nothing."""
    host.domains = [_plain(setting=_SETTING)]
    shell.hosts[None] = host
    said, status = shell("-r", "list")
    assert (status, " unknown " in said, reason in said) == (listed, True, True)
    said, status = shell("-r", "check")
    assert (status, reason in said) == (3, True)
    said, status = shell("set", "plain", "no")
    assert (status, reason in said, host.defined) == (changed, True, 0)
    host.domains = []
    for command in (["list"], ["check", "--leaving"], ["set", "--all", "default", "--yes"]):
        said, status = shell(*command)
        assert (reason in said, status) == (True, 3), command


def test_machine_type_gone(shell: Shell) -> None:
    """A domain whose machine type QEMU has no longer is unknown, and does not hide what others have."""
    gone = _plain("gone")
    gone.stored = gone.stored.replace("pc-q35-7.2", "gone")
    shell.hosts[None] = Host([gone, _plain("found", _SETTING)])
    said, status = shell("check")
    assert status == 1
    assert "virt-pci-hotplug: gone: no domain capabilities: the machine 'gone' is not supported" in said
    assert shell("check", "gone")[1] == 3


def test_hosts(shell: Shell) -> None:
    """Several connections are looked at, and one that fails does not hide the others."""
    shell.hosts = {"one": Host([_plain()], "one"), "two": Host([_plain(setting=_SETTING)], "two")}
    said, status = shell("-c", "one", "-c", "none", "-c", "two", "check")
    assert status == 1
    assert "virt-pci-hotplug: none: cannot connect" in said
    assert "plain on two" in said
    assert "plain on one" not in said
    assert shell("-c", "one", "-c", "none", "check")[1] == 3
    said, status = shell("-c", "one", "list", "plain", "nobody")
    assert ("domain 'nobody' not found" in said, "ua-rng" in said, status) == (True, True, 3)


def test_vanishes(shell: Shell) -> None:
    """A domain that vanishes while all are looked at is nothing to report; one that was named is."""
    domain = _plain()
    domain.gone = True
    shell.hosts[None] = Host([domain])
    for command in (["list"], ["check"], ["set", "--all", "no", "--yes"]):
        assert shell(*command) == ("", 0)
    assert shell("check", "plain") == ("virt-pci-hotplug: plain: Domain not found\n", 3)


def test_changed_by_somebody_else(shell: Shell) -> None:
    """A definition that is no longer the one that was read is left alone."""
    domain = _plain()
    domain.elsewhere = domain.stored.replace("<features>", "<features><pae/>")
    host = shell.hosts[None] = Host([domain])
    said, status = shell("set", "plain", "no")
    assert "the definition has changed meanwhile" in said
    assert (status, host.defined) == (1, 0)
    assert shell("set", "plain", "no")[1] == 0
    assert "<pae" in domain.stored


def test_transient(shell: Shell) -> None:
    """A transient domain is listed and checked; there is nothing stored to change."""
    domain = _plain(setting=_SETTING)
    domain.persistent, domain.live = False, domain.stored
    shell.hosts[None] = Host([domain])
    assert "ua-rng" in shell("list")[0]
    assert shell("check")[1] == 1
    assert shell("check", "--config") == ("", 0)
    assert "it is transient" in shell("set", "plain", "no")[0]


def test_comes_back(shell: Shell) -> None:
    """The check covers managed saves, snapshots, and the daemon's own warnings."""
    domain = _plain()
    old = domain.stored
    snapshots = [Snapshot("mine", old)]
    shell.hosts[None] = Host([domain])
    shell("set", "plain", "no")
    assert shell("check") == ("", 0)
    domain.saved, domain.snapshots = old, snapshots
    assert shell("check", "--live") == ("", 0)
    assert shell("check", "--config") == shell("check")
    (record,) = shell.json("check")["domains"]
    assert record["result"] == "found"
    assert [row["where"] for row in record["devices"]] == ["managed save", "snapshot mine"]
    said = shell("set", "plain", "default")[0]
    assert "managed save" in said
    assert "snapshots" in said
    for domain.saved, domain.snapshots, where in (old, [], "managed save"), ("", snapshots, "snapshot mine"):
        shell("set", "plain", "no")
        (record,) = shell.json("check")["domains"]
        assert [row["where"] for row in record["devices"]] == [where]
    running = _plain("running")
    running.live, running.said = running.stored, ["deprecated configuration: net0 was unplugged"]
    shell.hosts[None] = Host([running])
    assert "net0 was unplugged" in shell("check")[0]


def test_backup(shell: Shell, tmp_path: Path) -> None:
    """The old XML is kept with its secrets, readable for its owner only."""
    domain = Domain(read("q35"))
    shell.hosts[None] = Host([domain])
    said, status = shell("set", domain.name(), "no", "--backup", str(tmp_path / "new"))
    assert status == 0
    (kept,) = (tmp_path / "new").iterdir()
    assert kept.read_text() == read("q35")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert shlex.quote(str(kept)) in said
    _, status = shell("set", domain.name(), "default", "--backup", str(kept))
    assert (status, _SETTING.replace("'", '"').replace("/>", " />") in domain.stored) == (1, True)


def test_json(shell: Shell) -> None:
    """Every command prints one document, of the same form."""
    shell.hosts[None] = Host([_plain()])
    for command in (["list"], ["check"], ["set", "plain", "no", "--dry-run"]):
        said = shell.json(*command)
        assert (said["version"], said["command"], said["errors"]) == (1, command[0], [])
        (record,) = said["domains"]
        keys = "host uri name uuid running result reason devices cards notes"
        assert set(keys.split()) <= set(record)
    assert isinstance(record["diff"], list)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "set",
        "set no",
        "set plain",
        "set plain off",
        "set --all no",
        "set --all plain no --yes",
        "set plain yes",
        "set plain no --ports-on",
        "set plain no --nonsense",
        "-c one -c two set plain no",
        "list --strict",
        "list --tree --json",
        "list --live --config",
        "set --al no --ye",
        "set plain no --per-device --device x",
        "set plain default --per-device",
        "set plain no --dry-run --yes",
        "convert",
        "convert yes",
        "convert plain no",
    ],
)
def test_usage(shell: Shell, words: str) -> None:
    """A wrong command line is told, with exit status 2, before there is a connection."""
    said, status = shell(*words.split())
    assert (status, "usage: " in said) == (2, True)


def test_help_names_the_words(shell: Shell) -> None:
    """The help of set says what its last argument can be, and has its options in groups."""
    said, status = shell("set", "--help")
    assert status == 0
    for words in ("no|yes|default", "what to change", "how far to go", "safety", "--per-device"):
        assert words in said


def test_convert_reads_domains_only(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Input that is no domain's XML is refused, and nothing is written."""
    slot = "<domain><devices><rng><address type='pci' slot='x'/></rng></devices></domain>"
    for xml in ("", "<domain", "<network/>", slot, slot.replace("'x'", "''")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(xml.encode())))
        said, status = shell("convert", "no")
        assert "no domain XML" in said + str(status)
        assert status


def test_convert_needs_no_libvirt() -> None:
    """Without libvirt's Python module, as in a hook's container, the filter works; other commands say so."""
    code = (
        "import runpy, sys; sys.modules['libvirt'] = None; sys.argv[0] = 'virt-pci-hotplug'; "
        "runpy.run_path('libvirt/tools/virt-pci-hotplug', run_name='__main__')"
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-c", code, *words)
        return subprocess.run(command, cwd=ROOT, input=read("q35"), capture_output=True, text=True, check=False)

    result = run("convert", "no")
    assert (result.returncode, result.stderr, '<hotplug enable="no"/>' in result.stdout) == (0, "", True)
    for words in (["list"], ["check"], ["set", "my", "no"]):
        result = run(*words)
        assert (result.returncode, result.stdout, "libvirt's Python module" in result.stderr) == (3, "", True)


@pytest.mark.parametrize("words", ["-r set plain no --dry-run", "set --dry-run plain no", "set plain no --dry-run"])
def test_options_stand_anywhere(shell: Shell, words: str) -> None:
    """Options may stand before and after the words."""
    shell.hosts[None] = Host([_plain()])
    assert shell(*words.split())[1] == 0


@pytest.mark.parametrize("name", ["--all", "-c", "no", "a b", "'", '"', "$(true)", "-- no"])
def test_any_name(shell: Shell, name: str) -> None:
    """After ``--`` a name may be anything."""
    shell.hosts[None] = Host([_plain(name)])
    assert shell("set", "--", name, "no") == (f"{name}: changed\n", 0)
    assert shell("list", "--", name)[0].splitlines()[2].startswith(f"{name}  ")


def test_renamed_by_libvirt(shell: Shell) -> None:
    """A card whose slot something else joins is renamed: without permission the old definition is restored."""
    xml = "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/><address type='pci' bus='0'"
    domain = _plain()
    domain.stored = domain.stored.replace("<rng", f"{xml} slot='9' function='0'/></interface><rng")
    first = domain.stored
    shell.hosts[None] = Host([domain], joins='slot="9"')
    said, status = shell("set", "plain", "no")
    assert (status, "enp0s9 becomes enp0s9f0" in said, "the old definition is back" in said) == (1, True, True)
    assert canonicalize(domain.stored) == canonicalize(first)
    said, status = shell("set", "plain", "no", "--rename-nics")
    assert (status, "enp0s9 becomes enp0s9f0" in said) == (0, True)


def test_alias_of_the_running_device(shell: Shell) -> None:
    """The alias that messages about a running domain have is a name of the device, as its address is."""
    domain = _plain()
    domain.stored = domain.stored.replace("<alias name='ua-rng'/>", "")
    domain.live = domain.stored.replace("<rng model='virtio'>", "<rng model='virtio'><alias name='rng0'/>")
    shell.hosts[None] = Host([domain])
    for name in ("rng0", "rng", "rng@01:00.0", "01:00.0", "0000:01:00.0"):
        assert "changed" in shell("set", "plain", "no", "--device", name)[0], name
    assert "there is no PCI device 'rng1'" in shell("set", "plain", "no", "--device", "rng1")[0]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding(encoding: str) -> None:
    """Output never fails on a name that the terminal cannot show, nor does what comes after it."""
    code = (
        "import runpy, sys; sys.path.insert(0, '.'); import libvirt; from integration.tests.unit.fakehost import *; "
        "from integration.tests.unit.test_tool import _plain; "
        "libvirt.open = lambda uri: Host([_plain('web \u2013 one'), _plain('\u4e00')]); "
        "sys.argv[0] = 'virt-pci-hotplug'; runpy.run_path('libvirt/tools/virt-pci-hotplug', run_name='__main__')"
    )
    for words in (["list"], ["check", "--strict"], ["set", "--all", "no", "--yes"], ["set", "\u4e01", "no"]):
        result = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=ROOT,
            env=os.environ | {"PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
        )
        assert b"Traceback" not in result.stderr, result.stderr.decode()
        assert result.returncode == {"list": 0, "check": 1, "set": 0}[words[0]] or words[1] == "\u4e01"
        if words[0] == "set" and words[1] == "--all":
            assert b"2 domains: 2 changed" in result.stdout


def test_harmless_for_terminals(shell: Shell) -> None:
    """Names and aliases in a domain cannot control the terminal."""
    domain = _plain("a\u009b31mb")
    domain.stored = domain.stored.replace("ua-rng", "ua-\u009b2J")
    shell.hosts[None] = Host([domain])
    for command in (["list"], ["list", "--tree"], ["check", "--strict"], ["set", "--all", "no", "--yes"]):
        assert "\u009b" not in shell(*command)[0]
