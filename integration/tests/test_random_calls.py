"""Random changes of stored random domains, one call after the other: refused or right, and the daemon lives.

``RANDOM_CALLS=10000 ./run python3 -m pytest integration/tests/test_random_calls.py`` makes up other ones each time, and
as many.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import libvirt
import pytest
from hypothesis import event, given, note
from hypothesis import strategies as st

from integration.domains.arbitrary import domains, examples
from integration.domains.definitions import Definition
from integration.domains.devices import all_devices
from integration.domains.layout import Layout
from integration.domains.snippets import ALL_OFF, cut
from integration.oracle.refusals import OUR_CODES
from integration.oracle.rules import assert_placed
from integration.paths import NIGHTLY

CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG
_ADDRESSES = (
    *[""] * 8,
    *(f"<address type='pci' bus='{bus}' slot='{slot}'/>" for bus in (0, 1, 2, 40) for slot in (0, 1, 7, 31)),
    "<address type='pci' slot='9' function='3'/>",
    "<address type='isa' iobase='0x505'/>",
    "<address type='unassigned'/>",
    "<address type='virtio-mmio'/>",
    "<address type='ccw' cssid='0xfe' ssid='0' devno='1'/>",
    "<address type='usb' bus='0' port='1'/>",
    "<address type='drive' controller='7'/>",
)
_SETTINGS = ("", "", "no", "yes")
_CONSOLE = re.compile("<console.*?</console>", re.DOTALL)
_OURS = re.compile("hotplug|unplug|root bus")


@st.composite
def calls(draw: st.DrawFn) -> list[tuple[str, int, str, str]]:
    """Make up calls: what, a number that chooses the device, a setting, an address.

    Without a setting of its own a device that states another kind of address is none of the settings' business.
    """
    kinds = sorted(name for name, device in all_devices().items() if len(device.elements(1)) == 1)
    what = st.sampled_from(["attach", "attach", "detach", "update", "update", "feature", "again"])
    call = st.tuples(what, st.integers(0, 999), st.sampled_from(_SETTINGS), st.sampled_from(_ADDRESSES))
    made = draw(st.lists(call, min_size=2, max_size=8))
    return [
        (
            f"attach {draw(st.sampled_from(kinds))}" if name == "attach" else name,
            number,
            setting,
            address if setting or "'pci'" in address else "",
        )
        for name, number, setting, address in made
    ]


def _change(place: Definition, xml: str, what: str, number: int, setting: str, address: str) -> None:
    """Make one call. Raises libvirtError if it is refused."""
    domain = place.conn.lookupByUUIDString(place.uuid)
    name, _, kind = what.partition(" ")
    aliases = sorted(set(re.findall(r"<alias name='(ua-[\w-]+)'/>", xml)))
    if name == "attach":
        alias = f"<alias name='ua-{number + 2000}'/>"
        domain.attachDeviceFlags(all_devices()[kind].xml(number % 600 + 300, setting, address + alias), CONFIG)
    elif name in ("detach", "update") and aliases:
        device = cut(_CONSOLE.sub("", xml), aliases[number % len(aliases)])
        if name == "detach":
            domain.detachDeviceFlags(device, CONFIG)
            return
        if number % 3:
            device = re.sub(r" hotplug='\w+'", "", device, count=1)
            device = re.sub(r"^<\w+", rf"\g<0> hotplug='{setting}'" if setting else r"\g<0>", device)
        if number % 2 and ("'pci'" in address or " hotplug=" in device.partition(">")[0]):
            device = re.sub(r"<address type='pci'[^>]*/>(?=\s*</\w+>$)", address, device)
        domain.updateDeviceFlags(device, CONFIG)
    elif name == "feature":
        feature = ["", ALL_OFF, "<hotplug enable='yes'/>"][number % 3]
        place.define(re.sub(r"<hotplug enable='\w+'/>", "", xml).replace("</features>", feature + "</features>"))
    else:
        assert place.define(xml) == xml


@pytest.fixture
def outcomes() -> Iterator[Counter[str]]:
    """The outcomes are counted: calls must have been done, and refused for reasons of ours and of libvirt's."""
    counted: Counter[str] = Counter()
    yield counted
    if counted.total() > 300:
        shares = {"done": 0.2, "refused by the settings": 0.005, "refused by libvirt": 0.05}
        assert [name for name, share in shares.items() if counted[name] < share * counted.total()] == [], counted


@pytest.mark.sanitized
@pytest.mark.timeout(7200 if NIGHTLY else 900)
@examples("RANDOM_CALLS", usual=150, nightly=5000)
@given(partial=domains(), changes=calls())
def test_random_calls(
    place: Definition, outcomes: Counter[str], partial: str, changes: list[tuple[str, int, str, str]]
) -> None:
    """A call that succeeds obeys the rules, and one that is refused changes nothing."""
    try:
        xml = place.define(place.xml(partial))
    except libvirt.libvirtError:
        return
    given = {device.alias for device in Layout(partial).devices}
    for change in changes:
        note(str(change))
        if change[3]:
            given.add(f"ua-{change[1] + 2000}")
        try:
            _change(place, xml, *change)
        except libvirt.libvirtError as error:
            note(str(error))
            assert place.conn.isAlive(), error
            assert place.dump() == xml
            outcome = "refused by the settings" if _OURS.search(str(error)) else "refused by libvirt"
            assert outcome == "refused by libvirt" or error.get_error_code() in OUR_CODES, error
        else:
            xml = place.dump()
            # A serial device is shown as a console, too.
            assert_placed(
                _CONSOLE.sub("", xml),
                frozenset(device.address for device in Layout(xml).devices if device.alias in given),
            )
            outcome = "done"
        outcomes[outcome] += 1
        event(outcome)
