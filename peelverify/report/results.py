"""What the page shows of ``peel.json``, ``rho.json`` and a ranking.

A number that a file does not hold is left out of the page, never replaced by zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from peelverify.report import plots
from peelverify.report.layerplot import layers_plot
from peelverify.report.present import Shown, base_name, seen, seen_or_none
from peelverify.report.visible import visible
from peelverify.verdict import Status

__all__ = ["layers_drawing", "present_peel", "present_ranking", "present_rho"]


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
    energy = energy if middle else []
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
    """Rows and plots of YES bounds, schema ``peelverify.peel/1``.

    The cloud is drawn against the running minima, as published; the status of a row is that of its own
    checkpoint, with the published one beside it.
    """
    unit = str(data.get("unit") or "").replace("_", " ").replace("nats per token", "nats a token")
    entries = [e for e in data.get("checkpoints") or [] if isinstance(e, Mapping)]
    x, x_label = _places(entries)
    rows, curve = [], []
    for place, entry in zip(x, entries, strict=True):
        status, published = _status(entry.get("status")), _status(entry.get("status_running"))
        rows.append({
            "place": f"{place:g}",
            "name": base_name(entry.get("name", "")),
            "loss": seen_or_none(entry.get("loss"), digits=5),
            **{k: seen_or_none(entry.get(k), "witnessed", digits=5) for k in ("yes0", "best", "refit")},
            "reuse": seen_or_none(_inner(entry, "reuse", "best"), "witnessed", digits=5),
            "gap": _gap(entry),
            "best_map": _map_name(entry.get("best_map")),
            "status": "unknown" if status is None else status.name,
            "published": None if published is None else published.name,
            "meaning": "" if status is None else status.meaning,
        })
        running = [entry.get(f"{k}_running", entry.get(k)) for k in ("yes0", "best")]
        values = _numbers([entry.get("loss"), *running])
        if len(values) == 3 and all(map(math.isfinite, values)):
            more = _numbers([entry.get("best"), entry.get("refit"), _inner(entry, "reuse", "best")]) or [math.nan] * 3
            curve.append((place, *values, *more))
    label = f"loss, {unit}" if unit else "loss"
    drawings = []
    if curve:
        places, loss, yes0, best, now, refit, reuse = zip(*curve, strict=True)
        drawings.append(
            plots.cloud_plot(
                places, loss, yes0, best, now=now if now != best else None,
                refit=refit if any(map(math.isfinite, refit)) else None,
                reuse=reuse if any(map(math.isfinite, reuse)) else None, x_label=x_label, y_label=label,
            )
        )
    heat = _heat(entries, x, x_label, label)
    drawings += [d for d in (heat, _gains_drawing(entries[-1] if entries else {})) if d is not None]
    return {
        "rows": rows, "plots": drawings, "unit": unit, "x_label": x_label, "note": _note(data, unit),
        "refit": any(r["refit"] for r in rows), "reuse": any(r["reuse"] for r in rows), "bits": _bits(entries, x),
        "gap": any(r["gap"] for r in rows),
        "published": any(r["published"] for r in rows), "blocks": _gains(entries[-1] if entries else {}),
        "last": rows[-1] if rows else None, "layers": layers_drawing(entries[-1] if entries else {}),
        "statuses": [(s.name, s.legend, s.meaning.partition(": ")[2] or s.meaning) for s in Status],
    }


def _inner(entry: Mapping[str, Any], *keys: str) -> Any:
    """A value behind several keys, or None."""
    found: Any = entry
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _bits(entries: Sequence[Mapping[str, Any]], x: list[float]) -> dict[str, Any] | None:
    """Few-bit chains of every checkpoint that has them."""
    rows, kinds = [], set()
    for place, entry in zip(x, entries, strict=True):
        found = entry.get("bits")
        if not isinstance(found, Mapping):
            continue
        kinds.add(visible(found.get("kind", "")))
        status = _status(found.get("status_among_few_bits"))
        rows.append({
            "place": f"{place:g}", "name": base_name(entry.get("name", "")),
            "loss": seen_or_none(found.get("loss_nats_per_token"), digits=5),
            **{k: seen_or_none(found.get(f"best_{k}"), "witnessed", digits=5)
               for k in ("float", "published", "refined")},
            "distortion": seen_or_none(found.get("distortion_of_best_map"), "witnessed", digits=3),
            "map": _map_name(found.get("best_map_refined")),
            "left": seen_or_none(found.get("gap_to_best_refined"), "witnessed", digits=3),
            "status": "unknown" if status is None else status.name,
        })
    return {"rows": rows, "kind": ", ".join(sorted(kinds))} if rows else None


def _gains(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of single-layer substitution of a checkpoint, if the file has it."""
    found = entry.get("substitution")
    blocks = found.get("blocks") if isinstance(found, Mapping) else None
    rows = []
    for block in blocks if isinstance(blocks, list) else []:
        if isinstance(block, Mapping):
            bracket = block.get("bracket") if isinstance(block.get("bracket"), Mapping) else {}
            rows.append({
                "block": seen_or_none(block.get("block"), digits=5),
                "gain": seen_or_none(block.get("gain_nats_per_token"), "witnessed", digits=4),
                **{k: seen_or_none(block.get(k), digits=4) for k in ("low", "high")},
                "left": seen_or_none(bracket.get("upper_fraction"), "certified", digits=4),
                "least": seen_or_none(bracket.get("lower_fraction"), "certified", digits=4),
                "scope": visible(bracket.get("scope", "")),
            })
    return rows


def _gains_drawing(entry: Mapping[str, Any]) -> plots.Plot | None:
    """Picture of the gains, if every block of the file has numbers."""
    blocks = _inner(entry, "substitution", "blocks")
    keys = ("block", "gain_nats_per_token", "low", "high")
    rows = [_numbers([_inner(b, k) for k in keys]) for b in blocks] if isinstance(blocks, list) else []
    if not rows or not all(len(r) == len(keys) and all(map(math.isfinite, r)) for r in rows):
        return None
    places, gain, low, high = zip(*rows, strict=True)
    return plots.gains_plot([int(p) for p in places], gain, low, high)


def layers_drawing(entry: Mapping[str, Any]) -> plots.Plot | None:
    """Picture of YES-0 layer by layer, if a checkpoint has it for every layer."""
    yes0, model = _numbers(entry.get("per_layer_yes0")), _numbers(entry.get("per_layer_model"))
    if not yes0 or len(yes0) != len(model) or not all(map(math.isfinite, (*yes0, *model))):
        return None
    unit = visible(str(entry.get("per_layer_unit") or "error").replace("_", " "))
    # the long unit of decoders is told in words beside the picture
    return layers_plot(yes0, model, quantity="distance to the last state" if "last state" in unit else unit)


def _places(entries: Sequence[Mapping[str, Any]]) -> tuple[list[float], str]:
    """Where checkpoints stand: at their steps if those ascend, else one after another."""
    steps = [e.get("step") for e in entries]
    counted = all(isinstance(s, (int, float)) and not isinstance(s, bool) and math.isfinite(s) for s in steps)
    if steps and counted and sorted(set(steps)) == steps:
        return [float(s) for s in steps], "training step"
    return [float(i) for i in range(1, len(entries) + 1)], "checkpoint"


def _map_name(target: Any) -> str:
    return "-".join(str(t) for t in target) if isinstance(target, (list, tuple)) else ""


def _gap(entry: Mapping[str, Any]) -> dict[str, Shown | None] | None:
    """Loss of the model minus that of the best witness, with its standard error."""
    value = seen_or_none(entry.get("gap_of_best"), "witnessed", digits=3)
    if value is None:
        return None
    return {"value": value, "error": seen_or_none(entry.get("gap_of_best_standard_error"), digits=2)}


def _note(data: Mapping[str, Any], unit: str) -> str:
    """How the bounds were made, in a sentence or two."""
    about = data.get("about")
    about = about if isinstance(about, Mapping) else {}
    parts = [f"Losses in {unit}" if unit else ""]
    if about.get("decided_on"):
        parts.append(f"Model and witnesses are compared on {about.get('deciding_tokens')} {about['decided_on']}")
    if about.get("solver"):
        parts.append(f"Witnesses were fitted to {about.get('fitted_tokens')} tokens by {about['solver']}")
    return ". ".join(p for p in parts if p) + ("." if any(parts) else "")


def _heat(entries: Sequence[Mapping[str, Any]], x: list[float], x_label: str, label: str) -> plots.Plot | None:
    """All witnesses at all checkpoints, if the file has them."""
    tables = []
    for entry in entries:
        maps = entry.get("maps")
        if not isinstance(maps, Sequence) or not maps:
            return None
        tables.append({_map_name(m.get("map")): m.get("loss") for m in maps if isinstance(m, Mapping)})
    names = list(tables[0]) if tables else []
    values = [_numbers([t.get(name) for t in tables]) for name in names]
    if len(names) < 2 or len(names) > 40 or not all(len(v) == len(x) for v in values):
        return None
    return plots.heat_plot(names, [f"{p:g}" for p in x], values, x_label=x_label, quantity=label)
