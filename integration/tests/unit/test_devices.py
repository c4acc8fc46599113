"""The reader of the table of devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.domains import domxml
from integration.domains.devices import all_devices, kind_of, names, not_pci, read
from integration.oracle.rules import assert_placed, is_pci
from integration.paths import DATA

RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\n"


@pytest.mark.parametrize(
    "text",
    [
        RNG,
        "<!-- -->\n" + RNG,
        "<!-- q36 -->\n" + RNG,
        "<!-- q35; odd -->\n" + RNG,
        "<!-- q35 -->\n" + RNG.replace("'virtio'", "'virtio' hotplug='no'"),
        "<!-- q35 -->\n" + RNG.replace("</rng>", "<address type='pci'/></rng>"),
    ],
)
def test_bad_files(tmp_path: Path, text: str) -> None:
    """A file that does not say what it must, or says what it must not, is an error."""
    path = tmp_path / "bad.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match="bad"):
        read(path)


def test_written(tmp_path: Path) -> None:
    """Setting, number and what else is wanted get into the element."""
    path = tmp_path / "sound.xml"
    path.write_text("<!-- q35 pc; once -->\n<sound model='ich{number}'/>\n")
    device = read(path)
    assert (device.machines, device.special) == (frozenset({"q35", "pc"}), frozenset({"once"}))
    assert device.xml(9, "no", "<alias name='a'/>") == '<sound model="ich9" hotplug="no"><alias name="a" /></sound>'


@pytest.mark.parametrize("name", all_devices())
def test_table_is_read(name: str) -> None:
    """Each element of the table is a PCI device, and found there."""
    device = all_devices()[name]
    for element in device.elements(3):
        kind = kind_of(element)
        assert is_pci(element)
        assert kind and ("held" in kind.special) == ("held" in device.special)


def test_not_pci() -> None:
    """Each element of the other table is no PCI device, and needs no address."""
    for element in not_pci():
        assert not is_pci(element)
        assert_placed(_domain(domxml.text(element)))


def _domain(device: str) -> str:
    return (
        "<domain><os><type arch='x86_64' machine='q35'>hvm</type></os><features><hotplug enable='no'/></features>"
        f"<devices><controller type='pci' index='0' model='pcie-root'/>{device}</devices></domain>"
    )


@pytest.mark.parametrize("name", all_devices())
def test_address_is_missed(name: str) -> None:
    """A PCI device of any kind that has a setting and no address is missed."""
    device = all_devices()[name].xml(1)
    with pytest.raises(AssertionError, match="no PCI address"):
        assert_placed(_domain(device))


@pytest.mark.parametrize(
    "device",
    [
        "<newdevice/>",
        "<controller type='nvme' index='0'/>",
        "<watchdog model='new'/>",
        "<panic model='new'/>",
        "<hostdev type='new'/>",
        "<disk><target bus='new'/></disk>",
    ],
)
def test_unknown_kinds(device: str) -> None:
    """A kind that is in neither table is an error, with a setting or without, which says where it belongs."""
    for xml in (_domain(device), _domain(device).replace("enable='no'", "enable='yes'")):
        with pytest.raises(ValueError, match="add it to integration/data"):
            assert_placed(xml)


def test_every_element_is_known() -> None:
    """The tables know all devices of all cases but those that are wrong by intention."""
    elements = 0
    for path in (*DATA.rglob("*.xml"), *DATA.rglob("*.devices")):
        if path.parent.name in ("devices", "rejected"):
            continue
        for element in domxml.parse(path.read_text()).iterfind(".//devices/*" if path.suffix == ".xml" else "*"):
            if not (element.tag == "controller" and element.get("type") == "pci"):
                kind_of(element)
                elements += 1
    assert elements > 100


def test_names() -> None:
    """A word that no first line can say is an error, not an empty list."""
    assert "rng" in names("random")
    with pytest.raises(ValueError, match="odd"):
        names("odd")
