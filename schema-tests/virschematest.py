"""What libvirt's own tests/virschematest.c validates, read from that file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """A directory of XML files that one schema describes."""

    schema: str
    directory: str
    internal: bool = False
    """the schema is one that only libvirt's tests use"""
    regex: str = ""
    exceptions: frozenset[str] = frozenset()
    """files whose result is the opposite of what their name says"""
    skip: frozenset[str] = frozenset()

    def files(self, libvirt: Path) -> list[tuple[Path, bool]]:
        """Return the files of the directory, and for each whether it is valid."""
        return [
            (path, ("-invalid." in path.name) == (path.name in self.exceptions))
            for path in sorted((libvirt / self.directory).glob("*.xml"))
            if path.name not in self.skip
            and not path.name.startswith(".")
            and not path.is_symlink()
            and re.search(self.regex, path.name)
        ]


def entries(libvirt: Path) -> Iterator[Entry]:
    """Yield the directories that virschematest.c checks."""
    source = (libvirt / "tests/virschematest.c").read_text()
    arrays = dict(re.findall(r"^static const .*?(\w+)\[\] = \{\n(.*?)^\};", source, re.MULTILINE | re.DOTALL))

    def names(entry: str, field: str) -> frozenset[str]:
        array = re.search(rf"\.{field} = (\w+)", entry)
        return frozenset(re.findall(r'"(.*?)"', arrays[array[1]])) if array else frozenset()

    tests = re.findall(r'DO_TEST\((INTERNAL_)?SCHEMAS_PATH "(.*?)", (\w+)\)', source)
    for internal, schema, array in tests:
        for entry in re.findall(r"\{(.*?)\}", arrays[array], re.DOTALL):
            directory = re.search(r'\. ?dir = "(.*?)"', entry)
            if directory:
                regex = re.search(r'\.dirRegex = "(.*?)"', entry)
                yield Entry(
                    schema,
                    directory[1],
                    bool(internal),
                    regex[1] if regex else "",
                    names(entry, "exceptions"),
                    names(entry, "skip"),
                )
