"""What an attacker can do with the checker's own functions: make every dependent field fit again."""

from __future__ import annotations

import copy
from fractions import Fraction

from peelverify.certify import checker
from peelverify.certify.checker import parse, round_up
from peelverify.certify.exact import round_out, spell


def seal(document: dict) -> dict:
    """Both digests computed anew."""
    body = {k: v for k, v in document.items() if k not in ("integrity", "host")}
    document["integrity"] = {"claim_sha256": checker.digest(body), "host_sha256": checker.digest(document.get("host"))}
    return document


def _portable(numbers: dict, last: tuple, field: str, margin: str, bound: str) -> None:
    spread = Fraction(0)
    for rerun in numbers["reruns"]:
        lo, hi = (parse(x) for x in rerun[field])
        spread = max(spread, abs(hi - last[0]), abs(last[1] - lo))
    value = round_up(max(checker.MIN_MARGIN, round_up(2 * spread / last[0])))
    numbers[margin], numbers[bound] = spell(value), spell(round_up(last[1] * (1 + value)))


def rederive(document: dict) -> dict:
    """A copy in which gains, chain, margins, means, draw, levels, bounds of matrices and digests fit."""
    document = copy.deepcopy(document)
    numbers, subject = document["numbers"], document["subject"]
    before = tuple(parse(x) for x in numbers["initial_error"])
    chain = before[1]
    for block in numbers["blocks"]:
        a, d = parse(block["propagated"][1]), parse(block["introduced"][1])
        gain = round_up(a / before[0]) if before[1] > 0 else Fraction(0)
        chain = round_up(gain * chain + d)
        block["gain"], block["chain"] = spell(gain), spell(chain)
        before = tuple(parse(x) for x in block["error"])
    _portable(numbers, before, "error", "margin", "portable")
    token = tuple(parse(x) for x in numbers["blocks"][-1]["token_max"])
    _portable(numbers, token, "token_max", "token_margin", "token_portable")
    _units(numbers["units"], *subject["tokens"]["shape"])
    pool = subject["pool"]
    if pool is not None:
        named = {"original": subject["original"]["files"], "compressed": subject["compressed"]["files"],
                 "pool": pool["sha256"], "windows": pool["windows"], "drawn": subject["tokens"]["shape"][0]}
        pool["seed"] = checker.digest(named)
        pool["drawn"] = checker.draw(pool["seed"], pool["windows"], subject["tokens"]["shape"][0])
    if document["unseen"] is not None:
        rows = numbers["units"]["windows"]
        errors = sorted((parse(r["error"][1]) for r in rows), reverse=True)
        changes = sorted((parse(r["loss_change"][1]) for r in rows), reverse=True)
        for level in document["unseen"]["levels"]:
            mean = changes[level["k"] - 1] / (subject["tokens"]["shape"][1] - 1)
            level["error"], level["loss_change"] = spell(errors[level["k"] - 1]), spell(round_out(mean, mean)[1])
        document["unseen"]["distinct_tokens"] = len({i for row in subject["tokens"]["ids"] for i in row})
    change = sum(parse(x) for x in numbers["units"]["signed"]["loss_change_mean"]) / 2
    measured = document["measured"]
    measured["loss_compressed"] = f"{float(Fraction(measured['loss_original']) + change):.9f}"
    for row in (document["every_input"] or {"matrices": []})["matrices"]:
        row["bound"] = spell(round_up(parse(row["operator"]) * parse(row["radius"]) + parse(row["shift"])))
    return seal(document)


def _units(units: dict, count: int, length: int) -> None:
    rows = units["windows"]
    units["loss_change_max"] = spell(max(parse(r["oscillation_max"]) for r in rows))
    total = sum(parse(r["oscillation_sum"]) for r in rows)
    units["loss_change_mean"] = spell(round_up(total / (count * (length - 1))))
    units["same_top"] = sum(r["same_top"] for r in rows)
    units["tied"] = sum(len(r["tied_at"]) for r in rows)
    signed = {}
    for name in ("loss_change", "loss_change_theorem", "kl"):
        ends = [sum(parse(r[name][i]) for r in rows) / (count * (length - 1)) for i in (0, 1)]
        signed[f"{name}_mean"] = round_out(*ends)
    for name, choose in (("loss_change_largest", max), ("loss_change_smallest", min), ("kl_largest", max)):
        signed[name] = tuple(choose(parse(r[name][i]) for r in rows) for i in (0, 1))
    signed["perplexity_factor"] = checker.exp_out(*signed["loss_change_mean"])
    units["signed"] = {name: [spell(x) for x in pair] for name, pair in signed.items()}


def scaled(document: dict, power: int) -> dict:
    """Every error, oscillation and change of loss times a power of two, inner products by its square."""
    document = copy.deepcopy(document)
    factor = Fraction(2) ** power

    def times(owner: dict, *keys: str, by: Fraction = factor) -> None:
        for key in keys:
            value = owner[key]
            owner[key] = [spell(parse(x) * by) for x in value] if isinstance(value, list) else spell(parse(value) * by)

    numbers = document["numbers"]
    times(numbers, "initial_error", "initial_token_max")
    for block in numbers["blocks"]:
        times(block, "error", "propagated", "introduced", "token_max")
        times(block, "inner", by=factor**2)
    for rerun in numbers["reruns"]:
        times(rerun, "error", "token_max")
    for row in numbers["units"]["windows"]:
        times(row, "error", "oscillation_max", "oscillation_sum", "loss_change", "loss_change_theorem", "kl",
              "loss_change_largest", "loss_change_smallest", "kl_largest")
    return document
