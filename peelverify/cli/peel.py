"""``peelverify peel``: YES bounds of the checkpoints of a training run, as a table, a file and a picture."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from peelverify.peel.cloud import CloudSeries
    from peelverify.peel.substitute import Substitution
    from peelverify.peel.transformer import TransformerYes

__all__ = ["register"]

HELP = """Compare checkpoints with networks that are fitted to their states layer by layer.

Each CHECKPOINT is a model directory, or a folder whose subfolders step-* or checkpoint-* are models; they are
taken in the order given. Half of the token windows, spread over the text, fit the chains, the other half decides.

RED: the loss is above YES-0. YELLOW: below YES-0, above the best witness. GREEN: not refuted by this suite of
witnesses, which proves nothing. All three end with exit status 0; bad input ends with 2.

--reuse adds chains made from the model's own blocks, a line of its own. --bits KIND adds chains whose block matrices
have few bits. --token-weights lets some of the fitted tokens count more in least squares; losses and heads count each
token once, and --solver gradient takes none. --recipe KIND first trains a small decoder in few
bits (straight-through) and its float twin, which is quantised whole afterwards, saves both in --out, and peels both.

Example: peelverify peel runs/step-100 runs/step-200 --text corpus.txt --out cloud
"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("peel", help=HELP, no_args_is_help=True)(peel)


def peel(
    checkpoints: Annotated[
        list[str] | None, typer.Argument(metavar="CHECKPOINT...", help="Model directories in training order.")
    ] = None,
    *,
    text: Annotated[Path | None, typer.Option(help="UTF-8 text file; Python's own documentation if left out.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for peel.json, cloud.png and layers.png, rewritten as results arrive.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=8, help="Tokens to fit on; as many more decide.")] = 4096,
    window: Annotated[int, typer.Option(min=2, help="Tokens a window.")] = 128,
    maps: Annotated[
        str | None,
        typer.Option(help="Maps such as 'direct; 1,2,4,4', or all, named, landmarks, prefixes, first-and-last."),
    ] = None,
    solver: Annotated[str, typer.Option(help="closed-form or gradient.")] = "closed-form",
    budget: Annotated[
        int | None, typer.Option(min=1, help="L-BFGS steps of the head (closed-form) or Adam steps a block (gradient).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the fresh weights.")] = 0,
    problem: Annotated[
        str | None,
        typer.Option(help="Train and watch a small ReLU network instead: digits, absolute, denoising, image, mnist."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with the IDX files of MNIST, for --problem mnist.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of --problem.")] = None,
    save_witness: Annotated[
        Path | None, typer.Option(help="Save the best witness of the last checkpoint as a model directory.")
    ] = None,
    substitute: Annotated[
        bool, typer.Option("--substitute", help="Solve each block again on its own and report the gain of each.")
    ] = False,
    save_substitute: Annotated[
        Path | None, typer.Option(help="Save the model with its best block solved again (last checkpoint).")
    ] = None,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Also fit chains from the model's own blocks; no part of the cloud.")
    ] = False,
    bits: Annotated[
        str | None,
        typer.Option(help="Also fit few-bit chains: binary, binary-row, ternary, 2-bit, 3-bit, 4-bit or 8-bit."),
    ] = None,
    token_weights: Annotated[
        str,
        typer.Option(
            help="Weights of the fitted tokens in least squares: uniform, activation_norm, attention, or a .npy file "
            "of (windows, window) or (blocks, windows, window) weights >= 0."
        ),
    ] = "uniform",
    recipe: Annotated[
        str | None, typer.Option(help="Train small decoders with these few bits into --out and peel them.")
    ] = None,
    family: Annotated[str, typer.Option(help="Family of --recipe: llama, gpt2 or qwen2.")] = "llama",
    steps: Annotated[int, typer.Option(min=1, help="Training steps of --recipe.")] = 300,
    report: Annotated[
        bool, typer.Option("--report", help="Write report/index.html with cloud, heat map and gains into --out.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue peel.json in --out: same options, same checkpoints first.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Evaluate checkpoints one by one."""
    from peelverify.cli import console
    from peelverify.errors import InputError
    from peelverify.peel.maps import parse_maps
    from peelverify.peel.solvers import check_weighted, solver_named

    if save_substitute is not None and not substitute:
        raise InputError("peel needs --substitute for --save-substitute, got only the latter; add it")
    if resume and (out is None or problem is not None):
        raise InputError("peel needs --out and checkpoints for --resume; name the folder of the first run")
    if report and out is None:
        raise InputError("peel needs --out for --report, got none; name a folder")
    if recipe is not None:
        if out is None or checkpoints or problem is not None or resume:
            raise InputError(
                "peel needs --out, and neither checkpoints, --problem nor --resume, for --recipe; leave those out"
            )
        if bits not in (None, recipe):
            raise InputError(f"peel needs one kind of few bits, got --recipe {recipe} and --bits {bits}; leave one out")
    if problem is not None:
        weighted = token_weights != "uniform"
        options = (("--substitute", substitute), ("--reuse", reuse), ("--bits", bits), ("--token-weights", weighted))
        asked = [name for name, on in options if on]
        if asked:
            raise InputError(f"peel needs checkpoints for {asked[0]}, got --problem; leave one out")
        if checkpoints:
            raise InputError("peel needs either checkpoints or --problem, got both; leave one out")
        series = _watch(problem, epochs, seed, out, data)
    else:
        if recipe is not None and out is not None:
            check_weighted(solver_named(solver, budget), token_weights)
            _weights(token_weights)
            parse_maps(maps or "default", 4)
            checkpoints = _recipe(recipe, family, steps, seed, text, window, max(1, tokens // window), out)
            bits = recipe
        if not checkpoints:
            raise InputError("peel needs at least one CHECKPOINT, got none; name model directories or --problem")
        series = _evaluate(
            checkpoints, text=text, out=out, tokens=tokens, window=window, maps=maps, solver=solver,
            budget=budget, seed=seed, save_witness=save_witness, substitution=substitute,
            save_substitute=save_substitute, resume=resume, reuse=reuse, bits=bits, made=recipe is not None,
            token_weights=token_weights,
        )
    if report and out is not None:
        console.say(f"report: {_report(series, out)}")
    if as_json:
        console.emit_json(series.to_json())
    else:
        typer.echo(console.plain(table(series)))


def _report(series: CloudSeries, out: Path) -> Path:
    """The page of this run: what was peeled, then the section on training."""
    from peelverify.report.html import write_report

    about = {k: v for k, v in series.about.items() if isinstance(v, (str, int, float)) and not isinstance(v, bool)}
    name = str(about.pop("problem", "") or series.points[-1].label)
    return write_report(out, model={"name": name, **about}, peel=series.to_json())


def _recipe(
    kind: str, family: str, steps: int, seed: int, text: Path | None, window: int, count: int, out: Path
) -> list[str]:
    """Train and save the decoders of the recipe; names of the two that are peeled."""
    from peelverify.cli import console
    from peelverify.cli.inputs import result_folder
    from peelverify.data.text import builtin_text, read_text, windows
    from peelverify.models.small import byte_tokenizer
    from peelverify.peel.recipe import low_bit_recipe
    from peelverify.peel.run import thin
    from peelverify.peel.ste import check_kind

    check_kind(kind)
    tokenizer = byte_tokenizer()
    ids = windows(tokenizer, read_text(text) if text is not None else builtin_text(), length=window)
    thin(ids, count)  # what peeling would refuse later is refused now
    with result_folder(out), console.progress() as bar:
        task = bar.add_task("training", total=2 * steps)
        pair = low_bit_recipe(
            kind, ids, out, tokenizer=tokenizer, family=family, steps=steps, seed=seed,
            on_progress=lambda done, total, what: bar.update(task, total=total, completed=done, description=what),
        )
    return [str(pair.quantised), str(pair.trained)]


def find_checkpoints(given: list[str]) -> list[Path]:
    """Model directories named on the command line, with folders of checkpoints opened in numeric order.

    Raises:
        ArtifactError: no such folder, or a folder without a model.
    """
    from peelverify.errors import ArtifactError
    from peelverify.models.load import resolve_model
    from peelverify.peel.run import step_of

    found: list[Path] = []
    for name in given:
        path = Path(name)
        if not path.is_dir():
            found.append(resolve_model(name))
            continue
        if (path / "config.json").is_file():
            found.append(path)
            continue
        inner = [
            p for pattern in ("step-*", "checkpoint-*") for p in path.glob(pattern) if (p / "config.json").is_file()
        ]
        if not inner:
            raise ArtifactError(
                f"{name} is not a model directory: it has no config.json, and no folders step-* or checkpoint-*; "
                "give model directories",
                path=name,
            )
        found += sorted(inner, key=lambda p: (step_of(p) if step_of(p) is not None else -1, p.name))
    return found


def _check(paths: list[Path], text: Path | None, tokens: int, window: int, maps: str | None) -> tuple[Any, ...]:
    """Everything that can be refused before a model is loaded: configs, maps, tokenizers, text."""
    from peelverify.data.text import builtin_text, read_text, windows
    from peelverify.errors import InputError
    from peelverify.models.load import load_tokenizer, model_files, read_config
    from peelverify.peel.maps import check_maps, parse_maps
    from peelverify.peel.run import thin

    def shape(config: dict[str, Any]) -> dict[str, Any]:
        drop = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "architectures")
        return {k: v for k, v in config.items() if k not in drop}

    configs = [read_config(path) for path in paths]
    for path, config in zip(paths, configs, strict=True):
        model_files(path)
        if shape(config) != shape(configs[0]):
            keys = sorted(k for k in {*config, *configs[0]} if config.get(k) != configs[0].get(k))
            raise InputError(
                f"peel needs checkpoints of one architecture, got {path} differing from {paths[0]} in "
                f"{', '.join(keys[:4])}; compare runs one at a time"
            )
    first = configs[0]
    depth = int(first.get("num_hidden_layers") or first.get("n_layer") or 0)
    suite = parse_maps(maps, depth) if maps is not None else check_maps(None, depth)
    longest = first.get("max_position_embeddings") or first.get("n_positions")
    if longest and window > int(longest):
        raise InputError(f"peel needs a window of at most {longest} tokens for this model, got {window}; shorten it")
    count = max(1, tokens // window)
    content = read_text(text) if text is not None else builtin_text()
    tokenizer = load_tokenizer(paths[0])
    every = windows(tokenizer, content, length=window)
    fit, held = thin(every, count)
    return suite, fit, held, tokenizer


def _weights(given: str) -> Any:
    """The name of ``--token-weights``, or the array in the file of that name.

    Raises:
        InputError: neither a name nor a file. ArtifactError: a file that is no array of numbers.
    """
    import numpy as np

    from peelverify.compress.tokenweights import TOKEN_WEIGHTS
    from peelverify.errors import ArtifactError, InputError

    if given in TOKEN_WEIGHTS:
        return given
    if not Path(given).is_file():
        raise InputError(
            f"--token-weights needs one of {', '.join(TOKEN_WEIGHTS)}, or a .npy file, got {given!r}; name one"
        )
    try:
        found = np.load(given, allow_pickle=False)
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu":
            raise ValueError("not one array of numbers")
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(
            f"{given} cannot be read as token weights ({error}); write it with numpy.save", path=given
        ) from error
    return found.astype(np.float64)


def _folder(out: Path | None, *, resume: bool = False) -> AbstractContextManager[Path | None]:
    from peelverify.cli.inputs import result_folder

    return nullcontext() if out is None or resume else result_folder(out)


def _earlier(out: Path | None, resume: bool) -> CloudSeries | None:
    """The series of an earlier run in the folder, to be continued."""
    import json

    from peelverify.errors import ArtifactError
    from peelverify.peel.cloud import CloudSeries

    if not resume or out is None:
        return None
    try:
        return CloudSeries.from_json(json.loads((out / "peel.json").read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ArtifactError(f"{out} has no peel.json to continue; leave out --resume") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{out / 'peel.json'} cannot be read ({error}); start again in another folder") from error


def _write(series: CloudSeries, out: Path | None, *, decibels: bool = False) -> None:
    from peelverify.peel.cloud import plot_cloud
    from peelverify.report.results import layers_drawing
    from peelverify.report.svg import save_plot

    if out is not None and series.points:
        series.save(out / "peel.json")
        plot_cloud(series, out / "cloud.png", decibels=decibels)
        drawing = layers_drawing(series.to_json()["checkpoints"][-1])
        if drawing is not None:
            save_plot([drawing], out / "layers.png", columns=1)


def _evaluate(
    checkpoints: list[str], *, text: Path | None, out: Path | None, tokens: int, window: int, maps: str | None,
    solver: str, budget: int | None, seed: int, save_witness: Path | None, substitution: bool,
    save_substitute: Path | None, resume: bool, reuse: bool, bits: str | None, made: bool,
    token_weights: str,
) -> CloudSeries:
    from peelverify.cli import console
    from peelverify.errors import ArtifactError, InputError
    from peelverify.models.save import save_model
    from peelverify.peel.run import peel_checkpoints
    from peelverify.peel.solvers import check_weighted, solver_named

    paths = find_checkpoints(checkpoints)
    chosen = solver_named(solver, budget)
    check_weighted(chosen, token_weights)
    weights = _weights(token_weights)
    suite, fit, held, tokenizer = _check(paths, text, tokens, window, maps)
    for folder in (save_witness, save_substitute):
        if folder is not None and folder.exists():
            raise ArtifactError(f"{folder} exists already; choose another folder for the witness")
    earlier = _earlier(out, resume)
    if earlier is not None and len(earlier.points) >= len(paths) and (save_witness or save_substitute):
        raise InputError(
            "peel needs a checkpoint that is still to be done to save its witness, got only finished ones; "
            "run that checkpoint alone in another folder"
        )

    def keep(series: CloudSeries, found: TransformerYes) -> None:
        series.about["text"] = text.name if text is not None else "builtin"
        _write(series, out)
        if save_witness is not None and len(series.points) == len(paths):
            save_model(found.witness(), save_witness, tokenizer=tokenizer)

    def keep_block(index: int, again: Substitution) -> None:
        if save_substitute is not None and index + 1 == len(paths):
            if not again.best.maps:
                console.say("no block gained anything, so --save-substitute has nothing to save")
            else:
                save_model(again.witness(), save_substitute, tokenizer=tokenizer)

    with _folder(out, resume=resume or made), console.progress() as bar:
        task = bar.add_task("peeling", total=None)
        return peel_checkpoints(
            paths, fit, held_out=held, maps=suite, solver=chosen, seed=seed, on_point=keep,
            substitution=substitution, resume=earlier, on_substitution=keep_block, reuse=reuse, bits=bits,
            token_weights=weights,
            on_progress=lambda done, total, what: bar.update(task, total=total, completed=done, description=what),
        )


def _watch(problem: str, epochs: int | None, seed: int, out: Path | None, data: Path | None) -> CloudSeries:
    from peelverify.cli import console
    from peelverify.data.mnist import mnist
    from peelverify.data.problems import problem_named
    from peelverify.errors import InputError
    from peelverify.peel.classic import watch

    if (problem == "mnist") != (data is not None):
        raise InputError(
            "peel needs --data FOLDER with the IDX files for --problem mnist" if data is None
            else f"peel takes --data for only mnist, got --problem {problem}; leave one out"
        )
    task = problem_named(problem, seed=seed) if data is None else mnist(data)
    with _folder(out), console.progress() as bar:
        handle = bar.add_task(f"training on {problem}", total=epochs or task.epochs)
        return watch(
            task, epochs=epochs, seed=seed,
            on_progress=lambda done, total, what: bar.update(handle, total=total, completed=done, description=what),
            on_point=lambda series: _write(series, out, decibels=True),
        )


def table(series: CloudSeries) -> str:
    """The series as text: one row a checkpoint, losses in the unit of the series."""
    rows = [("checkpoint", "loss", "YES-0", "best YES", "best map", "refit", "status", "running")]
    for p in series.points:
        rows.append((
            p.label, f"{p.loss:.4f}", f"{p.yes0:.4f}", f"{p.best:.4f}", ",".join(map(str, p.best_map)),
            "-" if p.refit is None else f"{p.refit:.4f}", p.status_now.name, p.status_running.name,
        ))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    left = (0, 4, 6, 7)
    lines = [
        "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True)))
        for r in rows
    ]
    note = (
        f"loss: measured, {series.unit.replace('_', ' ')}. YES bounds: witnessed on the same samples. "
        "status: bounds of the checkpoint; running: smallest bounds so far."
    )
    green = "GREEN means: not refuted by this suite of witnesses. It does not say that training has converged."
    again = series.points[-1].extra.get("substitution") if series.points else None
    blocks = [] if not again else [
        "",
        f"Single-layer substitution, {series.points[-1].label} (gains witnessed on windows that chose nothing; "
        f"{100 * again['level_fraction']:.0f} % bootstrap intervals measured):",
        *(_block_line(b) for b in again["blocks"]),
        *_head_line(again["head"]),
    ]
    more = [*_reuse_lines(series), *_bits_lines(series)]
    return "\n".join(line.rstrip() for line in [*lines, *blocks, *more, "", note, green])


def _reuse_lines(series: CloudSeries) -> list[str]:
    """Chains made from the models' own blocks, one line a checkpoint that has them."""
    found = [(p.label, p.extra["reuse"]) for p in series.points if p.extra.get("reuse")]
    return [] if not found else [
        "", "Chains made from the model's own blocks (witnessed; no part of the cloud, the direct map is the model):",
        *(f"  {label}: best {r['best']:.4f}, map {','.join(map(str, r['best_map']))}; the model "
          f"{r['loss_nats_per_token']:.4f}" for label, r in found),
    ]


def _bits_lines(series: CloudSeries) -> list[str]:
    """Few-bit chains beside the float ones, one line a checkpoint that has them."""
    found = [(p.label, p.extra["bits"]) for p in series.points if p.extra.get("bits")]
    return [] if not found else [
        "", f"Chains with {found[0][1]['kind']} block matrices (witnessed, nats a token):",
        *(f"  {label}: model {b['loss_nats_per_token']:.4f}; best chain published {b['best_published']:.4f}, refined "
          f"{b['best_refined']:.4f}, float {b['best_float']:.4f}; distortion on map "
          f"{','.join(map(str, b['best_map_refined']))} {b['distortion_of_best_map']:+.4f}; model less best refined "
          f"{b['gap_to_best_refined']:+.4f}; {b['status_among_few_bits']} among few-bit chains" for label, b in found),
    ]


def _block_line(block: dict[str, Any]) -> str:
    line = f"  {block['sentence']}"
    bracket = block["bracket"]
    if bracket is not None:
        line += (
            f"; of the asked move {100 * bracket['upper_fraction']:.2f} % was left, {bracket['scope']} leave at least "
            f"{100 * bracket['lower_fraction']:.2f} % (certified, this block's last map only)"
        )
    return line


def _head_line(head: dict[str, Any] | None) -> list[str]:
    return [] if head is None else [
        f"  head alone, fitted windows: {head['start_nats_per_token']:.4f} now; {head['scope']} reach "
        f"{head['upper_nats_per_token']:.4f} and none goes below {head['lower_nats_per_token']:.4f} nats a token "
        "(measured; convex problem, no theorem)"
    ]
