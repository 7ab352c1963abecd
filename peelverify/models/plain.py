"""What a module does or holds beside its class and its weights: hooks, replaced forward passes, unsaved buffers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

__all__ = ["is_plain", "sha256_of", "unsaved_buffers"]


def is_plain(module: nn.Module) -> bool:
    """Whether a call of the module runs the forward pass of its class and nothing else; parts are not looked at."""
    return not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


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
