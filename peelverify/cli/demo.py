"""``peelverify demo``: the whole promise on a decoder that is trained on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from peelverify.cli import console
from peelverify.errors import ArtifactError
from peelverify.verdict import Verdict, exit_code

__all__ = ["register"]

_LENGTH = 128


def demo(
    out: Annotated[Path, typer.Option(help="New folder for everything that is written.")] = Path("demo"),
    steps: Annotated[int, typer.Option(help="Training steps.", min=6)] = 400,
    width: Annotated[int, typer.Option(help="Width of the decoder, a multiple of 4.", min=16)] = 192,
    blocks: Annotated[int, typer.Option(help="Decoder blocks.", min=2)] = 4,
    lean: Annotated[bool, typer.Option(help="Let the Lean kernel check proofs and certificates.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of initialisation and batches.", min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Train a small Llama-style decoder on English text and run everything on it.

    Text: the language reference that ships with Python; the last tenth is held out. No network is used.

    Example: peelverify demo --out demo
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ArtifactError(f"{out} exists already; choose another folder or remove it first")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".made-by-demo").touch()
    except OSError as error:
        raise ArtifactError(f"{out} cannot be written ({error.strerror}); choose another folder") from error
    console.say("demo: loading libraries")
    from peelverify.data import builtin_text, split_text, windows
    from peelverify.models import save_model
    from peelverify.models.small import byte_tokenizer, small_decoder, train_decoder

    tokenizer = byte_tokenizer()
    ids = windows(tokenizer, split_text(builtin_text())[0], length=_LENGTH)
    view = small_decoder("llama", blocks=blocks, width=width, length=_LENGTH, seed=seed)
    size = sum(p.numel() for p in view.model.parameters())
    console.say(f"demo: training {size / 1e6:.2f}M parameters on {ids.numel()} byte tokens for {steps} steps")
    marks = sorted({round(steps * share) for share in (0.05, 0.15, 0.35, 0.65, 1.0)})
    saved = [save_model(view, out / "checkpoints" / "step-0000", tokenizer=tokenizer)]
    with console.progress() as bar:
        task = bar.add_task("train", total=steps)

        def on_step(step: int, loss: float) -> None:
            bar.update(task, completed=step, description=f"train: {loss:.3f} nats a byte")
            if step in marks:
                saved.append(save_model(view, out / "checkpoints" / f"step-{step:04d}", tokenizer=tokenizer))

        train_decoder(view, ids, steps=steps, seed=seed, on_step=on_step)
    from peelverify.cli.check import print_summary, run_check

    result = run_check(
        str(saved[-1]), text=None, out=out / "check", checkpoints=[str(p) for p in saved[:-1]],
        window=_LENGTH, lean=lean, seed=seed,
    )
    if json:
        console.emit_json(result)
    else:
        print_summary(result)
    return exit_code(Verdict[result["verdict"]])


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)
