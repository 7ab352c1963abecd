"""One block of a decoder at a time: of a model in memory, or read from safetensors only while it is used.

A `BlockSource` gives the embedding, each block and the head one after the other. `StreamedModel` builds the
model without weights (parameters on torch's ``meta`` device) and fills one part at a time, so that memory
holds one block, not the model. The numbers are those of the whole model to the last bit, for the same shapes.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from peelverify.errors import ArtifactError, InputError, InvariantError, NonFiniteError
from peelverify.models.load import DTYPES, choose_attention, read_config, weight_files
from peelverify.models.plain import is_plain
from peelverify.models.skeleton import give_back_at_once, skeleton, slots
from peelverify.models.stored import OLD_NAMES, check_sizes, check_stored, damaged
from peelverify.models.view import ModelView, check_ids

__all__ = ["EXACT_ATTENTION", "BlockSource", "Call", "NotStreamable", "StoredMatrix", "StreamedModel", "WholeModel"]

EXACT_ATTENTION = ("sdpa", "eager")
"""Implementations whose weights are the softmax of the scores."""


_PIECE = 1 << 20
"""Entries read at a time."""
_SLICE = 1 << 22
"""Entries used at a time of a head that outweighs a block: vocabularies are large, and blocks may be small."""


class NotStreamable(InputError):
    """The weights of this model cannot be read block by block; the message says why."""


@dataclass(frozen=True)
class Call:
    """What a model gives to one of its blocks beside the state: masks, rotary tables, positions."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self, block: nn.Module, state: Tensor) -> Tensor:
        """Output of a block for a state (windows, length, width)."""
        output = block(state, *self.args, **self.kwargs)
        return output[0] if isinstance(output, tuple) else output


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix on disk: rows ``m[a:b]`` or columns ``m[:, a:b]`` are read whenever they are asked for.

    Args:
        shape: rows and columns.
        dtype: of the parts that are read.
        read: gives a part as a tensor of its own.
    """

    shape: tuple[int, int]
    dtype: torch.dtype
    read: Callable[[Any], Tensor]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice | tuple[slice, slice]) -> Tensor:
        parts = index if isinstance(index, tuple) else (index,)
        return self.read(tuple(slice(*part.indices(n)) for part, n in zip(parts, self.shape, strict=False)))


class _Enough(Exception):
    """All blocks were called: the rest of the forward pass is not needed."""


class BlockSource:
    """Embedding, blocks and head of a decoder, one after the other.

    Attributes:
        view: the decoder; its parameters may be without data where `streamed` is true.
        streamed: whether weights are read block by block.
        read_seconds: time spent on reading weights so far.
    """

    streamed = False

    def __init__(self, view: ModelView) -> None:
        self.view = view
        self.read_seconds = 0.0

    @property
    def device(self) -> torch.device:
        """Where the blocks run."""
        return torch.device("cpu") if self.streamed else self.view.device

    @property
    def attention(self) -> str:
        """Attention implementation in use."""
        return self.view.config._attn_implementation

    @contextmanager
    def using_attention(self, name: str) -> Iterator[None]:
        """Use another attention implementation inside the context."""
        before = self.attention
        if name == before:
            yield
            return
        try:
            self.view.model.set_attn_implementation(name)
            yield
        finally:
            self.view.model.set_attn_implementation(before)

    @property
    def attention_choices(self) -> tuple[str, ...]:
        """Implementations that compute the same function for this model."""
        return EXACT_ATTENTION if getattr(type(self.view.model), "_supports_sdpa", False) else ("eager",)

    @contextmanager
    def front(self, ids: Tensor) -> Iterator[Callable[[Tensor], tuple[Tensor, list[Call]]]]:
        """Inside the context: from ids (windows, length) to the state before block 0 and one call a block.

        Args:
            ids: all token ids that will be asked for, of any shape.
        """
        yield self._embed

    @contextmanager
    def block(self, index: int) -> Iterator[nn.Module]:
        """Block ``index`` with its weights, inside the context."""
        yield self.view.blocks[index]

    @contextmanager
    def modules(self, index: int, names: tuple[str, ...]) -> Iterator[nn.Module]:
        """Block ``index``, of which at least the named modules have their weights inside the context."""
        yield self.view.blocks[index]

    @contextmanager
    def head(self) -> Iterator[Callable[..., list[Tensor]]]:
        """Inside the context: final norm and head, from each of some states (..., width) to logits (..., vocabulary).

        A matrix larger than a block is used a slice of the vocabulary at a time, the same slices wherever the weights
        are. The last bits of such logits may differ from those of one product with the whole matrix.
        """
        if not self._in_slices():
            yield lambda *states: [self.view.head(state) for state in states]
            return
        with self.head_matrix() as matrix:
            yield lambda *states: self._sliced_head(matrix, states)

    def _in_slices(self) -> bool:
        block = sum(parameter.numel() for parameter in self.view.blocks[0].parameters())
        head = self.view.lm_head
        return type(head) is nn.Linear and is_plain(head) and head.weight.numel() > max(_SLICE, block)

    @torch.no_grad()
    def _sliced_head(self, matrix: Tensor | StoredMatrix, states: tuple[Tensor, ...]) -> list[Tensor]:
        """Logits of each state; each slice of the matrix is asked for once."""
        rows, width = matrix.shape
        bias, step = self.view.lm_head.bias, max(1, _SLICE // width)
        inputs = [self.view.head_input(state) for state in states]
        found = [x.new_empty(*x.shape[:-1], rows) for x in inputs]
        for start in range(0, rows, step):
            chosen = slice(start, min(start + step, rows))
            part = matrix[chosen]
            for x, logits in zip(inputs, found, strict=True):
                logits[..., chosen] = nn.functional.linear(x, part, None if bias is None else bias[chosen])
        return [self.view.cap(logits) for logits in found]

    @contextmanager
    def head_matrix(self) -> Iterator[Tensor | StoredMatrix]:
        """The head's matrix (vocabulary, width), with final norm and bias in memory inside the context."""
        yield self.view.lm_head.weight

    @torch.no_grad()
    def _embed(self, ids: Tensor) -> tuple[Tensor, list[Call]]:
        check_ids(ids, self.view.vocabulary)
        calls: list[Call] = []
        first: list[Tensor] = []
        depth = self.view.depth

        def recorder(*args: Any, **kwargs: Any) -> Tensor:
            if args:
                state, args = args[0], args[1:]
            else:
                state = kwargs.pop("hidden_states")
            calls.append(Call(args, kwargs))
            first.append(state)
            if len(calls) == depth:
                raise _Enough
            return state

        own = [vars(block).get("forward") for block in self.view.blocks]
        try:
            for block in self.view.blocks:
                block.forward = recorder
            self.view.model.base_model(input_ids=ids, use_cache=False)
        except _Enough:
            return first[0], calls
        finally:
            for block, forward in zip(self.view.blocks, own, strict=True):
                vars(block).pop("forward", None)  # one module may be several blocks
                if forward is not None:  # somebody's own, on this block alone
                    block.forward = forward
        raise InvariantError(
            f"a forward pass of {self.view.config.model_type} called {len(calls)} of {depth} blocks; "
            "this variant is not supported"
        )


class WholeModel(BlockSource):
    """A decoder that is in memory."""

    @torch.no_grad()
    def check_logits(self, ids: Tensor | None = None) -> None:
        """Confirm that embedding, blocks and head give the model's own logits to the last bit.

        Logits of a head that is used in slices may differ by what rounding can do.

        Args:
            ids: token ids (windows, length), looked at window by window; None takes a short window of its own.

        Raises:
            InputError: if they do not: its forward pass does more than its parts, or something else.
        """
        if ids is None:
            count = self.view.vocabulary
            ids = torch.tensor([[i * (count - 1) // 7 for i in range(8)]])
        for window in ids.to(self.device).split(1):
            with self.front(window) as embed:
                state, calls = embed(window)
            for call, block in zip(calls, self.view.blocks, strict=True):
                state = call.run(block, state)
            own = self.view.model(input_ids=window, use_cache=False, return_dict=True).logits
            found = self.view.head(state)
            same = found.shape == own.shape and torch.equal(found.nan_to_num(), own.nan_to_num())
            if same and self._in_slices():
                with self.head() as head:
                    room = torch.finfo(own.dtype).eps ** 0.5 * float(own.abs().max().nan_to_num())
                    same = torch.allclose(head(state)[0].nan_to_num(), own.nan_to_num(), rtol=0, atol=room)
            if not same:
                raise InputError(
                    f"certify needs a model whose logits are those of its embedding, blocks and head in order, got a "
                    f"{type(self.view.model).__name__} whose own logits differ from them; remove hooks, scales of the "
                    "logits and changes of its forward pass"
                )


class StreamedModel(BlockSource):
    """A decoder on disk, read block by block.

    Args:
        directory: model directory with safetensors weights.
        dtype: dtype to run in; weights are converted as they are read.
        attention: "auto", "sdpa" or "eager".

    Raises:
        NotStreamable: weights under other names than the model's own, or parts kept in another dtype.
        ArtifactError: damaged, missing, surplus or misshapen weights.
        InputError: unsupported architecture, remote code, quantised weights, unknown dtype or attention.
    """

    streamed = True

    def __init__(self, directory: Path, *, dtype: str = "float32", attention: str = "auto") -> None:
        from safetensors import SafetensorError, safe_open

        if dtype not in DTYPES:
            raise InputError(f"StreamedModel needs dtype in {sorted(DTYPES)}, got {dtype!r}; name one of them")
        config, files = read_config(directory), weight_files(directory)
        check_sizes(directory, files, config)
        give_back_at_once()
        attention = choose_attention(directory, attention)
        try:
            model = skeleton(directory, dtype, attention)
        except Exception as error:
            raise NotStreamable(f"{directory.name} cannot be built without weights ({type(error).__name__})") from error
        super().__init__(ModelView(model))
        self._slots = slots(model)
        held = {name: getattr(owner, attribute) for name, (owner, attribute) in self._slots.items()}
        check_stored(directory, files, model, self.view.family, held)
        self._dtype = DTYPES[dtype]
        self._files: dict[str, Path] = {}
        self._sizes: dict[Path, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for path in files:
            try:
                self._sizes[path] = path.stat().st_size
                with safe_open(path, framework="pt") as handle:
                    for name in handle.keys():  # noqa: SIM118  (safe_open is no mapping)
                        self._files[name] = path
                        self._shapes[name] = tuple(handle.get_slice(name).get_shape())
            except (SafetensorError, OSError) as error:
                raise damaged(path, error) from error
        self._check_names(directory)
        family = self.view.family
        tail = [family.norm, family.head, *([family.project] if family.project else [])]
        self._tail = [n for n in self._slots if any(n.startswith(f"{t}.") for t in tail)]
        self._blocks = [
            [n for n in self._slots if n.startswith(f"{family.blocks}.{t}.")] for t in range(self.view.depth)
        ]
        inside = {*self._tail, *(n for names in self._blocks for n in names)}
        self._front = [n for n in self._slots if n not in inside]

    def _check_names(self, directory: Path) -> None:
        model = self.view.model
        if getattr(model, "_keep_in_fp32_modules", None) or getattr(model, "_keep_in_fp32_modules_strict", None):
            raise NotStreamable(f"{directory.name} keeps parts of itself in another dtype")
        family = self.view.family
        embedding, prefix = f"{family.embedding}.weight", f"{model.base_model_prefix}."
        tied = getattr(self.view.config, "tie_word_embeddings", False)
        self._alias: dict[str, str] = {}
        for name in self._slots:
            others = [OLD_NAMES.get(name, name), name.removeprefix(prefix)]
            if tied and name == f"{family.head}.weight":
                others += [embedding, embedding.removeprefix(prefix)]
            self._alias[name] = next((n for n in (name, *others) if n in self._files), name)
        used = {*self._alias.values()}
        ignored = [re.compile(p) for p in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()]
        missing = sorted(n for n, stored in self._alias.items() if stored not in self._files)
        surplus = sorted(n for n in self._files if n not in used and not any(p.search(n) for p in ignored))
        if missing or surplus:
            name = (missing or surplus)[0]
            raise NotStreamable(
                f"{directory.name} stores its weights under other names than its model ({name} "
                f"{'is missing' if missing else 'is surplus'})"
            )
        for name, (owner, attribute) in self._slots.items():
            want = tuple(getattr(owner, attribute).shape)
            if (got := self._shapes[self._alias[name]]) != want:
                raise ArtifactError(
                    f"{directory} does not fit its config.json: it has misshapen weights {name} of shape {got}, "
                    f"not {want}; save the model again with save_pretrained",
                    path=str(directory),
                )

    def _fill(self, names: list[str]) -> None:
        start = time.perf_counter()
        for name in names:
            self._put(name, self._read(self._files[self._alias[name]], self._alias[name]))
        self.read_seconds += time.perf_counter() - start

    def _read(self, path: Path, name: str) -> Tensor:
        """One tensor in the dtype to run in, a piece at a time."""
        shape, found = self._shapes[name], None
        step = max(1, _PIECE // max(1, math.prod(shape[1:])))
        for start in range(0, shape[0] if shape else 1, step):
            with self._part(path, name, (slice(start, start + step),) if shape else None) as (tensor, dtype):
                found = torch.empty(shape, dtype=dtype) if found is None else found
                (found[start : start + step] if shape else found).copy_(tensor)
                del tensor
        return torch.empty(shape) if found is None else found

    @contextmanager
    def _part(
        self, path: Path, name: str, index: tuple[slice, ...] | None, *, check: bool = True
    ) -> Iterator[tuple[Tensor, torch.dtype]]:
        """Part of a tensor as stored, all of it if there is no index, and the dtype to run in; finite if checked.

        The file is opened anew for each part: what was read through one mapping stays in memory until it is closed.
        """
        from safetensors import SafetensorError, safe_open

        try:
            if path.stat().st_size != self._sizes[path]:  # reading a mapping of a file cut short ends the process
                raise damaged(path, "its size has changed since it was opened")
            handle = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise damaged(path, error) from error
        with handle:
            tensor = handle.get_tensor(name) if index is None else handle.get_slice(name)[index]
            dtype = tensor.dtype
            if tensor.is_floating_point():
                dtype = self._dtype
                # NaN and infinity survive every sum, so a finite sum means finite entries
                quick = not check or bool(torch.isfinite(tensor.sum(dtype=torch.float64)))
                if not quick and not torch.isfinite(tensor).all():
                    raise NonFiniteError(
                        f"weights need to be finite, got NaN or infinity in {name} of {path.name}; "
                        "train or convert the model again",
                        tensor=name,
                    )
            yield tensor, dtype

    def _put(self, name: str, tensor: Tensor) -> None:
        owner, attribute = self._slots[name]
        if attribute in owner._parameters:
            owner._parameters[attribute] = nn.Parameter(tensor, requires_grad=False)
        else:
            owner._buffers[attribute] = tensor

    @contextmanager
    def _filled(self, names: list[str]) -> Iterator[None]:
        try:
            self._fill(names)
            yield
        finally:
            for name in names:
                owner, attribute = self._slots[name]
                self._put(name, getattr(owner, attribute).detach().to("meta"))

    @contextmanager
    def front(self, ids: Tensor) -> Iterator[Callable[[Tensor], tuple[Tensor, list[Call]]]]:
        """As in `BlockSource`; of the embedding only the rows of these tokens are in memory, inside the context."""
        name = f"{self.view.family.embedding}.weight"
        owner, _ = self._slots[name]
        check_ids(ids, self.view.vocabulary)
        if type(owner).forward is not nn.Embedding.forward or owner.max_norm is not None:
            with self._filled(self._front):
                yield self._embed
            return
        with self._filled([n for n in self._front if n != name]):
            used = torch.unique(ids.cpu())
            rows = self._rows(name, used)
            owner.forward = lambda x: nn.functional.embedding(torch.searchsorted(used, x), rows)
            try:
                yield self._embed
            finally:
                del owner.forward

    def _rows(self, name: str, used: Tensor) -> Tensor:
        """Some rows of a matrix, in increasing order, in the dtype to run in; all of them are read, piece by piece."""
        start = time.perf_counter()
        stored = self._alias[name]
        count, width = self._shapes[stored]
        found, step = torch.empty(len(used), width, dtype=self._dtype), max(1, _PIECE // width)
        for low in range(0, count, step):
            with self._part(self._files[stored], stored, (slice(low, low + step),)) as (tensor, _):
                a, b = torch.searchsorted(used, torch.tensor([low, low + step])).tolist()
                found[a:b].copy_(tensor[used[a:b] - low])
                del tensor
        self.read_seconds += time.perf_counter() - start
        return found

    @contextmanager
    def block(self, index: int) -> Iterator[nn.Module]:
        """As in `BlockSource`; the block is in memory inside the context only."""
        with self._filled(self._blocks[index]):
            yield self.view.blocks[index]

    @contextmanager
    def modules(self, index: int, names: tuple[str, ...]) -> Iterator[nn.Module]:
        """As in `BlockSource`; only the named modules are in memory."""
        starts = tuple(f"{self.view.family.blocks}.{index}.{name}." for name in names)
        with self._filled([name for name in self._blocks[index] if name.startswith(starts)]):
            yield self.view.blocks[index]

    @contextmanager
    def head(self) -> Iterator[Callable[..., list[Tensor]]]:
        """As in `BlockSource`; norm and head are in memory inside the context only, a large head slice by slice."""
        with nullcontext() if self._in_slices() else self._filled(self._tail), super().head() as logits:
            yield logits

    @contextmanager
    def head_matrix(self) -> Iterator[Tensor | StoredMatrix]:
        """As in `BlockSource`; the matrix stays on disk."""
        name = f"{self.view.family.head}.weight"
        path, stored = self._files[self._alias[name]], self._alias[name]
        seen: set[tuple] = set()

        def read(index: tuple[slice, ...]) -> Tensor:
            start, key = time.perf_counter(), tuple((part.start, part.stop) for part in index)
            with self._part(path, stored, index, check=key not in seen) as (tensor, dtype):
                found = tensor.to(dtype)
                del tensor
            seen.add(key)
            self.read_seconds += time.perf_counter() - start
            return found

        with self._filled([n for n in self._tail if n != name]):
            yield StoredMatrix(self._shapes[stored], self._dtype, read)

