"""What a module does or holds beside its class and its weights: hooks, replaced forward passes, unsaved buffers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules import module as shared

__all__ = ["is_plain", "sha256_of", "unsaved_buffers"]


_WRITTEN = ("torch.nn.modules.", "transformers.")
"""Where the forward passes come from that are known to compute what their names say."""


def is_plain(module: nn.Module) -> bool:
    """Whether a call of the module runs a forward pass that `torch.nn` or `transformers` wrote, and nothing else.

    Its own weights must be plain tensors; parts of the module are not looked at.
    """
    kind = type(module)
    hooks = (
        module._forward_hooks, module._forward_pre_hooks, shared._global_forward_hooks, shared._global_forward_pre_hooks
    )
    return (
        not any(hooks)
        and "forward" not in vars(module)
        and module._compiled_call_impl is None
        and all(str(where).startswith(_WRITTEN) for where in (kind.__module__, kind.forward.__module__))
        and all(type(p) is nn.Parameter and type(p.data) is Tensor for p in module.parameters(recurse=False))
    )


def unsaved_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of each buffer that is in no ``state_dict`` and has data."""
    for name, part in module.named_modules():
        for key in sorted(part._non_persistent_buffers_set):
            buffer = part._buffers.get(key)
            if buffer is not None and not buffer.is_meta:
                yield f"{name}.{key}" if name else key, buffer


def sha256_of(tensor: Tensor) -> str:
    """SHA-256 of shape, dtype and bytes of a tensor."""
    total = hashlib.sha256(f"{tuple(tensor.shape)}:{tensor.dtype}\n".encode())
    total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
