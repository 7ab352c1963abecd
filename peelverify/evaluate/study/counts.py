"""Losses of tables of counts: what a language model has to beat before its blocks are worth studying."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from peelverify.errors import DomainError, InputError
from peelverify.registry import measured

__all__ = ["count_losses"]

WEIGHT = 5.0
"""Tokens of the shorter context that each context has in advance."""


@measured("losses of counts on given windows")
def count_losses(train: Tensor, judged: Tensor, *, vocabulary: int | None = None) -> dict[str, Any]:
    """Mean next-token loss of tables of single tokens, pairs and triples.

    With ``c(x)`` the count of a context and ``c(x y)`` that of a token after it, ``p(y | x) = (c(x y) + 5 q(y)) /
    (c(x) + 5)``, where q is the table with one token less of context; the table of single tokens adds 1/10 to every
    count. No pair and no triple goes over the end of a window. The second token of a window is judged by pairs where
    triples are asked for, as no triple ends there.

    Args:
        train: token ids (windows, length) to count.
        judged: token ids (windows, length >= 2); all but the first of each are judged, as for a model.
        vocabulary: number of tokens; one more than the largest id if None.

    Returns:
        ``unigram``, ``bigram``, ``trigram``, nats a token, and the number of tokens counted and judged.

    Raises:
        InputError: no windows, or windows of one token. DomainError: ids outside the vocabulary.
    """
    seen, text = (np.asarray(ids.cpu().numpy(), dtype=np.int64) for ids in (train, judged))
    if seen.size == 0 or text.size == 0 or text.shape[1] < 2:
        raise InputError(
            f"count_losses needs windows of two tokens at least, got {seen.shape} and {text.shape}; give longer ones"
        )
    size = 1 + int(max(seen.max(), text.max())) if vocabulary is None else vocabulary
    if min(seen.min(), text.min()) < 0 or max(seen.max(), text.max()) >= size:
        raise DomainError(f"count_losses needs ids from 0 to {size - 1}; give the vocabulary of the tokenizer")
    single = np.bincount(seen.ravel(), minlength=size) + 0.1
    p = (single / single.sum())[text[:, 1:]]
    losses = {"unigram": float(-np.log(p).mean())}
    for name, order in (("bigram", 2), ("trigram", 3)):
        p = p.copy()
        skip = order - 2  # the first tokens of a window lack the context, and keep the shorter one
        if text.shape[1] >= order:
            context, after = _counts(seen, text, order, size)
            p[:, skip:] = (after + WEIGHT * p[:, skip:]) / (context + WEIGHT)
        losses[name] = float(-np.log(p).mean())
    return losses | {"counted_tokens": int(seen.size), "judged_tokens": int(text[:, 1:].size), "weight": WEIGHT}


def _counts(seen: np.ndarray, text: np.ndarray, order: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each context of the text was followed in ``seen`` by any token, and by the token that follows here."""

    def keys(ids: np.ndarray, length: int, stop: int) -> np.ndarray:
        width = ids.shape[1] - stop
        found = np.zeros((len(ids), width), dtype=np.int64)
        for i in range(length):
            found = found * size + ids[:, i : i + width]
        return found

    def look(table: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        values, counts = np.unique(table, return_counts=True)
        if not len(values):
            return np.zeros(wanted.shape)
        place = np.searchsorted(values, wanted).clip(max=len(values) - 1)
        return np.where(values[place] == wanted, counts[place], 0).astype(np.float64)

    # a context counts only where a token follows it, so both tables stop at the same place
    stop = order - 1
    context = look(keys(seen, order - 1, stop), keys(text, order - 1, stop))
    return context, look(keys(seen, order, stop), keys(text, order, stop))
