"""Out of memory on the road of transformers: chunks get smaller, aloud, and the results stay."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from peelverify.data import builtin_text, windows
from peelverify.errors import InvariantError, NumericalError
from peelverify.models import load_model
from peelverify.models.small import byte_tokenizer
from peelverify.peel import least_squares
from peelverify.peel.forward import _merged, narrow, trace_windows, watched
from peelverify.peel.least_squares import GramSum
from peelverify.peel.memory import Chunk, MemoryWarning, joined, ran_out
from peelverify.peel.reuse import reused_chains
from peelverify.peel.run import thin
from peelverify.peel.solvers import ClosedForm, Gradient
from peelverify.peel.substitute import substitute
from peelverify.peel.transformer import yes_chain

pytestmark = pytest.mark.filterwarnings("ignore::peelverify.peel.memory.MemoryWarning")

MAPS = [(3, 3, 3), (1, 3, 3)]
FAILURES = (
    MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory"),
)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def view(request, model_dirs):
    """A decoder in float64, so that another order of sums shows in the last digits only."""
    return load_model(model_dirs[request.param], dtype="float64")


@pytest.fixture(scope="module")
def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Windows to fit on and windows that decide; as many as they are long, which must confuse nothing."""
    return thin(windows(byte_tokenizer(), builtin_text(), length=12), 12)


@contextmanager
def cramped(view, monkeypatch, limit: int, error: Exception = FAILURES[1]) -> Iterator[list[int]]:
    """Blocks of a decoder that find no room for more than ``limit`` windows; yields the sizes that they got."""
    kind = type(view.blocks[0])
    plain, sizes = kind.forward, []

    def forward(block, *args, **more):
        state = args[0] if args else more["hidden_states"]
        if len(state) > limit:
            raise error
        sizes.append(len(state))
        return plain(block, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "forward", forward)
        yield sizes


def same(ours, theirs) -> None:
    """All losses of two sets of chains agree but for rounding."""
    assert ours.chains.keys() == theirs.chains.keys()
    for target, chain in ours.chains.items():
        other = theirs.chains[target]
        assert chain.fitted == pytest.approx(other.fitted, rel=1e-6)
        assert chain.held_out == pytest.approx(other.held_out, rel=1e-6)
        assert chain.residuals == pytest.approx(other.residuals, rel=1e-6)
    assert ours.deciding_loss == pytest.approx(theirs.deciding_loss, rel=1e-12)
    assert ours.refit == pytest.approx(theirs.refit, rel=1e-6)


@pytest.mark.parametrize("error", FAILURES, ids=lambda e: f"{type(e).__name__} {e}"[:30])
def test_a_trace_in_chunks_is_the_trace(error: Exception, view, tokens, monkeypatch) -> None:
    """States, block arguments and what a block shows inside, for each way to say that memory ran out."""
    ids, index = tokens[0], 1
    whole = view.trace(ids)
    name = view.family.mlp_out
    inner, written, out = watched(whole, view.blocks[index], index, whole.states[index], name)
    with cramped(view, monkeypatch, 5, error) as sizes, pytest.warns(MemoryWarning) as said:
        found = trace_windows(view, ids)
        assert [str(w.message) for w in said] == [
            "memory ran out in the forward pass with 12 windows at once; going on with 6",
            "memory ran out in the forward pass with 6 windows at once; going on with 3",
        ]
        assert set(sizes) == {3} and found.logits.numel() == 0 and found.chunk.size == 3
        for ours, theirs in zip(found.states, whole.states, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        got = watched(found, view.blocks[index], index, whole.states[index], name)
        for ours, theirs in zip(got, (inner, written, out), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        last = found.run_from(0, whole.states[0])
    torch.testing.assert_close(last, whole.states[-1], rtol=1e-12, atol=1e-12)
    assert len(said) == 2, "a chunk that has become smaller stays so"


def test_without_a_failure_nothing_changes(view, tokens) -> None:
    """Every state to the last bit, and no warning."""
    whole = view.trace(tokens[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = trace_windows(view, tokens[0])
        again = found.run_from(0, whole.states[0])
    assert all(torch.equal(a, b) for a, b in zip(found.states, whole.states, strict=True))
    assert torch.equal(again, whole.states[-1])


@pytest.mark.parametrize("solver", ["closed-form", "gradient"])
def test_chains_are_the_same_in_chunks(solver: str, view, tokens, monkeypatch) -> None:
    """Losses, residuals and refit, although blocks never see more than two windows."""
    options = {"maps": MAPS, "solver": ClosedForm() if solver == "closed-form" else Gradient(steps=3),
               "held_out": tokens[1]}
    plain = yes_chain(view, tokens[0], **options)
    with cramped(view, monkeypatch, 2) as sizes, pytest.warns(MemoryWarning) as said:
        found = yes_chain(view, tokens[0], **options)
    assert max(sizes) <= 2
    assert any("forward pass" in str(w.message) for w in said)
    assert any("gradient solver" in str(w.message) for w in said) == (solver == "gradient")
    same(found, plain)


def test_substitution_and_reuse_are_the_same_in_chunks(view, tokens, monkeypatch) -> None:
    """The other two roads that hold states of all windows."""
    fit, held = tokens
    gains, reused = substitute(view, fit, held[::2], held[1::2]), reused_chains(view, fit, held_out=held, maps=MAPS)
    with cramped(view, monkeypatch, 2), pytest.warns(MemoryWarning, match="slopes"):
        again = substitute(view, fit, held[::2], held[1::2])
        chains = reused_chains(view, fit, held_out=held, maps=MAPS)
    for ours, theirs in zip(again.gains, gains.gains, strict=True):
        assert (ours.eta, ours.maps) == (theirs.eta, theirs.maps)
        assert ours.gain == pytest.approx(theirs.gain, rel=1e-6, abs=1e-9)
    for target, loss in reused.losses.items():
        assert chains.losses[target] == pytest.approx(loss, rel=1e-6)


def test_a_window_that_does_not_fit_is_one_clear_error(view, tokens, monkeypatch) -> None:
    """At a single window there is nothing to halve; another error is passed on as it is."""
    with cramped(view, monkeypatch, 0), pytest.warns(MemoryWarning), pytest.raises(NumericalError, match="shorter"):
        yes_chain(view, tokens[0], maps=MAPS)
    other = RuntimeError("shapes do not match")
    with cramped(view, monkeypatch, 3, other), pytest.raises(RuntimeError, match="shapes"):
        trace_windows(view, tokens[0])


def test_sums_of_a_fit_go_on_with_fewer_rows(view, tokens, monkeypatch) -> None:
    """A Gram sum that finds room for 20 rows at once: the chains are the same, and the rows are counted once each."""
    plain = yes_chain(view, tokens[0], held_out=tokens[1], maps=MAPS)
    whole, counted = least_squares.as_matrix, []

    def small(value, name, *, function):
        if function == "GramSum.add" and len(value) > 20:
            raise MemoryError
        return whole(value, name, function=function)

    solve = GramSum.solve
    monkeypatch.setattr(least_squares, "as_matrix", small)
    monkeypatch.setattr(GramSum, "solve", lambda s, **more: (counted.append(s.samples), solve(s, **more))[1])
    with pytest.warns(MemoryWarning, match="sums of a fit with 144 rows at once; going on with 72") as said:
        found = yes_chain(view, tokens[0], held_out=tokens[1], maps=MAPS)
    same(found, plain)
    assert set(counted) == {144} and len(said) == 3, "72, 36 and 18 rows, each said once"


def test_a_chunk_that_fails_half_way_leaves_the_sum_alone(monkeypatch) -> None:
    """Memory runs out after the first product: the same chunk can be added again."""
    rng = np.random.default_rng(0)
    z, t = rng.normal(size=(30, 4)), rng.normal(size=(30, 2))
    total = GramSum().add(z[:10], t[:10])
    before = total.gram.copy(), total.cross.copy(), total.samples, total.target_sq

    def full(*args: object) -> float:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(np, "vdot", full)
        with pytest.raises(MemoryError):
            total.add(z[10:], t[10:])
    assert np.array_equal(total.gram, before[0]) and np.array_equal(total.cross, before[1])
    assert (total.samples, total.target_sq) == before[2:]
    np.testing.assert_allclose(total.add(z[10:], t[10:]).solve().weight, GramSum().add(z, t).solve().weight, rtol=1e-10)


def test_arguments_of_chunks_are_merged_as_what_they_are() -> None:
    """One entry a window is joined; what is shared stays; what is neither is refused."""
    shared, line = torch.ones(1, 4), torch.arange(4)
    parts = [torch.zeros(2, 4), torch.ones(1, 4)]
    assert torch.equal(_merged(parts, [2, 1]), torch.cat(parts))
    assert _merged([shared, shared.clone()], [2, 1]) is shared and _merged([line, line.clone()], [4, 4]) is line
    assert torch.equal(_merged([(shared, parts[0]), (shared, parts[1])], [2, 1])[1], torch.cat(parts))
    assert torch.equal(_merged([shared, 2 * shared], [1, 1]), torch.cat([shared, 2 * shared]))
    assert _merged([None, None], [2, 1]) is None
    for bad in ([line, line + 1], [torch.ones(3, 4), torch.zeros(3, 4)]):
        with pytest.raises(InvariantError, match="fewer tokens"):
            _merged(bad, [2, 1])


def test_narrowing_leaves_positions_alone() -> None:
    """A tensor with one entry a position is not cut where there are as many windows as positions."""
    ids, mask = torch.zeros(3, 3, dtype=torch.long), torch.arange(9.0).reshape(3, 1, 3)
    trace = SimpleNamespace(view=None, input_ids=ids, logits=torch.zeros(0), _calls=[
        ((mask,), {"cache_position": torch.arange(3), "position_embeddings": (mask, torch.ones(1, 3, 2))}),
    ])
    (args, kwargs), = narrow(trace, slice(1, 2))._calls
    assert torch.equal(args[0], mask[1:2]) and torch.equal(kwargs["cache_position"], torch.arange(3))
    assert torch.equal(kwargs["position_embeddings"][0], mask[1:2]) and kwargs["position_embeddings"][1].shape[0] == 1


def test_only_lack_of_memory_is_taken_for_it(monkeypatch) -> None:
    """The messages of torch's allocators count, others do not; a result too large to join is one clear error."""
    assert all(ran_out(e) for e in FAILURES) and ran_out(RuntimeError("not enough memory: you tried to allocate"))
    assert not ran_out(RuntimeError("out of bounds memory access")) and not ran_out(ValueError("out of memory"))
    calls: list[int] = []

    def work(size: int) -> int:
        calls.append(size)
        if size > 3:
            raise MemoryError
        return size

    chunk = Chunk(64, "a test", "rows")
    with pytest.warns(MemoryWarning, match="a test with 10 rows"):
        assert chunk.anew(10, work) == 2
    assert calls == [10, 5, 2] and chunk.anew(10, work) == 2

    def full(parts: list[torch.Tensor]) -> None:
        raise FAILURES[3]

    monkeypatch.setattr(torch, "cat", full)
    assert joined([torch.ones(2)], "a test").sum() == 2
    with pytest.raises(NumericalError, match="use fewer tokens"):
        joined([torch.ones(2), torch.ones(2)], "a test")
