"""Use virt-manager's window as its user does: open a guest, edit its XML, apply, read the error.

usage: /usr/bin/python3 window.py URI GUEST NEW_XML SCREENSHOT     (in an X server and a D-Bus session of its own)

Prints the texts of the error dialog after "said:", and keeps a screenshot of it; nothing if the daemon took the XML. It
needs Debian's Python, for GObject introspection; AT-SPI is what virt-manager's own tests use.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gi

gi.require_version("Atspi", "2.0")
gi.require_version("Gdk", "3.0")
from gi.repository import Atspi, Gdk, GLib  # noqa: E402

_PATIENCE = 60.0
"""Seconds after which something is said not to have appeared."""


def _below(node: Any) -> Iterator[Any]:
    yield node
    for index in range(node.get_child_count()):
        if child := node.get_child_at_index(index):
            yield from _below(child)


def _find(role: str, named: Callable[[str], bool]) -> list[Any]:
    found = []
    for index in range(Atspi.get_desktop(0).get_child_count()):
        application = Atspi.get_desktop(0).get_child_at_index(index)
        try:
            nodes = [node for node in _below(application) if node.get_role_name() == role]
            found += [node for node in nodes if named(node.get_name() or "")]
        except GLib.Error:
            pass  # it changed meanwhile, or is no answer away
    return found


def _wait(role: str, name: str) -> Any:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if found := _find(role, name.__eq__):
            return found[0]
        time.sleep(0.2)
    raise SystemExit(f"virt-manager shows no {role} '{name}'")


def _is(node: Any, state: Any) -> bool:
    return bool(node.get_state_set().contains(state))


def _showing(role: str) -> list[Any]:
    return [node for node in _find(role, lambda _: True) if _is(node, Atspi.StateType.SHOWING)]


def _picture(path: str) -> None:
    root = Gdk.get_default_root_window()
    Gdk.pixbuf_get_from_window(root, 0, 0, root.get_width(), root.get_height()).savev(path, "png", [], [])


def main() -> None:
    """Edit one guest's XML in the window, and print the error."""
    uri, guest, xml, screenshot = sys.argv[1:]
    subprocess.run(["gsettings", "set", "org.virt-manager.virt-manager", "xmleditor-enabled", "true"], check=True)
    manager = subprocess.Popen(["virt-manager", "--connect", uri, "--no-fork", "--show-domain-editor", guest])
    try:
        tab = _wait("page tab", "XML")
        tab.get_parent().get_selection_iface().select_child(tab.get_index_in_parent())
        editor = _wait("text", "XML editor")
        editor.get_editable_text_iface().set_text_contents(Path(xml).read_text())
        apply = _wait("push button", "config-apply")
        apply.get_action_iface().do_action(0)
        end = time.monotonic() + 10
        # The button is off again when the daemon has taken it.
        while time.monotonic() < end and not _showing("alert") and _is(apply, Atspi.StateType.SENSITIVE):
            time.sleep(0.2)
        time.sleep(1)  # until all is drawn
        for alert in _showing("alert"):
            texts = [node.get_name() for node in _below(alert) if node.get_role_name() == "label"]
            print("said:", *" ".join(texts).split())
            _picture(screenshot)
    finally:
        manager.terminate()
        manager.wait()


main()
