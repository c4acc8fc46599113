"""How much a daemon grows for each domain that is defined."""

from __future__ import annotations

from statistics import median
from uuid import uuid4

from bench.domains import domain
from bench.setup import Bench, Json, Side, restarted
from bench.tables import ratio, table
from integration.domains import definitions, domxml
from integration.host import connection, daemons
from integration.host.scratch import scratch

_DEVICES = 24
_WARM_UP = 10


def _growth(side: Side, placement: str, domains: int) -> float:
    """Define that many domains on a daemon that has just started; return its growth for each in KiB."""
    defined = []
    with scratch("memory") as (name, directory):
        try:
            for number in range(_WARM_UP + domains):
                whole = definitions.named(domain(_DEVICES, placement), f"{name}-{number}", str(uuid4()))
                domxml.give_disks(whole, directory)
                if number == _WARM_UP:
                    before = daemons.resident(side.daemon())
                defined.append(side.conn.defineXMLFlags(domxml.text(whole)))
            return (daemons.resident(side.daemon()) - before) / domains
        finally:
            for one in defined:
                connection.discard(one)


def measure(bench: Bench) -> Json:
    """Fill new daemons with domains, in turn."""
    rounds, domains = (1, 50) if bench.quick else (5, 200)
    found: dict[str, list[float]] = {"stock": [], "patched": [], "no": []}
    for _ in range(rounds):
        bench = restarted(bench)
        found["stock"].append(_growth(bench.stock, "stock", domains))
        found["patched"].append(_growth(bench.patched, "stock", domains))
        bench = restarted(bench)
        found["no"].append(_growth(bench.patched, "no", domains))
    return {"kib": {key: median(values) for key, values in found.items()}, "rounds": rounds, "domains": domains}


def show(found: Json) -> list[str]:
    """Return the table."""
    kib = found["kib"]
    return [
        f"Growth for each of {found['domains']} domains of {_DEVICES} devices (medians of {found['rounds']}):",
        "",
        *table(
            ["", "stock", "patched", "patched, enable='no'"],
            [
                ["KiB", *(f"{kib[key]:.0f}" for key in ("stock", "patched", "no"))],
                ["ratio", *(ratio(kib[key], kib["stock"]) for key in ("stock", "patched", "no"))],
            ],
        ),
    ]
