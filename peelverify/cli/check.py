"""``peelverify check``: everything that can be said of one model, in one command and one report."""

from __future__ import annotations

import contextlib
import json as json_module
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from peelverify.cli import console
from peelverify.errors import InputError
from peelverify.verdict import Verdict, exit_code, worst

__all__ = ["register", "run_check"]


def check_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model directory (safetensors) or hub id.")],
    text: Annotated[
        Path | None, typer.Option(help="UTF-8 text. [default: English text that ships with Python]")
    ] = None,
    out: Annotated[Path, typer.Option(help="New folder for everything that is written.")] = Path("check"),
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", help="Earlier checkpoint of the model, oldest first; may be repeated."),
    ] = None,
    bits: Annotated[int, typer.Option(help="Bits of the quantised copy, 2 to 8.")] = 4,
    tokens: Annotated[int, typer.Option(help="Tokens to certify on.")] = 4096,
    window: Annotated[int, typer.Option(help="Tokens a window.")] = 128,
    draws: Annotated[int, typer.Option(help="Noise draws of rho.", min=2)] = 8,
    lean: Annotated[bool, typer.Option(help="Let the Lean kernel check the certificates.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of all draws.", min=0)] = 0,
    max_loss_change: Annotated[
        str | None, typer.Option(help="Exit 1 if a mean loss grows by more, nats a token.", metavar="NATS")
    ] = None,
    min_same_top: Annotated[
        str | None, typer.Option(help="Exit 1 if fewer positions keep their top token.", metavar="SHARE")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Peel, measure, compress two ways, certify and verify a model; write a report.

    Exit status: 0 every claim holds, 1 a claim is violated, 2 bad input, 3 something is open.

    With --max-loss-change or --min-same-top it is a gate for a pipeline: exit 1 if a certified figure breaks a limit.

    Example: peelverify check ./model --text heldout.txt --out model-check
    """
    from peelverify.certify.compare import limit

    limits = limit(max_loss_change, "--max-loss-change"), limit(min_same_top, "--min-same-top", high=1)
    result = run_check(
        model, text=text, out=out, checkpoints=[str(c) for c in checkpoints or []], bits=bits, tokens=tokens,
        window=window, draws=draws, lean=lean, seed=seed, limits=limits,
    )
    if json:
        console.emit_json(result)
    else:
        print_summary(result)
    return exit_code(Verdict[result["verdict"]])


def _stages(with_delete: bool, lean: bool) -> list[str]:
    names = ["peel", "rho", "compress: quantise"]
    if with_delete:
        names.append("compress: delete a block")
    for label in ["quantised"] + (["shortened"] if with_delete else []):
        names += [f"certify {label}", f"verify {label}"]
    return (["prove"] if lean else []) + [*names, "report"]


class _Steps:
    """A bar over all stages and one for the stage that runs."""

    def __init__(self, bar: Any, names: list[str]) -> None:
        self.bar = bar
        self.all = bar.add_task("check", total=len(names))
        self.inner: int | None = None

    @contextlib.contextmanager
    def stage(self, name: str):
        """Show one stage; yields a callback (done, total, what)."""
        self.bar.update(self.all, description=f"check: {name}")
        task = self.bar.add_task(f"  {name}", total=None)

        def report(done: int, total: int, what: str = "") -> None:
            self.bar.update(
                task, completed=done, total=total, description=f"  {name}" + (f": {what}" if what else "")
            )

        yield report
        self.bar.remove_task(task)
        self.bar.advance(self.all)


def _write(path: Path, data: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.partial")
    part.write_text(json_module.dumps(data, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)


def run_check(
    model: str,
    *,
    text: Path | None,
    out: Path,
    checkpoints: list[str],
    bits: int = 4,
    tokens: int = 4096,
    window: int = 128,
    draws: int = 8,
    lean: bool = True,
    seed: int = 0,
    limits: tuple[Fraction | None, Fraction | None] = (None, None),
) -> dict[str, Any]:
    """Run all stages on one model; results are written to ``out`` as they arrive.

    ``limits`` are the largest mean change of the loss (nats a token) and the smallest share of positions that
    keep their top token.

    Returns:
        Plain data, schema ``peelverify.check/1``.
    """
    from peelverify.cli.inputs import result_folder, text_windows
    from peelverify.models.load import load_model, load_tokenizer, read_config, resolve_model

    if not 2 <= bits <= 8:
        raise InputError(f"--bits needs 2 to 8, got {bits}; 4 is usual")
    directory = resolve_model(model)
    for place in [*checkpoints, str(directory)]:
        read_config(resolve_model(place))
    held_out = text_windows(directory, text, tokens=tokens, window=window)
    train = text_windows(directory, text, tokens=tokens, window=window, part="train")
    with result_folder(out):
        console.say(f"check: {directory}, {held_out.numel()} tokens to certify on, results in {out}")
        view, tokenizer = load_model(directory), load_tokenizer(directory)
        with_delete = view.depth > 1
        with console.progress() as bar:
            steps = _Steps(bar, _stages(with_delete, lean))
            if lean:
                with steps.stage("prove") as report:
                    _prove(report)
            with steps.stage("peel") as report:
                peel = _peel(checkpoints, directory, train, seed, out, report)
            with steps.stage("rho") as report:
                rho = _rho(view, held_out, draws, seed, out, report)
            pairs = _compress(directory, view, tokenizer, train, bits, with_delete, out, steps)
            for pair in pairs:
                _certify(pair, directory, held_out, lean, out, steps)
                pair["verification"].gate(*limits)
            with steps.stage("report"):
                page = _report(directory, view, out, peel, rho, pairs, held_out.numel())
        verdicts = [pair["verification"].verdict for pair in pairs]
        result = _result(directory, peel, rho, pairs, page, worst(verdicts))
        _write(out / "check.json", result)
    return result


def _prove(report: Any) -> None:
    """Build the proofs that a certificate rests on, so that it can go through the kernel."""
    from peelverify.certify.kernel import PROOFS
    from peelverify.errors import ToolchainError
    from peelverify.lean.build import build

    found = build(goal=PROOFS, on_progress=report, say=console.say)
    if not found.ok:
        raise ToolchainError(f"the proofs do not build ({found.messages[0]}); run peelverify prove")


def _peel(
    checkpoints: list[str], directory: Path, train: Any, seed: int, out: Path, report: Any
) -> dict[str, Any]:
    """YES bounds of every checkpoint, the model itself last, on windows of the training text."""
    from peelverify.models.load import resolve_model
    from peelverify.peel.cloud import plot_cloud
    from peelverify.peel.run import peel_checkpoints, thin

    def on_point(series: Any, _: Any) -> None:
        series.save(out / "peel.json")
        plot_cloud(series, out / "cloud.png")

    fit, held = thin(train, len(train) // 2) if len(train) > 1 else (train, None)
    series = peel_checkpoints(
        [*(resolve_model(c) for c in checkpoints), directory], fit, held_out=held, seed=seed, on_progress=report,
        on_point=on_point,
    )
    return series.to_json()


def _print_peel(peel: dict[str, Any]) -> None:
    for point in peel["checkpoints"]:
        best = ",".join(map(str, point["best_map"]))
        console.result(
            f"{point['name']:<14} measured loss {point['loss']:.4f}   witnessed YES-0 {point['yes0']:.4f}, "
            f"best {point['best']:.4f} [{best}]   {point['status']}"
        )
    from peelverify.verdict import Status

    last = peel["checkpoints"][-1]["status"]
    console.result(f"status     {last}: {Status[last].meaning}")


def _rho(view: Any, ids: Any, draws: int, seed: int, out: Path, report: Any) -> dict[str, Any]:
    import warnings

    from peelverify.rho.measure import PrecisionWarning, measure_rho

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        profile = measure_rho(view, ids[:16], draws=draws, seed=seed, on_pass=lambda d, n: report(d, n, "passes"))
    data = profile.to_json()
    _write(out / "rho.json", data)
    return data


def _compress(
    directory: Path, view: Any, tokenizer: Any, train: Any, bits: int, with_delete: bool, out: Path,
    steps: _Steps,
) -> list[dict[str, Any]]:
    """Make the compressed copies; each becomes an ordinary model directory with a record."""
    from peelverify.compress import (
        compression_record,
        delete_layers,
        quantize_model,
        rank_layers,
        save_compressed,
        weight_digests,
    )

    digests = weight_digests(directory)
    pairs: list[dict[str, Any]] = []
    with steps.stage("compress: quantise"):
        done = quantize_model(view, bits)
        record = done.record | {"original": digests}
        target = save_compressed(done.view, out / "models" / f"{directory.name}-rtn{bits}", record, tokenizer)
        pairs.append({"label": "quantised", "what": f"{bits}-bit round to nearest, one step a row",
                      "directory": target, "record": record})
    if with_delete:
        with steps.stage("compress: delete a block") as report:
            ranking = rank_layers(
                view, train[:16], "greedy", count=1, on_step=lambda d, n: report(d, n, "ranking")
            )
            _write(out / "ranking.json", ranking.to_json())
            (gone,) = ranking.first(1)
            kept = [t for t in range(view.depth) if t != gone]
            record = compression_record(
                "delete", depth=view.depth, kept=kept, original=digests, criterion="greedy"
            )
            target = save_compressed(
                delete_layers(view, [gone]), out / "models" / f"{directory.name}-without-{gone}", record, tokenizer
            )
            pairs.append({"label": "shortened", "what": f"block {gone} deleted", "directory": target,
                          "record": record, "ranking": ranking.to_json()})
    return pairs


def _certify(pair: dict[str, Any], directory: Path, ids: Any, lean: bool, out: Path, steps: _Steps) -> None:
    """Certify one pair and verify the file that was written, at every level."""
    from peelverify.certify import certify, verify

    with steps.stage(f"certify {pair['label']}") as report:
        certificate = certify(directory, pair["directory"], ids, lean=False, on_progress=report)
        pair["path"] = certificate.save(out / f"{pair['directory'].name}.cert.json")
        pair["certificate"] = certificate
    with steps.stage(f"verify {pair['label']}") as report:
        pair["verification"] = verify(
            pair["path"], original=directory, compressed=pair["directory"], lean=lean, on_progress=report
        )


def _report(
    directory: Path, view: Any, out: Path, peel: dict, rho: dict, pairs: list[dict[str, Any]], tokens: int
) -> Path:
    """Write the HTML report of everything found."""
    from peelverify.lean.theorems import index
    from peelverify.lean.toolchain import describe_toolchain
    from peelverify.report.html import Pair, write_report

    model = {
        "name": directory.resolve().name, "family": view.config.model_type, "blocks": view.depth,
        "width": view.width, "parameters": sum(p.numel() for p in view.model.parameters()), "tokens": tokens,
    }
    named = {t["name"] for pair in pairs for t in pair["certificate"].document["theorems"]}
    return write_report(
        out, model=model, peel=peel, rho=rho,
        ranking=next((pair["ranking"] for pair in pairs if "ranking" in pair), None),
        pairs=[
            Pair(
                certificate=pair["certificate"], verification=pair["verification"], record=pair["record"],
                path=f"../{pair['path'].name}",
            )
            for pair in pairs
        ],
        theorems=[t for t in index() if t.name in named],
        lean={"road": describe_toolchain()},
    )


def _result(
    directory: Path, peel: dict, rho: dict, pairs: list[dict[str, Any]], page: Path, verdict: Verdict
) -> dict[str, Any]:
    from peelverify.cli.certify import summary

    return {
        "schema": "peelverify.check/1",
        "model": str(directory),
        "verdict": verdict.name,
        "peel": peel,
        "rho_median": rho["rho_median"],
        "amplification": rho["amplification"],
        "pairs": [
            {
                "label": pair["label"], "what": pair["what"], "directory": str(pair["directory"]),
                "verdict": pair["verification"].verdict.name, "summary": pair["verification"].summary,
                "levels_reached": list(pair["verification"].reached),
                "limits": [{"name": c.name, "verdict": c.verdict.name, "detail": c.detail}
                           for c in pair["verification"].checks if c.level == "gate"],
                "loss_original_measured": float(pair["certificate"].document["measured"]["loss_original"]),
                "loss_compressed_measured": float(pair["certificate"].document["measured"]["loss_compressed"]),
                **{k: v for k, v in summary(pair["certificate"], pair["path"]).items() if k != "schema"},
            }
            for pair in pairs
        ],
        "theorems": [t["name"] for t in pairs[0]["certificate"].document["theorems"]],
        "report": str(page),
    }


def _loss(pair: dict[str, Any], change: float) -> list[str]:
    """What is certified of the loss: the signed enclosures first, then what the oscillation of the logits allows."""
    from peelverify.certify.file import between

    mean, largest, smallest, factor = (
        text if text is None else between(*map(Fraction, text)) for text in (pair[key] for key in (
            "loss_change_mean_enclosure_nats_per_token", "loss_change_largest_enclosure_nats",
            "loss_change_smallest_enclosure_nats", "perplexity_factor_enclosure",
        ))
    )
    return [
        f"certified  change of loss, nats a token: mean {mean} (measured {change:+.9f}), from {smallest} to {largest}"
        f"; perplexity factor {factor or 'too large to state'}",
        "certified  by theorem from the logits' oscillation alone: mean of any sign <= "
        f"{pair['loss_change_mean_upper_nats_per_token']}, at a token <= {pair['loss_change_max_upper_nats']}",
    ]


def print_summary(result: dict[str, Any]) -> None:
    """Print what matters of a check to stdout; bounds are rounded up."""
    from peelverify.certify.file import above

    console.result()
    _print_peel(result["peel"])
    rho = ", ".join(f"{x:.3f}" for x in result["rho_median"])
    console.result(f"measured   rho into blocks 1.. (medians): {rho}")
    for pair in result["pairs"]:
        console.result()
        console.result(f"{pair['label']}: {pair['what']}   {pair['directory']}")
        change = pair["loss_compressed_measured"] - pair["loss_original_measured"]
        for line in _loss(pair, change):
            console.result(line)
        console.result(
            f"certified  top token unchanged at {pair['same_top_positions']} of {pair['positions']} positions "
            f"({pair['same_top_positions'] / pair['positions']:.2%})"
        )
        direct, chain = Fraction(pair["logit_error_frobenius_upper"]), Fraction(pair["chain_upper"])
        ratio = f", {float(chain / direct):.2f} times the direct bound" if direct else ""
        console.result(f"certified  logit error e_T <= {above(direct)} direct, <= {above(chain)} by the chain{ratio}")
        console.result(f"verified   {', '.join(pair['levels_reached'])}: {pair['summary']}")
        console.result(f"           {pair['path']}")
        for limit in pair["limits"]:
            console.result(f"limit      {limit['verdict']}: {limit['name']}: {limit['detail']}")
    console.result()
    console.result("proved     " + ", ".join(name.removeprefix("PeelVerify.") for name in result["theorems"]))
    console.result(f"report     {result['report']}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check_command)
