"""``docs/study.md``: written from the results of a study, never by hand."""

from __future__ import annotations

import json
import math
from typing import Any

from peelverify.evaluate.study.tables import Mean, Table, study_tables

__all__ = ["slim_results", "slim_text", "study_document"]

_HEAD = """# The study

<!-- Written by `peelverify study --from docs/study.json --document docs/study.md`. Do not edit. -->

Does the product of rho predict drift? Which criterion finds the blocks that can go? Do sparsity schedules help at the
same sparsity? Is rho still right after compression? Every number here is *measured*: none is a bound, and none of the
models is a large one. The unit is the trained model. Intervals are 95 % over models, by Student's t; matrices, tokens
and draws inside one model are not counted as independent.
"""

_REPEAT = """## Repeat it

    peelverify study --families llama,gpt2,qwen2 --preset small --out study

An interrupted study goes on when the same command is given again. `--minutes 25` stops it in time.
`--preset standard` is the same with 12 blocks, width 256 and 3,000 steps, for an accelerator, or for patience.

On published models, with weights on the local disk:

    peelverify study --models ./gpt2 --preset pretrained --text wikitext-2-test.txt --out study-gpt2
    peelverify study --models ./Llama-2-7b-hf --preset pretrained --text wikitext-2-test.txt --out study-llama
    peelverify study --models ./Mistral-7B-v0.1 --preset pretrained --text wikitext-2-test.txt --out study-mistral

Weights are read in float32: a model of 7 billion weights needs about 28 GB, twice that while it is compared with its
compression. Results for these models are not given here because nobody has run them. The code path is tested on small
saved models of each family.

`--from RESULTS --document FILE` writes this page from a results file; a test fails when the two differ. `--slim FILE`
keeps beside it what the page needs: without rows of single matrices and early losses, numbers to 6 digits.
"""


def _verdict(mean: Mean | None, above: str, below: str, neither: str) -> str:
    if mean is None:
        return "Not measured."
    if mean.models < 3:
        return f"Models with a value: {mean.models}; too few for an answer."
    return {1: above, -1: below, 0: neither}[mean.sign]


def _row(table: Table | None, *key: Any) -> tuple[Any, ...] | None:
    rows = table.rows if table is not None else ()
    return next((r for r in rows if r[: len(key)] == key), None)


def _findings(tables: dict[str, Table]) -> list[str]:
    lines = []
    row = _row(tables.get("prediction"), "product", "relative")
    if row is not None:
        whole, depth, partial = row[2], row[4], row[5]
        says = _verdict(
            whole,
            "The sign is the expected one.",
            "The sign is the opposite of the expected one.",
            "The interval holds zero: no order is shown.",
        )
        beyond = _verdict(
            partial, "It adds to depth.", "Given depth it points the wrong way.", "Beyond depth nothing is shown."
        )
        lines.append(
            f"**Product against relative drift.** Spearman {whole.text() if whole else '-'}, expected +. {says} "
            f"Depth alone: {depth.text() if depth else '-'}. "
            f"Given depth: {partial.text() if partial else 'nothing is left to test'}. {beyond}"
        )
    row = _row(tables.get("prediction"), "introduced", "relative")
    other = _row(tables.get("prediction"), "introduced_times_product", "relative")
    if row is not None and other is not None and row[2] and other[2]:
        lines.append(
            f"**Size of the error where it arises.** Alone it orders relative drift with Spearman {row[2].text()}; "
            f"times the product of rho, {other[2].text()}."
        )
    table = tables.get("criteria")
    if table is not None:
        most = len(table.columns) - 2
        for k in range(1, most + 1):
            scored = [r for r in table.rows if r[k] is not None]
            best = min(scored, key=lambda r: r[k].mean)
            cheap = min((r for r in scored if r[0] not in _SEARCHES), key=lambda r: r[k].mean)
            lines.append(
                f"**Removing {k}.** Least loss: {best[0]} ({best[k].text()} nats a token). Best without a search: "
                f"{cheap[0]} ({cheap[k].text()})."
            )
    table = tables.get("against_greedy")
    if table is not None:
        ks = len(table.columns) - 3
        met = [r[0] for r in table.rows if r[-2] == f"{ks} of {ks}" and r[-1] <= 0.2]
        lines.append(
            "**Aim: greedy's quality for a fifth of its cost.** "
            + (
                f"Its mean gap to greedy lies within greedy's spread between seeds at every k for {', '.join(met)}. "
                "That spread comes from few seeds, and to lie within it does not show equality."
                if met
                else "Not met at every k by any criterion."
            )
        )
    table = tables.get("schedules")
    for row in table.rows if table is not None else ():
        if row[3] is not None and row[3].models >= 3 and row[3].sign:
            word = "worse" if row[3].sign > 0 else "better"
            lines.append(
                f"**Schedule {row[1]} at {row[0]:.0%}.** Loss {word} than uniform: {row[3].text(4)} nats a token."
            )
    if table is not None and not any(r[3] is not None and r[3].sign for r in table.rows):
        lines.append("**Schedules.** None differs from uniform by more than its interval.")
    table = tables.get("again")
    for row in table.rows if table is not None else ():
        lines.append(
            f"**Rho after {row[0]}.** Largest change of a step: a factor of "
            f"{row[3].text(2, sign=False) if row[3] else '-'}; "
            f"{row[5]} steps leave the interval measured before."
        )
    return lines


_LAST_LOSSES = 20


def slim_results(results: dict[str, Any]) -> dict[str, Any]:
    """What the page and its plots need of the data of `collect`: no rows of single matrices, the last losses of the
    training, numbers to 6 significant digits. Slimming twice changes nothing.
    """

    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: short(v) for k, v in value.items()}
        if isinstance(value, list):
            return [short(v) for v in value]
        return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value

    kept = []
    for model in results["models"]:
        one = dict(model)
        if "train" in one:
            one["train"] = one["train"] | {
                "loss_curve_nats_per_token": one["train"]["loss_curve_nats_per_token"][-_LAST_LOSSES:]
            }
        if "predict" in one:
            one["predict"] = {k: v for k, v in one["predict"].items() if k != "matrices"}
        kept.append(short(one))
    return short({k: v for k, v in results.items() if k != "models"}) | {"models": kept}


def slim_text(results: dict[str, Any]) -> str:
    """`slim_results` as JSON with a line for each model."""
    found = slim_results(results)
    head = json.dumps({k: v for k, v in found.items() if k != "models"}, allow_nan=False)[:-1]
    lines = ",\n".join(json.dumps(m, allow_nan=False, separators=(",", ":")) for m in found["models"])
    return f'{head},\n"models": [\n{lines}\n]}}\n'


_SEARCHES = ("greedy", "shortlist", "beam", "swaps", "pairs", "random")


def _training(results: dict[str, Any]) -> str:
    """How the models came about, and how little training that is."""
    plan = results["plan"]
    if results["given_models"]:
        return "The models were given, not trained here.\n"
    tokens = plan["steps"] * plan["batch"] * plan["window"]
    taken = sum(bool(m.get("train", {}).get("taken")) for m in results["models"])
    return (
        f"Training is short: {plan['steps']} steps of {plan['batch']} windows, {tokens / 1e6:.1f} million tokens seen, "
        "a token a byte; the losses reached are in the first table. Single blocks matter less than in models trained "
        "for long."
        + (
            f" {taken} of them were trained by an earlier study with the same options; its minutes are counted."
            if taken else ""
        )
        + "\n"
    )


def _partly(results: dict[str, Any], wanted: int) -> list[str]:
    """How many models each stage has, while some lack stages."""
    counts = {s: sum(s in m for m in results["models"]) for s in results["minutes"] if s != "all"}
    if min(counts.values()) == wanted:
        return []
    each = ", ".join(f"{stage} {count}" for stage, count in counts.items())
    return [f"The study is not finished. A table takes every model that went through its stages: {each}.\n"]


def _processor(results: dict[str, Any]) -> str:
    """Processor time where every stage recorded it."""
    spent = [s for m in results["models"] for s in m.get("cpu_seconds", {"": None}).values()]
    return f"{sum(spent) / 60:.1f} minutes of processor time, " if spent and None not in spent else ""


def study_document(results: dict[str, Any]) -> str:
    """The page, as Markdown, from the data of `collect`."""
    plan, minutes, machine = results["plan"], results["minutes"], results["machine"]
    tables = study_tables(results)
    by_name = {t.name: t for t in tables}
    units = [m["unit"] for m in results["models"] if "again" in m]
    wanted = results["given_models"] or len(plan["families"]) * plan["seeds"]
    took = ", ".join(f"{stage} {m:.1f}" for stage, m in minutes.items() if stage != "all")
    parts = [
        _HEAD,
        "## What was run\n",
        f"{len(units)} of {wanted} planned models went through every stage: {', '.join(units) or 'none'}. "
        f"{plan['rank_tokens']} tokens for measuring, ranking and calibrating, {plan['final_tokens']} tokens of other "
        f"documents for the figures, windows of {plan['window']} tokens, {plan['draws']} noise draws, "
        f"{plan['random_orders']} random orders (on {plan['rank_tokens']} tokens of the final text).\n",
        *(
            [
                "This is below the token budget that such figures should have (8192 and 32768, the default of the "
                "command): smaller differences would show with more text.\n"
            ]
            if plan["rank_tokens"] < 8192 or plan["final_tokens"] < 32768
            else []
        ),
        *_partly(results, wanted),
        "No interval is corrected for the number of comparisons: of twenty with nothing behind them, one is expected "
        "to leave zero out. Models of one family are counted as independent.\n",
        _training(results),
        f"The stages took {minutes['all']:.1f} minutes by the clock in sum, whatever ran beside them ({took}), "
        f"{_processor(results)}"
        f"on {machine['threads']} thread{'s' if machine['threads'] > 1 else ''} of {machine['processor']}, "
        f"Python {machine['python']}, torch {machine['torch']}, transformers {machine['transformers']}.\n",
        "## Findings\n",
        "\n".join(f"- {line}" for line in _findings(by_name)) + "\n",
        "## Tables\n",
        *(t.markdown() + "\n" for t in tables),
        _NOTES,
        _REPEAT,
    ]
    return "\n".join(parts)


_NOTES = """## How to read the tables

- *Targets.* `relative` and `absolute`: energy of the error after the last block, divided by the state or not.
  `logit_rms`: root mean square change of the logits. `delta_loss`: change of the loss, nats a token.
- *Scores.* `product`: product of rho of all later blocks. `introduced`: relative energy of the error where it arises.
  `injected`: what is left at the end of noise that is put in after the block itself. A product that predicts has a
  positive correlation: that sign was fixed before anything was measured.
- *Criteria.* `shortlist` is greedy among the blocks with the least first-order skip score; `beam` keeps 3 sets; `swaps`
  exchanges blocks up to twice after each removal; `pairs` removes two at a time. All searches reuse shared prefixes.
  Every block that is run is counted, a backward pass as two. Random is the mean over its orders.
- *Greedy's spread over seeds.* The standard deviation of greedy's rise over models of one family, pooled over families.
- *Steps outside the interval.* The interval is over noise draws and windows on the whole model.
"""
