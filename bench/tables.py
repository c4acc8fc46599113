"""Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence


def ratio(value: float | None, base: float | None, digits: int = 2) -> str:
    """Return value : base as text; nothing if one of them is missing."""
    return f"{value / base:.{digits}f}" if value is not None and base else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, its first column to the left and all others to the right."""
    lines = [head, ["---", *("--:" for _ in head[1:])], *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]
