"""Tables of a study. The trained model is the unit: every interval is over models, never over matrices or tokens."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from peelverify.registry import measured

__all__ = ["Mean", "Table", "over_models", "study_tables"]


@dataclass(frozen=True)
class Mean:
    """Mean over models with its 95 % interval by Student's t; ends are None for fewer than two models."""

    mean: float
    low: float | None
    high: float | None
    models: int

    def text(self, digits: int = 3, *, sign: bool = True) -> str:
        """As ``+0.12 [-0.03, +0.27]``."""
        form = f"{'+' if sign else ''}.{digits}f"
        if self.low is None or self.high is None:
            return f"{self.mean:{form}}"
        return f"{self.mean:{form}} [{self.low:{form}}, {self.high:{form}}]"

    @property
    def sign(self) -> int:
        """1 or -1 if the interval lies on one side of zero, else 0."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class Table:
    """One table: a name for files, a title, columns, and rows of text and numbers.

    ``Mean`` cells become one column in Markdown and four in CSV.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def markdown(self) -> str:
        """As a Markdown table under its title."""

        def cell(value: Any) -> str:
            if isinstance(value, Mean):
                return value.text()
            if value is None:
                return "-"
            return f"{value:.4g}" if isinstance(value, float) else str(value)

        lines = [f"**{self.title}**", "", f"| {' | '.join(self.columns)} |", f"|{' --- |' * len(self.columns)}"]
        return "\n".join([*lines, *(f"| {' | '.join(map(cell, row))} |" for row in self.rows)])

    def csv(self) -> str:
        """As CSV with a header; numbers in full."""
        wide = [any(isinstance(row[i], Mean) for row in self.rows) for i in range(len(self.columns))]
        header: list[str] = []
        for name, is_mean in zip(self.columns, wide, strict=True):
            header += [name, f"{name} (low)", f"{name} (high)", f"{name} (models)"] if is_mean else [name]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        for row in self.rows:
            cells: list[Any] = []
            for value, is_mean in zip(row, wide, strict=True):
                if isinstance(value, Mean):
                    cells += [value.mean, value.low, value.high, value.models]
                else:
                    cells += [value, "", "", ""] if is_mean else [value]
            writer.writerow(["" if c is None else c for c in cells])
        return out.getvalue()


@measured("a mean over trained models with the usual interval of a normal sample")
def over_models(values: Sequence[float | None], *, correlation: bool = False) -> Mean | None:
    """Mean and 95 % interval over models; missing values are dropped, None if nothing is left.

    Args:
        values: one a model.
        correlation: average after Fisher's transformation, so that ends stay within -1 and 1.
    """
    from scipy.stats import t

    if correlation:
        edge = 0.999  # a correlation of exactly 1 would count as infinite
        found = over_models([None if v is None else math.atanh(max(-edge, min(edge, v))) for v in values])
        if found is None or found.low is None or found.high is None:
            return found if found is None else Mean(math.tanh(found.mean), None, None, found.models)
        return Mean(*(math.tanh(x) for x in (found.mean, found.low, found.high)), found.models)

    kept = np.array([v for v in values if v is not None and math.isfinite(v)], dtype=np.float64)
    if not len(kept):
        return None
    mean = float(kept.mean())
    if len(kept) < 2:
        return Mean(mean, None, None, len(kept))
    half = float(t.ppf(0.975, len(kept) - 1) * kept.std(ddof=1) / math.sqrt(len(kept)))
    return Mean(mean, mean - half, mean + half, len(kept))


_Models = list[dict[str, Any]]


def _families(models: _Models) -> list[str]:
    return list(dict.fromkeys(m["train"]["family"] for m in models))


def _of(models: _Models, family: str) -> _Models:
    return [m for m in models if m["train"]["family"] == family]


def _having(models: _Models, *stages: str) -> _Models:
    return [m for m in models if all(s in m for s in ("train", *stages))]


def _trained(models: _Models) -> Table:
    rows = []
    for family in _families(models):
        some = _of(models, family)
        measured_ = _having(some, "measure")
        last = [float(np.mean(c[-20:])) for m in some if (c := m["train"]["loss_curve_nats_per_token"])]
        rows.append(
            (
                family,
                len(some),
                some[0]["train"]["blocks"],
                some[0]["train"]["width"],
                some[0]["train"]["parameters"],
                over_models(last),
                over_models([m["measure"]["final_loss"]["loss_nats_per_token"] for m in measured_]),
            )
        )
    columns = ("family", "models", "blocks", "width", "parameters", "training loss, end", "loss, final text")
    return Table("models", "Models; losses in nats a token", columns, tuple(rows))


def _profiles(models: _Models) -> Table:
    rows = []
    for family in _families(models):
        some = _of(models, family)
        rho = [m["measure"]["rho"] for m in some]
        worst = [m["measure"]["lyapunov"] for m in some if m["measure"]["lyapunov"]]
        rows.append(
            (
                family,
                over_models([min(r["rho_median"]) for r in rho]),
                over_models([max(r["rho_median"]) for r in rho]),
                over_models([r["amplification"][0] for r in rho]),
                over_models([m["measure"]["injected_amplification"][0] for m in some]),
                f"{sum(sum(map(sum, w['contraction'])) for w in worst)} of {sum(2 * len(w['gain']) for w in worst)}",
                over_models([float(np.median(w["log10_vacuity"])) for w in worst]),
                over_models([w["log10_chain"] for w in worst]),
            )
        )
    columns = (
        "family",
        "smallest rho",
        "largest rho",
        "product of rho",
        "the same for noise put in after block 0",
        "sub-layers with L/sigma < g",
        "orders of magnitude too large, a block",
        "the same for the whole chain",
    )
    return Table("profiles", "Rho, and what operator norms predict", columns, tuple(rows))


def _prediction(models: _Models) -> Table:
    rows = []
    for score, targets in models[0]["predict"]["tests"].items():
        for target in targets:
            tests = [m["predict"]["tests"][score][target] for m in models]
            whole = [t["spearman"] for t in tests]
            rows.append(
                (
                    score,
                    target,
                    over_models(whole, correlation=True),
                    f"{sum(1 for r in whole if r is not None and r > 0)} of {len(tests)}",
                    over_models([t["depth_spearman"] for t in tests], correlation=True),
                    over_models([t["partial"] for t in tests], correlation=True),
                    sum(1 for t in tests if t["partial_p"] is not None and t["partial_p"] < 0.05),
                )
            )
    columns = (
        "score",
        "target",
        "Spearman (expected +)",
        "models with the expected sign",
        "depth alone",
        "given depth",
        "models with p < 0.05 given depth",
    )
    title = f"Drift of single matrices at {models[0]['predict']['bits']} bits, predicted and observed"
    return Table("prediction", title, columns, tuple(rows))


def _common(models: _Models) -> int:
    return min(m["rank"]["most"] for m in models)


def _greedy_spread(models: _Models, k: int) -> float | None:
    """Standard deviation of greedy's loss over seeds, pooled over families; None without two seeds."""
    squares, degrees = 0.0, 0
    for family in _families(models):
        values = [m["rank"]["delta_loss"]["greedy"][k - 1] for m in _of(models, family)]
        squares += float(np.sum((np.array(values) - np.mean(values)) ** 2))
        degrees += len(values) - 1
    return math.sqrt(squares / degrees) if degrees else None


def _criteria(models: _Models) -> Table:
    most = _common(models)
    rows: list[tuple[Any, ...]] = []
    for name in models[0]["rank"]["delta_loss"]:
        rows.append(
            (
                name,
                *(over_models([m["rank"]["delta_loss"][name][k - 1] for m in models]) for k in range(1, most + 1)),
                float(np.mean([m["rank"]["block_evaluations"][name][most - 1] for m in models])),
            )
        )
    rows.append(
        (
            "random",
            *(
                over_models([float(np.mean(m["rank"]["random_delta_loss"][k - 1])) for m in models])
                for k in range(1, most + 1)
            ),
            0.0,
        )
    )
    columns = ("criterion", *(f"k = {k}" for k in range(1, most + 1)), "block evaluations")
    return Table(
        "criteria", "Rise of the loss after removing k blocks, unseen text, nats a token", columns, tuple(rows)
    )


def _against_greedy(models: _Models) -> Table:
    most = _common(models)
    rows = []
    for name in models[0]["rank"]["delta_loss"]:
        if name == "greedy":
            continue
        cells: list[Any] = [name]
        within = 0
        for k in range(1, most + 1):
            gap = over_models(
                [m["rank"]["delta_loss"][name][k - 1] - m["rank"]["delta_loss"]["greedy"][k - 1] for m in models]
            )
            spread = _greedy_spread(models, k)
            within += gap is not None and spread is not None and gap.mean <= spread
            cells.append(gap)
        share = [
            m["rank"]["block_evaluations"][name][most - 1] / m["rank"]["block_evaluations"]["greedy"][most - 1]
            for m in models
        ]
        rows.append((*cells, f"{within} of {most}", float(np.mean(share))))
    columns = (
        "criterion",
        *(f"k = {k}" for k in range(1, most + 1)),
        "k within greedy's spread over seeds",
        "cost, as a share of greedy's",
    )
    return Table("against_greedy", "Loss above that of greedy on the same model, nats a token", columns, tuple(rows))


def _schedules(models: _Models) -> Table:
    rows = []
    for total in dict.fromkeys(r["total"] for r in models[0]["compress"]["rows"]):
        by: list[dict[str, Any]] = [
            {r["schedule"]: r for r in m["compress"]["rows"] if r["total"] == total and "zeros" in r} for m in models
        ]
        for kind in by[0]:
            if any(kind not in b for b in by):
                continue
            gap = [b[kind]["delta_loss"] - b["uniform"]["delta_loss"] for b in by]
            same = all(b[kind]["zeros"] == b["uniform"]["zeros"] for b in by)
            rows.append(
                (
                    total,
                    kind,
                    over_models([b[kind]["delta_loss"] for b in by]),
                    None if kind == "uniform" else over_models(gap),
                    f"{sum(g < 0 for g in gap)} of {len(gap)}" if kind != "uniform" else None,
                    "yes" if same else "NO",
                )
            )
    columns = ("sparsity", "schedule", "rise of the loss", "against uniform", "models where it is better", "same zeros")
    title = f"Schedules at matched sparsity ({models[0]['compress']['pruner']}), nats a token on unseen text"
    return Table("schedules", title, columns, tuple(rows))


def _again(models: _Models) -> Table:
    rows = []
    for name in models[0]["again"]["compressions"]:
        some = [m["again"]["compressions"][name] for m in models]
        rows.append(
            (
                name,
                over_models([s["divergence"]["kl_nats_per_token"] for s in some]),
                over_models([s["spearman"] for s in some], correlation=True),
                over_models([s["largest_ratio"] for s in some]),
                over_models([s["product_ratio"] for s in some]),
                f"{sum(s['outside_interval'] for s in some)} of {sum(s['steps'] for s in some)}",
            )
        )
    columns = (
        "compression",
        "mean KL, nats",
        "Spearman with rho before",
        "largest factor of change",
        "product after / before",
        "steps outside the interval before",
    )
    return Table("again", "Rho measured again after compression", columns, tuple(rows))


_TABLES: tuple[tuple[tuple[str, ...], Callable[[_Models], Table]], ...] = (
    ((), _trained),
    (("measure",), _profiles),
    (("measure", "predict"), _prediction),
    (("rank",), _criteria),
    (("rank",), _against_greedy),
    (("measure", "compress"), _schedules),
    (("measure", "again"), _again),
)


def study_tables(results: dict[str, Any]) -> list[Table]:
    """All tables that the finished stages allow, from the data of `collect`."""
    found = []
    for stages, make in _TABLES:
        models = _having(results["models"], *stages)
        if models:
            found.append(make(models))
    return found
