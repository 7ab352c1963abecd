"""One picture of a run for a document: status cloud, rho, error along depth and its shares."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peelverify.report.html import Pair
from peelverify.report.present import present_pair
from peelverify.report.results import present_peel, present_rho
from peelverify.report.svg import save_plot

__all__ = ["save_picture"]


def save_picture(
    path: str | os.PathLike[str],
    *,
    peel: Mapping[str, Any] | None = None,
    rho: Mapping[str, Any] | None = None,
    pair: Pair | None = None,
    dpi: int = 160,
) -> Path:
    """Write up to four plots of a run side by side, on white.

    Args:
        path: file ending in ``.png`` or ``.svg``.
        peel: JSON object of ``peelverify peel``, for the status cloud.
        rho: JSON object of ``peelverify rho``, for rho between blocks.
        pair: a certified pair, for the error along depth and the shares of the chain bound.
        dpi: dots an inch of a PNG.

    Returns:
        The file, the same bytes for the same results.

    Raises:
        ArtifactError: if nothing can be drawn or the file cannot be written.
    """
    chosen = []
    if peel:
        chosen += [p for p in present_peel(peel)["plots"] if p.name == "cloud"]
    if rho:
        chosen += [p for p in present_rho(rho)["plots"] if p.name == "rho"]
    if pair is not None:
        chosen += present_pair(pair.certificate, pair.verification, pair.record, pair.path, 1)["plots"][:2]
    return save_plot(chosen, path, columns=min(2, max(1, len(chosen))), dpi=dpi)
