"""Does peeling find a fault, and the block that is to blame? Many small healthy and faulty runs, and a table.

    python benchmarks/detection.py OUT [--quick] [--table-only]

Every run is trained, measured and written to OUT as one JSON file; started again, finished runs are skipped and the
table is made anew from all files. The table (OUT/table.md) has the alarm rate of each score on faulty and healthy
runs with exact 95 % intervals (Clopper and Pearson), for three levels of information kept apart:

* one checkpoint: fixed rules, nothing fitted;
* one checkpoint and healthy reference runs: distance from them, threshold fitted on other seeds;
* a series: movement between two checkpoints, threshold fitted on other seeds;

and, for faults of one block, how often the block with the largest score is the faulty one, beside chance.

Faults: `frozen` block never trained; `dead` block whose two output maps are zero and stay zero, so that it adds
nothing; `slow` and `fast` learning rate a thirtieth and thirty times the usual one; `scale` all block matrices five
times too large at the start; `stale` block of the last checkpoint replaced by that of the first half of training;
`bits` block with ternary weights throughout.
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


def _rate(flags: list[bool]) -> str:
    if not flags:
        return "no runs"
    low, high = exact_interval(sum(flags), len(flags))
    return f"{sum(flags)}/{len(flags)} ({100 * low:.0f} to {100 * high:.0f} %)"


def _alarms(records: list[dict[str, Any]]) -> dict[str, tuple[str, Callable[[dict[str, Any]], bool]]]:
    """Rules by name, each with its level of information; a diverged run alarms every rule."""
    rules: dict[str, tuple[str, Callable[[dict[str, Any]], bool]]] = {
        "cloud not GREEN": ("one checkpoint", lambda r: r["status"] != "GREEN"),
        "cloud RED": ("one checkpoint", lambda r: r["status"] == "RED"),
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
    return rules


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


def table(records: list[dict[str, Any]]) -> str:
    """The table of detection and localisation, Markdown."""
    rules = _alarms(records)
    kinds = ["healthy", *FAULTS]
    groups = {k: [r for r in records if r["kind"] == k] for k in kinds}
    faulty = [r for k in FAULTS for r in groups[k]]
    lines = [
        "# Detection", "",
        f"{len(groups['healthy'])} healthy and {len(faulty)} faulty runs; "
        f"{sum(r['kind'] == 'reference' for r in records)} reference runs of other seeds. Measured; exact 95 % "
        "intervals. A diverged run counts as an alarm.", "",
        "| information | rule | false alarms | all faults | " + " | ".join(FAULTS) + " |",
        "|---|---|---|---|" + "---|" * len(FAULTS),
    ]
    for name, (level, rule) in rules.items():
        def flags(rows: list[dict[str, Any]], rule: Callable[[dict[str, Any]], bool] = rule) -> list[bool]:
            return ["diverged" in r or rule(r) for r in rows]

        cells = [_rate(flags(groups["healthy"])), _rate(flags(faulty))]
        cells += [f"{sum(flags(groups[k]))}/{len(groups[k])}" for k in FAULTS]
        lines.append(f"| {level} | {name} | " + " | ".join(cells) + " |")
    one = [r for r in faulty if r["block"] is not None and "blocks" in r]
    reference = [r for r in records if r["kind"] == "reference" and "blocks" in r]
    depth = len(next(iter(one[0]["blocks"].values()))) if one else 0
    lines += ["", "# Which block is to blame", "", f"Faults of one block: {', '.join(ONE_BLOCK)}. Chance: "
              f"{'-' if not depth else f'{100 / depth:.0f} %'}.", "",
              "| score | alone | distance from reference runs | " + " | ".join(ONE_BLOCK) + " (distance) |",
              "|---|---|---|" + "---|" * len(ONE_BLOCK)]
    for name in one[0]["blocks"] if one else ():
        def hit(row: dict[str, Any], values: list[float]) -> bool:
            top = max(values)
            return values.count(top) == 1 and values.index(top) == row["block"]

        alone = [hit(r, r["blocks"][name]) for r in one]
        apart = [hit(r, distances(r, name, reference)) for r in one] if reference else []
        split = [f"{sum(a for a, r in zip(apart, one, strict=True) if r['kind'] == k)}/"
                 f"{sum(r['kind'] == k for r in one)}" if apart else "-" for k in ONE_BLOCK]
        lines.append(f"| {name} | {_rate(alone)} | {_rate(apart)} | " + " | ".join(split) + " |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description="Detection and localisation of training faults")
    parser.add_argument("out", type=Path, help="folder of results; finished runs in it are kept")
    parser.add_argument("--quick", action="store_true", help="tiny runs, to see that it works")
    parser.add_argument("--table-only", action="store_true", help="make the table from what is there")
    arguments = parser.parse_args(argv)
    setting = QUICK if arguments.quick else Setting()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    every = windows(byte_tokenizer(), builtin_text(), length=setting.length)
    probe = every[::10]
    data = (every[torch.arange(len(every)) % 10 != 0], *thin(probe, setting.windows))
    runs = [] if arguments.table_only else plan(setting)
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
    part = arguments.out / "table.md.part"
    part.write_text(text, encoding="utf-8")
    part.replace(arguments.out / "table.md")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
