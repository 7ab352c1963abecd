"""``peelverify study``: measure, predict, rank and compress several trained models, and write the tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from peelverify.cli.inputs import DeviceOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "study",
        epilog="Example: peelverify study --families llama,gpt2,qwen2 --preset small --out study",
    )(_study)


def _study(
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study; give the same one again to go on where it stopped.")
    ] = None,
    families: Annotated[str | None, typer.Option(help="Families to train, with commas: llama, gpt2, qwen2.")] = None,
    models: Annotated[
        str | None, typer.Option(help="Model directories to take instead of training, with commas.")
    ] = None,
    preset: Annotated[str, typer.Option(help="tiny, small, standard or pretrained.")] = "small",
    text: Annotated[
        Path | None, typer.Option(help="UTF-8 text to measure on. Default: text that ships with Python.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Models a family; intervals over models need 3.")] = None,
    blocks: Annotated[int | None, typer.Option(help="Blocks of the trained models.")] = None,
    width: Annotated[int | None, typer.Option(help="Width of the trained models.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    rank_tokens: Annotated[int | None, typer.Option(help="Tokens for measuring and ranking.")] = None,
    final_tokens: Annotated[int | None, typer.Option(help="Tokens for the figures, other documents.")] = None,
    window: Annotated[int | None, typer.Option(help="Tokens a window.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Start no stage after so many minutes.")] = None,
    trained: Annotated[
        Path | None, typer.Option(help="Folder of an earlier study to take models from, trained with the same options.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of a forward pass. Default: torch's own.")] = None,
    device: DeviceOption = "cpu",
    results: Annotated[
        Path | None, typer.Option("--from", help="Run nothing; write the page of this results file.")
    ] = None,
    document: Annotated[Path | None, typer.Option(help="With --from: Markdown file to write, replaced.")] = None,
    slim: Annotated[
        Path | None, typer.Option(help="With --from: also write what the page needs of the results, replaced.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the joined results as JSON.")] = False,
) -> None:
    """Ask several trained models whether rho predicts drift, which blocks can go, and whether schedules help."""
    from peelverify.cli.console import emit_json, result, say
    from peelverify.cli.inputs import check_device
    from peelverify.errors import DomainError, InputError
    from peelverify.evaluate.study.plan import PRESETS, read_json

    if slim is not None and results is None:
        raise InputError("--slim needs --from RESULTS, the results that are to be shortened; give it")
    if (results is None) != (document is None) or (results is None) == (out is None):
        raise InputError("study needs --out FOLDER to run, or --from RESULTS with --document FILE; give one of the two")
    if results is not None and document is not None:
        found = read_json(results, lambda d: isinstance(d, dict) and d.get("schema") == "peelverify.study/1")
        page = _page(found)
        if slim is not None:
            text = _slim(found)
            _write_text(slim, text)
            page = _page(json.loads(text))
        _write_text(document, page)
        say(f"written: {document}")
        return
    assert out is not None
    if preset not in PRESETS:
        raise InputError(f"--preset needs one of {', '.join(PRESETS)}, got {preset!r}; name one")
    if families is not None and models is not None:
        raise InputError("study needs --families or --models, got both; train models or take them")
    if preset == "pretrained" and models is None:
        raise InputError("--preset pretrained needs --models with directories of models; give one or more")
    if minutes is not None and not 0 < minutes < float("inf"):
        raise DomainError(f"--minutes needs a finite number above 0, got {minutes}; leave it out for no limit")
    if threads is not None and threads < 1:
        raise DomainError(f"--threads needs at least 1, got {threads}; leave it out for torch's own choice")
    check_device(device, "float32")
    plan = PRESETS[preset].changed(
        families=_names(families),
        models=_names(models),
        text=None if text is None else str(text),
        seeds=seeds,
        blocks=blocks,
        width=width,
        steps=steps,
        rank_tokens=rank_tokens,
        final_tokens=final_tokens,
        window=window,
    )
    if models is not None:
        plan = plan.changed(families=())
    import warnings

    import torch

    from peelverify.evaluate.study.run import run_study
    from peelverify.evaluate.study.tables import study_tables
    from peelverify.models.load import resolve_model
    from peelverify.report.study import study_plots
    from peelverify.report.svg import save_plot
    from peelverify.rho.measure import PrecisionWarning

    for path in plan.models:  # every model is there before the first long stage
        resolve_model(path)
    if threads is not None:
        torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        data = run_study(plan, out, say=say, minutes=minutes, trained=trained, device=device)
    tables = study_tables(data)
    (out / "tables").mkdir(exist_ok=True)
    for table in tables:
        _write_text(out / "tables" / f"{table.name}.csv", table.csv())
    plots = study_plots(data)
    for plot in plots:
        save_plot([plot], out / "plots" / f"{plot.name}.svg", columns=1)
    _write_text(out / "study.md", _page(data))
    if as_json:
        emit_json(data)
        return
    whole = sum(1 for m in data["models"] if "again" in m)
    result(f"{whole} of {len(plan.units())} models finished in {data['minutes']['all']:.1f} minutes of work (measured)")
    say(f"written: {out / 'study.md'}, {out / 'results.json'}, {len(tables)} tables, {len(plots)} plots")


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(","))


def _page(data: dict[str, Any]) -> str:
    from peelverify.evaluate.study.document import study_document

    return _of_results(study_document, data)


def _slim(data: dict[str, Any]) -> str:
    from peelverify.evaluate.study.document import slim_text

    return _of_results(slim_text, data)


def _of_results(make: Callable[[dict[str, Any]], str], data: dict[str, Any]) -> str:
    from peelverify.errors import ArtifactError

    try:
        return make(data)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ArtifactError("the results file is damaged; write it again with peelverify study --out") from error


def _write_text(path: Path, text: str) -> None:
    from peelverify.errors import ArtifactError

    part = path.with_name(f".{path.name}.partial")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written ({error.strerror}); choose another place") from error
    finally:
        part.unlink(missing_ok=True)
