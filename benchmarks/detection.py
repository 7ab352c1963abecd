"""Does peeling find a fault, and the block that is to blame? Many small healthy and faulty runs, and a table.

    python benchmarks/detection.py OUT [--quick] [--table-only] [--page docs/detection.md]
    python benchmarks/detection.py --results docs/detection.json --page docs/detection.md

Every run is trained, measured and written to OUT as one JSON file; started again, finished runs are skipped and the
table is made anew from all files. --page writes the page and, beside it, the results it is made from. The table
(OUT/table.md) has the alarm rate of each score on faulty and healthy
runs with exact 95 % intervals (Clopper and Pearson), for three levels of information kept apart:

* one checkpoint: fixed rules, nothing fitted;
* one checkpoint and healthy reference runs: distance from them, threshold fitted on other seeds;
* a series: what changed between two checkpoints, threshold fitted on other seeds;

and, for faults of one block, how often the block with the largest score is the faulty one, beside chance.

Faults: `frozen` block never trained; `dead` block whose two output maps are zero and stay zero, so that it adds
nothing; `slow` and `fast` learning rate a thirtieth and thirty times the usual one; `scale` all block matrices five
times too large at the start; `stale` block of the last checkpoint replaced by that of the first half of training;
`bits` block with ternary weights throughout.

Longer than 500 lines because the runs and the page made from them belong to one command.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from peelverify.data import builtin_text, windows
from peelverify.models.small import byte_tokenizer, small_decoder, train_decoder
from peelverify.models.view import ModelView
from peelverify.peel.maps import all_last, direct, single_landmark
from peelverify.peel.run import thin
from peelverify.peel.solvers import token_losses
from peelverify.peel.ste import _StraightThrough, few_bits
from peelverify.peel.substitute import _slopes, substitute
from peelverify.peel.transformer import yes_chain

FAMILIES = ("llama", "gpt2")
FAULTS = ("frozen", "dead", "slow", "fast", "scale", "stale", "bits")
ONE_BLOCK = ("frozen", "dead", "stale", "bits")


@dataclass(frozen=True)
class Setting:
    """Size of the experiment."""

    blocks: int = 6
    width: int = 48
    length: int = 48
    steps: int = 300
    batch: int = 8
    windows: int = 48
    reference: int = 10
    healthy: int = 20
    one_block: int = 4
    whole_model: int = 2
    learning_rate: float = 2e-3


QUICK = Setting(width=16, length=16, steps=6, batch=4, windows=12, reference=2, healthy=1, one_block=1, whole_model=1)


def plan(setting: Setting) -> list[tuple[str, str, int]]:
    """Runs as (family, kind, seed): reference runs, healthy runs and faulty runs have different seeds.

    They are spread evenly, so that an experiment that was stopped has some of every kind.
    """
    runs = []
    for family in FAMILIES:
        groups = {"reference": (0, setting.reference), "healthy": (1000, setting.healthy)}
        groups |= {fault: (2000 + 100 * i, setting.one_block if fault in ONE_BLOCK else setting.whole_model)
                   for i, fault in enumerate(FAULTS)}
        runs += [((i + 0.5) / count, family, kind, first + i)
                 for kind, (first, count) in groups.items() for i in range(count)]
    return [(family, kind, seed) for _, family, kind, seed in sorted(runs)]


def train(view: ModelView, ids: Tensor, kind: str, block: int, setting: Setting, seed: int) -> ModelView:
    """Train in two halves with a fault; gives the checkpoint between them."""
    target = view.blocks[block]
    family = view.family
    rate = setting.learning_rate * {"slow": 1 / 30, "fast": 30.0}.get(kind, 1.0)
    linears = list(view.linears(block).values())
    with torch.no_grad():
        if kind == "scale":
            for index in range(view.depth):
                for linear in view.linears(index).values():
                    linear.weight.mul_(5.0)
        if kind == "dead":
            for name in (family.attention_out, family.mlp_out):
                for parameter in target.get_submodule(name).parameters():
                    parameter.zero_()
    if kind in ("frozen", "dead"):
        frozen = (target,) if kind == "frozen" else (
            target.get_submodule(family.attention_out), target.get_submodule(family.mlp_out))
        for module in frozen:
            module.requires_grad_(False)
    if kind == "bits":
        for linear in linears:
            rule = _StraightThrough("ternary", type(linear).__name__ == "Conv1D")
            parametrize.register_parametrization(linear, "weight", rule, unsafe=True)
    half: ModelView | None = None

    def keep(step: int, loss: float) -> None:
        nonlocal half
        if step == max(1, setting.steps // 2):
            # a copy of a parametrised module shares its class, so the weights go into a plain decoder instead
            plain = view.model.config.__class__.from_dict(view.model.config.to_dict())
            kernel = view.model.config._attn_implementation
            half = ModelView(type(view.model)._from_config(plain, attn_implementation=kernel))
            half.model.load_state_dict({
                n.replace(".parametrizations.weight.original", ".weight"): t
                for n, t in view.model.state_dict().items()
            })

    train_decoder(view, ids, steps=setting.steps, batch=setting.batch, learning_rate=rate, seed=seed, on_step=keep)
    assert half is not None
    if kind == "bits":
        for linear in linears:
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=False)
    for model in (view, half):
        if kind == "bits":
            with torch.no_grad():
                for linear in model.linears(block).values():
                    weight = ModelView.weight(linear)
                    weight.copy_(few_bits(weight, "ternary"))
        model.model.requires_grad_(False)
    if kind == "stale":
        target.load_state_dict(half.blocks[block].state_dict())
    return half


def measure(view: ModelView, half: ModelView, fit: Tensor, held: Tensor) -> dict[str, Any]:
    """Scores of one run: of the whole model, and one a block; larger is more suspicious."""
    depth = view.depth
    maps = [direct(depth), all_last(depth), *(single_landmark(i, depth) for i in range(1, depth))]
    yes = yes_chain(view, fit, held_out=held, maps=maps, keep="best")
    try:
        earlier = yes_chain(half, fit, held_out=held, maps=maps, keep="best")
        before: dict[str, Any] | None = {
            "status": earlier.status.name, "loss": earlier.deciding_loss, "gap": earlier.deciding_loss - earlier.best}
    except (ValueError, ArithmeticError):  # diverged half way
        before = None
    again = substitute(view, fit, held[::2], held[1::2], brackets=False)
    trace = view.trace(fit)
    slopes = _slopes(view, trace, 8)
    best = yes.best_map
    skipped = [0.0 if i + 1 < depth and best[i] == i + 1 else 1.0 for i in range(depth)]

    def per_block(score: Callable[[int], float]) -> list[float]:
        return [score(i) for i in range(depth)]

    def scales(index: int) -> float:
        found = [p for n, p in view.blocks[index].named_parameters() if p.ndim == 1 and "weight" in n]
        return -statistics.fmean(float((p - 1).abs().mean()) for p in found)

    def moved(index: int) -> float:
        pairs = zip(view.blocks[index].parameters(), half.blocks[index].parameters(), strict=True)
        parts = [(float(((a - b) ** 2).sum()), float((b**2).sum())) for a, b in pairs]
        return -math.sqrt(sum(p[0] for p in parts) / sum(p[1] for p in parts))

    def above_random(index: int) -> float:
        """Largest singular value of the block's matrices over the edge of a random matrix of the same spread."""
        found = [ModelView.weight(m) for m in view.linears(index).values()]
        found = [w for w in found if float(w.std()) > 0]
        edges = [float(w.std()) * (math.sqrt(w.shape[0]) + math.sqrt(w.shape[1])) for w in found]
        return -statistics.fmean(
            float(torch.linalg.matrix_norm(w, 2)) / e for w, e in zip(found, edges, strict=True)) if found else 0.0

    def without(index: int) -> float:
        return -float((losses(trace.run_from(index + 1, trace.states[index])) - whole).mean())

    def losses(state: Tensor) -> Tensor:
        return token_losses(view.head, state, trace.input_ids, view.vocabulary)

    whole = losses(trace.states[-1])
    return {
        "status": yes.status.name, "loss": yes.deciding_loss, "gap": yes.deciding_loss - yes.best,
        "best_map": list(best), "half": before,
        "blocks": {
            "substitution gain": [g.gain for g in again.gains],
            "substitution, standardised": [g.standardised for g in again.gains],
            "best map skips": skipped,
            "misfit of the direct chain": list(yes.chains[direct(depth)].residuals),
            "loss rise without the block": per_block(without),
            "singular value above random": per_block(above_random),
            "norm scales at 1": per_block(scales),
            "relative size of f(h)": per_block(
                lambda i: -float((trace.states[i + 1] - trace.states[i]).norm() / trace.states[i].norm())),
            "gradient norm": per_block(lambda i: -float(slopes[i].norm())),
            "movement between checkpoints": per_block(moved),
        },
    }


def one_run(family: str, kind: str, seed: int, setting: Setting, folder: Path, data: tuple[Tensor, ...]) -> None:
    """Train, measure and write one run; the file appears whole or not at all."""
    path = folder / f"{family}-{kind}-{seed}.json"
    if path.exists():
        return
    begun = time.perf_counter()
    block = (seed + 3 * FAMILIES.index(family)) % setting.blocks
    view = small_decoder(
        family, blocks=setting.blocks, width=setting.width, heads=4, length=setting.length, seed=seed)
    half = train(view, data[0], kind, block, setting, seed)
    found: dict[str, Any]
    try:
        found = measure(view, half, data[1], data[2])
    except (ValueError, ArithmeticError) as error:  # a diverged run has no scores: that is its result
        found = {"diverged": str(error)}
    record = {
        "family": family, "kind": kind, "seed": seed, "block": block if kind in ONE_BLOCK else None,
        "setting": setting.__dict__, "seconds": time.perf_counter() - begun, **found,
    }
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record) + "\n", encoding="utf-8")
    part.replace(path)


def exact_interval(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a rate; (0, 1) without trials."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, count - hits + 1))
    high = 1.0 if hits == count else float(beta.ppf(1 - tail, hits + 1, count - hits))
    return low, high


def _alarms(records: list[dict[str, Any]]) -> dict[str, tuple[str, Callable[[dict[str, Any]], bool]]]:
    """Rules by name, each with its level of information; a diverged run alarms every rule."""
    rules: dict[str, tuple[str, Callable[[dict[str, Any]], bool]]] = {
        "cloud not GREEN": ("one checkpoint", lambda r: r["status"] != "GREEN"),
        "cloud RED": ("one checkpoint", lambda r: r["status"] == "RED"),
        "best map is not the direct one": (
            "one checkpoint", lambda r: any(r["blocks"]["best map skips"][:-1])),
        "a block's gain over 3 standard errors": (
            "one checkpoint", lambda r: max(r["blocks"]["substitution, standardised"]) > 3),
        "a block's norm scales within 0.001 of 1": (
            "one checkpoint", lambda r: max(r["blocks"]["norm scales at 1"]) > -1e-3),
        "a block adds less than 1 % of its input": (
            "one checkpoint", lambda r: max(r["blocks"]["relative size of f(h)"]) > -1e-2),
    }
    reference = [r for r in records if r["kind"] == "reference" and "blocks" in r]
    for name in reference[0]["blocks"] if reference else ():
        level = "a series" if name.startswith("movement") else "with reference runs"
        if name != "best map skips":
            rules[f"{name}: distance"] = (level, _distance_rule(name, reference))
    if reference:
        limit = {f: max(r["gap"] for r in reference if r["family"] == f) for f in {r["family"] for r in reference}}
        rules["loss less best bound"] = ("with reference runs", lambda r: r["gap"] > limit[r["family"]])
        worst = {f: max(r["loss"] for r in reference if r["family"] == f) for f in limit}
        rules["loss alone"] = ("with reference runs", lambda r: r["loss"] > worst[r["family"]])
        least = {f: min(_fall(r) for r in reference if r["family"] == f) for f in limit}
        rules["fall of the loss between checkpoints"] = ("a series", lambda r: _fall(r) < least[r["family"]])
    rules["cloud GREEN at neither checkpoint"] = (
        "a series", lambda r: r["status"] != "GREEN" and (r["half"] is None or r["half"]["status"] != "GREEN"))
    order = ("one checkpoint", "with reference runs", "a series")
    return dict(sorted(rules.items(), key=lambda item: order.index(item[1][0])))


def _fall(record: dict[str, Any]) -> float:
    """Loss at the first checkpoint less loss at the second; minus infinity if the first had none."""
    return -math.inf if record["half"] is None else record["half"]["loss"] - record["loss"]


def distances(record: dict[str, Any], name: str, reference: list[dict[str, Any]]) -> list[float]:
    """How many reference deviations each block lies from the reference mean of that block."""
    others = [r["blocks"][name] for r in reference if r["family"] == record["family"] and r["seed"] != record["seed"]]
    found = []
    for index, value in enumerate(record["blocks"][name]):
        column = [o[index] for o in others]
        spread = statistics.stdev(column) if len(column) > 1 else 0.0
        found.append(abs(value - statistics.fmean(column)) / max(spread, 1e-12))
    return found


def _distance_rule(name: str, reference: list[dict[str, Any]]) -> Callable[[dict[str, Any]], bool]:
    """Alarm above the largest leave-one-out distance among the reference runs of the family."""
    limits = {
        family: max(max(distances(r, name, reference)) for r in reference if r["family"] == family)
        for family in {r["family"] for r in reference}
    }
    return lambda r: max(distances(r, name, reference)) > limits[r["family"]]


@dataclass(frozen=True)
class Rule:
    """Alarms of one rule: hits and number of healthy and of faulty runs, and hits by kind of fault."""

    level: str
    name: str
    healthy: tuple[int, int]
    faulty: tuple[int, int]
    kinds: dict[str, tuple[int, int]]

    @property
    def advantage(self) -> float:
        """Rate on faulty runs less rate on healthy ones; a rule that does not look at the run has 0 on average."""
        return self.faulty[0] / max(1, self.faulty[1]) - self.healthy[0] / max(1, self.healthy[1])

    @property
    def p_value(self) -> float:
        """Fisher's exact test, one-sided: alarms at least as concentrated on faulty runs if the rule saw nothing."""
        from scipy.stats import fisher_exact

        (a, n), (b, m) = self.faulty, self.healthy
        return float(fisher_exact([[a, n - a], [b, m - b]], alternative="greater")[1])


@dataclass(frozen=True)
class Blame:
    """How often a score points at the faulty block, alone and as distance from the reference runs."""

    name: str
    alone: tuple[int, int]
    apart: tuple[int, int]
    kinds: dict[str, tuple[int, int]]


def is_peeling(name: str) -> bool:
    """Whether a rule or score comes from peeling; the others are baselines."""
    return name.startswith(("cloud", "best map", "substitution", "misfit", "loss less", "a block's gain"))


def counted(records: list[dict[str, Any]]) -> tuple[list[Rule], list[Blame], int]:
    """Every rule on every run, every score on every fault of one block, and the number of blocks."""
    groups = {k: [r for r in records if r["kind"] == k] for k in ("healthy", *FAULTS)}
    faulty = [r for k in FAULTS for r in groups[k]]

    def hits(rows: list[dict[str, Any]], rule: Callable[[dict[str, Any]], bool]) -> tuple[int, int]:
        return sum("diverged" in r or bool(rule(r)) for r in rows), len(rows)

    rules = [
        Rule(level, name, hits(groups["healthy"], rule), hits(faulty, rule), {k: hits(groups[k], rule) for k in FAULTS})
        for name, (level, rule) in _alarms(records).items()
    ]
    one = [r for r in faulty if r["block"] is not None and "blocks" in r]
    reference = [r for r in records if r["kind"] == "reference" and "blocks" in r]
    families = {r["family"] for r in reference}
    ready = families and all(sum(r["family"] == f for r in reference) > 1 for f in families)

    def hit(row: dict[str, Any], values: list[float]) -> bool:
        top = max(values)
        return values.count(top) == 1 and values.index(top) == row["block"]

    blames = []
    for name in one[0]["blocks"] if one else ():
        alone = [hit(r, r["blocks"][name]) for r in one]
        apart = [hit(r, distances(r, name, reference)) for r in one] if ready else []
        blames.append(Blame(name, (sum(alone), len(alone)), (sum(apart), len(apart)), {
            k: (sum(a for a, r in zip(apart, one, strict=False) if r["kind"] == k),
                sum(r["kind"] == k for r in one) if apart else 0) for k in ONE_BLOCK}))
    return rules, blames, len(next(iter(one[0]["blocks"].values()))) if one else 0


def _rate(found: tuple[int, int]) -> str:
    if not found[1]:
        return "no runs"
    low, high = exact_interval(*found)
    return f"{found[0]}/{found[1]} ({100 * low:.0f} to {100 * high:.0f} %)"


def table(records: list[dict[str, Any]]) -> str:
    """The table of detection and localisation, Markdown."""
    rules, blames, depth = counted(records)
    healthy = sum(r["kind"] == "healthy" for r in records)
    faulty = sum(r["kind"] in FAULTS for r in records)
    lines = [
        "## Detection", "",
        f"{healthy} healthy and {faulty} faulty runs; "
        f"{sum(r['kind'] == 'reference' for r in records)} reference runs of other seeds. Measured; exact 95 % "
        "intervals. A diverged run counts as an alarm.", "",
        "Advantage: rate on faulty runs less rate on healthy ones. Chance is 0. p: Fisher's exact test of that, "
        "one-sided, not corrected for the number of rules.", "",
        "| information | rule | false alarms | all faults | advantage (p) | " + " | ".join(FAULTS) + " |",
        "|---|---|---|---|---|" + "---|" * len(FAULTS),
    ]
    for rule in rules:
        cells = [_rate(rule.healthy), _rate(rule.faulty), f"{100 * rule.advantage:+.0f} % ({rule.p_value:.2g})"]
        cells += [f"{a}/{n}" for a, n in rule.kinds.values()]
        lines.append(f"| {rule.level} | {rule.name} | " + " | ".join(cells) + " |")
    lines += ["", "## Which block is to blame", "", f"Faults of one block: {', '.join(ONE_BLOCK)}. Chance: "
              f"{'-' if not depth else f'{100 / depth:.0f} %'}.", "",
              "| score | alone | distance from reference runs | " + " | ".join(ONE_BLOCK) + " (distance) |",
              "|---|---|---|" + "---|" * len(ONE_BLOCK)]
    for blame in blames:
        split = [f"{a}/{n}" if n else "-" for a, n in blame.kinds.values()]
        lines.append(f"| {blame.name} | {_rate(blame.alone)} | {_rate(blame.apart)} | " + " | ".join(split) + " |")
    return "\n".join(lines) + "\n"


def findings(records: list[dict[str, Any]]) -> list[str]:
    """What the counts say, in plain words; made from them, so that they cannot disagree."""
    rules, blames, depth = counted(records)

    def best(found: list[Rule]) -> str:
        top = max(found, key=lambda r: (r.advantage, -r.p_value))
        return (f"\"{top.name}\", {_rate(top.faulty)} of the faulty runs and {_rate(top.healthy)} of the healthy ones "
                f"(advantage {100 * top.advantage:+.0f} %, p = {top.p_value:.2g})")

    said = []
    for level in dict.fromkeys(r.level for r in rules):
        here = [r for r in rules if r.level == level]
        groups = [(w, [r for r in here if is_peeling(r.name) == own]) for w, own in
                  (("peeling rule", True), ("baseline", False))]
        said += [f"{level.capitalize()}: the best {word} is {best(found)}." for word, found in groups if found]
    useless = [r.name for r in rules if is_peeling(r.name) and r.p_value > 0.05]
    if useless:
        said.append("Not told apart from a rule that ignores the run (p above 0.05): " + "; ".join(useless) + ".")
    missed = [k for k in FAULTS if rules and all(
        not r.kinds[k][0] for r in rules if is_peeling(r.name) and r.healthy[0] * 5 <= r.healthy[1])]
    if missed:
        said.append("Faults that no peeling rule with at most 20 % false alarms ever saw: " + ", ".join(missed) + ".")
    chance = 1 / depth if depth else 1.0
    for how in ("alone", "apart"):
        words = {"alone": "Without reference runs", "apart": "With reference runs"}[how]
        found = [b for b in blames if getattr(b, how)[1]]
        above = [b for b in found if exact_interval(*getattr(b, how))[0] > chance]
        for word, own in (("peeling score", True), ("baseline", False)):
            named = sorted((b for b in above if is_peeling(b.name) == own), key=lambda b: -getattr(b, how)[0])
            if named:
                said.append(f"{words}, each {word} that points at the faulty block more often than chance: "
                            + "; ".join(f"{b.name}{' (two checkpoints)' if b.name.startswith('movement') else ''} "
                                        f"{_rate(getattr(b, how))}" for b in named) + ".")
            elif found:
                said.append(f"{words}, no {word} points at the faulty block more often than chance.")
    return said


PAGE = """# Does peeling find a fault, and the block that is to blame?

<!-- Written by: python benchmarks/detection.py --results docs/detection.json --page docs/detection.md -->

{size}

Faults: `frozen` a block never trained; `dead` a block whose two maps into the residual stream are zero and stay zero,
so that it adds nothing; `slow` and `fast` learning rate a thirtieth and thirty times the usual one; `scale` all block
matrices five times too large at the start; `stale` a block of the last checkpoint replaced by that of half time;
`bits` a block with ternary weights throughout. A run counts as *diverged* if its states are not finite.

Three levels of information are kept apart. *One checkpoint*: fixed rules, nothing is fitted. *With reference runs*:
distance of a block's score from that of healthy runs, in their standard deviations; the threshold is the largest
leave-one-out distance among the reference runs, so it was fitted on other seeds. *A series*: what changed between half
time and the end, with thresholds from the reference runs.

## What was found

{findings}

{table}
The rows are *peeling* (cloud, best map, substitution gain, misfit of the direct chain, loss less best bound) or
*baselines* that need no peeling (norm scales, size of what a block adds, gradient norm, loss when the block is left
out, largest singular value over that of a random matrix, movement between checkpoints, the loss). Every number is
measured, on small models and one text: it says how these scores behave here, not how they would on a large model.
"""


def compact(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records with four digits a number and without times; the page is made from these."""
    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        if isinstance(value, dict):
            return {k: short(v) for k, v in value.items() if k != "seconds"}
        return [short(v) for v in value] if isinstance(value, list) else value

    return sorted((short(r) for r in records), key=lambda r: (r["family"], r["kind"], r["seed"]))


def page(records: list[dict[str, Any]]) -> str:
    """The page of the results."""
    setting = Setting(**records[0]["setting"])
    wanted, have = plan(setting), {(r["family"], r["kind"], r["seed"]) for r in records}
    short = sum(run not in have for run in wanted)
    size = (
        f"{len(records)} runs of {' and '.join(sorted({r['family'] for r in records}))} decoders with {setting.blocks} "
        f"blocks, width {setting.width}, trained for {setting.steps} steps of {setting.batch} windows of "
        f"{setting.length} bytes."
    )
    if short:
        size += (f" The plan has {len(wanted)} runs; **{short} of them are still to be done**, so the intervals are "
                 "wider than they will be. The runs were made in an order that takes some of every kind.")
    said = "\n".join(f"- {s}" for s in findings(records))
    return PAGE.format(size=size, findings=said, table=table(records))


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def main(argv: list[str] | None = None) -> int:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description="Detection and localisation of training faults")
    parser.add_argument("out", type=Path, nargs="?", help="folder of results; finished runs in it are kept")
    parser.add_argument("--quick", action="store_true", help="tiny runs, to see that it works")
    parser.add_argument("--table-only", action="store_true", help="make the table from what is there")
    parser.add_argument("--page", type=Path, help="write the page, and its results as JSON beside it")
    parser.add_argument("--results", type=Path, help="make the page from such a JSON file instead of a folder")
    arguments = parser.parse_args(argv)
    if (arguments.out is None) == (arguments.results is None):
        parser.error("give either a folder or --results FILE")
    if arguments.results is not None:
        if arguments.page is None:
            parser.error("--results needs --page")
        _write(arguments.page, page(json.loads(arguments.results.read_text(encoding="utf-8"))))
        return 0
    setting = QUICK if arguments.quick else Setting()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    runs = [] if arguments.table_only else plan(setting)
    data: tuple[Tensor, ...] = ()
    if runs:
        every = windows(byte_tokenizer(), builtin_text(), length=setting.length)
        data = (every[torch.arange(len(every)) % 10 != 0], *thin(every[::10], setting.windows))
    for number, (family, kind, seed) in enumerate(runs, 1):
        begun = time.perf_counter()
        one_run(family, kind, seed, setting, arguments.out, data)
        print(f"{number}/{len(runs)} {family} {kind} {seed}: {time.perf_counter() - begun:.1f} s", file=sys.stderr)
    records = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(arguments.out.glob("*.json"))]
    others = [r for r in records if r["setting"] != setting.__dict__]
    if others or not records:
        print(f"{arguments.out} holds {'runs of another setting' if others else 'no runs'}; choose another folder or "
              "repeat --quick", file=sys.stderr)
        return 2
    text = table(records)
    _write(arguments.out / "table.md", text)
    if arguments.page is not None:
        small = compact(records)
        _write(arguments.page.with_suffix(".json"), "[\n" + ",\n".join(json.dumps(r) for r in small) + "\n]\n")
        _write(arguments.page, page(small))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
