"""Windows through a model in small batches: last states first, logits in token chunks after.

Logits are the widest array of a decoder (tokens x vocabulary), so they are never held for a whole batch:
`last_states` stops before the head, and `logit_chunks` applies the head to a few hundred tokens at a time.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from peelverify.errors import InputError, NonFiniteError
from peelverify.models.view import ModelView, check_ids

__all__ = [
    "OnStep", "as_view", "batches", "block_outputs", "check_windows", "ids_digest", "keeps_mode",
    "last_states", "logit_chunks", "run_backbone", "standard_error", "summed_gradients",
]

OnStep = Callable[[int, int], None]
"""Called with (windows done, windows in all)."""

_BATCH_TOKENS = 4096
_CHUNK_ENTRIES = 1 << 23

P = ParamSpec("P")
R = TypeVar("R")


def as_view(model: ModelView | nn.Module) -> ModelView:
    """The view of a model; a `transformers` module is wrapped, a view is returned as it is."""
    return model if isinstance(model, ModelView) else ModelView(model)


def keeps_mode(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function with the models among its arguments in evaluation mode, and give each part its own mode back."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        given = [x.model if isinstance(x, ModelView) else x for x in (*args, *kwargs.values())]
        models = [x for x in given if isinstance(x, nn.Module)]
        modes = [(module, module.training) for model in models for module in model.modules()]
        try:
            for model in models:
                model.eval()
            return function(*args, **kwargs)
        finally:
            for module, training in modes:
                module.training = training

    return run


def check_windows(view: ModelView, input_ids: Tensor, *, function: str, least: int = 1) -> Tensor:
    """Token ids on the model's device, or an error before any long work.

    Args:
        view: the model that is to read them.
        input_ids: integer token ids (windows, length).
        function: name of the public function, for the message.
        least: shortest window that makes sense.

    Raises:
        InputError: wrong rank or dtype, ids outside the vocabulary, windows too short or too long.
    """
    check_ids(input_ids, view.vocabulary)
    length = input_ids.shape[1]
    longest = getattr(view.config, "max_position_embeddings", None) or math.inf
    if length < least:
        raise InputError(
            f"{function} needs windows of at least {least} tokens, got {length}; a loss needs a next token"
        )
    if length > longest:
        raise InputError(
            f"{function} needs windows of at most {longest} tokens for this model, got {length}; "
            "cut shorter windows",
            length=length, longest=longest,
        )
    return input_ids.to(view.device)


def batches(input_ids: Tensor, tokens: int = _BATCH_TOKENS) -> Iterator[Tensor]:
    """Consecutive groups of whole windows with about ``tokens`` tokens each, at least one window."""
    size = max(1, tokens // input_ids.shape[1])
    yield from input_ids.split(size)


def summed_gradients(
    view: ModelView, input_ids: Tensor, parameters: list[nn.Parameter], on_step: OnStep | None = None
) -> tuple[list[Tensor], float, int]:
    """Gradients of the next-token loss summed over a text, with the parameters left as they were.

    Args:
        view: a decoder.
        input_ids: token ids (windows, length), at least two tokens a window.
        parameters: of the decoder.
        on_step: see `OnStep`.

    Returns:
        One float64 tensor a parameter, the summed loss in nats, and the number of tokens scored.
    """
    totals = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
    required = [p.requires_grad for p in parameters]
    loss_sum, done = 0.0, 0
    try:
        for p in parameters:
            p.requires_grad_(True)
        for batch in batches(input_ids, 1024):
            with torch.enable_grad():
                logits = view.model(input_ids=batch, use_cache=False).logits[:, :-1].flatten(0, 1).float()
                loss = functional.cross_entropy(logits, batch[:, 1:].flatten(), reduction="sum")
                gradients = torch.autograd.grad(loss, parameters)
            for total, gradient in zip(totals, gradients, strict=True):
                total.add_(gradient)
            loss_sum += float(loss.detach())
            done += len(batch)
            if on_step is not None:
                on_step(done, len(input_ids))
    finally:
        for p, was in zip(parameters, required, strict=True):
            p.requires_grad_(was)
    return totals, loss_sum, input_ids.shape[0] * (input_ids.shape[1] - 1)


def ids_digest(input_ids: Tensor) -> str:
    """SHA-256 of the shape and of the ids as little-endian int64: names the tokens that a figure is about."""
    digest = hashlib.sha256(repr(tuple(input_ids.shape)).encode())
    digest.update(input_ids.cpu().to(torch.int64).numpy().astype("<i8").tobytes())
    return digest.hexdigest()


@contextmanager
def block_outputs(view: ModelView, receive: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Inside the context, call ``receive(index, state)`` with the output of every block."""

    def hook(index: int) -> Callable[..., None]:
        def forward(module: nn.Module, args: Any, output: Any) -> None:
            receive(index, output[0] if isinstance(output, tuple) else output)

        return forward

    handles = [block.register_forward_hook(hook(i)) for i, block in enumerate(view.blocks)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run_backbone(view: ModelView, input_ids: Tensor) -> None:
    """One forward pass without the head; hooks take what they need."""
    view.model.base_model(input_ids=input_ids, use_cache=False)


@torch.no_grad()
def last_states(view: ModelView, input_ids: Tensor) -> Tensor:
    """Residual-stream state after the last block, (windows, length, width), without computing logits."""
    last: list[Tensor] = []

    def receive(index: int, state: Tensor) -> None:
        if index == view.depth - 1:
            last.append(state)

    with block_outputs(view, receive):
        run_backbone(view, input_ids)
    return last[0]


@torch.no_grad()
def logit_chunks(view: ModelView, states: Tensor) -> Iterator[Tensor]:
    """Log-probabilities of flattened ``states`` (tokens, width), float64, a few tokens at a time.

    Raises:
        NonFiniteError: if a logit is NaN or infinite.
    """
    for part in states.split(max(1, _CHUNK_ENTRIES // view.vocabulary)):
        logits = view.head(part)
        if not torch.isfinite(logits).all():
            raise NonFiniteError(
                "evaluation needs finite logits, got NaN or infinity; check the weights, or use a wider dtype"
            )
        yield torch.log_softmax(logits.double(), dim=-1)


def standard_error(by_window: Tensor) -> float:
    """Standard error of the mean of equally long windows; NaN for one window, which has no spread.

    Tokens of one window depend on each other, so the window is the unit of the error.
    """
    if len(by_window) < 2:
        return math.nan
    return float(by_window.double().std(unbiased=True)) / math.sqrt(len(by_window))
