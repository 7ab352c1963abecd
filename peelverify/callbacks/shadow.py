"""A private copy of a model in training: what the monitor reads, so that training is never touched.

The live module may be wrapped (compiled, distributed), in training mode, hooked, inside autocast, or half way
through an accumulated step. None of that matters to a copy: it has its own modules, runs eagerly in
evaluation mode and float32, and takes the current weights before each reading.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import attrgetter

import numpy as np
import torch
from torch import nn

from peelverify.errors import InputError
from peelverify.models.families import family_of
from peelverify.models.view import ModelView

__all__ = ["Shadow", "undisturbed", "unwrap"]


def unwrap(model: nn.Module) -> nn.Module:
    """The `transformers` decoder inside wrappers of `torch.compile`, data parallelism or a training module.

    Args:
        model: the decoder itself, a wrapper with ``_orig_mod`` or ``module``, or a module that holds exactly one
            supported decoder.

    Raises:
        InputError: no decoder inside, more than one, or sharded weights.
    """
    found = model
    while True:
        if type(found).__name__ in ("FullyShardedDataParallel", "FSDPModule"):
            raise InputError(
                "PeelMonitor needs the whole weights in every process, got a sharded model; monitor saved "
                "checkpoints with `peelverify peel` instead"
            )
        inner = getattr(found, "_orig_mod", None)
        if inner is None and isinstance(found, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            inner = found.module
        if not isinstance(inner, nn.Module):
            break
        found = inner
    if _is_decoder(found):
        return found
    inside = []
    for child in found.children():
        try:
            inside.append(unwrap(child))
        except InputError as error:
            if "sharded" in str(error):
                raise
    if len(inside) != 1:
        raise InputError(
            f"PeelMonitor needs one transformers causal language model, got {type(found).__name__} with "
            f"{len(inside)} of them; pass the decoder itself"
        )
    return inside[0]


def _is_decoder(module: nn.Module) -> bool:
    kind = getattr(getattr(module, "config", None), "model_type", None)
    if not isinstance(kind, str):
        return False
    try:
        attrgetter(family_of(kind).head)(module)
    except (InputError, AttributeError):
        return False
    return True


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, generators may be used freely; after, all of them stand where they stood.

    Autocast and inference mode are off inside, since the numbers of a reading must not depend on them.
    """
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    states = random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=cuda))
        stack.enter_context(torch.inference_mode(False))
        for kind in ("cpu", "cuda") if cuda else ("cpu",):
            stack.enter_context(torch.autocast(kind, enabled=False))
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


class Shadow:
    """The copy of one model.

    Args:
        model: model in training, wrapped or not; only read.

    Raises:
        InputError: see `unwrap`; or a family that is not supported.
    """

    def __init__(self, model: nn.Module) -> None:
        from transformers import AutoModelForCausalLM

        live = unwrap(model)
        config = copy.deepcopy(live.config)
        kernel = getattr(config, "_attn_implementation", None)
        kernel = kernel if kernel in ("eager", "sdpa") else "sdpa"
        with undisturbed():
            fresh = AutoModelForCausalLM.from_config(config, attn_implementation=kernel)
        device = next(live.parameters()).device
        self.view = ModelView(fresh.to(device=device, dtype=torch.float32).requires_grad_(False))

    @torch.no_grad()
    def take(self, model: nn.Module) -> ModelView:
        """Copy the current weights of ``model`` and return the view of them.

        Raises:
            InputError: a model whose weights are not those of its config (adapters, quantised or sharded weights).
        """
        live = unwrap(model)
        theirs = {n.replace("_orig_mod.", ""): t for n, t in live.state_dict().items()}
        ours = self.view.model.state_dict()
        odd = sorted({*theirs} ^ {*ours}) or sorted(n for n, t in ours.items() if t.shape != theirs[n].shape)
        if odd or any(type(t).__name__ == "DTensor" for t in theirs.values()):
            raise InputError(
                f"PeelMonitor needs the plain weights of {self.view.config.model_type}, got others "
                f"({', '.join(odd[:3]) or 'sharded tensors'}); merge adapters, or monitor saved checkpoints instead"
            )
        for name, tensor in ours.items():
            tensor.copy_(theirs[name])
        return self.view
