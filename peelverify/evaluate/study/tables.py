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

__all__ = [
    "UNCHANGED", "Gap", "Mean", "Table", "cost_share", "gap_to_greedy", "greedy_noise", "over_models", "study_tables",
    "wilcoxon_p",
]


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
                *(_counts(measured_, name) for name in ("bigram", "trigram")),
            )
        )
    columns = (
        "family",
        "models",
        "blocks",
        "width",
        "parameters",
        "training loss, end",
        "loss, final text",
        "table of pairs, final text",
        "table of triples, final text",
    )
    return Table("models", "Models; losses in nats a token", columns, tuple(rows))


def _counts(models: _Models, name: str) -> float | None:
    """Loss of a table of counts, the same for all models trained and judged on the same text; None if not counted."""
    found = [m["measure"]["counts"][name] for m in models if m["measure"].get("counts")]
    return float(np.mean(found)) if found else None


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


def _significant(tests: list[dict[str, Any]], p: str) -> int:
    return sum(1 for t in tests if t[p] is not None and t[p] < 0.05)


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
                    _significant(tests, "p"),
                    over_models([t["depth_spearman"] for t in tests], correlation=True),
                    over_models([t["partial"] for t in tests], correlation=True),
                    _significant(tests, "partial_p"),
                )
            )
    columns = (
        "score",
        "target",
        "Spearman (expected +)",
        "models with the expected sign",
        "models with p < 0.05",
        "depth alone",
        "given depth",
        "models with p < 0.05 given depth",
    )
    title = f"Drift of single matrices at {models[0]['predict']['bits']} bits, predicted and observed"
    return Table("prediction", title, columns, tuple(rows))


def _common(models: _Models) -> int:
    return min(m["rank"]["most"] for m in models)


@measured("a spread over draws of windows")
def greedy_noise(models: _Models, k: int) -> float | None:
    """How much greedy's result owes to the windows that it chose on: the standard deviation of its loss on the final
    text over disjoint draws of windows, on one model, pooled over models; None without two draws on a model.
    """
    squares, degrees = 0.0, 0
    for model in models:
        values = np.array([draw[k - 1] for draw in model["rank"].get("greedy_draws", {}).get("delta_loss", [])])
        if len(values):
            squares += float(np.sum((values - values.mean()) ** 2))
            degrees += len(values) - 1
    return math.sqrt(squares / degrees) if degrees else None


@measured("a statistic")
def wilcoxon_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of the Wilcoxon signed-rank test, zeros left out; None if all are zero."""
    from scipy.stats import wilcoxon

    kept = [d for d in differences if d != 0]
    return float(wilcoxon(kept).pvalue) if kept else None


@dataclass(frozen=True)
class Gap:
    """A criterion against greedy on the same models and windows, k blocks removed.

    Attributes:
        mean: loss above that of greedy, nats a token; None without models.
        worse, better, same: numbers of models.
        p: Wilcoxon signed-rank p over models; None if all are the same.
        noise: `greedy_noise` at k.
    """

    mean: Mean | None
    worse: int
    better: int
    same: int
    p: float | None
    noise: float | None

    @property
    def within(self) -> bool:
        """Whether the mean gap is at most greedy's own noise."""
        return self.mean is not None and self.noise is not None and self.mean.mean <= self.noise

    def text(self) -> str:
        """As ``8 / 0 / 1, p 0.008``."""
        return f"{self.worse} / {self.better} / {self.same}" + ("" if self.p is None else f", p {self.p:.2g}")


@measured("a comparison over models")
def gap_to_greedy(models: _Models, criterion: str, k: int) -> Gap:
    """Compare a criterion with greedy, model by model."""
    losses = [m["rank"]["delta_loss"] for m in models]
    gaps = [d[criterion][k - 1] - d["greedy"][k - 1] for d in losses]
    return Gap(
        over_models(gaps),
        sum(g > 0 for g in gaps),
        sum(g < 0 for g in gaps),
        sum(g == 0 for g in gaps),
        wilcoxon_p(gaps),
        greedy_noise(models, k),
    )


@measured("a ratio of counts")
def cost_share(models: _Models, criterion: str) -> float:
    """Block evaluations of a criterion as a share of greedy's, at the largest k, mean over models."""
    most = _common(models)
    costs = [m["rank"]["block_evaluations"] for m in models]
    return float(np.mean([c[criterion][most - 1] / c["greedy"][most - 1] for c in costs]))


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


def _rivals(models: _Models) -> list[str]:
    return [name for name in models[0]["rank"]["delta_loss"] if name != "greedy"]


def _against_greedy(models: _Models) -> Table:
    most = _common(models)
    rows = []
    for name in _rivals(models):
        gaps = [gap_to_greedy(models, name, k) for k in range(1, most + 1)]
        within = None if any(g.noise is None for g in gaps) else f"{sum(g.within for g in gaps)} of {most}"
        rows.append((name, *(g.mean for g in gaps), within, cost_share(models, name)))
    columns = (
        "criterion",
        *(f"k = {k}" for k in range(1, most + 1)),
        "k with a mean gap of at most greedy's noise",
        "cost, as a share of greedy's",
    )
    return Table("against_greedy", "Loss above that of greedy on the same model, nats a token", columns, tuple(rows))


def _paired(models: _Models) -> Table:
    most = _common(models)
    rows = [(name, *(gap_to_greedy(models, name, k).text() for k in range(1, most + 1))) for name in _rivals(models)]
    columns = ("criterion", *(f"k = {k}" for k in range(1, most + 1)))
    title = "Models in which it is worse / better / the same as greedy, Wilcoxon signed-rank p"
    return Table("paired", title, columns, tuple(rows))


def _noise(models: _Models) -> Table:
    some = [m for m in models if len(m["rank"].get("greedy_draws", {}).get("sets", [])) > 1]
    rows = []
    for k in range(1, _common(models) + 1 if some else 1):
        draws = [m["rank"]["greedy_draws"] for m in some]
        chosen = [len({frozenset(sets[k - 1]) for sets in d["sets"]}) for d in draws]
        rows.append(
            (
                k,
                greedy_noise(some, k),
                over_models([float(np.mean([loss[k - 1] for loss in d["delta_loss"]])) for d in draws]),
                float(np.mean([np.ptp([loss[k - 1] for loss in d["delta_loss"]]) for d in draws])),
                float(np.mean(chosen)),
                f"{sum(c == 1 for c in chosen)} of {len(some)}",
            )
        )
    columns = (
        "k",
        "noise: SD within a model",
        "rise of the loss, mean over draws",
        "largest less smallest rise, mean over models",
        "different sets, mean over models",
        "models with one set",
    )
    draws = f"{len(some[0]['rank']['greedy_draws']['sets'])} disjoint draws of " if some else ""
    size = f"{some[0]['rank']['greedy_draws']['tokens']} tokens" if some else ""
    return Table("greedy_noise", f"Greedy on {draws}{size}, nats a token on unseen text", columns, tuple(rows))


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
    work = models[0]["compress"]
    how = f"{work['pruner']}, strength {work['strength']}"
    title = f"Schedules at matched sparsity ({how}), nats a token on unseen text"
    return Table("schedules", title, columns, tuple(rows))


UNCHANGED = "none, other noise and windows"
"""Row of the whole model, measured again."""


def _again(models: _Models) -> Table:
    rows: list[tuple[Any, ...]] = []
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
    fresh = [m["again"]["unchanged"] for m in models if "unchanged" in m["again"]]
    if fresh:
        rows.append(
            (
                UNCHANGED,
                None,
                over_models([s["spearman"] for s in fresh], correlation=True),
                over_models([s["largest_ratio"] for s in fresh]),
                over_models([s["product_ratio"] for s in fresh]),
                f"{sum(s['outside_interval'] for s in fresh)} of {sum(s['steps'] for s in fresh)}",
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
    (("rank",), _paired),
    (("rank",), _noise),
    (("measure", "compress"), _schedules),
    (("measure", "again"), _again),
)


def study_tables(results: dict[str, Any]) -> list[Table]:
    """All tables that the finished stages allow, from the data of `collect`."""
    found = []
    for stages, make in _TABLES:
        models = _having(results["models"], *stages)
        if models:
            table = make(models)
            found += [table] if table.rows else []
    return found
