"""Windows drawn from a pool of text, so that a certificate can speak of the windows it did not see."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peelverify.certify.checker import MAX_POOL, MAX_VALUES, MAX_WINDOWS, digest, draw
from peelverify.errors import InputError

__all__ = ["Pool", "check_count", "draw_windows", "levels_for", "pool_sha256", "text_pool"]

RISKS = (100, 20, 10)
"""One in so many unseen windows may exceed a bound that the certificate states."""


@dataclass(frozen=True)
class Pool:
    """All windows that could have been certified.

    Attributes:
        ids: token ids (windows, length).
        files: name -> SHA-256 of the text files that the windows were cut from, in order; may be empty.
    """

    ids: Tensor
    files: Mapping[str, str]


def pool_sha256(ids: Tensor) -> str:
    """SHA-256 of the shape and of the ids as little-endian int64."""
    total = hashlib.sha256(f"{list(ids.shape)}".encode("ascii"))
    for part in ids.split(1 << 16):
        total.update(part.cpu().to(torch.int64).contiguous().numpy().astype("<i8").tobytes())
    return total.hexdigest()


def text_pool(tokenizer: Any, paths: Sequence[Path], *, length: int) -> Pool:
    """Cut UTF-8 text files into windows of ``length`` tokens; each file starts a new window, its rest is dropped.

    Raises:
        ArtifactError: a file cannot be read, or the tokenizer fails on it.
        InputError: no file holds a whole window, or a file is not text.
    """
    from peelverify.data.text import read_text, token_ids

    parts: list[Tensor] = []
    files: dict[str, str] = {}
    for path in paths:
        text = read_text(path)
        ids = token_ids(tokenizer, text)
        whole = len(ids) // length
        if whole:
            parts.append(torch.tensor(ids[: whole * length], dtype=torch.int64).reshape(whole, length))
        sha, name, number = hashlib.sha256(text.encode()).hexdigest(), Path(path).name, 2
        while files.get(name, sha) != sha:
            name, number = f"{Path(path).name} ({number})", number + 1
        files[name] = sha
    if not parts:
        raise InputError(
            f"a pool of text needs at least one window of {length} tokens, got none in {len(paths)} files; "
            "give a longer text or a smaller window"
        )
    return Pool(torch.cat(parts), files)


def draw_windows(
    pool: Pool, count: int, *, original: Mapping[str, str], compressed: Mapping[str, str]
) -> tuple[Tensor, dict[str, Any]]:
    """Draw windows without replacement, by a rule in which models, pool and number of windows have a say.

    Args:
        pool: all windows.
        count: how many to draw; all of them if the pool is not larger.
        original: name -> SHA-256 of the deciding files of the original model.
        compressed: the same of the compressed model.

    Returns:
        The windows drawn, (count, length), in the order of the draw, and what the certificate says of the draw.

    Raises:
        InputError: the pool has more windows than the format allows.
    """
    total, sha = len(pool.ids), pool_sha256(pool.ids)
    if total > MAX_POOL:
        raise InputError(f"a pool has at most {MAX_POOL} windows, got {total}; give less text or a larger window")
    count = min(count, total)
    named = {"original": dict(original), "compressed": dict(compressed), "pool": sha, "windows": total, "drawn": count}
    seed = digest(named)
    drawn = draw(seed, total, count)
    facts = {"files": dict(pool.files), "sha256": sha, "windows": total, "seed": seed, "drawn": drawn}
    return pool.ids[drawn], facts


def check_count(ids: Tensor, *, external: bool) -> None:
    """Refuse, before any work, more windows or stored ids than the checker reads within a second.

    Raises:
        InputError: if there are more.
    """
    windows, room = len(ids), MAX_VALUES - (1 << 16)  # the rest is for blocks and matrices
    if windows > MAX_WINDOWS:
        raise InputError(
            f"a certificate has at most {MAX_WINDOWS} windows, got {windows}; take fewer tokens or a larger window"
        )
    if not external and ids.numel() + 32 * windows > room:  # a row of figures has up to 32 values
        raise InputError(
            f"a certificate stores at most {room - 32 * windows} token ids in {windows} windows, got {ids.numel()}; "
            "store only their hash (--tokens-external)"
        )


def levels_for(count: int) -> list[int]:
    """Which k are stated for ``count`` windows: 1, and the largest with k / (count + 1) at most 1, 5 and 10 %."""
    return sorted({1, *(k for risk in RISKS if (k := (count + 1) // risk))})
