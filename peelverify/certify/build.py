"""Build a certificate for an original and a compressed decoder on given tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from peelverify.bounds.counting import kth_largest
from peelverify.certify import checker, shape
from peelverify.certify.checker import parse
from peelverify.certify.everyinput import every_input
from peelverify.certify.exact import round_out, spell
from peelverify.certify.file import Certificate
from peelverify.certify.identity import (
    Subject,
    as_ids,
    describe_host,
    describe_tokens,
    open_model,
    recorded_kept,
)
from peelverify.certify.measure import (
    PairEnergy,
    Plan,
    WindowUnits,
    head_tokens_for,
    measure_pair,
    same_shape,
    state_text,
)
from peelverify.certify.pool import Pool, check_count, draw_windows, levels_for
from peelverify.enclose import Interval, round_up
from peelverify.enclose.frobenius import root
from peelverify.errors import InputError, InvariantError, ShapeError
from peelverify.evaluate.stream import check_windows
from peelverify.models.blockwise import WholeModel

__all__ = ["THEOREMS", "Parts", "certify", "compute_parts", "derive_numbers", "kept_blocks", "measure_numbers"]

THEOREMS = (
    "PeelVerify.Norm2Le.add",
    "PeelVerify.le_chainBound",
    "PeelVerify.chainBound_eq_sum_shares",
    "PeelVerify.sq_error_decomposition",
    "PeelVerify.abs_loss_change_le_osc",
    "PeelVerify.logPartition_sub_mem",
    "PeelVerify.kl_le_osc",
    "PeelVerify.loss_change_enclosure",
    "PeelVerify.kl_enclosure",
    "PeelVerify.expLower_le",
    "PeelVerify.le_expUpper",
    "PeelVerify.check_sound",
)
RADIUS_THEOREMS = ("PeelVerify.rmsNorm_radius", "PeelVerify.layerNorm_radius")
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


def _pair(interval: Interval) -> list[str]:
    return [spell(interval.lo), spell(interval.hi)]


def _signed(interval: Interval) -> list[str]:
    """Outward 64-bit rounding of an interval of any sign."""
    return [spell(x) for x in round_out(interval.lo, interval.hi)]


def _decimal(x: float) -> str:
    """A measured number as text, short also where it is huge."""
    return f"{x:.9f}" if abs(x) < 1e15 else f"{x:.9g}"


def _portable(last: Interval, reruns: Sequence[Interval]) -> tuple[str, str]:
    """Margin and portable bound from a number of the certified execution and the same number in each re-run."""
    spread = max(max(abs(e.hi - last.lo), abs(last.hi - e.lo)) for e in reruns)
    if last.hi > 0:
        margin = round_up(max(checker.MIN_MARGIN, round_up(2 * spread / last.lo)))
        return spell(margin), spell(round_up(last.hi * (1 + margin)))
    return spell(round_up(checker.MIN_MARGIN)), spell(round_up(2 * spread))


def derive_numbers(found: PairEnergy, reruns: list[dict[str, Any]]) -> dict[str, Any]:
    """Turn enclosed sums into the numbers of a certificate, each rounded outwards.

    Args:
        found: result of `measure_pair`.
        reruns: settings of each re-run.
    """
    before, largest = root(found.initial.total), root(found.initial.largest)
    numbers: dict[str, Any] = {"initial_error": _pair(before), "initial_token_max": _pair(largest), "blocks": []}
    chain = before.hi
    for t, block in enumerate(found.blocks):
        error, propagated, introduced, largest = (
            root(x) for x in (block.error.total, block.propagated_sq, block.introduced_sq, block.error.largest)
        )
        gain = round_up(propagated.hi / before.lo) if before.hi > 0 else Fraction(0)
        chain = round_up(gain * chain + introduced.hi)
        numbers["blocks"].append({
            "name": "head" if t == len(found.blocks) - 1 else f"block {t}",
            "error": _pair(error),
            "token_max": _pair(largest),
            "propagated": _pair(propagated),
            "introduced": _pair(introduced),
            "inner": _signed(block.inner),
            "gain": spell(gain),
            "chain": spell(chain),
        })
        before = error
    errors, tokens = [root(e.total) for e in found.reruns], [root(e.largest) for e in found.reruns]
    numbers["reruns"] = [
        s | {"error": _pair(e), "token_max": _pair(t)} for s, e, t in zip(reruns, errors, tokens, strict=True)
    ]
    numbers["margin"], numbers["portable"] = _portable(before, errors)
    numbers["token_margin"], numbers["token_portable"] = _portable(largest, tokens)
    numbers["units"] = _derive_units(found.windows)
    return numbers


def _derive_units(windows: Sequence[WindowUnits]) -> dict[str, Any]:
    rows, worst, total = [], Fraction(0), Fraction(0)
    signed = ("loss_change", "loss_change_theorem", "kl", "loss_change_largest", "loss_change_smallest", "kl_largest")
    ends: dict[str, list[tuple[Fraction, Fraction]]] = {name: [] for name in signed}
    for window in windows:
        largest, part = round_up(window.oscillation_max), round_up(window.oscillation_sum)
        worst, total = max(worst, largest), total + part
        row: dict[str, Any] = {
            "error": _pair(root(window.error_sq)), "oscillation_max": spell(largest), "oscillation_sum": spell(part),
            "same_top": window.same_top, "tied_at": window.tied,
        }
        for name in signed:
            row[name] = _signed(getattr(window, name))
            ends[name].append((parse(row[name][0]), parse(row[name][1])))
        rows.append(row)
    return {"windows": rows, "worst": worst, "total": total, "ends": ends}


def _finish_units(units: dict[str, Any], windows: int, length: int) -> None:
    """Means and extremes over all windows, derived as the checker derives them."""
    count, ends = windows * (length - 1), units.pop("ends")
    units["loss_change_max"] = spell(units.pop("worst"))
    units["loss_change_mean"] = spell(round_up(units.pop("total") / count))
    units["same_top"] = sum(row["same_top"] for row in units["windows"])
    units["tied"] = sum(len(row["tied_at"]) for row in units["windows"])
    units["positions"] = windows * length
    derived = {}
    for name in ("loss_change", "loss_change_theorem", "kl"):
        sums = (sum(pair[i] for pair in ends[name]) for i in (0, 1))
        derived[f"{name}_mean"] = round_out(*(x / count for x in sums))
    for name, choose in (("loss_change_largest", max), ("loss_change_smallest", min), ("kl_largest", max)):
        derived[name] = choose(lo for lo, _ in ends[name]), choose(hi for _, hi in ends[name])
    mean = derived["loss_change_mean"]
    units["signed"] = {name: [spell(lo), spell(hi)] for name, (lo, hi) in derived.items()}
    units["signed"]["perplexity_factor"] = (
        [spell(x) for x in checker.exp_out(*mean)] if max(map(abs, mean)) <= checker.MAX_NATS else None
    )


def plans_for(first: Subject, second: Subject, batch: int) -> tuple[list[Plan], list[dict[str, Any]]]:
    """The certified execution and its re-runs, and what the certificate says of each re-run.

    Other settings are another attention implementation (where one computes the same function), another number of
    threads, another batch shape; the first re-run repeats the certified settings.
    """
    threads = torch.get_num_threads()
    attention, head = first.source.attention, head_tokens_for(first.view.vocabulary)
    main = Plan(attention, threads, batch, head)
    choices = [c for c in first.source.attention_choices if c in second.source.attention_choices and c != attention]
    others = [
        main,
        *(replace(main, attention=c) for c in choices),
        replace(main, threads=1 if threads > 1 else 2),
        replace(main, batch=max(1, batch // 2) if batch > 1 else 2, head_tokens=max(1, head // 2)),
    ]
    facts = [
        {"attention": p.attention, "threads": "same" if p.threads == threads else "other", "batch": p.batch}
        for p in others
    ]
    return [main, *others], facts


def measure_numbers(
    original: Subject,
    compressed: Subject,
    kept: Sequence[int],
    ids: Tensor,
    *,
    batch: int,
    on_progress: Progress | None = None,
) -> tuple[dict[str, Any], dict[str, str], dict[str, float]]:
    """Run both models, with re-runs in other settings; give the numbers and the measured extras.

    Returns:
        The ``numbers`` part of a certificate, measured losses as decimal strings, and seconds by part.
    """
    plans, settings = plans_for(original, compressed, batch)
    found = measure_pair(original.source, compressed.source, kept, ids, plans=plans, on_progress=on_progress)
    numbers = derive_numbers(found, settings)
    for t, block in enumerate(numbers["blocks"]):
        block["deleted"] = t < original.view.depth and t not in kept
    _finish_units(numbers["units"], *ids.shape)
    count = len(found.windows)
    frequency = torch.bincount(ids.flatten().cpu()).double() / ids.numel()
    measured = {
        "loss_original": _decimal(sum(w.loss_original for w in found.windows) / count),
        "loss_compressed": _decimal(sum(w.loss_compressed for w in found.windows) / count),
        "token_entropy_nats": f"{float(torch.special.entr(frequency).sum()):.6f}",
    }
    return numbers, measured, found.seconds


def _only_written(part: dict[str, Any], seen: list[str]) -> list[str]:
    """Leave out matrices whose numbers no reader takes, by name; return what was seen of the others."""
    rows, left = [], []
    for row, change in zip(part["matrices"], seen, strict=True):
        try:
            for text in (row["operator"], row["radius"], row["shift"], row["bound"], *row.get("parts", ())):
                parse(text)
        except checker.Refuted:
            reason = "its numbers are too small or too large to be written"
            part["not_covered"].append({"block": row["block"], "name": row["name"], "reason": reason})
        else:
            rows.append(row)
            left.append(change)
    part["matrices"] = rows
    return left


def derive_unseen(numbers: dict[str, Any], ids: Tensor, pool: dict[str, Any]) -> dict[str, Any] | None:
    """Bounds for windows of the pool that were not drawn; None if there are none."""
    windows, length = ids.shape
    if pool["windows"] <= windows:
        return None
    rows = numbers["units"]["windows"]
    errors = [parse(row["error"][1]) for row in rows]
    changes = [parse(row["loss_change"][1]) for row in rows]
    levels = []
    for k in levels_for(windows):
        mean = kth_largest(changes, k) / (length - 1)
        levels.append({
            "k": k, "of": windows + 1, "error": spell(kth_largest(errors, k)),
            "loss_change": spell(round_out(mean, mean)[1]),
        })
    return {"levels": levels, "distinct_tokens": int(ids.unique().numel())}


@dataclass
class Parts:
    """Everything of a certificate that follows from the models and the tokens."""

    numbers: dict[str, Any]
    measured: dict[str, Any]
    every_input: dict[str, Any] | None
    unseen: dict[str, Any] | None
    seconds: dict[str, float]


def compute_parts(
    original: Subject,
    compressed: Subject,
    kept: Sequence[int],
    ids: Tensor,
    *,
    batch: int,
    pool: dict[str, Any] | None,
    with_every_input: bool,
    on_progress: Progress | None = None,
) -> Parts:
    """All numbers of a certificate, from models and tokens.

    Args:
        original: the reference.
        compressed: the model under test.
        kept: blocks of the original that the compressed model still has.
        ids: token ids (windows, length).
        batch: windows a forward pass.
        pool: what the certificate says of the pool that the windows were drawn from; None if there is none.
        with_every_input: also bound every matrix for every input.
        on_progress: called with (done, total, text).

    Raises:
        InputError: a model in memory whose own logits on these tokens are not those of its parts; windows longer than
            a model takes, or ids outside its vocabulary.
    """
    for subject in (original, compressed):
        check_windows(subject.view, ids, function="certify")
    for subject in (original, compressed):
        if subject.directory is None and isinstance(subject.source, WholeModel):
            subject.source.check_logits(ids)
    numbers, measured, seconds = measure_numbers(original, compressed, kept, ids, batch=batch, on_progress=on_progress)
    extra: dict[str, Any] = dict(measured)
    part = None
    if with_every_input:
        start, read = time.perf_counter(), original.source.read_seconds + compressed.source.read_seconds
        part, seen = every_input(original.source, compressed.source, kept, ids[:1], on_progress=on_progress)
        read = original.source.read_seconds + compressed.source.read_seconds - read
        seconds["every_input"] = time.perf_counter() - start - read
        seconds["read"] += read
        extra["every_input_largest_change"] = _only_written(part, seen)
    unseen = derive_unseen(numbers, ids, pool) if pool is not None else None
    return Parts(numbers, extra, part, unseen, seconds)


def certify(
    original: Any,
    compressed: Any,
    tokens: Any = None,
    *,
    pool: Pool | None = None,
    windows: int | None = None,
    lean: bool = True,
    kept: Sequence[int] | None = None,
    dtype: str = "float32",
    compressed_dtype: str | None = None,
    attention: str = "auto",
    batch: int = 8,
    tokens_external: bool = False,
    every_input: bool = True,
    stream: bool | None = None,
    on_progress: Progress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Certificate:
    """Certify how far a compressed decoder drifts from its original on given tokens.

    Args:
        original: directory, hub id, or model in memory.
        compressed: the same, of the same family, width and vocabulary.
        tokens: integer ids, (windows, length) or one flat window. Or give ``pool``.
        pool: text to draw windows from; the certificate then also speaks of the windows that were not drawn.
        windows: how many windows to draw from ``pool``.
        lean: also have the Lean kernel check the arithmetic before returning.
        kept: blocks of the original that the compressed model kept; read from the record that
            ``peelverify compress`` leaves, or all blocks, if None.
        dtype: dtype in which the original runs (directories only).
        compressed_dtype: dtype in which the compressed model runs; ``dtype`` if None.
        attention: "sdpa", "eager", or "auto", which takes what the architecture supports (directories only).
        batch: windows a forward pass.
        tokens_external: store only the hash of the token ids.
        every_input: also bound each linear map for every input, from the weights alone.
        stream: read the weights of directories block by block (True), load whole models (False), or stream
            wherever it can be done (None).
        on_progress: called with (done, total, text).
        on_note: called with a sentence about a choice that was made.

    Returns:
        A `Certificate`, already checked by the stand-alone checker (and the kernel).

    Raises:
        InputError: models or tokens that cannot be compared, or neither tokens nor pool.
        ArtifactError: damaged models.
        InvariantError: if a number contradicts a theorem, which is a bug.

    Guarantee:
        ``bound`` is not below the Frobenius error of the logits in this execution;
        ``chain`` likewise. `PeelVerify.check_sound`.
    """
    if (tokens is None) == (pool is None):
        raise InputError("certify needs either tokens or a pool of windows, got both or neither; give one of them")
    note = on_note or (lambda text: None)
    ids = as_ids(tokens) if pool is None else None
    start = time.perf_counter()
    first = open_model(original, dtype=dtype, attention=attention, stream=stream, on_note=note)
    second = open_model(
        compressed, dtype=compressed_dtype or dtype, attention=attention, stream=stream, on_note=note
    )
    opened = time.perf_counter() - start
    if attention == "auto" and first.source.attention == "eager":
        note(f"attention: eager, because {first.view.config.model_type} has no other implementation that is exact")
    blocks = kept_blocks(first, second, kept)
    drawn = None
    if pool is not None:
        ids, drawn = draw_windows(
            pool, windows or len(pool.ids), original=first.facts["files"], compressed=second.facts["files"]
        )
        ids = as_ids(ids)
    assert ids is not None
    check_count(ids, external=tokens_external)
    parts = compute_parts(
        first, second, blocks, ids, batch=batch, pool=drawn, with_every_input=every_input, on_progress=on_progress
    )
    _same_again(parts.numbers, note)
    first.unchanged()
    second.unchanged()
    from peelverify.certify.theorems import theorem_hashes

    body = {
        "schema": checker.SCHEMA,
        "subject": {
            "original": first.facts,
            "compressed": second.facts,
            "kept": blocks,
            "tokens": describe_tokens(ids, external=tokens_external),
            "pool": drawn,
            "numerics": {
                "attention": first.source.attention,
                "batch": batch,
                "head_tokens": head_tokens_for(first.view.vocabulary),
                "states": state_text(first.view.dtype, second.view.dtype),
            },
        },
        "numbers": parts.numbers,
        "every_input": parts.every_input,
        "unseen": parts.unseen,
        "measured": parts.measured,
        "theorems": theorem_hashes(theorems_for(parts)),
    }
    certificate = Certificate.seal(body, describe_host())
    certificate.seconds = {"open_and_hash": opened, **parts.seconds}
    try:
        shape.check(checker.read(certificate.text().encode("ascii")))
    except checker.Unreadable as error:
        raise InputError(f"the certificate would be {error}, which no reader takes; give fewer windows") from error
    except checker.Refuted as error:
        raise InvariantError(f"certify built a certificate that its own checker refutes: {error}") from error
    if lean:
        from peelverify.certify.kernel import KernelRefused, check_in_kernel

        try:
            certificate.kernel = check_in_kernel(certificate.document)
        except KernelRefused as error:
            raise InvariantError(f"certify built a certificate that the Lean kernel refuses: {error}") from error
    return certificate


def _same_again(numbers: dict[str, Any], note: Callable[[str], None]) -> None:
    """Compare the certified execution with the re-run that repeats its settings.

    Raises:
        InputError: if they differ by more than other machines may.
    """
    (lo, hi), again = ((parse(x) for x in pair) for pair in
                       (numbers["blocks"][-1]["error"], numbers["reruns"][0]["error"]))
    low, high = again
    apart = max(abs(high - lo), abs(hi - low))
    if apart > checker.MIN_MARGIN * max(hi, high):
        raise InputError(
            "certify needs models whose forward pass is the same each time, got one that differs between two runs with "
            "the same settings; turn off dropout and nondeterministic kernels"
        )
    if (lo, hi) != (low, high):
        note("the forward pass differs a little between two runs with the same settings; the margin covers it")


def theorems_for(parts: Parts) -> list[str]:
    """Theorems that the parts of a certificate rest on."""
    names = [*THEOREMS]
    if parts.every_input is not None:
        names += sorted({row["theorem"] for row in parts.every_input["matrices"]} | set(RADIUS_THEOREMS))
    if parts.unseen is not None:
        names.append("PeelVerify.conformal_count")
    return names
