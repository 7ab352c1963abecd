"""``docs/study.md``: written from the results of a study, never by hand."""

from __future__ import annotations

import json
import math
from typing import Any

from peelverify.evaluate.study.tables import (
    UNCHANGED,
    Gap,
    Mean,
    Table,
    cost_share,
    gap_to_greedy,
    greedy_noise,
    study_tables,
)

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
`--preset standard` is the same with 12 blocks, width 256 and batches of 32, for an accelerator, or for patience.

On published models, with weights on the local disk:

    peelverify study --models ./gpt2 --preset pretrained --text wikitext-2-test.txt --out study-gpt2
    peelverify study --models ./Llama-2-7b-hf --preset pretrained --text wikitext-2-test.txt --out study-llama
    peelverify study --models ./Mistral-7B-v0.1 --preset pretrained --text wikitext-2-test.txt --out study-mistral

Weights are read in float32: a model of 7 billion weights needs about 28 GB, twice that while it is compared with its
compression. Results for these models are not given here because nobody has run them. The code path is tested on small
saved models of these three families.

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


_SHARE = 0.2
"""The aim: greedy's quality for this share of its cost."""


def _near(name: str, k: int, gap: Gap, others: int) -> str:
    """One sentence on the nearest criterion to greedy at one k."""
    shown = gap.p is not None and gap.p < 0.05
    size = "at most the noise" if gap.within else "more than the noise"
    says = "and a difference over models is shown" if shown else "and over these models no difference is shown"
    if (gap.within and shown) or (not gap.within and not shown):
        says = says.replace("and", "but", 1)
    models = gap.worse + gap.better + gap.same
    p = "" if gap.p is None else f" (Wilcoxon signed-rank p {gap.p:.2g})"
    return (
        f"**Aim, {k} removed.** The nearest of {others} criteria is {name}: {gap.mean.text() if gap.mean else '-'} "
        f"nats above greedy, worse in {gap.worse} of {models} models, better in {gap.better}, the same in {gap.same}"
        f"{p}. That is {size} ({gap.noise:.3f}), {says}."
    )


def _aim(models: list[dict[str, Any]]) -> list[str]:
    """Whether a criterion has greedy's quality for a fifth of its cost, and whether any is better than greedy."""
    title = "**Aim: greedy's quality for a fifth of its cost.** "
    models = [m for m in models if {"train", "rank"} <= set(m)]
    if not models:
        return []
    most = min(m["rank"]["most"] for m in models)
    noise = [greedy_noise(models, k) for k in range(1, most + 1)]
    if any(n is None for n in noise):
        return [title + "Not judged: greedy was not run again on further draws of text, so its noise is not known."]
    if len(models) < 3:
        return [title + f"Models with a value: {len(models)}; too few for an answer."]
    names = [n for n in models[0]["rank"]["delta_loss"] if n != "greedy"]
    share = {n: cost_share(models, n) for n in names}
    gaps = {n: [gap_to_greedy(models, n, k) for k in range(1, most + 1)] for n in names}
    cheap = [n for n in names if share[n] <= _SHARE]
    met = [n for n in cheap if all(g.within for g in gaps[n])]
    draws = models[0]["rank"]["greedy_draws"]
    sizes = ", ".join(f"{n:.3f}" for n in noise)
    lines = [
        f"{title}Greedy's noise is the standard deviation of its result over {len(draws['sets'])} disjoint draws of "
        f"{draws['tokens']} tokens to choose on, within a model, pooled over {len(models)} models: {sizes} nats a "
        f"token for 1 to {most} blocks. "
        + (
            f"The mean gap to greedy is at most that at every k for {', '.join(met)}. That is a statement on its size, "
            "not of equality: see each k."
            if met
            else f"None of the {len(cheap)} criteria at that cost has a mean gap of at most that at every k: not met."
        )
    ]
    for k in range(1, most + 1):
        if cheap:
            best = min(cheap, key=lambda n: gaps[n][k - 1].mean.mean)  # type: ignore[union-attr]
            lines.append(_near(best, k, gaps[best][k - 1], len(cheap)))
    for words, some in (
        ("at its cost or less", [n for n in names if share[n] <= 1]),
        ("at more than its cost", [n for n in names if share[n] > 1]),
    ):
        better = [
            f"{n} ({share[n]:.2g} times the cost) at k = {k}"
            for n in some
            for k, gap in enumerate(gaps[n], start=1)
            if gap.mean is not None and gap.mean.sign < 0
        ]
        found = f"by the interval of the mean: {'; '.join(better)}" if better else "none is shown"
        lines.append(f"**Better than greedy {words}** ({len(some)} criteria): {found}.")
    return lines


def _findings(tables: dict[str, Table], models: list[dict[str, Any]]) -> list[str]:
    lines = []
    row = _row(tables.get("prediction"), "product", "relative")
    if row is not None:
        whole, depth, partial = row[2], row[5], row[6]
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
            other = f"without a search: {cheap[0]} ({cheap[k].text()})"
            rest = "that is without a search" if cheap[0] == best[0] else other
            lines.append(f"**Removing {k}.** Least loss: {best[0]} ({best[k].text()} nats a token); {rest}.")
    lines += _aim(models)
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
    unchanged = _row(table, UNCHANGED)
    for row in table.rows if table is not None else ():
        if row is not unchanged:
            lines.append(
                f"**Rho after {row[0]}.** Largest change of a step: a factor of "
                f"{row[3].text(2, sign=False) if row[3] else '-'}; "
                f"{row[5]} steps leave the interval measured before, with the same noise and windows."
            )
    if unchanged is not None:
        lines.append(
            f"**Rho of the whole model again**, with other noise on other windows: a factor of "
            f"{unchanged[3].text(2, sign=False) if unchanged[3] else '-'}; {unchanged[5]} steps leave the interval. "
            "What compression does is to be read against this."
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
        "a token a byte; the losses reached are in the first table. How much single blocks matter after long "
        "training is not shown here."
        + _against_counts(results["models"])
        + (
            f" {taken} of them were trained by an earlier study with the same options; its minutes are counted."
            if taken else ""
        )
        + "\n"
    )


def _against_counts(models: list[dict[str, Any]]) -> str:
    """How many models beat tables of counts of the text that they were trained on."""
    some = [m["measure"] for m in models if m.get("measure", {}).get("counts")]
    if not some:
        return ""
    parts = []
    for name, words in (("bigram", "pairs"), ("trigram", "triples")):
        below = sum(m["final_loss"]["loss_nats_per_token"] < m["counts"][name] for m in some)
        losses = sorted({f"{m['counts'][name]:.3f}" for m in some})
        parts.append(f"{below} of {len(some)} models have less loss than a table of {words} ({' or '.join(losses)})")
    tokens = some[0]["counts"]["counted_tokens"]
    return f" On the final text {' and '.join(parts)}, counted on the {tokens} tokens of their training windows."


_OPTIONS = {
    "families": "families",
    "seeds": "models a family, seeds 0, 1, ...",
    "blocks": "blocks",
    "width": "width",
    "heads": "attention heads",
    "steps": "training steps",
    "batch": "windows a training step",
    "learning_rate": "peak learning rate",
    "window": "tokens a window",
    "rank_tokens": "tokens for measuring, ranking and calibrating",
    "rank_draws": "draws of so many tokens on which greedy chooses, the first that of all criteria",
    "final_tokens": "tokens of other documents for the figures",
    "draws": "noise draws of rho",
    "random_orders": "random orders of removal",
    "bits": "bits of the rounding that the prediction is tested on, a scale for each row",
    "permutations": "permutations for each p",
    "pruner": "pruner of the schedules",
    "sparsities": "sparsities at which schedules are compared",
    "strength": "strength of the schedules: half of the largest difference of sparsity between blocks",
}
_TRAINING_ONLY = ("families", "seeds", "blocks", "width", "heads", "steps", "batch", "learning_rate")


def _plan(results: dict[str, Any]) -> str:
    """Every option of the plan, and what the code fixes."""
    plan = results["plan"]
    left = _TRAINING_ONLY if results["given_models"] else ()
    rows = [
        f"| {words} | {', '.join(map(str, v)) if isinstance(v := plan[name], list) else v} |"
        for name, words in _OPTIONS.items()
        if name in plan and name not in left
    ]
    fixed = _FIXED if results["given_models"] else f"{_FIXED}{_FIXED_TRAINING}"
    return "\n".join(["| option of the plan | value |", "| --- | --- |", *rows, "", fixed])


_FIXED = """The code fixes the rest. Noise of rho: a hundredth of the size of the embeddings; noise put in at blocks: on
a quarter of the windows, 2 draws. Intervals of rho: bootstrap over draws and windows. Removals: 1 block to half of
them. Compressions after which rho is measured again: rounding to 4 and 3 bits, a scale for each row; half of the
weights pruned, by Wanda and by magnitude.
"""
_FIXED_TRAINING = """Training: AdamW (betas 0.9 and 0.95, weight decay 0.1), 20 steps of warm-up, then a cosine to a
twentieth of the peak rate, gradients cut at norm 1, windows drawn with replacement from at most 6,000.
"""


def _mixture(results: dict[str, Any]) -> list[str]:
    """How many windows of the text are English, where the study says so."""
    facts = next((m["measure"]["text"] for m in results["models"] if "text" in m.get("measure", {})), None)
    if facts is None or not facts["english_windows"]:
        return []
    each = ", ".join(
        f"{n} of {facts['windows'][part]} windows to {words}"
        for part, words in (("train", "train on"), ("rank", "rank on"), ("final", "judge on"))
        if (n := facts["english_windows"].get(part)) is not None
    )
    what = "training text" if results["given_text"] else "text"
    return [f"The {what} is that of Python's standard library: English topics ({each}), the rest source files.\n"]


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
        "No interval and no p is corrected for the number of comparisons: of twenty with nothing behind them, one is "
        "expected to leave zero out. Models of one family are counted as independent.\n",
        _training(results),
        *_mixture(results),
        _plan(results),
        f"The stages took {minutes['all']:.1f} minutes by the clock in sum, whatever ran beside them ({took}), "
        f"{_processor(results)}"
        f"on {machine['threads']} thread{'s' if machine['threads'] > 1 else ''} of {machine['processor']}, "
        f"Python {machine['python']}, torch {machine['torch']}, transformers {machine['transformers']}.\n",
        "## Findings\n",
        "\n".join(f"- {line}" for line in _findings(by_name, results["models"])) + "\n",
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
- *p of a prediction.* Whole blocks change places, as one number a block cannot be had from single matrices; then the
  matrices within each block. With L blocks a score that is one number a block has at most L! orders.
- *Greedy's noise.* Greedy chooses on disjoint draws of windows, as many tokens each; every choice is judged on the same
  final text. The noise is the standard deviation within a model, pooled over models. The other criteria chose on the
  first draw only; their own noise is not known. A gap is a criterion less greedy, on the same model and draw.
- *Worse / better / the same.* Numbers of models. The Wilcoxon signed-rank p is two-sided over models, the same left
  out; with fewer than six that differ it cannot fall below 0.05. The nearest criterion is picked after the fact, which
  favours it.
- *Tables of pairs and triples.* Next-token loss of counts of the training windows, each context smoothed by the next
  shorter one; the same training text and the same final text as the models.
- *Schedules.* `increasing`, `decreasing`, `owl` and `rho` move blocks by at most the strength to either side. The
  strength of `alpha` and `alphapruning` is relative: a block gets 1 - strength to 1 + strength times the total. Both
  are run with the strength of the study, not with the published 0.3; `alphapruning_published`, where it is listed, has
  0.3.
- *Steps outside the interval.* The interval is over noise draws and windows on the whole model. Rho after compression
  is measured with the same seed on the same windows, so the two are not independent and this is not a test at 5 %: the
  count sets a change against the width of the interval, and one in twenty is not what chance would give. The row
  without compression has another seed and other windows.
"""
