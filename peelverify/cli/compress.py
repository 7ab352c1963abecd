"""``peelverify compress``: write a compressed model as an ordinary Hugging Face directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["register"]

METHODS = ("rtn", "delete", "magnitude", "wanda")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "compress",
        epilog="Example: peelverify compress ./model --method delete --layers 2,5 --out ./smaller",
    )(_compress)


def _compress(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model directory (safetensors) or hub id.")],
    method: Annotated[str, typer.Option(help="rtn, delete, magnitude or wanda.")],
    out: Annotated[Path, typer.Option(help="New folder for the compressed model.")],
    bits: Annotated[int, typer.Option(help="rtn: bits a weight, 2 to 8.")] = 4,
    group: Annotated[int | None, typer.Option(help="rtn: inputs a group. [default: one group a row]")] = None,
    layers: Annotated[str | None, typer.Option(help="delete: block indices, e.g. 2,5.")] = None,
    count: Annotated[
        int | None, typer.Option(help="delete: number of blocks, chosen by --criterion.")
    ] = None,
    criterion: Annotated[str, typer.Option(help="delete with --count: see peelverify rank.")] = "rho",
    sparsity: Annotated[float, typer.Option(help="magnitude, wanda: fraction of weights set to zero.")] = 0.5,
    pattern: Annotated[str | None, typer.Option(help="magnitude, wanda: N:M instead, e.g. 2:4.")] = None,
    text: Annotated[
        Path | None, typer.Option(help="Calibration text. Default: English text that ships with Python.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Calibration tokens.")] = 8192,
    window: Annotated[int, typer.Option(help="Tokens a window.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of noise and random order.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Quantise, prune, or delete blocks, and save a model that plain transformers loads."""
    from peelverify.cli.console import emit_json, progress, say, table
    from peelverify.cli.inputs import block_list, text_windows
    from peelverify.errors import DomainError, InputError
    from peelverify.models.save import new_directory

    if method not in METHODS:
        raise InputError(f"--method needs one of {', '.join(METHODS)}, got {method!r}; name one")
    if method == "rtn" and not 2 <= bits <= 8:
        raise DomainError(f"--bits needs 2 to 8, got {bits}; 4 is usual")
    if method in ("magnitude", "wanda") and not 0 < sparsity < 1:
        raise DomainError(f"--sparsity needs a fraction between 0 and 1, got {sparsity}; 0.5 zeroes half")
    if method == "delete" and (layers is None) == (count is None):
        raise InputError("--method delete needs either --layers or --count, got both or neither; name one")
    if seed < 0:
        raise DomainError(f"--seed needs a whole number from 0 on, got {seed}; it names a stream of noise")
    chosen = block_list(layers, "--layers")
    shape = _pattern(pattern)
    with new_directory(out) as folder:
        say(f"reading {model}")
        import json
        import warnings

        from peelverify.compress.delete import delete_layers, kept_layers
        from peelverify.compress.prune import prune_model
        from peelverify.compress.quantize import quantize_model
        from peelverify.compress.rank import CRITERIA, rank_layers
        from peelverify.compress.record import compression_record, weight_digests, write_compressed
        from peelverify.models.load import load_model, load_tokenizer, read_config, resolve_model
        from peelverify.rho.measure import PrecisionWarning

        directory = resolve_model(model)
        config = read_config(directory)
        depth = config.get("num_hidden_layers") or config.get("n_layer")
        if method == "delete" and isinstance(depth, int):
            if chosen is not None:
                kept_layers(depth, chosen)
            elif criterion not in CRITERIA:
                raise InputError(f"--criterion needs a name among {', '.join(CRITERIA)}, got {criterion!r}")
            elif not 1 <= (count or 0) < depth:
                raise DomainError(f"--count needs 1 to {depth - 1}, got {count}; at least one block stays")
        if method == "wanda" or count is not None:
            ids = text_windows(directory, text, tokens=tokens, window=window, part="train")
        else:
            ids = None
        tokenizer = load_tokenizer(directory)
        view = load_model(directory)
        details: dict[str, Any] = {}
        with progress() as bar, warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            task = bar.add_task(method, total=None)

            def step(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            if method == "rtn":
                done = quantize_model(view, bits, group=group)
                small, record = done.view, done.record
            elif method == "delete":
                if chosen is None:
                    ranking = rank_layers(view, ids, criterion, seed=seed, count=count, on_step=step)
                    chosen = ranking.first(count or 1)
                    details = {"criterion": criterion, "scores": ranking.to_json()["scores"], "seed": seed}
                small = delete_layers(view, chosen)
                record = compression_record(
                    "delete", depth=view.depth, kept=kept_layers(view.depth, chosen), **details
                )
            else:
                done = prune_model(view, sparsity, method=method, input_ids=ids, pattern=shape, on_block=step)
                small, record = done.view, done.record
            bar.update(task, completed=1, total=1)
        record["original"] = weight_digests(directory)
        write_compressed(small, folder, record, tokenizer)
        size = sum(p.stat().st_size for p in folder.glob("*.safetensors"))
        before = sum(p.stat().st_size for p in directory.glob("*.safetensors"))
    if as_json:
        emit_json(
            record | {"model": model, "out": str(out), "weight_bytes": size, "original_weight_bytes": before}
        )
        return
    settings = {k: v for k, v in record["settings"].items() if v is not None}
    table(
        f"{model} -> {out}",
        ("what", "value"),
        [
            ("method", method),
            ("blocks kept", f"{len(record['kept'])} of {view.depth}: {', '.join(map(str, record['kept']))}"),
            *((name.replace("_", " "), json.dumps(value)) for name, value in settings.items()),
            ("weight files, bytes", f"{before} -> {size}"),
        ],
    )


def _pattern(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    from peelverify.errors import InputError

    n, colon, m = text.partition(":")
    if not (colon and n.isdecimal() and m.isdecimal() and 0 < int(n) < int(m)):
        raise InputError(f"--pattern needs N:M with 0 < N < M, got {text!r}; 2:4 zeroes two of every four")
    return int(n), int(m)
