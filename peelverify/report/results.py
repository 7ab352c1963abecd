"""What the page shows of ``peel.json``, ``rho.json`` and a ranking.

A number that a file does not hold is left out of the page, never replaced by zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from peelverify.report import plots
from peelverify.report.present import Shown, base_name, seen, seen_or_none
from peelverify.verdict import Status

__all__ = ["present_peel", "present_ranking", "present_rho"]


def _numbers(values: Any) -> list[float]:
    """A list of numbers as floats; None becomes NaN; anything else gives an empty list."""
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        return []
    if not all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in values):
        return []
    return [float("nan") if v is None else float(v) for v in values]


def present_rho(data: Mapping[str, Any]) -> dict[str, Any]:
    """Rows and plots of a rho profile, schema ``peelverify.rho/1``."""
    median, low, high = (_numbers(data.get(k)) for k in ("rho_median", "rho_interval_95_low", "rho_interval_95_high"))
    amplification = _numbers(data.get("amplification"))
    sides = [_numbers(data.get(f"amplification_interval_95_{end}")) for end in ("low", "high")]
    absolute, floor = _numbers(data.get("rho_absolute_median")), _numbers(data.get("noise_floor_energy"))
    energy = [_numbers(row) for row in data.get("energy") or []]
    middle = _medians(energy)
    rows = []
    for t in range(len(middle)):
        step = t - 1
        rows.append({
            "block": t,
            "energy": seen(middle[t]),
            "rho": seen(median[step]) if 0 <= step < len(median) else None,
            "interval": _interval(low, high, step),
            "absolute": seen(absolute[step]) if 0 <= step < len(absolute) else None,
            "amplification": seen(amplification[t]) if t < len(amplification) else None,
            "amplification_interval": _interval(*sides, t),
        })
    drawings = []
    if energy and energy[0]:
        drawings.append(plots.energy_plot(energy, floor or None))
    if median:
        drawings.append(plots.rho_plot(median, low or None, high or None))
    if amplification:
        drawings.append(plots.amplification_plot(amplification))
    known = [v for v in median if math.isfinite(v)]
    return {
        "rows": rows,
        "plots": drawings,
        "largest": seen(max(known)) if known else None,
        "largest_into": median.index(max(known)) + 1 if known else None,
        "weakest": seen(max(amplification[:-1])) if len(amplification) > 1 else None,
        "weakest_block": amplification[:-1].index(max(amplification[:-1])) if len(amplification) > 1 else None,
        "intervals": any(r["amplification_interval"] for r in rows),
        "draws": data.get("draws"), "windows": data.get("windows"), "tokens": data.get("tokens"),
        "epsilon": data.get("epsilon"), "dtype": data.get("dtype"), "seed": data.get("seed"),
        "warnings": [str(w) for w in data.get("warnings") or []],
    }


def _medians(rows: list[list[float]]) -> list[float]:
    import numpy as np

    if not rows or len({len(r) for r in rows}) != 1:
        return []
    return np.median(np.asarray(rows), axis=0).tolist()


def _interval(low: list[float], high: list[float], index: int) -> tuple[Shown, Shown] | None:
    return (seen(low[index]), seen(high[index])) if 0 <= index < min(len(low), len(high)) else None


def present_ranking(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Scores of one ranking or of several, schema ``peelverify.rank/1``; the first one is drawn."""
    several = data.get("rankings") or [data]
    columns = []
    for entry in several:
        scores = _numbers(entry.get("scores"))
        order = [int(i) for i in _numbers(entry.get("order"))]
        if scores and sorted(order) == list(range(len(scores))):
            columns.append({"criterion": str(entry.get("criterion", "score")), "scores": scores, "order": order})
    if not columns:
        return None
    depth = len(columns[0]["scores"])
    columns = [c for c in columns if len(c["scores"]) == depth]
    first = columns[0]
    finite = any(math.isfinite(s) for s in first["scores"])
    return {
        "criteria": [c["criterion"] for c in columns],
        "rows": [
            {
                "block": t,
                "cells": [
                    {"score": seen(c["scores"][t]) if math.isfinite(c["scores"][t]) else None,
                     "place": c["order"].index(t) + 1}
                    for c in columns
                ],
            }
            for t in range(depth)
        ],
        "plot": plots.scores_plot(first["scores"], quantity="score (low: remove first)") if finite else None,
        "first": first["order"][0],
    }


def _status(value: Any) -> Status | None:
    return Status.__members__.get(str(value).upper())


def present_peel(data: Mapping[str, Any]) -> dict[str, Any]:
    """Rows and plots of YES bounds, schema ``peelverify.peel/1``."""
    unit = str(data.get("unit") or data.get("loss_unit") or "")
    entries = [e for e in data.get("checkpoints") or [] if isinstance(e, Mapping)]
    steps = [e.get("step") for e in entries]
    counted = bool(entries) and all(isinstance(s, int) and not isinstance(s, bool) for s in steps)
    counted = counted and sorted(set(steps)) == steps
    x = [float(s) for s in steps] if counted else [float(i) for i in range(1, len(entries) + 1)]
    x_label = "training step" if counted else "checkpoint"
    rows, curve = [], []
    for place, entry in zip(x, entries, strict=True):
        status = _status(entry.get("status"))
        best = entry.get("best")
        rows.append({
            "place": f"{place:g}",
            "name": base_name(entry.get("name", "")),
            "loss": seen_or_none(entry.get("loss"), digits=5),
            "yes0": seen_or_none(entry.get("yes0"), "witnessed", digits=5),
            "by_k": [seen(v, "witnessed", digits=5) for v in _numbers(entry.get("by_k"))],
            "best": seen_or_none(best, "witnessed", digits=5),
            "best_map": "-".join(str(t) for t in entry.get("best_map") or []),
            "status": "unknown" if status is None else status.name,
            "meaning": "" if status is None else status.meaning,
        })
        values = _numbers([entry.get("loss"), entry.get("yes0"), best])
        if len(values) == 3 and all(map(math.isfinite, values)):
            curve.append((place, *values))
    label = f"loss, {unit}" if unit else "loss"
    drawings = []
    if curve:
        drawings.append(plots.cloud_plot(*zip(*curve, strict=True), x_label=x_label, y_label=label))
    heat = _heat(entries, x, x_label, label)
    if heat:
        drawings.append(heat)
    return {
        "rows": rows, "plots": drawings, "unit": unit, "x_label": x_label, "note": _note(data, unit),
        "last": rows[-1] if rows else None,
        "statuses": [(s.name, s.legend, s.meaning.partition(": ")[2] or s.meaning) for s in Status],
    }


def _note(data: Mapping[str, Any], unit: str) -> str:
    parts = [f"Losses in {unit}" if unit else "", str(data.get("method") or "")]
    return ". ".join(p for p in parts if p)


def _heat(entries: Sequence[Mapping[str, Any]], x: list[float], x_label: str, label: str) -> plots.Plot | None:
    """All witnesses at all checkpoints, if the file has them."""
    tables = []
    for entry in entries:
        maps = entry.get("maps")
        if not isinstance(maps, Sequence) or not maps:
            return None
        tables.append({"-".join(str(t) for t in m.get("map", [])): m.get("loss") for m in maps})
    names = list(tables[0]) if tables else []
    values = [_numbers([t.get(name) for t in tables]) for name in names]
    if len(names) < 2 or len(names) > 40 or not all(len(v) == len(x) for v in values):
        return None
    return plots.heat_plot(names, [f"{p:g}" for p in x], values, x_label=x_label, quantity=label)
