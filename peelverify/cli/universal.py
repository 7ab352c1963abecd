"""``peelverify universal``: how far each block can drift on any input at all, and how loose that bound is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from peelverify.cli import console
from peelverify.cli.inputs import block_list

__all__ = ["register"]


def universal(
    original: Annotated[str, typer.Argument(help="Model directory (safetensors) or hub id.")],
    compressed: Annotated[str, typer.Argument(help="Compressed model: directory or hub id.")],
    kept: Annotated[str | None, typer.Option(help="Blocks of the original that were kept, e.g. 0,1,3.")] = None,
    samples: Annotated[int, typer.Option(help="Token states drawn, exactly so many; 0 for none.", min=0)] = 10_000,
    ascents: Annotated[int, typer.Option(help="Windows improved by gradient ascent; 0 for none.", min=0)] = 100,
    length: Annotated[int, typer.Option(help="Tokens of a searched input.", min=1)] = 8,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Bound the change of every block for every input, from weights alone, in real arithmetic.

    Families: llama, mistral, qwen2, qwen3, phi3, gpt2, gpt_neox, opt. Not gemma2, which normalises the outputs of
    attention and feed-forward layers as well. The two models may differ in their weights only.

    Example: peelverify universal models/base models/base-4bit
    """
    blocks = block_list(kept)
    console.say(f"universal: {original} against {compressed}")
    from peelverify.certify.build import kept_blocks
    from peelverify.certify.identity import open_model
    from peelverify.certify.wholeblock import bound_blocks, require_coverable

    first, second = (open_model(model) for model in (original, compressed))
    left = kept_blocks(first, second, blocks)
    require_coverable(first.view, second.view, left)
    with console.progress() as bar:
        task = bar.add_task("blocks", total=first.view.depth)
        found = bound_blocks(
            first.source, second.source, left, samples=samples, ascents=ascents, length=length, seed=seed,
            on_progress=lambda done, total, _: bar.update(task, completed=done, total=total),
        )
    if json:
        console.emit_json({"schema": "peelverify.universal/1", "blocks": [row(*pair) for pair in found]})
        return
    from peelverify.report.visible import upwards

    console.result(
        "For every input, in real arithmetic on the weights as converted to the dtype that is run; 2-norm of the "
        "change at a token."
    )
    console.table(
        "Whole blocks, for every input",
        ("block", "kind", "certified <=", "found (measured)", "times", "without moved weights", "without moved norm"),
        [
            (
                bound.block, bound.kind, upwards(bound.bound), "-" if seen.worst is None else f"{seen.worst:.6g}",
                times(bound, seen), upwards(bound.steady_attention), upwards(bound.steady_norm),
            )
            for bound, seen in found
        ],
    )
    console.result(f"found       {searched(found[0][1])}")
    console.result(
        "limits      `without moved weights`: attention weights held still; `without moved norm`: the second norm's "
        "input held still, which a small input can move by its whole length"
    )


def looseness(bound: Any, seen: Any) -> float | None:
    """Certified over found; None if nothing was searched or nothing was found."""
    return float(bound.bound) / seen.worst if seen.worst else None


def times(bound: Any, seen: Any) -> str:
    """Certified over found as text, or why there is no such number."""
    ratio = looseness(bound, seen)
    if ratio is not None:
        return f"{ratio:.3g}"
    if bound.bound == 0:
        return "bound is 0"
    return "not searched" if seen.worst is None else "found nothing"


def searched(seen: Any) -> str:
    """What the search looked at."""
    if seen.worst is None:
        return "nothing was searched, so nothing is known about how loose the bounds are"
    return (
        f"the worst of {seen.samples} sampled token states and {seen.ascents} ascended windows a block; a lower end, "
        "no proof that the bound cannot be smaller"
    )


def row(bound: Any, seen: Any) -> dict[str, Any]:
    """One block as JSON."""
    return {
        "block": bound.block,
        "kind": bound.kind,
        "theorem": bound.theorem,
        "certified_bound": str(bound.bound),
        "certified_attention": str(bound.attention),
        "certified_mlp": str(bound.mlp),
        "attention_weight_change": str(bound.weight_change),
        "bound_without_moved_weights": str(bound.steady_attention),
        "bound_without_moved_norm": str(bound.steady_norm),
        "measured_worst_sampled": seen.sampled,
        "measured_worst_ascended": seen.ascended,
        "samples": seen.samples,
        "ascents": seen.ascents,
        "certified_over_measured": looseness(bound, seen),
    }


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("universal")(universal)
