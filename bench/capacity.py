"""The most devices of which the guest can unplug none, found by trying."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import libvirt

from bench.domains import domain
from bench.setup import Bench, Json
from bench.tables import table
from integration.domains import domxml
from integration.guest.boot import boot
from integration.host import connection
from integration.host.scratch import GuestError, scratch
from integration.oracle.verdict import attack

TIMEOUT = 150.0
"""Seconds after which a guest counts as not coming up."""

BUDGET = 420.0
"""Seconds after which no further guest is tried for one placement."""

_STEP = 8
_MOST = 300

TITLES = {
    "no": "the series: enable='no'",
    "slots": "today, a slot of pcie-root each by hand",
    "off": "today, a port with hotplug off each by hand",
}


def highest(good: int, bad: int, step: int, works: Callable[[int], bool]) -> tuple[int, int]:
    """Bisect: return the highest number that works and the lowest that does not, at most ``step`` apart."""
    while bad - good > step:
        middle = (good + bad) // 2
        if works(middle):
            good = middle
        else:
            bad = middle
    return good, bad


def _definable(bench: Bench, count: int, placement: str) -> str:
    """Define a domain and remove it again. Returns why not, or nothing."""
    side = bench.side(placement)
    with scratch("capacity") as (name, directory):
        whole = domxml.complete(domain(count, placement), name, bench.machine)
        domxml.give_disks(whole, directory)
        try:
            connection.discard(side.conn.defineXMLFlags(domxml.text(whole)))
        except libvirt.libvirtError as error:
            return str(error).partition(";")[0]
    return ""


def _holds(bench: Bench, count: int, placement: str, used: dict[int, int]) -> str:
    """Boot a guest whose root tries to eject every slot. Return why it is not as it should be, or nothing.

    ``used`` gets the number of devices whose driver works: others the guest sees and cannot use.
    """
    side = bench.side(placement)
    try:
        with boot(side.events, domain(count, placement), "capacity", bench.machine) as guest:
            guest.done(TIMEOUT)
            used[count] = sum(seen.used for seen in guest.report.before.values() if seen.ident[:4] == "1af4")
            verdicts = [v for alias, v in attack(guest, timeout=TIMEOUT).items() if alias in guest.started_with]
    except (GuestError, libvirt.libvirtError) as error:
        return str(error).splitlines()[0]
    unplugged = sum(verdict.unplugged for verdict in verdicts)
    seen = sum(verdict.guest_address is not None for verdict in verdicts)
    if unplugged or seen < count:
        return f"the guest sees {seen} and can unplug {unplugged}"
    return ""


def _capacity(bench: Bench, placement: str) -> Json:
    """Find how many can be defined, then how many a guest really has and cannot unplug."""
    reasons: dict[int, str] = {}

    def works(test: Callable[[Bench, int, str], str]) -> Callable[[int], bool]:
        def once(count: int) -> bool:
            why = test(bench, count, placement)
            print(f"  {TITLES[placement]}, {count}: {why or 'yes'}", flush=True)
            reasons[count] = why
            return not why

        return once

    definable, refused = highest(0, _MOST, 1, works(_definable))
    found: Json = {"definable": definable, "refusal": reasons.get(refused, "")}
    if bench.quick and placement != "slots":
        return found
    deadline = time.monotonic() + BUDGET
    good, bad = 0, definable + 1
    used: dict[int, int] = {}
    boots = works(partial(_holds, used=used))
    if boots(definable):
        return found | {"good": definable, "bad": definable + 1, "why": found["refusal"], "used": used[definable]}
    bad = definable
    while bad - good > _STEP and time.monotonic() < deadline:
        good, bad = highest(good, bad, max(_STEP, (bad - good) // 2), boots)
    return found | {"good": good, "bad": bad, "why": reasons[bad], "used": used.get(good, 0)}


def measure(bench: Bench) -> Json:
    """Try the three ways in turn."""
    return {placement: _capacity(bench, placement) for placement in TITLES}


def show(found: Json) -> list[str]:
    """Return the table."""
    rows = []
    for placement, title in TITLES.items():
        of = found[placement]
        if "good" in of:
            used = str(of.get("used", ""))
            rows.append([title, str(of["definable"]), str(of["good"]), used, f"{of['bad']}: {of['why']}"])
        else:
            rows.append([title, str(of["definable"]), "not tried", "", of["refusal"]])
    head = [
        "placement",
        "can be defined",
        "booted, none unpluggable",
        "of these with a driver that works",
        "the next that was tried",
    ]
    lines = table(head, rows)
    lines[1] = "| --- | --: | --: | --: | --- |"
    return [
        *lines,
        "",
        f"A guest that was not done within {TIMEOUT:.0f} s counts as not up; from 8 apart on no closer look is taken.",
    ]
