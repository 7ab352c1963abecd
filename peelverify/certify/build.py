"""Build a certificate for an original and a compressed decoder on given tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from peelverify.certify import checker
from peelverify.certify.checker import spell
from peelverify.certify.file import Certificate
from peelverify.certify.identity import (
    Subject,
    as_ids,
    describe_host,
    describe_tokens,
    open_model,
    recorded_kept,
)
from peelverify.certify.measure import PairEnergy, logit_error_sq, measure_pair, same_shape
from peelverify.enclose import Interval, round_up
from peelverify.enclose.frobenius import root
from peelverify.errors import InvariantError, ShapeError

__all__ = ["THEOREMS", "certify", "derive_numbers", "kept_blocks", "measure_numbers"]

THEOREMS = (
    "PeelVerify.Norm2Le.add",
    "PeelVerify.le_chainBound",
    "PeelVerify.chainBound_eq_sum_shares",
    "PeelVerify.sq_error_decomposition",
    "PeelVerify.abs_loss_change_le_osc",
    "PeelVerify.check_sound",
)
Progress = Callable[[int, int, str], None]


def kept_blocks(original: Subject, compressed: Subject, kept: Sequence[int] | None) -> list[int]:
    """Which blocks the compressed model still has: given, recorded, or all of them.

    Raises:
        ShapeError: if blocks are missing and nothing says which.
    """
    depth = original.view.depth
    if kept is None:
        kept = recorded_kept(compressed, depth)
    if kept is None:
        if compressed.view.depth != depth:
            raise ShapeError(
                f"certify needs to know which of {depth} blocks were kept, got a compressed model with "
                f"{compressed.view.depth} blocks and no record; give --kept 0,1,..."
            )
        kept = range(depth)
    same_shape(original.view, compressed.view, kept)
    return list(kept)


@contextmanager
def _settings(views: Sequence[Any], attention: str, threads: int) -> Iterator[None]:
    before = [(v, v.config._attn_implementation) for v in views]
    count = torch.get_num_threads()
    try:
        for v in views:
            v.model.set_attn_implementation(attention)
        torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(count)
        for v, name in before:
            v.model.set_attn_implementation(name)


def _pair(interval: Interval) -> list[str]:
    return [spell(interval.lo), spell(interval.hi)]


def _signed(interval: Interval) -> list[str]:
    """Outward 64-bit rounding of an interval of any sign."""

    def down(x: Fraction) -> Fraction:
        from peelverify.enclose import round_down

        return round_down(x) if x >= 0 else -round_up(-x)

    return [spell(down(interval.lo)), spell(-down(-interval.hi))]


def derive_numbers(found: PairEnergy, reruns: list[dict[str, Any]], rerun_errors: list[Interval]) -> dict[str, Any]:
    """Turn enclosed sums into the numbers of a certificate, each rounded outwards.

    Args:
        found: result of `measure_pair`.
        reruns: settings of each re-run.
        rerun_errors: enclosed squared error of the logits in each re-run.
    """
    before = root(found.initial_sq)
    numbers: dict[str, Any] = {"initial_error": _pair(before), "blocks": []}
    chain = before.hi
    for t, block in enumerate(found.blocks):
        error, propagated, introduced = (
            root(x) for x in (block.error_sq, block.propagated_sq, block.introduced_sq)
        )
        gain = round_up(propagated.hi / before.lo) if before.hi > 0 else Fraction(0)
        chain = round_up(gain * chain + introduced.hi)
        numbers["blocks"].append({
            "name": "head" if t == len(found.blocks) - 1 else f"block {t}",
            "error": _pair(error),
            "propagated": _pair(propagated),
            "introduced": _pair(introduced),
            "inner": _signed(block.inner),
            "gain": spell(gain),
            "chain": spell(chain),
        })
        before = error
    roots = [root(e) for e in rerun_errors]
    spread = max(max(abs(e.hi - before.lo), abs(before.hi - e.lo)) for e in roots)
    if before.hi > 0:
        margin = round_up(max(checker.MIN_MARGIN, round_up(2 * spread / before.lo)))
        portable = round_up(before.hi * (1 + margin))
    else:
        margin = round_up(checker.MIN_MARGIN)
        portable = round_up(2 * spread)
    numbers["reruns"] = [s | {"error": _pair(e)} for s, e in zip(reruns, roots, strict=True)]
    numbers["margin"], numbers["portable"] = spell(margin), spell(portable)
    numbers["units"] = _derive_units(found)
    return numbers


def _derive_units(found: PairEnergy) -> dict[str, Any]:
    rows, worst, total = [], Fraction(0), Fraction(0)
    for window in found.windows:
        largest, part = round_up(window.oscillation_max), round_up(window.oscillation_sum)
        worst, total = max(worst, largest), total + part
        rows.append({
            "oscillation_max": spell(largest), "oscillation_sum": spell(part),
            "same_top": window.same_top, "tied": window.tied,
        })
    return {"windows": rows, "worst": worst, "total": total}


def measure_numbers(
    original: Subject,
    compressed: Subject,
    kept: Sequence[int],
    ids: Tensor,
    *,
    batch: int,
    on_progress: Progress | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Run both models, with re-runs in other settings; give the numbers and the measured extras.

    Returns:
        The ``numbers`` part of a certificate, and measured losses as decimal strings.
    """
    a, b = original.view, compressed.view
    found = measure_pair(a, b, kept, ids, batch=batch, on_progress=on_progress)
    attention, threads = a.config._attn_implementation, torch.get_num_threads()
    other = "eager" if attention == "sdpa" else "sdpa"
    plans = [
        {"attention": attention, "threads": threads, "batch": batch},
        {"attention": other, "threads": threads, "batch": batch},
        {"attention": attention, "threads": 1 if threads > 1 else 2, "batch": batch},
        {"attention": attention, "threads": threads, "batch": max(1, batch // 2) if batch > 1 else 2},
    ]
    errors = []
    for done, plan in enumerate(plans):
        with _settings((a, b), plan["attention"], plan["threads"]):
            errors.append(logit_error_sq(a, b, ids, batch=plan["batch"]))
        if on_progress is not None:
            on_progress(done + 1, len(plans), "re-runs")
    settings = [
        {"attention": p["attention"], "threads": "same" if p["threads"] == threads else "other", "batch": p["batch"]}
        for p in plans
    ]
    numbers = derive_numbers(found, settings, errors)
    positions = ids.numel()
    units = numbers["units"]
    units["loss_change_max"] = spell(units.pop("worst"))
    units["loss_change_mean"] = spell(round_up(units.pop("total") / (positions - len(ids))))
    units["same_top"] = sum(row["same_top"] for row in units["windows"])
    units["tied"] = sum(row["tied"] for row in units["windows"])
    units["positions"] = positions
    count = len(found.windows)
    measured = {
        "loss_original": f"{sum(w.loss_original for w in found.windows) / count:.9f}",
        "loss_compressed": f"{sum(w.loss_compressed for w in found.windows) / count:.9f}",
    }
    return numbers, measured


def certify(
    original: Any,
    compressed: Any,
    tokens: Any,
    *,
    lean: bool = True,
    kept: Sequence[int] | None = None,
    dtype: str = "float32",
    attention: str = "sdpa",
    batch: int = 8,
    tokens_external: bool = False,
    on_progress: Progress | None = None,
) -> Certificate:
    """Certify how far a compressed decoder drifts from its original on given tokens.

    Args:
        original: directory, hub id, or model in memory.
        compressed: the same, of the same family, width and vocabulary.
        tokens: integer ids, (windows, length) or one flat window.
        lean: also have the Lean kernel check the arithmetic before returning.
        kept: blocks of the original that the compressed model kept; read from the record that
            ``peelverify compress`` leaves, or all blocks, if None.
        dtype: dtype in which both models run.
        attention: "sdpa" or "eager".
        batch: windows a forward pass.
        tokens_external: store only the hash of the token ids.
        on_progress: called with (done, total, text).

    Returns:
        A `Certificate`, already checked by the stand-alone checker (and the kernel).

    Raises:
        InputError: models or tokens that cannot be compared.
        ArtifactError: damaged models.
        InvariantError: if a number contradicts a theorem, which is a bug.

    Guarantee:
        ``bound`` is not below the Frobenius error of the logits in this execution;
        ``chain`` likewise. `PeelVerify.check_sound`.
    """
    ids = as_ids(tokens)
    first = open_model(original, dtype=dtype, attention=attention)
    second = open_model(compressed, dtype=dtype, attention=attention)
    blocks = kept_blocks(first, second, kept)
    numbers, measured = measure_numbers(first, second, blocks, ids, batch=batch, on_progress=on_progress)
    for t, block in enumerate(numbers["blocks"]):
        block["deleted"] = t < first.view.depth and t not in blocks
    from peelverify.certify.theorems import theorem_hashes

    body = {
        "schema": checker.SCHEMA,
        "subject": {
            "original": first.facts,
            "compressed": second.facts,
            "kept": blocks,
            "tokens": describe_tokens(ids, external=tokens_external),
            "numerics": {
                "attention": attention if first.directory else first.view.config._attn_implementation,
                "batch": batch,
            },
        },
        "numbers": numbers,
        "measured": measured,
        "theorems": theorem_hashes(THEOREMS),
    }
    certificate = Certificate.seal(body, describe_host())
    try:
        checker.check(certificate.document)
    except checker.Refuted as error:
        raise InvariantError(f"certify built a certificate that its own checker refutes: {error}") from error
    if lean:
        from peelverify.certify.kernel import check_in_kernel

        check_in_kernel(certificate.document)
    return certificate
