"""``peelverify certify``: how wrong a compressed model is on given text, as a file that anyone can check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from peelverify.cli import console
from peelverify.cli.inputs import block_list, new_output, text_windows

__all__ = ["register"]


def certify_command(
    original: Annotated[str, typer.Argument(help="Model directory (safetensors) or hub id.")],
    compressed: Annotated[str, typer.Argument(help="Compressed model: directory or hub id.")],
    text: Annotated[
        Path | None, typer.Option(help="UTF-8 text. Default: English text that ships with Python.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="How many tokens to use.")] = 4096,
    window: Annotated[int, typer.Option(help="Tokens a window.")] = 128,
    kept: Annotated[
        str | None, typer.Option(help="Blocks of the original that were kept, e.g. 0,1,3.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Certificate file to write.")] = Path("model.cert.json"),
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")] = "float32",
    attention: Annotated[str, typer.Option(help="sdpa or eager.")] = "sdpa",
    batch: Annotated[int, typer.Option(help="Windows a forward pass.", min=1)] = 8,
    lean: Annotated[bool, typer.Option(help="Let the Lean kernel check the arithmetic.")] = True,
    tokens_external: Annotated[
        bool, typer.Option("--tokens-external", help="Store only the hash of the tokens.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Certify how far COMPRESSED drifts from ORIGINAL on a text.

    Example: peelverify certify models/base models/base-4bit --text heldout.txt --out base-4bit.cert.json
    """
    new_output(out)
    blocks = block_list(kept)
    console.say(f"certify: {original} against {compressed}")
    ids = text_windows(original, text, tokens=tokens, window=window)
    from peelverify.certify import certify

    with console.progress() as bar:
        tasks: dict[str, int] = {}

        def on_progress(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        certificate = certify(
            original, compressed, ids, lean=lean, kept=blocks, dtype=dtype, attention=attention, batch=batch,
            tokens_external=tokens_external, on_progress=on_progress,
        )
    certificate.save(out)
    if json:
        console.emit_json(summary(certificate, out))
        return
    from peelverify.certify.file import above

    console.result(certificate.claim)
    console.result(
        f"certified  e_T in this execution <= {above(certificate.direct, 12)}; portable <= {above(certificate.bound)}"
    )
    console.result(
        f"certified  chain <= {above(certificate.chain)}, "
        f"{float(certificate.chain / certificate.direct) if certificate.direct else 1:.3f} times the direct bound"
    )
    console.result(f"written    {out}")


def summary(certificate: object, path: Path) -> dict:
    """The main numbers of a certificate for ``--json``; exact numbers as strings."""
    from peelverify.certify.checker import spell
    from peelverify.certify.file import above

    same, positions = certificate.same_top
    return {
        "schema": "peelverify.certify/1",
        "path": str(path),
        "digest_sha256": certificate.digest,
        "claim": certificate.claim,
        "logit_error_frobenius_portable_upper": above(certificate.bound, 17),
        "logit_error_frobenius_portable_upper_exact": spell(certificate.bound),
        "logit_error_frobenius_upper": above(certificate.direct, 17),
        "logit_error_frobenius_measured": certificate.measured,
        "chain_upper": above(certificate.chain, 17),
        "loss_change_mean_upper_nats_per_token": above(certificate.loss_change_mean),
        "loss_change_max_upper_nats": above(certificate.loss_change_max),
        "same_top_positions": same,
        "positions": positions,
    }


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("certify")(certify_command)
