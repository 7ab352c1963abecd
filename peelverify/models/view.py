"""A Hugging Face decoder seen as embedding, blocks in order, and a head.

`ModelView.trace` runs one plain forward pass and keeps every residual-stream state together with the
arguments (masks, rotary tables, positions) that the model itself gave to each block. `Trace.block` then
runs a single block on any state under exactly those arguments, so the same code serves every family.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from peelverify.errors import InputError, InvariantError, NonFiniteError
from peelverify.models.families import FAMILIES, Family, find_family

__all__ = ["ModelView", "Trace"]


@dataclass
class Trace:
    """States and block arguments of one forward pass over a batch of windows.

    Attributes:
        view: the model that was traced.
        input_ids: token ids, shape (windows, length).
        states: ``h_0 ... h_L``; ``h_0`` enters block 0, ``h_{l+1}`` leaves block ``l``;
            each (windows, length, width), in the dtype of the model.
        logits: shape (windows, length, vocabulary).
    """

    view: ModelView
    input_ids: Tensor
    states: list[Tensor]
    logits: Tensor
    _calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(repr=False)

    @torch.no_grad()
    def block(self, index: int, state: Tensor) -> Tensor:
        """Run block ``index`` on ``state`` (windows, length, width) with the arguments of this pass."""
        return self._run(index, state)

    def block_with_grad(self, index: int, state: Tensor) -> Tensor:
        """As `block`, recording gradients."""
        return self._run(index, state)

    def run_module(self, module: nn.Module, index: int, state: Tensor) -> Tensor:
        """Run ``module`` in place of block ``index`` under the arguments of this pass (gradients recorded)."""
        args, kwargs = self._calls[index]
        return _first(module(state, *args, **kwargs))

    def _run(self, index: int, state: Tensor) -> Tensor:
        return self.run_module(self.view.blocks[index], index, state)

    @torch.no_grad()
    def head(self, state: Tensor) -> Tensor:
        """Logits from a last residual-stream state: final norm, head, soft cap."""
        return self.view.head(state)

    @torch.no_grad()
    def run_from(self, index: int, state: Tensor) -> Tensor:
        """Residual-stream state after the last block, starting with ``state`` entering block ``index``."""
        for t in range(index, self.view.depth):
            state = self._run(t, state)
        return state


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


class ModelView:
    """A decoder of a supported family, in evaluation mode.

    Args:
        model: a ``...ForCausalLM`` module of `transformers`. It is switched to evaluation mode and
            nothing else is changed.

    Raises:
        InputError: unsupported architecture, or no blocks. A family that is not listed is taken apart by
            `peelverify.models.families.find_family`.
    """

    def __init__(self, model: nn.Module) -> None:
        config = getattr(model, "config", None)
        if config is None or not hasattr(config, "model_type"):
            raise InputError(
                f"ModelView needs a transformers causal language model, got {type(model).__name__}; "
                "load one with peelverify.models.load_model"
            )
        self.model = model.eval()
        self.config = config
        known = config.model_type in FAMILIES
        self.family: Family = FAMILIES[config.model_type] if known else find_family(model)
        self.embedding: nn.Module = attrgetter(self.family.embedding)(model)
        self.blocks: nn.ModuleList = attrgetter(self.family.blocks)(model)
        self.norm: nn.Module | None = attrgetter(self.family.norm)(model)
        self.lm_head: nn.Module = attrgetter(self.family.head)(model)
        self.project: nn.Module | None = (
            attrgetter(self.family.project)(model) if self.family.project else None
        )
        self._checked = False
        if len(self.blocks) == 0:
            raise InputError("ModelView needs at least one decoder block, got a model without blocks")

    @property
    def depth(self) -> int:
        """Number of decoder blocks."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return int(self.config.hidden_size)

    @property
    def vocabulary(self) -> int:
        """Number of logits a position."""
        return int(self.config.vocab_size)

    @property
    def dtype(self) -> torch.dtype:
        """dtype of the parameters."""
        return next(self.model.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.model.parameters()).device

    def head(self, state: Tensor) -> Tensor:
        """Logits of a last residual-stream state (gradients recorded if enabled)."""
        return self.cap(self.lm_head(self.head_input(state)))

    def head_input(self, state: Tensor) -> Tensor:
        """What the head's linear map is given for a last residual-stream state."""
        out = self.norm(state) if self.norm is not None else state
        return out if self.project is None else self.project(out)

    @property
    def soft_cap(self) -> float | None:
        """Size that logits are softly capped to; None where the architecture does not cap them."""
        return None if self.family.soft_cap is None else getattr(self.config, self.family.soft_cap, None)

    def cap(self, logits: Tensor) -> Tensor:
        """Logits from what the head's linear map gives: Gemma-2 caps them softly."""
        cap = self.soft_cap
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def linears(self, index: int) -> dict[str, nn.Module]:
        """Linear maps of block ``index`` by name: ``nn.Linear`` and GPT-2's ``Conv1D``."""
        from transformers.pytorch_utils import Conv1D

        return {
            name: module
            for name, module in self.blocks[index].named_modules()
            if isinstance(module, (nn.Linear, Conv1D))
        }

    @staticmethod
    def weight(linear: nn.Module) -> Tensor:
        """Weight of a linear map as (outputs, inputs), a view; GPT-2's Conv1D stores the transpose."""
        return linear.weight.T if type(linear).__name__ == "Conv1D" else linear.weight

    @contextmanager
    def embedding_noise(self, noise: Tensor) -> Iterator[None]:
        """Add ``noise`` to the output of the token embedding inside the context."""
        handle = self.embedding.register_forward_hook(lambda module, args, output: output + noise)
        try:
            yield
        finally:
            handle.remove()

    @torch.no_grad()
    def trace(self, input_ids: Tensor, *, attention_mask: Tensor | None = None) -> Trace:
        """Run the model once and keep every state.

        Args:
            input_ids: integer token ids, shape (windows, length), on the model's device.
            attention_mask: optional padding mask, as `transformers` takes it.

        Raises:
            InputError: wrong rank, empty, or ids outside the vocabulary.
            NonFiniteError: if a state or a logit is NaN or infinite.
            InvariantError: if blocks and head do not reproduce the model's own logits to the last bit.
        """
        check_ids(input_ids, self.vocabulary)
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        states: list[Tensor] = []

        def remember(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if args:
                state, rest = args[0], args[1:]
            else:
                kwargs = dict(kwargs)
                state, rest = kwargs.pop("hidden_states"), ()
            states.append(state)
            calls.append((rest, dict(kwargs)))

        last: list[Tensor] = []
        handles = [b.register_forward_pre_hook(remember, with_kwargs=True) for b in self.blocks]
        handles.append(
            self.blocks[-1].register_forward_hook(lambda module, args, output: last.append(_first(output)))
        )
        try:
            logits = self.model(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False
            ).logits
        finally:
            for handle in handles:
                handle.remove()
        states.append(last[0])
        for index, state in enumerate(states):
            if not torch.isfinite(state).all():
                raise NonFiniteError(
                    f"trace needs finite states, got NaN or infinity in the input of block {index}; "
                    "check the weights, or load the model in a wider dtype",
                    block=index,
                )
        if not torch.isfinite(logits).all():
            raise NonFiniteError("trace needs finite logits, got NaN or infinity; check the weights")
        result = Trace(self, input_ids, states, logits, calls)
        if not self._checked:
            self._check(result)
        return result

    def _check(self, trace: Trace) -> None:
        """Confirm once a model that block calls and head reproduce the forward pass exactly."""
        for index in range(self.depth):
            if not torch.equal(trace.block(index, trace.states[index]), trace.states[index + 1]):
                raise InvariantError(
                    f"trace needs a model whose blocks are deterministic, got a different output of block "
                    f"{index} on the same input; turn off dropout and nondeterministic kernels",
                    block=index,
                )
        if not torch.equal(trace.head(trace.states[-1]), trace.logits):
            raise InvariantError(
                "trace needs logits = head(last state), got a difference; this variant of "
                f"{self.config.model_type} is not supported",
                model_type=self.config.model_type,
            )
        self._checked = True


def check_ids(input_ids: Tensor, vocabulary: int) -> None:
    """Refuse token ids that are not a non-empty (windows, length) integer array inside the vocabulary."""
    if input_ids.ndim != 2 or input_ids.numel() == 0 or input_ids.is_floating_point():
        raise InputError(
            "token ids need shape (windows, length), integer dtype and at least one token, "
            f"got shape {tuple(input_ids.shape)} and dtype {input_ids.dtype}; see peelverify.data.windows"
        )
    low, high = int(input_ids.min()), int(input_ids.max())
    if low < 0 or high >= vocabulary:
        raise InputError(
            f"token ids need to lie in [0, {vocabulary}), got {low if low < 0 else high}; "
            "use the tokenizer that was saved with this model"
        )
