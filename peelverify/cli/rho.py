"""``peelverify rho``: how far an error on the embedding is carried from block to block."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peelverify.cli.inputs import DeviceOption, DtypeOption

if TYPE_CHECKING:
    from torch import Tensor

    from peelverify.models.view import ModelView

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "rho",
        epilog="Example: peelverify rho ./model --text book.txt --draws 16 --out rho-report",
    )(_rho)


def _rho(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model directory (safetensors) or hub id.")],
    text: Annotated[
        Path | None, typer.Option(help="UTF-8 text. Default: English text that ships with Python.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Noise draws.")] = 8,
    epsilon: Annotated[float, typer.Option(help="Noise relative to the RMS of the embeddings.")] = 0.01,
    tokens: Annotated[int, typer.Option(help="Tokens to use.")] = 2048,
    window: Annotated[int, typer.Option(help="Tokens a window.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    worst_case: Annotated[
        bool, typer.Option("--worst-case", help="Also: contraction condition, and what operator norms predict.")
    ] = False,
    diagnostics: Annotated[
        bool, typer.Option("--diagnostics", help="Also: alpha, ZD, LIM, use of depth, tokenwise fit, gradient norms.")
    ] = False,
    inject: Annotated[
        bool, typer.Option("--inject", help="Also: noise put in after each block in turn, and what is left at the end.")
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="Also: the actual error of this compression at every block.", metavar="MODEL")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for rho.json.")] = None,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure rho: the ratio of relative error energies from one block to the next (a measured number)."""
    from peelverify.cli.console import emit_json, progress, say, table
    from peelverify.cli.inputs import check_device, text_windows
    from peelverify.errors import DomainError
    from peelverify.models.save import new_directory

    if draws < 1:
        raise DomainError(f"--draws needs at least 1, got {draws}; 8 is the default")
    if not 0 < epsilon < float("inf"):
        raise DomainError(f"--epsilon needs a finite number above 0, got {epsilon}; 0.01 is published")
    if seed < 0:
        raise DomainError(f"--seed needs a whole number from 0 on, got {seed}; it names a stream of noise")
    place = check_device(device, dtype)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(new_directory(out)) if out is not None else None
        say(f"reading {model}")
        ids = text_windows(model, text, tokens=tokens, window=window)
        import warnings

        import numpy as np

        from peelverify.models.load import load_model
        from peelverify.rho.measure import PrecisionWarning, measure_rho

        view = load_model(model, **place)
        with progress() as bar, warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            task = bar.add_task("forward passes", total=draws + 1)
            profile = measure_rho(
                view, ids, epsilon=epsilon, draws=draws, seed=seed,
                on_pass=lambda done, total: bar.update(task, completed=done, total=total),
            )
        for sentence in profile.warnings:
            say(f"warning: {sentence}")
        data = profile.to_json() | {"model": model, "device": device}
        worst = None
        if worst_case:
            from peelverify.rho.lyapunov import lyapunov_report

            say("enclosing operator norms")
            worst = lyapunov_report(view, ids, profile)
            data["lyapunov"] = worst.to_json()
        if inject:
            from peelverify.rho.inject import inject_noise

            say("putting noise in after each block")
            noise = inject_noise(view, ids, epsilon=epsilon, draws=min(draws, 4), seed=seed)
            data["injected"] = {
                "draws": min(draws, 4),
                "amplification_median": np.median(noise.amplification, axis=0).tolist(),
                "absolute_amplification_median": np.median(noise.absolute_amplification, axis=0).tolist(),
            }
        if against is not None:
            data["against"] = {"model": against} | _actual_error(view, against, ids, place)
        if diagnostics:
            from peelverify.compress.diagnostics import layer_diagnostics

            with progress() as bar:
                task = bar.add_task("layer diagnostics", total=None)
                data["diagnostics"] = layer_diagnostics(
                    view, ids, on_step=lambda done, total: bar.update(task, completed=done, total=total)
                )
        if folder is not None:
            (folder / "rho.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    if as_json:
        emit_json(data)
        return
    into = np.median(profile.rho_into, axis=0)
    energy = np.median(profile.energy, axis=0)
    absolute = np.median(profile.variant("absolute"), axis=0)
    spread = profile.depth > 1 and profile.draws * len(ids) > 1
    low, high = profile.interval() if spread else (None, None)
    least, most = profile.interval("amplification") if spread else (None, None)
    rows = []
    for t in range(profile.depth):
        known = low is not None and t > 0
        rows.append(
            (
                t, f"{energy[t]:.3e}", f"{into[t]:.4f}",
                f"{low[t - 1]:.4f} .. {high[t - 1]:.4f}" if known else "",
                f"{absolute[t - 1]:.4f}" if t else "", f"{profile.amplification[t]:.4f}",
                f"{least[t]:.4f} .. {most[t]:.4f}" if least is not None else "",
            )
        )
    table(
        f"rho of {model} (measured; {draws} draws, {profile.tokens} tokens, "
        f"epsilon {epsilon:g}, {profile.dtype} on {device})",
        ("block", "V (|e|^2/|h|^2)", "rho into", "95 % interval", "absolute ratio", "amplification A", "its interval"),
        rows,
    )
    say(
        f"least energy: {data['least_energy_over_noise_floor']:.3g} times what rounding in {profile.dtype} leaves "
        "(an estimate); below 100 the profile is doubtful"
    )
    if worst is not None:
        table(
            "contraction, and the ratio that operator norms predict (measured; not a bound on a block)",
            ("block", "L/sigma attention", "MLP", "g attention", "MLP", "L/sigma < g", "predicted", "orders too large"),
            [
                (
                    t, *(f"{x:.3g}" for x in worst.gain[t]), *(f"{x:.3g}" for x in worst.contribution[t]),
                    " ".join("yes" if c else "no" for c in worst.contraction[t]), f"{worst.predicted[t]:.3g}",
                    f"{worst.log10_vacuity[t]:+.1f}",
                )
                for t in range(profile.depth)
            ],
        )
    for name, rows in _extra_tables(data):
        table(name[0], name[1:], rows)
    if diagnostics:
        found = data["diagnostics"]
        shown = {name: values for name, values in found["columns"].items() if values is not None}
        table(
            "layer diagnostics (measured; formulas in --json)",
            ("block", *(name.replace("_", " ") for name in shown)),
            [(t, *(f"{values[t]:.3g}" for values in shown.values())) for t in range(profile.depth)],
        )
        for name, reason in found["not_measured"].items():
            say(f"not measured: {name}: {reason}")
    if out is not None:
        say(f"written: {out / 'rho.json'}")


def _actual_error(view: ModelView, compressed: str, ids: Tensor, place: dict[str, str]) -> dict[str, Any]:
    """Energies of the error that a compressed model really makes, and rho of that model."""
    import warnings

    import numpy as np

    from peelverify.cli.console import say
    from peelverify.compress.record import read_record
    from peelverify.models.load import load_model, resolve_model
    from peelverify.rho.inject import residual_profile
    from peelverify.rho.measure import PrecisionWarning, measure_rho

    directory = resolve_model(compressed)
    small = load_model(directory, **place)
    record = read_record(directory)
    profile = residual_profile(view, small, ids, kept=None if record is None else record["kept"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        again = measure_rho(small, ids)
    for sentence in again.warnings:
        say(f"warning: {compressed}: {sentence}")
    return profile.to_json() | {"rho_of_compressed_median": np.median(again.rho, axis=0).tolist()}


def _extra_tables(data: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], list[tuple[Any, ...]]]]:
    """Tables of ``--inject`` and ``--against``."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    if "injected" in data:
        noise = data["injected"]
        columns = noise["amplification_median"], noise["absolute_amplification_median"]
        rows = [(t, number(a), number(b)) for t, (a, b) in enumerate(zip(*columns, strict=True))]
        title = f"noise put in after each block, what is left after the last (measured; {noise['draws']} draws)"
        yield (title, "block", "relative energy, end over start", "absolute error, end over start"), rows
    if "against" in data:
        found = data["against"]
        ratio = [None, *found["ratio"]]
        columns = found["energy"], ratio, found["absolute_energy"]
        rows = [(t, *map(number, row)) for t, row in enumerate(zip(*columns, strict=True))]
        yield (
            f"actual error of {found['model']} (measured; a deleted block counts as the identity)",
            "block", "V (|e|^2/|h|^2)", "its ratio", "|e|^2",
        ), rows
        after = ", ".join(map(number, found["rho_of_compressed_median"]))
        yield ("rho of that model, measured again", "rho"), [(after,)]
