"""The plots of a report. Labels are block numbers and steps, never names that a stranger chose."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from peelverify.report.svg import (
    BEST,
    CHAIN,
    CROSS,
    DIRECT,
    GOLD,
    INK,
    INTRODUCED,
    LOSS,
    MUTED,
    PAPER,
    PROPAGATED,
    YES0,
    Plot,
    save_plot,
    to_svg,
)
from peelverify.report.visible import pretty
from peelverify.verdict import Status

__all__ = [
    "Plot",
    "amplification_plot",
    "cloud_plot",
    "decomposition_plot",
    "depth_plot",
    "energy_plot",
    "gains_plot",
    "heat_plot",
    "rho_plot",
    "save_plot",
    "scores_plot",
    "shares_plot",
    "to_svg",
    "windows_plot",
]

#: Hatch and edge of each status, as published (2410.10984).
HATCH = {Status.RED: "xx", Status.YELLOW: "//", Status.GREEN: ""}
HATCH_EDGE = {Status.RED: YES0, Status.YELLOW: GOLD, Status.GREEN: BEST}


def _finite(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    return np.where(np.abs(array) <= 1e300, array, np.nan)  # room above larger ones would not be finite


def _scale(axes: Axes, *series: Sequence[float], ratio: float = 50.0) -> bool:
    """Logarithmic if the positive values span more than ``ratio``; else linear from zero."""
    values = np.concatenate([_finite(s).ravel() for s in series])
    positive = values[values > 0]
    if positive.size and positive.max() > ratio * positive.min():
        axes.set_yscale("log")
        decades = math.log10(positive.max() / positive.min())
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 3 else (1.0,), numticks=9))
        axes.yaxis.minorticks_off()
    else:
        axes.set_ylim(0, 1.08 * positive.max() if positive.size else 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: pretty(f"{value:.4g}")))
    return axes.get_yscale() == "log"


def _ticks(axes: Axes, labels: Sequence[str], *, most: int = 14) -> None:
    """Label positions 0, 1, ...; leave labels out where they would run into each other, never the last."""
    count = len(labels)
    stride = max(1, math.ceil(count / most))
    shown = [i for i in range(0, count, stride) if i == 0 or count - 1 - i >= stride] + [count - 1]
    shown = sorted(set(shown))
    axes.set_xticks(shown, [labels[i] for i in shown])


def _legend(axes: Axes, columns: int = 3) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, borderaxespad=0.2, columnspacing=1.4)


def _positive(values: np.ndarray, logarithmic: bool) -> np.ndarray:
    return np.where(values > 0, values, np.nan) if logarithmic else values


def _largest(values: np.ndarray) -> float:
    """Largest finite value; NaN if there is none."""
    return float(np.nanmax(values)) if np.isfinite(values).any() else math.nan


def _say(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else "out of range"


def _readable_on(colour: tuple[float, float, float, float]) -> str:
    """Black or white, whichever has more contrast; the better one always has at least 4.5."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000000"


# The plots


def cloud_plot(
    x: Sequence[float],
    loss: Sequence[float],
    yes0: Sequence[float],
    best: Sequence[float],
    *,
    x_label: str,
    y_label: str,
    now: Sequence[float] | None = None,
    refit: Sequence[float] | None = None,
    reuse: Sequence[float] | None = None,
    name: str = "cloud",
    title: str = "YES cloud",
) -> Plot:
    """The status cloud: loss against YES-0 and the best witness, in the published colours and hatches.

    Args:
        x: step or number of each checkpoint, ascending.
        loss: loss of the model, same samples and unit as the bounds.
        yes0: YES-0 at each checkpoint, the smallest so far.
        best: smallest bound of the suite so far.
        x_label: what x counts.
        y_label: quantity and unit of the losses.
        now: best witness of each checkpoint alone, if it differs.
        refit: loss of the model with a new last layer, which is no part of the suite.
        reuse: best chain made from the model's own blocks, which is no part of the suite either.
        name: prefix of ids.
        title: caption.
    """
    places, losses, ceiling, floor = (_finite(v) for v in (x, loss, yes0, best))

    def draw(axes: Axes) -> None:
        lines = [_finite(v) for v in (now, refit, reuse) if v is not None]
        both = np.concatenate([losses, ceiling, floor, *lines])
        low, high = np.nanmin(both), np.nanmax(both)
        pad = 0.16 * (high - low) if high > low else 0.1 * max(1.0, abs(high))
        axes.set_ylim(low - pad, high + pad)
        wide = len(places) == 1
        spread = np.array([places[0] - 0.5, places[0] + 0.5]) if wide else places

        def stretch(values: np.ndarray) -> np.ndarray:
            return np.repeat(values, 2) if wide else values

        top, bottom = stretch(ceiling), stretch(floor)
        layers = [
            (Status.RED, top, np.full_like(top, high + pad)),
            (Status.YELLOW, np.minimum(bottom, top), top),
            (Status.GREEN, np.full_like(bottom, low - pad), np.minimum(bottom, top)),
        ]
        for status, lower, upper in layers:
            axes.fill_between(spread, lower, upper, color=status.colour, alpha=0.38, linewidth=0)
            axes.fill_between(
                spread, lower, upper, facecolor="none", edgecolor=HATCH_EDGE[status], hatch=HATCH[status],
                linewidth=0, alpha=0.45,
            )
        axes.plot(spread, top, color=YES0, label="YES-0")
        axes.plot(spread, bottom, color=BEST, linestyle=(0, (4, 2)), label="best witness")
        if now is not None:
            axes.plot(spread, stretch(_finite(now)), color=BEST, linewidth=1.1, linestyle=(0, (1, 1.5)),
                      label="best, this checkpoint")
        if refit is not None:
            axes.plot(spread, stretch(_finite(refit)), color=MUTED, linewidth=1.2, linestyle=(0, (5, 2, 1, 2)),
                      label="refit")
        if reuse is not None:
            axes.plot(spread, stretch(_finite(reuse)), color=MUTED, linewidth=1.2, linestyle=(0, (1, 2.5)),
                      label="own blocks")
        axes.plot(places, losses, color=LOSS, marker="o", label="model", linewidth=2.0,
                  clip_on=False, zorder=5)
        axes.set_xlim(spread[0], spread[-1])
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if wide:
            axes.set_xticks(places, [f"{places[0]:g}"])
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, steps=[1, 2, 2.5, 5, 10]))
        axes.grid(visible=False)
        _legend(axes)

    return Plot(
        name, title,
        f"{y_label} over {x_label}: the model's loss ends at {losses[-1]:.4g}, YES-0 at {ceiling[-1]:.4g} and the "
        f"best witness so far at {floor[-1]:.4g}. Pink with crossed hatching above YES-0, yellow with slanted hatching "
        "between YES-0 and the best witness, green below it.",
        draw,
    )


def gains_plot(
    blocks: Sequence[int], gain: Sequence[float], low: Sequence[float], high: Sequence[float], *, name: str = "gains"
) -> Plot:
    """Gain of each block solved again on its own, with its bootstrap interval."""
    values, below, above = (_finite(v) for v in (gain, low, high))

    def draw(axes: Axes) -> None:
        axes.vlines(blocks, below, above, color=BEST, linewidth=5, alpha=0.3, label="bootstrap interval")
        axes.plot(blocks, values, color=BEST, marker="o", linewidth=0, label="gain")
        axes.axhline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xticks(list(blocks))
        axes.margins(x=0.12, y=0.15)
        axes.set_xlabel("block")
        axes.set_ylabel("fall of the loss, nats a token")
        _legend(axes)

    words = f"Fall of the loss for each of {len(values)} blocks, from {values.min():.3g} to {values.max():.3g}; "
    told = f"{int((below > 0).sum())} have an interval above 0."
    return Plot(name, "Each block solved again on its own", words + told, draw)


def heat_plot(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    *,
    x_label: str,
    quantity: str,
    name: str = "maps",
    title: str = "Loss of each witness",
) -> Plot:
    """Losses of all witnesses (rows) at all checkpoints (columns)."""
    grid = _finite([list(row) for row in values])

    def draw(axes: Axes) -> None:
        mesh = axes.pcolormesh(
            np.arange(grid.shape[1] + 1), np.arange(grid.shape[0] + 1), np.ma.masked_invalid(grid),
            cmap=colormaps["cividis"].resampled(32),
            edgecolors="none", rasterized=False,
        )
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_xlabel(x_label)
        axes.tick_params(length=0)
        if grid.shape[1] <= 8 and grid.shape[0] <= 16:
            for (i, j), value in np.ndenumerate(grid):
                if np.isfinite(value):
                    axes.text(j + 0.5, i + 0.5, f"{value:.3g}", ha="center", va="center", fontsize=8.5,
                              color=_readable_on(mesh.cmap(mesh.norm(value))))
        bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02, aspect=28)
        bar.set_label(quantity)
        bar.outline.set_visible(False)
        bar.solids.set(rasterized=False, edgecolor="face")  # as paths, not as a bitmap

    smallest = np.unravel_index(np.nanargmin(grid), grid.shape)
    return Plot(
        name, title,
        f"{quantity} of {grid.shape[0]} witnesses at {grid.shape[1]} checkpoints; the smallest is "
        f"{grid[smallest]:.4g}, map {rows[smallest[0]]} at {columns[smallest[1]]}.",
        draw, height=max(2.4, min(6.0, 1.0 + 0.26 * len(rows))),
    )


def energy_plot(energy: Sequence[Sequence[float]], floor: Sequence[float] | None, *, name: str = "energy") -> Plot:
    """Relative error energy after each block, one thin line a draw and the median."""
    draws = _finite([list(row) for row in energy])
    middle = np.nanmedian(draws, axis=0)

    def draw(axes: Axes) -> None:
        places = np.arange(draws.shape[1])
        lowest = _finite(floor) if floor is not None else np.array([np.nan])
        near = lowest[np.isfinite(lowest)].size and np.nanmax(lowest) * 1e4 > np.nanmin(draws)
        logarithmic = _scale(axes, draws.ravel(), lowest if near else draws.ravel())
        for index, row in enumerate(draws):
            axes.plot(places, _positive(row, logarithmic), color=MUTED, linewidth=0.8, alpha=0.55,
                      label="single draws" if index == 0 else None)
        axes.plot(places, _positive(middle, logarithmic), color=DIRECT, marker="o", label="median")
        if near:
            axes.plot(places, lowest, color=CHAIN, linestyle=(0, (2, 2)), label="rounding floor")
        _ticks(axes, [str(i) for i in places])
        axes.set_xlabel("after block")
        axes.set_ylabel("energy |e|²/|h|²")
        _legend(axes)

    return Plot(
        name, "Energy of a small perturbation",
        f"Mean over tokens of squared relative error after each of {draws.shape[1]} blocks in {draws.shape[0]} draws; "
        f"the median goes from {middle[0]:.3g} to {middle[-1]:.3g}.",
        draw,
    )


def rho_plot(
    median: Sequence[float], low: Sequence[float] | None, high: Sequence[float] | None, *, name: str = "rho"
) -> Plot:
    """Rho of each step between blocks with its interval and the line at 1."""
    values = _finite(median)

    def draw(axes: Axes) -> None:
        places = np.arange(len(values))
        if low is not None and high is not None:
            axes.vlines(places, _finite(low), _finite(high), color=DIRECT, linewidth=5, alpha=0.3,
                        label="95 % interval")
        axes.plot(places, values, color=DIRECT, marker="o", linewidth=0, label="median")
        axes.axhline(1.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate("1: passes on unchanged", (1, 1), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                      fontsize=8.5, color=MUTED, xytext=(0, 2), textcoords="offset points")
        ends = [v for v in (low, high) if v is not None]
        every = np.concatenate([values, [1.0], *(_finite(v) for v in ends)])
        span = np.nanmax(every) - np.nanmin(every)
        axes.set_ylim(max(0.0, np.nanmin(every) - 0.15 * span - 0.02), np.nanmax(every) + 0.15 * span + 0.02)
        _ticks(axes, [f"{i}→{i + 1}" for i in places], most=9)
        axes.margins(x=0.12)
        axes.set_xlabel("step between blocks")
        axes.set_ylabel("rho")
        _legend(axes)

    above = int((values > 1).sum())
    return Plot(
        name, "Rho: what each block passes on",
        f"Median rho of {len(values)} steps, from {np.nanmin(values):.3g} to {np.nanmax(values):.3g}; "
        f"{above} are above 1.",
        draw,
    )


def amplification_plot(values: Sequence[float], *, name: str = "amplification") -> Plot:
    """Product of all later rho: how much of an error after a block reaches the end."""
    heights = _finite(values)

    def draw(axes: Axes) -> None:
        places = np.arange(len(heights))
        if _scale(axes, heights, ratio=100):
            axes.set_ylim(np.nanmin(heights) / 2, np.nanmax(heights) * 2)
            axes.vlines(places, np.nanmin(heights) / 2, heights, color=DIRECT, linewidth=3, alpha=0.35)
            axes.plot(places, heights, color=DIRECT, marker="o", linewidth=0)
        else:
            axes.bar(places, heights, width=0.62, color=DIRECT)
        axes.axhline(1.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        _ticks(axes, [str(i) for i in places])
        axes.set_xlabel("error made in block")
        axes.set_ylabel("amplification to the end")

    return Plot(
        name, "Amplification to the last block",
        f"Product of the median rho of all later steps, from {heights[0]:.3g} for block 0 to 1 for the last.",
        draw,
    )


def depth_plot(
    labels: Sequence[str],
    lower: Sequence[float],
    upper: Sequence[float],
    chain: Sequence[float],
    *,
    deleted: Sequence[int] = (),
    name: str = "depth",
) -> Plot:
    """Certified error along depth, from both sides, with the chain bound above it.

    Args:
        labels: place of each number: embedding, blocks, head.
        lower: certified lower bound on the error there.
        upper: certified upper bound.
        chain: chain bound there.
        deleted: places at which a block was deleted.
        name: prefix of ids.
    """
    low, high, bound = _finite(lower), _finite(upper), _finite(chain)

    def draw(axes: Axes) -> None:
        places = np.arange(len(labels))
        logarithmic = _scale(axes, high, bound)
        under, over, line = (_positive(v, logarithmic) for v in (low, high, bound))
        axes.fill_between(places, over, line, color=CHAIN, alpha=0.10, linewidth=0)
        axes.plot(places, line, color=CHAIN, marker="s", markersize=3.8, linestyle=(0, (4, 2)), label="chain bound")
        axes.plot(places, over, color=DIRECT, marker=7, markersize=5.5, label="direct: at most")
        axes.plot(places, under, color=DIRECT, marker=6, markersize=5.5, linewidth=0, label="at least")
        for place in deleted:
            axes.axvspan(place - 0.5, place + 0.5, color=MUTED, alpha=0.14, linewidth=0)
            axes.annotate("deleted", (place, 0.98), xycoords=("data", "axes fraction"), ha="center", va="top",
                          fontsize=8.5, color=MUTED, rotation=90 if len(labels) > 8 else 0)
        _ticks(axes, labels)
        axes.set_xlabel("after")
        axes.set_ylabel("Frobenius error")
        _legend(axes)

    return Plot(
        name, "Error along depth",
        f"Certified error after {len(labels) - 1} blocks; at the logits it is {_say(high[-1])} from both sides, "
        f"and the chain bound there is {_say(bound[-1])}.",
        draw,
    )


def shares_plot(labels: Sequence[str], fractions: Sequence[float], *, name: str = "shares") -> Plot:
    """Share of each block in the chain bound."""
    parts = _finite(fractions)

    def draw(axes: Axes) -> None:
        places = np.arange(len(labels))
        axes.bar(places, 100 * parts, width=0.62, color=CHAIN)
        axes.set_ylim(0, max(1.0, 112 * np.nanmax(parts)))
        if len(labels) <= 14:
            for place, part in zip(places, parts, strict=True):
                axes.annotate(f"{100 * part:.1f}", (place, 100 * part), ha="center", va="bottom", fontsize=8.5,
                              xytext=(0, 2), textcoords="offset points", color=INK)
        _ticks(axes, labels)
        axes.set_xlabel("error introduced in")
        axes.set_ylabel("share of the chain bound, %")

    largest = int(np.nanargmax(parts))
    return Plot(
        name, "Where the chain bound comes from",
        f"Shares of {len(labels)} places in the chain bound; the largest is {labels[largest]} "
        f"with {100 * parts[largest]:.1f} %.",
        draw,
    )


def decomposition_plot(
    labels: Sequence[str],
    propagated: Sequence[float],
    cross: Sequence[float],
    introduced: Sequence[float],
    *,
    name: str = "decomposition",
) -> Plot:
    """Exact split of the squared error after each block, as fractions that add up to one."""
    parts = [_finite(v) for v in (propagated, cross, introduced)]

    def draw(axes: Axes) -> None:
        places = np.arange(len(labels))
        up, down = np.zeros(len(labels)), np.zeros(len(labels))
        names = ("propagated a²", "cross 2⟨p,d⟩", "introduced δ²")
        for label, part, colour in zip(names, parts, (PROPAGATED, CROSS, INTRODUCED), strict=True):
            heights = 100 * np.nan_to_num(part)
            start = np.where(heights >= 0, up, down)
            axes.bar(places, heights, width=0.62, bottom=start, color=colour, label=label,
                     hatch="///" if colour is CROSS else None, edgecolor=PAPER, linewidth=0)
            up, down = up + np.maximum(heights, 0), down + np.minimum(heights, 0)
        axes.axhline(100, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.axhline(0, color=MUTED, linewidth=0.7)
        axes.set_ylim(min(0.0, 1.1 * down.min()), max(108.0, 1.1 * up.max()))
        _ticks(axes, labels)
        axes.set_xlabel("after")
        axes.set_ylabel("part of the squared error, %")
        _legend(axes)

    return Plot(
        name, "What the squared error is made of",
        f"Squared error after each of {len(labels)} blocks, split into what earlier blocks propagated, what the block "
        "introduced, and the cross term of the two; the three parts add up to 100 percent.",
        draw,
    )


def windows_plot(mean: Sequence[float], largest: Sequence[float], *, name: str = "windows") -> Plot:
    """Certified change of the loss in each window of text: mean and largest over its positions."""
    middle, top = _finite(mean), _finite(largest)

    def draw(axes: Axes) -> None:
        places = np.arange(1, len(middle) + 1)
        logarithmic = _scale(axes, middle, top)
        few = len(middle) <= 64
        axes.vlines(places, 0 if not logarithmic else axes.get_ylim()[0], _positive(middle, logarithmic),
                    color=DIRECT, linewidth=5.0 if len(middle) <= 24 else 2.0, alpha=0.9, label="mean, at most")
        axes.plot(places, _positive(top, logarithmic), color=CROSS, marker=7, linewidth=0,
                  markersize=5.5 if few else 3.0, label="largest, at most")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
        axes.set_xlabel("window of text")
        axes.set_ylabel("change of loss, nats")
        _legend(axes)

    return Plot(
        name, "Change of loss in each window",
        f"Bounds on the change of the loss in {len(middle)} windows: the means are at most {_say(_largest(middle))} "
        f"nats a token, the largest at any position is {_say(_largest(top))} nats.",
        draw,
    )


def scores_plot(scores: Sequence[float], *, quantity: str, name: str = "ranking") -> Plot:
    """Ranking score of each block."""
    heights = _finite(scores)

    def draw(axes: Axes) -> None:
        places = np.arange(len(heights))
        axes.bar(places, heights, width=0.62, color=PROPAGATED)
        axes.axhline(0, color=MUTED, linewidth=0.7)
        _ticks(axes, [str(i) for i in places])
        axes.set_xlabel("block")
        axes.set_ylabel(quantity)

    return Plot(
        name, "Blocks ranked for removal",
        f"{quantity} of {len(heights)} blocks; the smallest belongs to block {int(np.nanargmin(heights))}.",
        draw,
    )
