"""``peelverify rank``: which blocks to remove first, by one criterion or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from peelverify.cli.inputs import DeviceOption, DtypeOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "rank",
        epilog="Example: peelverify rank ./model --criterion block_influence,greedy --count 4",
    )(_rank)


def _rank(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model directory (safetensors) or hub id.")],
    criterion: Annotated[
        str,
        typer.Option(
            help="One or more, with commas: rho, rho_out, block_influence, blend, angular (one run of --count "
            "blocks), angular_single, residual_change, last, greedy, taylor, skip_score, lim, zd, alpha, random."
        ),
    ] = "rho,block_influence,residual_change,skip_score",
    count: Annotated[
        int | None, typer.Option(help="Blocks to remove in the slices that are printed. Default: 1.")
    ] = None,
    keep_first: Annotated[
        int, typer.Option(help="Blocks at the beginning that stay; published: 1 for greedy, 4 for taylor.")
    ] = 0,
    keep_last: Annotated[
        int, typer.Option(help="Blocks at the end that stay; published: 1 for greedy, 2 for taylor.")
    ] = 0,
    budget: Annotated[
        float | None,
        typer.Option(help="Also search for blocks that can go while the loss rises by no more (nats a token)."),
    ] = None,
    bits: Annotated[
        str | None, typer.Option(help="With --budget: search bits for each block instead, e.g. 8,4,3,2.")
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="UTF-8 text. Default: English text that ships with Python.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens to use.")] = 2048,
    window: Annotated[int, typer.Option(help="Tokens a window.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of noise and random order.")] = 0,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Rank blocks for removal; print mergekit slices and ignore lists ready to paste (scores are measured)."""
    from peelverify.cli.console import emit_json, progress, result, say, table
    from peelverify.cli.inputs import block_list, check_device, protected_ends, text_windows
    from peelverify.errors import DomainError, InputError

    names = list(dict.fromkeys(name.strip() for name in criterion.split(",")))
    protect = protected_ends(keep_first, keep_last)
    if count is not None and count < 1:
        raise DomainError(f"--count needs at least 1, got {count}; it is the number of blocks to remove")
    if budget is not None and not 0 <= budget < float("inf"):
        raise DomainError(f"--budget needs a finite number from 0 on, got {budget}; it is in nats a token")
    if seed < 0:
        raise DomainError(f"--seed needs a whole number from 0 on, got {seed}; it names a stream of noise")
    choices = block_list(bits, "--bits")
    if choices is not None and budget is None:
        raise InputError("--bits needs --budget, the rise of the loss that is allowed; give both")
    if choices is not None and not all(2 <= b <= 8 for b in choices):
        raise DomainError(f"--bits needs numbers from 2 to 8, got {bits}; 8,4,3,2 is usual")
    place = check_device(device, dtype)
    say(f"reading {model}")
    from peelverify.compress.bits import bits_within_budget
    from peelverify.compress.rank import CRITERIA, agreement, ignore_lists, mergekit_slices, rank_layers
    from peelverify.compress.search import removal_within_budget

    unknown = [name for name in names if name not in CRITERIA]
    if unknown:
        raise InputError(f"--criterion needs names among {', '.join(CRITERIA)}, got {unknown[0]!r}")
    ids = text_windows(model, text, tokens=tokens, window=window, part="train")
    import warnings

    from peelverify.models.load import load_model, read_config, resolve_model
    from peelverify.rho.measure import PrecisionWarning

    directory = resolve_model(model)
    config = read_config(directory, known=False)
    saved = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    view = load_model(directory, **place)
    most = max(0, min(view.depth - 1, view.depth - sum(protect)))
    if (count is not None and count > most) or (most == 0 and any(protect)):
        raise DomainError(
            f"--count needs at most {most} for {view.depth} blocks, got {count or 1}; one block stays, and those of "
            "--keep-first and --keep-last"
        )
    count = min(1, most) if count is None else count
    rankings = []
    with progress() as bar, warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always", PrecisionWarning)
        for name in names:
            task = bar.add_task(name, total=None)

            def step(done: int, total: int, task: Any = task) -> None:
                bar.update(task, completed=done, total=total)

            ranking = rank_layers(
                view, ids, name, seed=seed, count=(count or None) if name == "angular" else None,
                protect=protect, on_step=step,
            )
            rankings.append(ranking)
            bar.update(task, completed=1, total=1)
        found = plan = None
        if budget is not None and choices is not None:
            task = bar.add_task("bits within budget", total=None)
            plan = bits_within_budget(
                view, ids, budget, choices=choices,
                on_step=lambda done, total: bar.update(task, completed=done, total=total),
            )
            bar.update(task, completed=1, total=1)
        elif budget is not None:
            task = bar.add_task("search within budget", total=None)
            found = removal_within_budget(
                view, ids, budget, within=range(protect[0], view.depth - protect[1]),
                on_step=lambda done, total: bar.update(task, completed=done, total=total),
            )
            bar.update(task, completed=1, total=1)
    for sentence in dict.fromkeys(str(w.message) for w in doubts if issubclass(w.category, PrecisionWarning)):
        say(f"warning: {sentence}")
    slices = {r.criterion: mergekit_slices(_kept(r.order, count), model, dtype=saved) for r in rankings}
    keep = {r.criterion: ignore_lists(view, r.order[-max(1, count) :]) for r in rankings}
    matrix = agreement(rankings)
    if as_json:
        emit_json(
            {
                "schema": "peelverify.rank/1",
                "model": model,
                "blocks": view.depth,
                **place,
                "tokens": ids.numel(),
                "ids_sha256": next((r.ids_sha256 for r in rankings if r.ids_sha256), None),
                "seed": seed,
                "rankings": [r.to_json() for r in rankings],
                "agreement_kendall_tau": matrix,
                "remove": {r.criterion: sorted(r.order[:count]) for r in rankings},
                "mergekit_slices": slices,
                "ignore_last": keep,
                "bits_within_budget": None if plan is None else plan.to_json() | {"budget_nats_per_token": budget},
                "within_budget": None if found is None else found.to_json() | {"budget_nats_per_token": budget},
            }
        )
        return
    table(
        f"blocks of {model}: score (measured, {dtype} on {device}) and place in the order of removal, 1 first",
        ("block", *names),
        [
            (t, *(f"{r.scores[t]:.4g} ({r.order.index(t) + 1})" for r in rankings))
            for t in range(view.depth)
        ],
    )
    if len(rankings) > 1 and view.depth > 1:
        table(
            "agreement of the orders (Kendall tau, 1 same, -1 reversed)",
            ("", *names),
            [
                (name, *("" if x is None else f"{x:+.2f}" for x in row))
                for name, row in zip(names, matrix, strict=True)
            ],
        )
    for r in rankings:
        removed = ", ".join(map(str, sorted(r.order[:count]))) or "none"
        result(f"# {r.criterion}: {CRITERIA[r.criterion][1]}; removes {removed}")
        result(slices[r.criterion])
        last = ", ".join(map(str, sorted(r.order[-max(1, count) :])))
        result(f"# {r.criterion}: keep {last} in full precision; llm-compressor, then ModelOpt quant_cfg")
        result(keep[r.criterion]["llm-compressor"])
        result(keep[r.criterion]["modelopt"])
    if plan is not None:
        given = ", ".join(f"{t}: {b or 'as it is'}" for t, b in enumerate(plan.by_block))
        result(
            f"# within {budget:g} nats a token on this text, bits for each block: {given} "
            f"(loss {plan.loss:.4f}, before {plan.loss_original:.4f}; {plan.evaluations} evaluations)"
        )
    if found is not None:
        gone = ", ".join(map(str, found.removed)) or "none"
        result(
            f"# within {budget:g} nats a token on this text: {gone} can go "
            f"(loss {found.loss:.4f}; {found.block_evaluations} block evaluations)"
        )
        if found.removed:
            result(mergekit_slices([t for t in range(view.depth) if t not in found.removed], model, dtype=saved))


def _kept(order: tuple[int, ...], count: int) -> list[int]:
    return sorted(order[count:])
