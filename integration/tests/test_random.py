"""Random domains: accepted ones obey the rules (oracle/rules.py), refused ones are refused for a reason.

Without the settings, stock libvirt accepts and refuses the same ones, and gives them the same XML.

``RANDOM_DOMAINS=10000 ./run python3 -m pytest integration/tests/test_random.py`` makes up other ones each
time, and as many. Machine types whose QEMU is not here (riscv64, loongarch64, ppc64, s390x) are left
to libvirt's own qemuxmlconftest.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator

import libvirt
import pytest
from hypothesis import event, given, note, seed, settings

from integration.domains.arbitrary import domains, examples
from integration.domains.definitions import Definition
from integration.domains.devices import all_devices
from integration.domains.layout import Layout
from integration.domains.snippets import stripped
from integration.host import connection, daemons
from integration.oracle.refusals import OUR_CODES, clash, must_fit
from integration.oracle.rules import assert_placed
from integration.paths import NIGHTLY

_SHARES = {"accepted": 0.25, "refused: contradiction": 0.15, "refused: full": 0.0003}
"""The least share of all domains that each outcome must have, or the test tests something else."""

_WRONG = "wrong without the settings, too"
_WRONG_SHARE = 0.4
"""The largest share that the domains may have which even stock libvirt refuses."""


_SEEDS = range(1, 9 if NIGHTLY else 3)
"""The shares that workers have of the random domains, by the seeds of those that are always the same."""


@pytest.fixture
def stock(place: Definition) -> Iterator[Definition]:
    """A definition of the same name and UUID on a host with stock libvirt."""
    with daemons.held("--stock", "--host=st") as uri:
        conn = connection.connect(uri)
        connection.sweep(conn)
        there = Definition(conn, place.name)
        there.uuid = place.uuid
        yield there
        for domain in conn.listAllDomains():
            if domain.name() == place.name:
                connection.discard(domain)
        conn.close()


@pytest.fixture
def outcomes() -> Iterator[Counter[str]]:
    """The outcomes are counted; in the end each must have had its share."""
    counted: Counter[str] = Counter()
    yield counted
    total = counted.total()
    if total < 500:
        return  # a failure cut it short
    assert [name for name, share in _SHARES.items() if counted[name] < share * total] == [], counted
    assert counted[_WRONG] <= _WRONG_SHARE * total, counted


def _plain(place: Definition, xml: str) -> tuple[str, int]:
    """Define a domain without the settings; return its XML but for MACs and the daemon's home, or the error's code."""
    try:
        kept = place.define(place.xml(stripped(xml)))
        return re.sub(r"<mac address='[^']*'/>|/\S*(?=/libvirt/qemu/nvram/)", "", kept), 0
    except libvirt.libvirtError as error:
        assert place.conn.isAlive(), error
        return "", error.get_error_code()


def _refusal(partial: str, plain: str, error: libvirt.libvirtError) -> str:
    """Name the reason for which a domain that is fine without its settings was refused, which must be a good one."""
    if "is needed to connect a PCI controller" in str(error):
        assert not must_fit(partial), error
        return "refused: full, for a device without a setting"  # libvirt's own words
    assert error.get_error_code() in OUR_CODES, error
    if "no slot left on the root bus" in str(error):
        assert not must_fit(partial), error
        return "refused: full"
    if re.search("slot must be (<= 0|>= 1)", str(error)):
        # libvirt's own error: a bus without a controller gets a port for a protected device, or a bridge.
        assert clash(partial, plain), error
        return "refused: contradiction"
    assert "hotplug" in str(error), error
    if clash(partial, plain):
        return "refused: contradiction"
    assert not must_fit(partial), error
    return "refused: full"


def _many(number: int, name: str, setting: str = "") -> str:
    return "".join(all_devices()[name].xml(count, setting) for count in range(1, number + 1))


_BRIDGE = "".join(
    f"<controller type='pci' index='{index}' model='{model}'/>"
    for index, model in enumerate(("pcie-root", "pcie-root-port", "pcie-to-pci-bridge"))
)
FOUND = {
    "switch without a port": "<controller type='pci' index='0' model='pcie-root'/>"
    "<controller type='pci' index='1' model='pcie-switch-upstream-port'/>" + _many(1, "rng"),
    "room for all but the spare port": _many(30, "nic-e1000", "no") + _many(16, "nic-e1000e"),
    "the bridge that a full bridge needs": _BRIDGE + _many(32, "nic-e1000") + _many(1, "rng", "no"),
    "IOMMU whose slot ports had taken": _many(60, "input-keyboard", "no") + "<iommu model='virtio'/>",
    "IOMMU that must stay, likewise": _many(60, "input-keyboard", "no") + "<iommu model='virtio' hotplug='no'/>",
    "sound cards that did not share": _many(60, "sound-ich9", "no"),
    "the port that a bridge needs": "<controller type='pci' index='0' model='pcie-root'/>"
    "<controller type='pci' index='1' model='pcie-root-port'><target hotplug='off'/></controller>"
    "<controller type='pci' index='2' model='pcie-to-pci-bridge'/>" + _many(1, "hostdev", "no"),
}
"""Domains that were refused once, although there is room for their devices."""


@pytest.mark.parametrize("devices", FOUND.values(), ids=FOUND)
def test_found(place: Definition, devices: str) -> None:
    """They are accepted, and obey the rules."""
    kept = place.define(place.xml(f"<domain><devices>{devices}</devices></domain>"))
    assert_placed(kept)
    assert place.define(kept) == kept


@pytest.mark.sanitized
@pytest.mark.timeout(7200 if NIGHTLY else 1800)
@pytest.mark.parametrize("share", _SEEDS)
def test_random_domains(place: Definition, stock: Definition, outcomes: Counter[str], share: int) -> None:
    """An accepted domain obeys its settings and is stable; a refused one is refused for a reason."""
    whole = examples("RANDOM_DOMAINS", usual=1000, nightly=20000)

    @seed(share if whole.derandomize else random.getrandbits(32))
    @settings(whole, max_examples=whole.max_examples // len(_SEEDS))
    @given(domains())
    def always_fine(partial: str) -> None:
        _fine(place, stock, outcomes, partial)

    always_fine()


def _fine(place: Definition, stock: Definition, outcomes: Counter[str], partial: str) -> None:
    note(partial)
    plain = _plain(place, partial)
    assert plain == _plain(stock, partial)
    try:
        kept = place.define(place.xml(partial))
    except libvirt.libvirtError as error:
        note(str(error))
        assert place.conn.isAlive(), error
        outcome = _refusal(partial, plain[0], error) if plain[0] else _WRONG
    else:
        outcome = "accepted"
        assert not plain[0] or not clash(partial, plain[0]), "accepted in spite of a contradiction"
        given = {device.alias: device.address for device in Layout(partial).devices}
        now = {device.alias: device.address for device in Layout(kept).devices if device.alias in given}
        for alias, address in given.items():
            # where there is no such bus libvirt may choose another one
            where = now[alias]
            assert (where.slot, where.function) == (address.slot, address.function)
        assert_placed(kept, frozenset(now.values()))
        assert place.define(kept) == kept
    event(outcome)
    outcomes[outcome] += 1
