"""The plots of a study: criteria by number of removed blocks, quality against cost, rho before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from peelverify.evaluate.study.tables import over_models, study_tables
from peelverify.report.svg import BEST, CHAIN, CROSS, DIRECT, GOLD, INK, INTRODUCED, LOSS, MUTED, PROPAGATED, YES0, Plot

__all__ = ["study_plots"]

_COLOURS = (DIRECT, CHAIN, PROPAGATED, CROSS, BEST, YES0, GOLD, LOSS, INTRODUCED, INK)
_SHOWN = ("greedy", "shortlist", "skip_score", "block_influence", "residual_change", "rho", "last", "random")


def _by_k(rows: dict[str, tuple[Any, ...]]) -> Plot:
    def draw(axes: Axes) -> None:
        for i, name in enumerate(n for n in _SHOWN if n in rows):
            means = rows[name][1:-1]
            x = np.arange(1, len(means) + 1) + 0.04 * (i - 3.5)
            y = np.array([m.mean for m in means])
            low = np.array([m.mean if m.low is None else m.low for m in means])
            high = np.array([m.mean if m.high is None else m.high for m in means])
            axes.errorbar(x, y, yerr=[y - low, high - y], label=name, color=_COLOURS[i], marker="o", linewidth=1.2)
        axes.set_xticks(range(1, len(next(iter(rows.values()))) - 1))
        axes.set_xlabel("blocks removed")
        axes.set_ylabel("rise of the loss, nats a token")
        axes.legend(loc="upper left", ncols=2)

    return Plot(
        "study-criteria",
        "Loss after removing blocks",
        "Mean over models with 95 % intervals, on unseen text.",
        draw,
        3.6,
    )


def _by_cost(rows: dict[str, tuple[Any, ...]]) -> Plot:
    def draw(axes: Axes) -> None:
        for i, (name, row) in enumerate(rows.items()):
            last = row[-2]
            if last is None or name == "random":
                continue
            ends = [[0.0], [0.0]] if last.low is None else [[last.mean - last.low], [last.high - last.mean]]
            axes.errorbar([row[-1]], [last.mean], yerr=ends, color=_COLOURS[i % len(_COLOURS)], marker="o")
            axes.annotate(
                name, (row[-1], last.mean), xytext=(4, 3), textcoords="offset points", fontsize=7.5, color=MUTED
            )
        axes.set_xlabel("blocks run to choose, in passes of one block")
        axes.set_ylabel("rise of the loss, nats a token")

    return Plot(
        "study-cost",
        "Quality against cost, half of the blocks removed",
        "Rise of the loss on unseen text against block evaluations.",
        draw,
        3.6,
    )


def _profiles(models: list[dict[str, Any]], family: str) -> Plot:
    some = [m for m in models if m["train"]["family"] == family]
    lines = {"whole": [m["measure"]["rho"]["rho_median"] for m in some]} | {
        name: [m["again"]["compressions"][name]["rho_median"] for m in some]
        for name in some[0]["again"]["compressions"]
    }

    def draw(axes: Axes) -> None:
        for i, (name, profiles) in enumerate(lines.items()):
            means = [over_models(step) for step in zip(*profiles, strict=True)]
            x = np.arange(1, len(means) + 1)
            axes.plot(x, [m.mean if m else np.nan for m in means], color=_COLOURS[i], label=name, marker="o")
            if i == 0 and all(m and m.low is not None for m in means):
                axes.fill_between(x, [m.low for m in means], [m.high for m in means], color=_COLOURS[i], alpha=0.15)
        axes.axhline(1.0, color=MUTED, linewidth=0.8)
        axes.set_xticks(x)
        axes.set_xlabel("step into block")
        axes.set_ylabel("rho")
        axes.legend(ncols=2)

    return Plot(
        f"study-rho-{family}",
        f"Rho of {family}, whole and compressed",
        "Mean over models; the band is the 95 % interval of the whole models.",
        draw,
        3.6,
    )


def study_plots(results: dict[str, Any]) -> list[Plot]:
    """The plots that the finished stages allow, from the data of `peelverify.evaluate.study.run.collect`."""
    table = next((t for t in study_tables(results) if t.name == "criteria"), None)
    plots = []
    if table is not None:
        rows = {row[0]: row for row in table.rows}
        plots += [_by_k(rows), _by_cost(rows)]
    models = [m for m in results["models"] if {"train", "measure", "again"} <= set(m)]
    return plots + [_profiles(models, family) for family in dict.fromkeys(m["train"]["family"] for m in models)]
