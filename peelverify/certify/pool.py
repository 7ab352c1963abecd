"""Windows drawn from a pool of text, so that a certificate can speak of the windows it did not see."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peelverify.certify.checker import digest, draw
from peelverify.errors import InputError

__all__ = ["Pool", "draw_windows", "levels_for", "pool_sha256", "text_pool"]

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
        ArtifactError: a file cannot be read.
        InputError: no file holds a whole window, or a file is not text.
    """
    from peelverify.data import read_text

    parts: list[Tensor] = []
    files: dict[str, str] = {}
    for path in paths:
        text = read_text(path)
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
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
    """Draw windows without replacement, by a rule that nobody can steer.

    Args:
        pool: all windows.
        count: how many to draw; all of them if the pool is not larger.
        original: name -> SHA-256 of the deciding files of the original model.
        compressed: the same of the compressed model.

    Returns:
        The windows drawn, (count, length), in the order of the draw, and what the certificate says of the draw.
    """
    total, sha = len(pool.ids), pool_sha256(pool.ids)
    seed = digest({"original": dict(original), "compressed": dict(compressed), "pool": sha, "windows": total})
    drawn = draw(seed, total, min(count, total))
    facts = {"files": dict(pool.files), "sha256": sha, "windows": total, "seed": seed, "drawn": drawn}
    return pool.ids[drawn], facts


def levels_for(count: int) -> list[int]:
    """Which k are stated for ``count`` windows: 1, and the largest with k / (count + 1) at most 1, 5 and 10 %."""
    return sorted({1, *(k for risk in RISKS if (k := (count + 1) // risk))})
