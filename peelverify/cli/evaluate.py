"""``peelverify evaluate``: loss, divergence, speed, memory and task scores, with the protocol they hold for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from peelverify.cli.inputs import DeviceOption, DtypeOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "evaluate",
        epilog="Example: peelverify evaluate ./model ./smaller --text heldout.txt --tokens 32768",
    )(_evaluate)


def _evaluate(
    original: Annotated[str, typer.Argument(metavar="ORIGINAL", help="Model directory (safetensors) or hub id.")],
    compressed: Annotated[
        str | None, typer.Argument(metavar="[COMPRESSED]", help="A second model, compared with the first.")
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="UTF-8 text. Default: held-out part of the English text that ships with Python.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens to use.")] = 32768,
    window: Annotated[int, typer.Option(help="Tokens a window; windows do not overlap.")] = 256,
    repeats: Annotated[
        int, typer.Option(help="Timed pairs of forward passes after 3 to warm up; 0 for none, else at least 4.")
    ] = 30,
    components: Annotated[
        int | None, typer.Option(help="Round one kind of matrix at a time to so many bits: which can least bear it?")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="lm-eval tasks, with commas; needs peelverify[lm-eval].")] = None,
    limit: Annotated[int | None, typer.Option(help="Items a task. Default: all.")] = None,
    task_path: Annotated[Path | None, typer.Option(help="Folder with lm-eval task files of your own.")] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for evaluation.json.")] = None,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a model, or two on the same text: perplexity, KL, same top token, speed and memory (measured numbers)."""
    import contextlib

    from peelverify.cli.console import emit_json, progress, result, say, table
    from peelverify.cli.inputs import check_device, text_windows
    from peelverify.errors import DomainError, InputError
    from peelverify.models.save import new_directory

    if repeats != 0 and repeats < 4:
        raise DomainError(f"--repeats needs 0 or at least 4, got {repeats}; 30 is the default")
    if limit is not None and limit < 1:
        raise DomainError(f"--limit needs at least 1, got {limit}; leave it out for all items")
    if components is not None and not 2 <= components <= 8:
        raise DomainError(f"--components needs 2 to 8 bits, got {components}; 3 shows differences")
    names = [name.strip() for name in tasks.split(",")] if tasks else []
    if (limit is not None or task_path is not None) and not names:
        raise InputError("--limit and --task-path need --tasks, got none; name a task")
    place = check_device(device, dtype)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(new_directory(out)) if out is not None else None
        say(f"reading {original}")
        ids = text_windows(original, text, tokens=tokens, window=window)
        from peelverify.compress.record import weight_digests
        from peelverify.evaluate import compare_speed, divergence, memory, perplexity
        from peelverify.models.load import load_model, load_tokenizer, resolve_model

        paths = [resolve_model(m) for m in (original, compressed) if m is not None]
        views = [load_model(path, **place) for path in paths]
        data: dict[str, Any] = {
            "schema": "peelverify.evaluation/1",
            "original": original,
            "compressed": compressed,
            "protocol": _protocol(ids, text, views[0])
            | {"weights_sha256": [weight_digests(path) for path in paths]},
        }
        with progress() as bar:

            def stage(name: str) -> Any:
                task = bar.add_task(name, total=None)
                return lambda done, total: bar.update(task, completed=done, total=total)

            data["perplexity"] = [perplexity(v, ids, on_step=stage("loss")).to_json() for v in views]
            data["memory"] = [memory(v, ids) for v in views]
            if len(views) == 2:
                effect = divergence(*views, ids, on_step=stage("divergence"))
                data["divergence"] = effect.to_json() | {"summary": effect.summary()}
                if repeats:
                    batch = ids[: max(1, 2048 // ids.shape[1])]
                    speed = compare_speed(*views, batch, repeats=repeats, on_step=stage("forward passes"))
                    data["speed"] = speed.to_json() | {"batch_shape": list(batch.shape)}
            if components is not None:
                from peelverify.compress.components import component_sensitivity, sensitivity_json
                from peelverify.compress.quantize import round_to_nearest

                kinds = component_sensitivity(
                    views[0], ids, lambda rows: round_to_nearest(rows, components).weight, on_step=stage("components")
                )
                data["components"] = sensitivity_json(kinds) | {"bits": components}
            if names:
                from peelverify.evaluate.tasks import task_scores

                data["tasks"] = []
                for path, view in zip(paths, views, strict=True):
                    say(f"lm-eval on {path.name}")
                    data["tasks"].append(
                        task_scores(
                            view, load_tokenizer(path), names, limit=limit,
                            include_path=None if task_path is None else str(task_path),
                        )
                    )
        if folder is not None:
            (folder / "evaluation.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    if as_json:
        emit_json(data)
        return
    for line in _lines(data["protocol"]):
        result(line)
    labels = ["original", "compressed"][: len(views)]
    table(
        "loss (measured)",
        ("model", "nats a token", "standard error", "perplexity", "its error", "parameters, bytes",
         "cache a token, bytes", "peak of a window, bytes"),
        [
            (
                label, f"{p['loss_nats_per_token']:.5f}", _number(p["standard_error_nats_per_token"], 5),
                _number(p["perplexity"], 4), _number(p["perplexity_standard_error"], 4), m["parameter_bytes"],
                f"{m['cache_bytes_per_token']:g}", m["peak_bytes"],
            )
            for label, p, m in zip(labels, data["perplexity"], data["memory"], strict=True)
        ],
    )
    if "divergence" in data:
        result(f"measured: {data['divergence']['summary']}")
    if "speed" in data:
        result(_speed_line(data["speed"]))
    if "components" in data:
        table(
            f"one kind of matrix at {components} bits in all blocks of the original (measured, window by window)",
            ("matrix", "weights", "change of loss, nats", "standard error", "told from 0", "mean KL", "its error"),
            [
                (
                    r["component"], r["weights"], f"{r['delta_loss_nats_per_token']:+.6f}",
                    _number(r["delta_loss_standard_error_nats"], 6), "yes" if r["resolved"] else "no",
                    f"{r['kl_nats_per_token']:.6f}", _number(r["kl_standard_error_nats"], 6),
                )
                for r in data["components"]["rows"]
            ],
        )
    for label, rows in zip(labels, data.get("tasks", []), strict=False):
        table(
            f"lm-eval, {label} (measured)",
            ("task", "metric", "filter", "value", "standard error", "items"),
            [
                (r["task"], r["metric"], r["filter"], f"{r['value']:.4f}", _number(r["standard_error"], 4),
                 r["samples"])
                for r in rows
            ],
        )
    if out is not None:
        say(f"written: {out / 'evaluation.json'}")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _protocol(ids: Any, text: Path | None, view: Any) -> dict[str, Any]:
    import hashlib
    from importlib.metadata import version

    from peelverify.evaluate.stream import ids_digest

    source = "held-out part of the English text that ships with Python" if text is None else text.name
    return {
        "text": source,
        "text_sha256": None if text is None else hashlib.sha256(text.read_bytes()).hexdigest(),
        "windows": ids.shape[0],
        "window_tokens": ids.shape[1],
        "stride_tokens": ids.shape[1],
        "scored_tokens": ids.shape[0] * (ids.shape[1] - 1),
        "special_tokens_added": False,
        "ids_sha256": ids_digest(ids),
        "dtype": str(view.dtype).removeprefix("torch."),
        "device": view.device.type,
        "attention": view.config._attn_implementation,
        "torch": version("torch"),
        "transformers": version("transformers"),
    }


def _lines(protocol: dict[str, Any]) -> list[str]:
    weights = [
        f"weights of the {label} model: " + ", ".join(f"{n} sha256 {d}" for n, d in digests.items())
        for label, digests in zip(("first", "second"), protocol["weights_sha256"], strict=False)
    ]
    given = f", sha256 {protocol['text_sha256']}" if protocol["text_sha256"] else ""
    return [
        f"protocol: {protocol['windows']} windows of {protocol['window_tokens']} tokens, stride "
        f"{protocol['stride_tokens']}, {protocol['scored_tokens']} tokens scored, the first of each window read only; "
        f"no special tokens added; {protocol['dtype']} on {protocol['device']}, {protocol['attention']} attention",
        f"text: {protocol['text']}{given}; token ids sha256 {protocol['ids_sha256']}",
        *weights,
    ]


def _speed_line(speed: dict[str, Any]) -> str:
    shape = " x ".join(map(str, speed["batch_shape"]))
    line = (
        f"measured: forward pass {speed['speedup_ratio']:.3f} times as fast "
        f"(quartiles {speed['speedup_lower_quartile']:.3f} to {speed['speedup_upper_quartile']:.3f}, "
        f"{len(speed['original_seconds'])} pairs of {shape} tokens after warming up); ideal by number of blocks "
        f"{speed['ideal_speedup_ratio']:.3f}"
    )
    return line + ("; above the ideal, so this timing is noise" if speed["exceeds_ideal"] else "")
