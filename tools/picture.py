#!/usr/bin/env python3
"""Draw what "make demo" printed as an SVG: its two guests side by side.

usage: ./run python3 -m integration.demo | tools/picture.py >integration/demo.svg    (make picture)
"""

import re
import sys
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

# Pixels; a character's width is that of the usual monospaced fonts at this size.
SIZE, WIDE, LINE, PAD = 13, 7.83, 19, 16
RED, GREEN, TEXT, GROUND = "#c01c28", "#26803c", "#1f2328", "#ffffff"

Guest = tuple[str, list[str]]


def read(output: str) -> tuple[list[Guest], list[str]]:
    """Split the demo's output into its guests (title and tree) and its last lines, the counts."""
    guests: list[Guest] = []
    counts: list[str] = []
    for line in filter(None, output.splitlines()):
        if line.startswith("  ") and counts:
            counts.append(line.strip())
        elif line.startswith("  "):
            # What the guest and QEMU say of each device is for the text, not for the picture.
            guests[-1][1].append(re.sub(r" *\(.*DEVICE_DELETED.*\)$", "", line[2:]))
        elif guests and line.startswith("Devices that"):
            counts.append(line)
        else:
            guests.append((line.rstrip(":"), []))
    if len(guests) != 2 or len(counts) != 3:
        sys.exit("picture: this is not the whole output of the demo")
    return guests, [re.sub(r".*:\s+", "", count) for count in counts[1:]]


def text(parent: Element, x: float, y: float, words: str, color: str = TEXT, **attributes: str) -> None:
    """Write one line; its spaces are kept (leading ones by its place: renderers drop them)."""
    x += (len(words) - len(words.lstrip())) * WIDE
    line = SubElement(parent, "text", {"x": f"{x:g}", "y": f"{y:g}", "fill": color, **attributes})
    line.text = words.strip().replace(" ", "\u00a0")


def draw(guests: list[Guest], counts: list[str]) -> Element:
    """Draw the guests as two columns."""
    rows = max(len(tree) for _, tree in guests)
    widths = [max(map(len, [title, *tree])) * WIDE for title, tree in guests]
    width, height = sum(widths) + 4 * PAD, (rows + 3) * LINE + 2 * PAD
    svg = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width:g} {height:g}",
            "width": f"{width:g}",
            "height": f"{height:g}",
            "font-family": "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
            "font-size": str(SIZE),
        },
    )
    SubElement(svg, "title").text = "One guest before and after: which of its PCI devices can its root unplug?"
    SubElement(svg, "rect", width="100%", height="100%", fill=GROUND)
    x: float = PAD
    for (title, tree), count, wide in zip(guests, counts, widths, strict=True):
        y: float = PAD + SIZE
        text(svg, x, y, title, **{"font-weight": "bold"})
        for line in tree:
            y += LINE
            head, _, note = line.rpartition("  ") if re.search(r"  (UNPLUGGED|stays)", line) else (line, "", "")
            text(svg, x, y, head)
            if note:
                text(svg, x + (len(head) + 2) * WIDE, y, note.strip(), GREEN if "stays" in note else RED)
        bad = not count.startswith("0 ")
        color = RED if bad else GREEN
        text(svg, x, height - PAD, f"{count} unplugged by the guest's root", color, **{"font-weight": "bold"})
        x += wide + 2 * PAD
    ElementTree.indent(svg)
    return svg


if __name__ == "__main__":
    print(ElementTree.tostring(draw(*read(sys.stdin.read())), encoding="unicode"))
