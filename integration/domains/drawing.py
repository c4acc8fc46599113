"""Draws a domain's PCI topology as a tree, with what became of each device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from integration.domains.layout import ROOTS, Controller, Device, Layout

Note = Callable[[Device], str]


def _name(item: Controller | Device) -> str:
    if isinstance(item, Device):
        return item.label
    hotplug = f" hotplug={item.hotplug}" if item.hotplug else ""
    return f"{item.model} (index {item.index}{hotplug})"


def _rows(layout: Layout, index: int, lead: str, shown: set[str]) -> Iterator[tuple[str, Device | None]]:
    """Return the lines below controller ``index``, without branches that lead to no shown device."""

    def leads(item: Controller | Device) -> bool:
        if isinstance(item, Device):
            return item.alias in shown
        return any(leads(child) for child in layout.children(item.index))

    below = [item for item in layout.children(index) if leads(item)]
    for item in below:
        last = item is below[-1]
        branch = f"{lead}{'└─' if last else '├─'} "
        row = f"{branch}{item.address} {_name(item)}"
        yield row, item if isinstance(item, Device) else None
        if isinstance(item, Controller):
            yield from _rows(layout, item.index, lead + ("   " if last else "│  "), shown)


def draw(layout: Layout, shown: set[str], note: Note) -> list[str]:
    """Return the tree as lines; only the devices with an alias in ``shown``, each followed by its note."""
    lines: list[tuple[str, Device | None]] = []
    for root in layout.controllers.values():
        if root.model in ROOTS:
            lines.append((_name(root), None))
            lines += _rows(layout, root.index, "", shown)
    width = max(len(text) for text, device in lines if device) if shown else 0
    return [f"{text:<{width}}  {note(device)}" if device else text for text, device in lines]
