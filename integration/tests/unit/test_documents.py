"""What README.md and docs/ tell people to type exists: commands, options, targets, files; and errors are the series'.

Nothing is run but the parsers of the commands, and README's loop over all guests, on stand-ins.
"""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from integration.paths import ROOT

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "integration/README.md", "bench/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_KNOWN = "virt-pci-hotplug make ./run virsh".split()
_PATH = re.compile(r"`((?:\.ci|bench|docs|integration|patches|schema-tests|tools)/[\w./*-]*)")
_LINK = re.compile(r"\]\(([^)#:]+)\)")
_MESSAGE = re.compile(r'_\("(.*?[^\\])"\)')

documents = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def blocks(text: str) -> Iterator[str]:
    """Return the lines of indented blocks, which are commands in these documents, and the commands in the text."""
    text = _FENCE.sub("", text)
    yield from re.findall(r"^ {4,}(.*)$", text, re.M)
    for code in re.findall(r"`([^`\n]+)`", text):
        if code.split()[0] in _KNOWN and len(code.split()) > 2 - (code[:4] == "make"):
            yield code


def commands(line: str) -> Iterator[list[str]]:
    """Return the simple commands of a line of shell, without redirections and what stands before a command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    skip = False
    for word in [*lexer, ";"]:
        if re.fullmatch(r"[();|&]+", word):
            if command:
                yield command
            command = []
        elif skip or re.fullmatch(r"[<>]+", word):
            skip = not skip
        elif command or not (word in ("sudo", "do", "while") or re.match(r"\w+=", word)):
            command.append(word)


def run(command: list[str], tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a command parsed by what it belongs to; one that is not ours is not looked at."""
    match command:
        case ["./run", *rest]:
            words = [word for word in rest if not word.startswith("--") or word == "--"]
            run(words, tool, monkeypatch)
        case ["virt-pci-hotplug", _, *_]:
            monkeypatch.setattr("sys.argv", command)
            tool.arguments()
        case ["make", *words]:
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
            tox = configparser.ConfigParser(interpolation=None)
            tox.read(ROOT / "tox.ini")
            for word in words:
                name, _, value = word.partition("=")
                assert name in targets or f"{name}=" in (ROOT / "tools/help.txt").read_text(), word
                if name == "STAGES":
                    assert {f"testenv:{stage}" for stage in value.split()} <= set(tox.sections())
        case ["virsh", name, *words] if not name.startswith("-"):
            virsh = shutil.which("virsh")
            assert virsh, "there is no virsh: ./run has one"
            known = subprocess.run([virsh, "help", name], capture_output=True, text=True, check=True).stdout
            for word in words:
                assert not word.startswith("--") or word in known
        case ["python3", "-m", "pytest", *words]:
            for word in words:
                assert "/" not in word or (ROOT / word).exists(), word


@documents
def test_commands(path: Path, tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command is one that its program takes."""
    for line in blocks(path.read_text()):
        for command in commands(line):
            try:
                run(command, tool, monkeypatch)
            except (SystemExit, subprocess.CalledProcessError) as error:
                pytest.fail(f"{path.name}: {shlex.join(command)}: {error}")


def test_commands_are_found(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong option in a pipeline, after sudo or in a loop is noticed."""
    line = (
        'sudo virsh list --all | while IFS= read -r n; do [ -z "$n" ] || virt-pci-hotplug set --nay -- "$n" no <x; done'
    )
    found = list(commands(line))
    assert found[0] == ["virsh", "list", "--all"]
    assert ["virt-pci-hotplug", "set", "--nay", "--", "$n", "no"] in found
    with pytest.raises(SystemExit):
        run(["virt-pci-hotplug", "set", "--nay", "my", "no"], tool, monkeypatch)
    with pytest.raises(AssertionError):
        run(["make", "tea"], tool, monkeypatch)


@documents
def test_files(path: Path) -> None:
    """Files that are named or linked to are there."""
    text = path.read_text()
    for name in _PATH.findall(_FENCE.sub("", text)):
        assert list(ROOT.glob(name.rstrip("/."))), name
    for name in _LINK.findall(text):
        assert (path.parent / name).exists(), name


def test_readme_is_short() -> None:
    """A newcomer reads at most two screens."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def series() -> set[str]:
    """Return the messages that the series has in src/, as libvirt's source writes them."""
    messages: set[str] = set()
    for patch in sorted((ROOT / "patches").glob("*.patch")):
        for part in re.split(r"^diff --git ", patch.read_text(), flags=re.M):
            if part.startswith("a/src/"):
                messages -= {text for line in re.findall(r"^-.*", part, re.M) for text in _MESSAGE.findall(line)}
                messages |= {text for line in re.findall(r"^\+.*", part, re.M) for text in _MESSAGE.findall(line)}
    return {message.replace('\\"', '"') for message in messages}


def test_errors() -> None:
    """Every message of the series that says something of plugging is in docs/errors.md as it is, and none of others."""
    text = (ROOT / "docs/errors.md").read_text()
    said = {line for kind, block in _FENCE.findall(text) if kind == "text" for line in block.splitlines()}
    patterns = {message: re.sub(r"%\d\\\$[sd]", "[A-Z]+", re.escape(message)) for message in series()}
    assert len(patterns) > 20
    ours = {message: pattern for message, pattern in patterns.items() if "plug" in message}
    missing = {m for m, pattern in ours.items() if not any(re.fullmatch(pattern, line) for line in said)}
    assert not missing, "docs/errors.md does not have these messages of patches/"
    extra = {line for line in said if not any(re.fullmatch(pattern, line) for pattern in patterns.values())}
    assert not extra, "patches/ do not have these messages of docs/errors.md"
