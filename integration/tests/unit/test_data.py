"""The files of integration/data: those of the table in integration/README.md, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from integration.paths import DATA, ROOT

_ROW = re.compile(r"^\| `([\w./-]+)/` \| `([\w./]+)` \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)
_ROWS = {row[1]: row for row in _ROW.finditer((ROOT / "integration/README.md").read_text())}


def odd(files: set[str], patterns: str) -> set[str]:
    """Return the files that a row of the table does not allow, and the names of those that are missing.

    ``patterns`` is the row's third column: ``NAME.xml`` stands for any name. With one file of a name all others must be
    there, but those in parentheses.
    """
    optional = set(re.findall(r"\(`([^`]+)`\)", patterns))
    suffixes = {pattern.removeprefix("NAME"): pattern for pattern in re.findall(r"`([^`]+)`", patterns)}
    names: dict[str, set[str]] = {pattern: set() for pattern in suffixes.values()}
    wrong = set()
    for file in files:
        suffix = max((each for each in suffixes if file.endswith(each)), key=len, default="")
        pattern = suffixes.get(suffix, "")
        if not pattern or (pattern == suffix and file != pattern):
            wrong.add(file)
        elif pattern != suffix:
            names[pattern].add(file.removesuffix(suffix))
    needed = [pattern for pattern in names if pattern.startswith("NAME") and pattern not in optional]
    everything = set().union(*(names[pattern] for pattern in needed))
    return wrong | {name + each[4:] for each in needed for name in everything - names[each]}


def test_every_directory_has_a_row() -> None:
    """Each directory with files is in the table, and each test that the table names is there."""
    found = {path.parent.relative_to(DATA).as_posix() for path in DATA.rglob("*") if path.is_file()}
    assert found == set(_ROWS)
    assert [row[2] for row in _ROWS.values() if not (ROOT / "integration/tests" / row[2]).is_file()] == []


@pytest.mark.parametrize("directory", _ROWS)
def test_files(directory: str) -> None:
    """A directory has the files that its row says: none with another extension, and none alone that is one of two."""
    files = {path.name for path in Path(DATA, directory).iterdir() if path.is_file()}
    assert odd(files, _ROWS[directory][3]) == set()


def test_odd_files() -> None:
    """A stray file, an extension of another grammar, and a file that is missing are found."""
    row = "`NAME.xml` `NAME.error` (`NAME.live.xml`)"
    assert odd({"a-6.0.xml", "a-6.0.error", "a-6.0.live.xml"}, row) == set()
    assert odd({"a.xml", "a.error", "a.verdicts", "notes"}, row) == {"a.verdicts", "notes"}
    assert odd({"a.xml", "b.error"}, row) == {"a.error", "b.xml"}
    assert odd({"demo.xml", "other-demo.xml"}, "`demo.xml`") == {"other-demo.xml"}
