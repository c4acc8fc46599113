"""Comparison of the verdicts on a real guest with those that its case expects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from integration.oracle.cases import Case, bus_label
from integration.oracle.rules import stays
from integration.oracle.runner import Result
from integration.oracle.verdict import unattacked
from integration.paths import FAILED

Row = tuple[str, str]


@contextmanager
def evidence(result: Result, case: Case) -> Iterator[None]:
    """If an assertion fails, say what became of each device, and keep the guest's console and XML below FAILED."""
    try:
        yield
    except AssertionError as error:
        directory = FAILED / case.name.replace("/", "-")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "console.log").write_text(result.console)
        (directory / "domain.xml").write_text(result.xml)
        for alias, verdict in result.verdicts.items():
            error.add_note(
                f"{alias} at {verdict.device.address}: {verdict}" + (f", by {verdict.by}" if verdict.by else "")
            )
        error.add_note(f"console: {directory}/console.log")
        raise


def found(result: Result, case: Case) -> dict[str, Row]:
    """Return, for the devices that the case names, by what each was removed, in its words, and where it sat."""
    rows = {}
    for line in case.expected:
        if line.alias not in result.verdicts:
            continue
        verdict = result.verdicts[line.alias]
        by = verdict.by if verdict.by and line.answer(result.qemu) != "yes" else "yes"
        rows[line.alias] = (by if verdict.unplugged else "no", bus_label(verdict.path[-1]))
    return rows


def expected(result: Result, case: Case) -> dict[str, Row]:
    """Return the same as the case expects it of the QEMU that it ran on."""
    return {line.alias: (line.answer(result.qemu), line.bus) for line in case.expected}


def attacks(result: Result, case: Case) -> dict[str, Row]:
    """Return, for each attack that the case names, what became of it, and the number of its targets."""
    rows = {}
    for line in case.attacks:
        kind = line.alias.removeprefix("attack:")
        made = [attack for attack in result.report.attacks if attack.kind == kind and attack.result != "gone"]
        results = ",".join(sorted({attack.result for attack in made}))
        targets = len({attack.target for attack in made if attack.target})
        rows[line.alias] = (results, "-" if line.bus == "-" else str(targets))
    return rows


def _assert_attacked(result: Result, case: Case) -> None:
    """Assert that root attacked all that it saw, and what the case says."""
    assert unattacked(result.verdicts.values(), result.layout, result.report) == []
    expected = {line.alias: (line.answer(result.qemu), line.bus) for line in case.attacks}
    assert attacks(result, case) == expected


def seen(result: Result, case: Case) -> None:
    """Assert that the guest saw every device of the case in the beginning."""
    assert [line.alias for line in case.expected if not result.verdicts[line.alias].guest_address] == []


def assert_matches(result: Result, case: Case) -> None:
    """Assert that the guest saw every device of the case, and could have removed those that it may and no other.

    What it removed the rules call removable, too, unless QEMU has an option that libvirt never gives.
    """
    with evidence(result, case):
        assert found(result, case) == expected(result, case)
        if "acpi-ged" not in case.xml:
            removed = [verdict.device for verdict in result.verdicts.values() if verdict.unplugged]
            assert [device for device in removed if stays(result.layout, device)] == []
        seen(result, case)
        _assert_attacked(result, case)
