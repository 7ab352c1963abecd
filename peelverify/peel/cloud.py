"""The status cloud: a model's loss over training among its YES bounds.

Each point keeps the bounds of its own checkpoint and their running minimum. The running minimum is legitimate,
because a witness found early stays a witness as long as the tokens stay the same, and it is what the published
plots show; the instantaneous value tells whether the current states still give a good chain.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from peelverify.errors import ArtifactError, InputError
from peelverify.peel.maps import Map
from peelverify.peel.yes import status_of
from peelverify.verdict import Status

__all__ = ["GREEN_WORDS", "CloudPoint", "CloudSeries", "plot_cloud"]

SCHEMA = "peelverify.peel/1"
GREEN_WORDS = "GREEN means: not refuted by this suite of witnesses"
WORDS = {
    "loss": "measured",
    "yes0": "witnessed: end-to-end loss of the all-last chain, a complete network",
    "best": "witnessed: smallest end-to-end loss of the suite",
    "refit": "witnessed: the model's own states with a new last layer; no part of the suite",
    "per_layer_yes0": "error of the all-last chain after each layer (in per_layer_unit)",
    "per_layer_model": "measured: the same error of the network's own state after that layer",
    "status_running": "against the smallest bounds of this and all earlier checkpoints",
    "status": "against the bounds of this checkpoint alone",
    "GREEN": GREEN_WORDS,
    "YELLOW": Status.YELLOW.meaning,
    "RED": Status.RED.meaning,
}


class Bounds(Protocol):
    """What a point is made from: `YesBounds` and `TransformerYes` both fit."""

    @property
    def yes0(self) -> float: ...
    @property
    def best(self) -> float: ...
    @property
    def best_map(self) -> Map: ...
    @property
    def by_k(self) -> tuple[float, ...]: ...


@dataclass(frozen=True)
class CloudPoint:
    """One checkpoint.

    Attributes:
        label: name of the checkpoint.
        step: position on the horizontal axis.
        loss: loss of the model (measured).
        yes0, best, best_map, by_k: bounds of this checkpoint (witnessed).
        yes0_running, best_running: smallest so far.
        refit: last-layer refit, or None.
        extra: further values that go into the file.
    """

    label: str
    step: float
    loss: float
    yes0: float
    best: float
    best_map: Map
    by_k: tuple[float, ...]
    yes0_running: float
    best_running: float
    refit: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def status_running(self) -> Status:
        """Status against the running minima, as published."""
        return status_of(self.loss, self.yes0_running, self.best_running)

    @property
    def status_now(self) -> Status:
        """Status against the bounds of this checkpoint alone."""
        return status_of(self.loss, self.yes0, self.best)


class CloudSeries:
    """Points of one training run, all evaluated on the same samples.

    Args:
        unit: unit of all losses, for instance "nats_per_token".
        about: how the bounds were made (solver, budget, seed, numbers of tokens); goes into the file.
    """

    def __init__(self, unit: str = "nats_per_token", about: Mapping[str, Any] | None = None) -> None:
        self.unit = unit
        self.about = dict(about or {})
        self.points: list[CloudPoint] = []

    def add(
        self,
        label: str,
        loss: float,
        bounds: Bounds,
        *,
        step: float | None = None,
        refit: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> CloudPoint:
        """Append a checkpoint.

        Args:
            label: name of the checkpoint.
            loss: loss of the model on the samples of the bounds, same unit.
            bounds: `YesBounds` or `TransformerYes` of this checkpoint.
            step: training step; must not decrease. One more than the last if None.
            refit: last-layer refit, if known.
            extra: further values for the file.
        """
        before = self.points[-1] if self.points else None
        place = float(step) if step is not None else (before.step + 1.0 if before else 0.0)
        if before is not None and not place >= before.step:
            raise InputError(
                f"CloudSeries.add needs steps that do not decrease, got {place:g} after {before.step:g}; "
                "give the checkpoints in the order of training"
            )
        status_of(loss, bounds.yes0, bounds.best)  # refuses NaN before anything is kept
        point = CloudPoint(
            label, place, float(loss), bounds.yes0, bounds.best, bounds.best_map, bounds.by_k,
            min(bounds.yes0, before.yes0_running if before else math.inf),
            min(bounds.best, before.best_running if before else math.inf),
            refit, dict(extra or {}),
        )
        self.points.append(point)
        return point

    def to_json(self) -> dict[str, Any]:
        """The series as plain values, schema ``peelverify.peel/1``."""
        return {
            "schema": SCHEMA,
            "unit": self.unit,
            "about": self.about,
            "words": WORDS,
            "checkpoints": [
                {
                    "name": p.label,
                    "step": int(p.step) if p.step.is_integer() else p.step,
                    "loss": p.loss,
                    "yes0": p.yes0,
                    "yes0_running": p.yes0_running,
                    "best": p.best,
                    "best_running": p.best_running,
                    "best_map": list(p.best_map),
                    "by_k": list(p.by_k),
                    "refit": p.refit,
                    "status": p.status_now.name,
                    "status_running": p.status_running.name,
                    **p.extra,
                }
                for p in self.points
            ],
        }

    @classmethod
    def from_json(cls, data: Any) -> CloudSeries:
        """The series that `to_json` wrote, to be continued.

        Raises:
            ArtifactError: another schema, or a file that is damaged: its minima or statuses do not follow from its
                numbers.
        """
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else type(data).__name__
            raise ArtifactError(f"a series of checkpoints needs schema {SCHEMA}, got {found!r}; give a peel.json")
        own = {"name", "step", "loss", "yes0", "yes0_running", "best", "best_running", "best_map", "by_k", "refit",
               "status", "status_running"}
        try:
            series = cls(data["unit"], data["about"])
            for entry in data["checkpoints"]:
                bounds = SimpleNamespace(
                    yes0=float(entry["yes0"]), best=float(entry["best"]), best_map=tuple(entry["best_map"]),
                    by_k=tuple(float(b) for b in entry["by_k"]),
                )
                series.add(
                    str(entry["name"]), float(entry["loss"]), bounds, step=entry["step"], refit=entry["refit"],
                    extra={k: v for k, v in entry.items() if k not in own},
                )
            whole = series.to_json()["checkpoints"] == list(data["checkpoints"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the series of checkpoints is damaged ({error!r}); start again without it") from error
        if not whole:
            raise ArtifactError("the series of checkpoints is damaged: its numbers contradict each other; start again")
        return series

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write `to_json`, replacing the file in one move."""
        target = Path(path)
        part = target.with_name(f".{target.name}.partial")
        try:
            part.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
            part.replace(target)
        except OSError as error:
            raise ArtifactError(f"{target} cannot be written ({error.strerror}); choose another folder") from error
        return target


def plot_cloud(
    series: CloudSeries,
    target: Any,
    *,
    title: str = "YES Cloud and Training Loss Progression",
    decibels: bool = False,
) -> None:
    """Draw the cloud with the published colours and hatches.

    Args:
        series: at least one point.
        target: path of a picture (the ending gives the format), or matplotlib axes.
        title: title of the picture.
        decibels: draw ``10 log10`` of the losses, as published for squared errors.
    """
    if not series.points:
        raise InputError("plot_cloud needs at least one point, got an empty series; add checkpoints first")
    if hasattr(target, "fill_between"):
        _draw(series.points, target, title, series.unit, decibels)
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    _draw(series.points, figure.add_subplot(), title, series.unit, decibels)
    path = Path(target)
    part = path.with_name(f".partial-{path.name}")
    try:
        figure.savefig(part, dpi=130)
        part.replace(path)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be written ({error}); choose another path or ending") from error


def _draw(points: Sequence[CloudPoint], axes: Any, title: str, unit: str, decibels: bool) -> None:
    def level(value: float) -> float:
        return 10.0 * math.log10(max(value, 1e-300)) if decibels else value

    steps = [p.step for p in points]
    if len(steps) == 1:
        steps, points = [steps[0] - 0.5, steps[0] + 0.5], [points[0], points[0]]
    loss = [level(p.loss) for p in points]
    yes0 = [level(p.yes0_running) for p in points]
    best = [level(p.best_running) for p in points]
    refit = [level(p.refit) if p.refit is not None else math.nan for p in points]
    own = [p.extra.get("reuse") for p in points]
    reuse = [level(float(r["best"])) if isinstance(r, Mapping) else math.nan for r in own]
    shown = [v for v in (*loss, *yes0, *best, *refit, *reuse) if math.isfinite(v)]
    margin = 0.06 * (max(shown) - min(shown)) or 0.5
    top, bottom = max(shown) + margin, min(shown) - margin
    axes.fill_between(
        steps, yes0, top, facecolor=Status.RED.colour, edgecolor="red", hatch="xx", alpha=0.5, linewidth=0.0,
        label=Status.RED.legend,
    )
    axes.fill_between(
        steps, best, yes0, facecolor=Status.YELLOW.colour, edgecolor="gold", hatch="//", alpha=0.5, linewidth=0.0,
        label=Status.YELLOW.legend,
    )
    axes.fill_between(
        steps, bottom, best, facecolor=Status.GREEN.colour, alpha=0.5, linewidth=0.0, label=GREEN_WORDS
    )
    axes.plot(steps, yes0, color="red", linewidth=1.6, label="YES-0, running (witnessed)")
    axes.plot(steps, best, color="green", linestyle="--", linewidth=1.6, label="best YES, running (witnessed)")
    axes.plot(
        steps, [level(p.best) for p in points], color="green", linestyle=":", linewidth=1.0,
        label="best YES, this checkpoint",
    )
    if any(math.isfinite(v) for v in refit):
        label = "last-layer refit (not in the suite)"
        axes.plot(steps, refit, color="0.35", linestyle="-.", linewidth=1.0, label=label)
    if any(math.isfinite(v) for v in reuse):
        label = "model's own blocks (not in the suite)"
        axes.plot(steps, reuse, color="0.35", linestyle=(0, (1, 2.5)), linewidth=1.2, label=label)
    axes.plot(steps, loss, color="navy", marker="o", markersize=3.5, linewidth=1.8, label="model loss (measured)")
    axes.set_xlim(min(steps), max(steps) if max(steps) > min(steps) else min(steps) + 1)
    axes.set_ylim(bottom, top)
    axes.set_title(title)
    axes.set_xlabel("Step")
    axes.set_ylabel("loss (dB)" if decibels else f"loss ({unit.replace('_', ' ')})")
    axes.legend(fontsize="x-small", loc="upper right", framealpha=0.9)
