"""The plot of the times to define a domain and to start its guest."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from bench.boot import TITLES
from bench.setup import Json

matplotlib.use("svg")
# The same figures give the same file.
matplotlib.rcParams |= {"svg.hashsalt": "bench", "svg.fonttype": "none"}

from matplotlib import pyplot  # noqa: E402


def draw(results: Json, path: Path) -> None:
    """Write the plot; what was not measured stays empty."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    define = results.get("define", {"sizes": [], "wall": {}})
    for name, values in define["wall"].items():
        left.plot(define["sizes"], values, marker="o", label=name)
    left.set(title="Define a domain", xlabel="devices", ylabel="ms", xlim=0, ylim=0)
    boot = results.get("boot", {"sizes": [], "rows": []})
    for placement, title in TITLES.items():
        seconds = [row[placement]["seconds"] for row in boot["rows"]]
        right.plot(boot["sizes"], seconds, marker="o", label=title)
    right.set(title="Start to guest userspace", xlabel="devices", ylabel="s", xlim=0, ylim=0)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
