"""``peelverify compress``: write a compressed model as an ordinary Hugging Face directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from peelverify.cli.inputs import DeviceOption, DtypeOption

__all__ = ["register"]

METHODS = ("rtn", "gptq", "ternary", "binary", "svd", "magnitude", "wanda", "sparsegpt", "delete")
PRUNERS = ("magnitude", "wanda", "sparsegpt")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "compress",
        epilog="Example: peelverify compress ./model --method delete --layers 2,5 --out ./smaller",
    )(compress_command)


def compress_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model directory (safetensors) or hub id.")],
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")],
    out: Annotated[Path, typer.Option(help="New folder for the compressed model.")],
    bits: Annotated[int, typer.Option(help="rtn, gptq: bits a weight, 2 to 8.")] = 4,
    group: Annotated[int | None, typer.Option(help="rtn, gptq: inputs a group. Default: the whole row.")] = None,
    per_row: Annotated[bool, typer.Option("--per-row", help="binary, ternary: a scale for each row.")] = False,
    rank_fraction: Annotated[float, typer.Option(help="svd: share of singular values to keep.")] = 0.5,
    sparsity: Annotated[float, typer.Option(help="Pruning: fraction of weights set to zero.")] = 0.5,
    pattern: Annotated[str | None, typer.Option(help="Pruning: N:M instead, e.g. 2:4.")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="Pruning: uniform, increasing, decreasing, owl, alpha, alphapruning or rho, at the exact total."
        ),
    ] = None,
    strength: Annotated[float, typer.Option(help="Pruning: how far the schedule departs from level.")] = 0.08,
    layers: Annotated[str | None, typer.Option(help="delete: block indices, e.g. 2,5.")] = None,
    count: Annotated[
        int | None, typer.Option(help="delete: number of blocks, chosen by --criterion.")
    ] = None,
    criterion: Annotated[str, typer.Option(help="delete with --count: see peelverify rank.")] = "rho",
    keep_first: Annotated[int, typer.Option(help="delete with --count: blocks at the beginning that stay.")] = 0,
    keep_last: Annotated[int, typer.Option(help="delete with --count: blocks at the end that stay.")] = 0,
    text: Annotated[
        Path | None, typer.Option(help="Calibration text. Default: English text that ships with Python.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Calibration tokens.")] = 8192,
    window: Annotated[int, typer.Option(help="Tokens a window.")] = 256,
    token_weights: Annotated[
        str, typer.Option(help="gptq, wanda, sparsegpt: uniform, activation_norm or attention.")
    ] = "uniform",
    seed: Annotated[int, typer.Option(help="Seed of noise and random order.")] = 0,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Quantise, prune, or delete blocks, and save a model that plain transformers loads."""
    from peelverify.cli.console import emit_json, progress, say, table
    from peelverify.cli.inputs import block_list, check_device, protected_ends, text_windows
    from peelverify.errors import InputError
    from peelverify.models.save import new_directory

    chosen = block_list(layers, "--layers")
    shape = _pattern(pattern)
    _check_options(method, bits, sparsity, rank_fraction, chosen, count, seed)
    protect = protected_ends(keep_first, keep_last)
    if any(protect) and count is None:
        raise InputError("--keep-first and --keep-last go with --method delete --count, got no --count; leave them out")
    place = check_device(device, dtype)
    with new_directory(out) as folder:
        say(f"reading {model}")
        import warnings

        from peelverify.compress.apply import Settings, compress_model, needs_text
        from peelverify.compress.record import weight_digests, write_compressed
        from peelverify.models.load import load_model, load_tokenizer, read_config, resolve_model
        from peelverify.rho.measure import PrecisionWarning

        directory = resolve_model(model)
        config = read_config(directory, known=False)
        _check_names(method, schedule, shape, criterion, chosen, count, protect, token_weights, config)
        settings = Settings(
            bits=bits, group=group, per_row=per_row, rank_fraction=rank_fraction, sparsity=sparsity,
            pattern=shape, schedule=schedule, strength=strength, count=count, criterion=criterion, seed=seed,
            layers=None if chosen is None else tuple(chosen),
            protect=protect,
            token_weights=token_weights,
        )
        ids = None
        if needs_text(method, settings):
            ids = text_windows(directory, text, tokens=tokens, window=window, part="train")
        tokenizer = load_tokenizer(directory)
        view = load_model(directory, **place)
        with progress() as bar, warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            task = bar.add_task(method, total=None)

            def step(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            done = compress_model(view, method, settings, input_ids=ids, on_step=step)
            bar.update(task, completed=1, total=1)
        record = done.record | {"original": weight_digests(directory), "computed": place}
        write_compressed(done.view, folder, record, tokenizer)
        after, before = (sum(p.stat().st_size for p in d.glob("*.safetensors")) for d in (folder, directory))
    if as_json:
        emit_json(record | {"model": model, "out": str(out), "weight_bytes": after, "original_weight_bytes": before})
        return
    shown = {k: v for k, v in record["settings"].items() if v is not None and not isinstance(v, dict)}
    table(
        f"{model} -> {out}",
        ("what", "value"),
        [
            ("method", method),
            ("computed in", f"{dtype} on {device}"),
            ("blocks kept", f"{len(record['kept'])} of {view.depth}: {', '.join(map(str, record['kept']))}"),
            *((name.replace("_", " "), json.dumps(value)) for name, value in shown.items()),
            ("weight files, bytes", f"{before} -> {after}"),
        ],
    )


def _check_options(
    method: str, bits: int, sparsity: float, rank_fraction: float, chosen: list[int] | None, count: int | None,
    seed: int,
) -> None:
    from peelverify.errors import DomainError, InputError

    if method not in METHODS:
        raise InputError(f"--method needs one of {', '.join(METHODS)}, got {method!r}; name one")
    if method in ("rtn", "gptq") and not 2 <= bits <= 8:
        raise DomainError(f"--bits needs 2 to 8, got {bits}; 4 is usual")
    if method in PRUNERS and not 0 < sparsity < 1:
        raise DomainError(f"--sparsity needs a fraction between 0 and 1, got {sparsity}; 0.5 zeroes half")
    if method == "svd" and not 0 < rank_fraction <= 1:
        raise DomainError(f"--rank-fraction needs a fraction above 0, up to 1, got {rank_fraction}; 0.5 keeps half")
    if method == "delete" and (chosen is None) == (count is None):
        raise InputError("--method delete needs either --layers or --count, got both or neither; name one")
    if seed < 0:
        raise DomainError(f"--seed needs a whole number from 0 on, got {seed}; it names a stream of noise")


def _check_names(
    method: str, schedule: str | None, shape: tuple[int, int] | None, criterion: str, chosen: list[int] | None,
    count: int | None, protect: tuple[int, int], token_weights: str, config: dict[str, Any],
) -> None:
    from peelverify.compress.delete import kept_layers
    from peelverify.compress.rank import CRITERIA
    from peelverify.compress.schedule import SCHEDULES
    from peelverify.compress.tokenweights import TOKEN_WEIGHTS
    from peelverify.errors import DomainError, InputError

    if token_weights not in TOKEN_WEIGHTS:
        raise InputError(f"--token-weights needs one of {', '.join(TOKEN_WEIGHTS)}, got {token_weights!r}; name one")
    if token_weights != "uniform" and method not in ("gptq", "wanda", "sparsegpt") and schedule != "owl":
        raise InputError(f"--token-weights is for gptq, wanda and sparsegpt, got --method {method}; leave it out")
    if method in PRUNERS and schedule is not None and schedule not in SCHEDULES:
        raise InputError(f"--schedule needs one of {', '.join(SCHEDULES)}, got {schedule!r}; name one")
    if method in PRUNERS and schedule is not None and shape is not None:
        raise InputError("--schedule and --pattern exclude each other, got both; a pattern fixes every group")
    depth = config.get("num_hidden_layers") or config.get("n_layer")
    if method != "delete" or not isinstance(depth, int):
        return
    if chosen is not None:
        kept_layers(depth, chosen)
    elif criterion not in CRITERIA:
        raise InputError(f"--criterion needs a name among {', '.join(CRITERIA)}, got {criterion!r}")
    elif not 1 <= (count or 0) <= (most := min(depth - 1, depth - sum(protect))):
        raise DomainError(
            f"--count needs 1 to {most} for {depth} blocks, got {count}; at least one block stays, and those "
            "of --keep-first and --keep-last"
        )


def _pattern(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    from peelverify.errors import InputError

    n, colon, m = text.partition(":")
    if not (colon and n.isdecimal() and m.isdecimal() and 0 < int(n) < int(m)):
        raise InputError(f"--pattern needs N:M with 0 < N < M, got {text!r}; 2:4 zeroes two of every four")
    return int(n), int(m)
