"""Each promise of docs/placement.md and docs/errors.md names a test that exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.paths import ROOT

DOCUMENTS = [ROOT / "docs" / name for name in ("placement.md", "errors.md")]
_TEST = re.compile(r"`(test_\w+)\.py::(test_\w+)`")
_PROMISE = re.compile(r"\b(?:stays?|never|safe|keeps?)\b", re.IGNORECASE)
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


def promises(text: str) -> Iterator[str]:
    """Return the paragraphs, list items and rows of tables that promise something, each with the tests it names.

    The tests of a whole section may be named in a paragraph that begins with "Tests:"; glossary, headings and error
    messages promise nothing.
    """
    for section in re.split(r"^## ", _FENCE.sub("", text), flags=re.M):
        title, _, body = section.partition("\n")
        if title == "Words":
            continue
        tests = " ".join(re.findall(r"^Tests: .*?(?=\n\n|\Z)", body, re.M | re.S))
        for part in re.split(r"\n(?=\n|\||- )", body):
            if _PROMISE.search(part) and not part.strip().startswith("Tests:"):
                yield f"{part.strip()} {tests}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_named(path: Path) -> None:
    """A paragraph that says that something stays, is kept, is safe or never happens names a test."""
    said = list(promises(path.read_text()))
    assert said
    assert [part for part in said if not _TEST.search(part)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_exists(path: Path) -> None:
    """The tests that are named exist."""
    named = _TEST.findall(path.read_text())
    assert named
    for module, name in named:
        tree = ast.parse((ROOT / f"integration/tests/{module}.py").read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in functions, f"{path.name}: {module}.py has no {name}"


def test_can_fail() -> None:
    """A promise without a test is found."""
    assert list(
        promises("## Words\n\na device that stays\n\n## More\n\nIt stays.\n\n- Nothing.\n- It never goes.\n")
    ) == [
        "It stays. ",
        "- It never goes. ",
    ]
