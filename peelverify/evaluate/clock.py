"""Wall clock and memory of a decoder's forward pass, against the ideal by number of blocks."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from peelverify.errors import DomainError
from peelverify.evaluate.stream import as_view, check_windows
from peelverify.models.view import ModelView
from peelverify.registry import measured

__all__ = ["Speed", "compare_speed", "memory"]


@dataclass(frozen=True)
class Speed:
    """Seconds of a forward pass of two models, run in turns; measured.

    Attributes:
        original_seconds: each repeat of the original.
        compressed_seconds: each repeat of the compressed model, beside the one of the original.
        original_blocks: number of blocks.
        compressed_blocks: number of blocks.
        original_parameter_bytes: bytes of all parameters.
        compressed_parameter_bytes: bytes of all parameters.
    """

    original_seconds: tuple[float, ...]
    compressed_seconds: tuple[float, ...]
    original_blocks: int
    compressed_blocks: int
    original_parameter_bytes: int
    compressed_parameter_bytes: int

    @property
    def speedup(self) -> float:
        """Median over repeats of original / compressed, each pair run side by side."""
        return statistics.median(self._ratios())

    @property
    def ideal_speedup(self) -> float:
        """Ratio of the numbers of blocks: embedding and head cost time too, so it is not to be exceeded."""
        return self.original_blocks / self.compressed_blocks

    @property
    def quartiles(self) -> tuple[float, float]:
        """Lower and upper quartile of the ratios of pairs."""
        low, _, high = statistics.quantiles(self._ratios(), n=4)
        return low, high

    def _ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.original_seconds, self.compressed_seconds, strict=True)]

    @property
    def exceeds_ideal(self) -> bool:
        """Whether even the lower quartile is above the ideal: then the timing is noise."""
        return self.quartiles[0] > self.ideal_speedup

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.speed/1``; raw repeats included."""
        low, high = self.quartiles
        return {
            "schema": "peelverify.speed/1",
            "speedup_ratio": self.speedup, "speedup_lower_quartile": low, "speedup_upper_quartile": high,
            "ideal_speedup_ratio": self.ideal_speedup, "exceeds_ideal": self.exceeds_ideal,
            "original_seconds": list(self.original_seconds),
            "compressed_seconds": list(self.compressed_seconds),
            "original_blocks": self.original_blocks, "compressed_blocks": self.compressed_blocks,
            "original_parameter_bytes": self.original_parameter_bytes,
            "compressed_parameter_bytes": self.compressed_parameter_bytes,
        }


@measured("wall-clock times")
@torch.no_grad()
def compare_speed(
    original: ModelView | nn.Module,
    compressed: ModelView | nn.Module,
    input_ids: Tensor,
    *,
    repeats: int = 30,
    warmup: int = 3,
    clock: Callable[[], float] = time.perf_counter,
    on_step: Callable[[int, int], None] | None = None,
) -> Speed:
    """Time forward passes of two models in turns, after warming up.

    Args:
        original: the reference.
        compressed: the other model.
        input_ids: token ids (windows, length) of one batch.
        repeats: timed pairs, at least 4; 30 or more for a figure to quote.
        warmup: pairs that are not timed, >= 0.
        clock: source of seconds.
        on_step: called with (pairs done, in all).

    Raises:
        DomainError: too few repeats. InputError: ids that do not fit.
    """
    views = as_view(original), as_view(compressed)
    if repeats < 4 or warmup < 0:
        raise DomainError(f"compare_speed needs repeats >= 4 and warmup >= 0, got {repeats} and {warmup}")
    batches = [check_windows(v, input_ids, function="compare_speed") for v in views]

    def run(which: int) -> float:
        _wait(views[which])
        start = clock()
        views[which].model(input_ids=batches[which], use_cache=False)
        _wait(views[which])
        return clock() - start

    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(warmup + repeats):
        for which in (0, 1) if repeat % 2 else (1, 0):
            taken = run(which)
            if repeat >= warmup:
                seconds[which].append(taken)
        if on_step is not None:
            on_step(repeat + 1, warmup + repeats)
    sizes = [sum(p.numel() * p.element_size() for p in v.model.parameters()) for v in views]
    return Speed(
        tuple(seconds[0]), tuple(seconds[1]), views[0].depth, views[1].depth, sizes[0], sizes[1]
    )


def _wait(view: ModelView) -> None:
    if view.device.type == "cuda":
        torch.cuda.synchronize(view.device)


class _Peak(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside the context and still held, and their largest sum."""

    def __init__(self, known: nn.Module) -> None:
        super().__init__()
        self.held = self.largest = 0
        held = (*known.parameters(), *known.buffers())
        self._alive = {tensor.untyped_storage()._cdata for tensor in held}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return
        self._alive.add(key)
        self.held += size
        self.largest = max(self.largest, self.held)

        def let_go() -> None:
            self._alive.discard(key)
            self.held -= size

        weakref.finalize(storage, let_go).atexit = False


@measured("bytes counted in memory")
@torch.no_grad()
def memory(model: ModelView | nn.Module, input_ids: Tensor) -> dict[str, Any]:
    """Bytes that a decoder holds: parameters, and keys and values of the cache after reading one window.

    Args:
        model: a decoder.
        input_ids: token ids (windows, length); the first window is read.

    Returns:
        ``parameter_bytes``, each shared tensor once; ``cache_bytes_per_token``, of one window; ``peak_bytes`` of that
        pass: on a CUDA device what its allocator held at most, elsewhere parameters, buffers and the largest sum of
        the tensors made in the pass, without what kernels hold inside an operation.

    Raises:
        InputError: ids that do not fit the model.
    """
    view = as_view(model)
    window = check_windows(view, input_ids, function="memory")[:1]
    cuda = view.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(view.device)
    weights = sum(x.numel() * x.element_size() for x in (*view.model.parameters(), *view.model.buffers()))
    with _Peak(view.model) as pass_:
        cache = view.model(input_ids=window, use_cache=True).past_key_values
    held = sum(
        x.numel() * x.element_size() for layer in cache.layers for x in (layer.keys, layer.values) if x is not None
    )
    return {
        "parameter_bytes": sum(p.numel() * p.element_size() for p in view.model.parameters()),
        "cache_bytes_per_token": held / window.numel(),
        "peak_bytes": torch.cuda.max_memory_allocated(view.device) if cuda else weights + pass_.largest,
    }
