"""A recipe: one small decoder trained in few bits, and its float twin quantised whole afterwards.

Both start from the same weights and see the same batches, so the comparison is of the two ways to few bits. The models
are ordinary directories; `peel_checkpoints` with the same kind then tells what the few bits cost (distortion, float
chain against few-bit chain) from what training left undone (loss against the best few-bit chain).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from peelverify.errors import InputError
from peelverify.models.save import save_model
from peelverify.models.small import small_decoder, train_decoder
from peelverify.peel.ste import check_kind, quantise_blocks, train_low_bit

__all__ = ["LowBitPair", "low_bit_recipe"]


@dataclass(frozen=True)
class LowBitPair:
    """Directories of the recipe.

    Attributes:
        quantised: trained in float, every block matrix replaced by its few-bit image afterwards.
        trained: few bits in every forward pass of training (straight-through), saved with those weights.
        float_twin: the float decoder behind ``quantised``.
        losses: last training loss of the float and of the few-bit run, nats a token (measured).
    """

    quantised: Path
    trained: Path
    float_twin: Path
    losses: tuple[float, float]


def low_bit_recipe(
    kind: str,
    ids: Tensor,
    out: str | os.PathLike[str],
    *,
    tokenizer: Any,
    family: str = "llama",
    blocks: int = 4,
    width: int = 64,
    steps: int = 300,
    batch: int = 16,
    learning_rate: float = 2e-3,
    seed: int = 0,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> LowBitPair:
    """Train both decoders and save them as directories of ``out``.

    Args:
        kind: see `peelverify.peel.ste.few_bits`.
        ids: token ids to train on (windows, length).
        out: folder; ``float``, ``quantised-KIND`` and ``trained-KIND`` are made inside it.
        tokenizer: saved with each model; its tokens are those of ``ids``.
        family, blocks, width: of the decoders, see `peelverify.models.small.small_decoder`.
        steps, batch, learning_rate, seed: of both trainings.
        on_progress: called with (steps done, steps in all, what).

    Raises:
        InputError: unknown kind or family, no steps.
        ArtifactError: a directory exists already or cannot be written.

    Source:
        [Eamaz2026] peels both kinds of network; the recipe is ours.
    """
    check_kind(kind)
    if steps < 1:
        raise InputError(f"low_bit_recipe needs at least one step, got {steps}; give more")
    folder = Path(out)
    made: list[Path] = []
    losses: list[float] = []
    for number, name in enumerate(("float", f"trained-{kind}")):
        view = small_decoder(
            family, blocks=blocks, width=width, heads=4, vocabulary=len(tokenizer), length=ids.shape[1], seed=seed
        )

        def tick(step: int, loss: float, *, before: int = number * steps, what: str = name) -> None:
            if on_progress is not None:
                on_progress(before + step, 2 * steps, f"{what}: {loss:.3f} nats a token")

        common: dict[str, Any] = {
            "steps": steps, "batch": batch, "learning_rate": learning_rate, "seed": seed, "on_step": tick,
        }
        found = train_low_bit(view, ids, kind, **common) if number else train_decoder(view, ids, **common)
        losses.append(found[-1])
        made.append(save_model(view, folder / name, tokenizer=tokenizer))
        if not number:
            made.append(save_model(quantise_blocks(view, kind), folder / f"quantised-{kind}", tokenizer=tokenizer))
    return LowBitPair(made[1], made[2], made[0], (losses[0], losses[1]))
