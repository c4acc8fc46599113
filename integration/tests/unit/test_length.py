"""Functions are short enough to be read at once."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

from integration.paths import ROOT

_MOST = 40
"""Lines that a function may have."""

_PARSERS = {"run:parse"}
"""Functions that may have more, as they list the options of a command."""


def _files() -> list[Path]:
    """Return all of our Python: *.py, and scripts without that extension."""
    command = ["git", "ls-files", "*.py", "run", ":!libvirt"]
    return [ROOT / name for name in subprocess.check_output(command, cwd=ROOT, text=True).splitlines()]


def long(source: str) -> list[str]:
    """Return the names of the functions with more lines than they may have."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= _MOST]


def test_functions_are_short() -> None:
    """No function has more than 40 lines, but for parsers of arguments that are named here."""
    files = _files()
    assert len(files) > 100
    found = {f"{path.relative_to(ROOT)}:{name}" for path in files for name in long(path.read_text())}
    assert found == _PARSERS


def test_a_long_function_is_found() -> None:
    """A function of 41 lines is found, within a class, too; one of 40 is not."""
    source = "class One:\n    def {}(self):\n" + "        pass\n" * 39
    assert long(source.format("fits")) == []
    assert long(source.format("long") + "        pass\n") == ["long"]
