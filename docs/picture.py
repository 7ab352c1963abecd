"""Draw docs/demo.png from the output of ci/demo: python docs/picture.py demo/check docs/demo.png"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from peelverify.certify import Certificate
from peelverify.certify.checker import parse
from peelverify.verdict import Status


def main(source: Path, target: Path) -> None:
    """Two panels: training status over the checkpoints, and the 4-bit copy's error along depth."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.2, 3.6), layout="constrained")
    points = json.loads((source / "peel.json").read_text())["checkpoints"]
    steps = [p["step"] for p in points]
    left.plot(steps, [p["loss"] for p in points], color="navy", label="loss (measured)")
    left.plot(steps, [p["yes0_running"] for p in points], color="red", lw=1, label="YES-0 (witnessed)")
    best = [p["best_running"] for p in points]
    left.plot(steps, best, color="green", ls="--", lw=1.4, label="best YES (witnessed)")
    for p in points:
        left.plot(p["step"], p["loss"], "o", ms=8, mec="navy", color=Status[p["status_running"]].colour, zorder=3)
    left.set(title="Is training any good?", xlabel="training step", ylabel="nats a byte")
    left.legend(frameon=False, fontsize=8)
    (path,) = source.glob("*-rtn4.cert.json")
    certificate = Certificate.load(path)
    blocks = certificate.document["numbers"]["blocks"]
    names = [b["name"].removeprefix("block ") for b in blocks]
    chain = [float(parse(b["chain"])) for b in blocks]
    right.plot(names, chain, "s--", color="#b45309", label="chain bound (certified)")
    error = [float(parse(b["error"][1])) for b in blocks]
    right.plot(names, error, "o-", color="#1d4ed8", label="error (certified)")
    same, positions = certificate.same_top
    right.set(
        title=f"How wrong is the 4-bit copy? ({same / positions:.0%} same top token)",
        xlabel="after block", yscale="log",
        ylabel="Frobenius error",
    )
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
