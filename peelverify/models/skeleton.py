"""A model built from its configuration without weights, to be filled part by part."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from torch import nn

from peelverify.models.load import DTYPES, quiet

__all__ = ["give_back_at_once", "skeleton", "slots"]


@contextmanager
def _without_weights() -> Iterator[None]:
    """Inside the context, parameters that are registered go to the meta device; buffers stay as they are."""
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        empty = None if parameter is None else nn.Parameter(parameter.to("meta"), requires_grad=False)
        register(module, name, empty)

    nn.Module.register_parameter = on_meta  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


@cache
def give_back_at_once() -> None:
    """Ask the C library to return memory of a megabyte and more to the system as soon as it is freed.

    Blocks that come and go through its heap leave holes that the next block does not fit into: in the end the whole
    model lies there. Only glibc has this switch; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD


def skeleton(directory: Path, dtype: str, attention: str) -> nn.Module:
    """A causal language model with its parameters on the meta device.

    Args:
        directory: model directory.
        dtype: name of the dtype to run in.
        attention: attention implementation.
    """
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    with quiet(), no_init_weights(), _without_weights():
        config = AutoConfig.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
        return AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype], attn_implementation=attention)


def slots(module: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Where each stored tensor of a module lives: name -> (owner, attribute); shared ones under every name."""
    found = {}
    for prefix, owner in module.named_modules(remove_duplicate=False):
        for name, tensor in (*owner._parameters.items(), *owner._buffers.items()):
            if tensor is not None and name not in owner._non_persistent_buffers_set:
                found[f"{prefix}.{name}" if prefix else name] = (owner, name)
    return found
