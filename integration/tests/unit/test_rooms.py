"""The rooms of integration/: what each may import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from integration.paths import ROOT

# From the lowest room to the highest: a module imports only what is in its own line or in an earlier one.
_ROOMS = (
    ("paths", "arch"),
    ("host",),
    ("domains",),
    ("guest",),
    ("oracle",),
    ("noise",),
    ("systems",),
    ("demo", "cure", "shell", "platforms", "tests", "bench"),
)
_LEVELS = {room: level for level, rooms in enumerate(_ROOMS) for room in rooms}


def _files() -> list[Path]:
    return sorted(path for top in ("integration", "bench") for path in (ROOT / top).rglob("*.py"))


def _room(module: str) -> str:
    """Return the room of a module, empty for one that is not ours."""
    top, *below = module.split(".")
    return below[0] if top == "integration" and below else "bench" if top == "bench" else ""


def _imported(tree: ast.Module) -> set[str]:
    """Return the full names of what a file imports, those within functions included."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "an import that is relative has no room"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def upwards(module: str, source: str) -> set[str]:
    """Return what a module imports of rooms above its own. Raises KeyError for a room that is not in the list."""
    level = _LEVELS[_room(module)]
    return {name for name in _imported(ast.parse(source)) if _room(name) and _LEVELS[_room(name)] > level}


def test_imports_run_downwards() -> None:
    """No file imports something of a room above its own."""
    wrong = {}
    for path in _files():
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if module != "integration.__init__" and (names := upwards(module, path.read_text())):
            wrong[module] = names
    assert wrong == {}


@pytest.mark.parametrize(
    "line",
    [
        "from integration.guest import boot",
        "from integration import oracle",
        "import integration.tests.lives",
        "def later():\n    from bench import setup",
    ],
)
def test_an_import_upwards_is_found(line: str) -> None:
    """Each way to write an import that runs up is found, and an import downwards is not."""
    assert len(upwards("integration.domains.domxml", line)) == 1
    assert upwards("integration.tests.test_facts", line) == set()
