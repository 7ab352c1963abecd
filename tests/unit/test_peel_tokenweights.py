"""Token weights in peeling: independent weighted least squares, tokens seen twice or not at all, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from peelverify.cli.app import main
from peelverify.compress import token_weights
from peelverify.data import builtin_text, windows
from peelverify.errors import ArtifactError, DomainError, InputError, NonFiniteError, ShapeError
from peelverify.models import load_model
from peelverify.models.small import byte_tokenizer
from peelverify.peel.forward import trace_windows
from peelverify.peel.least_squares import GramSum
from peelverify.peel.lowbit import fit_binary
from peelverify.peel.memory import Chunk, MemoryWarning
from peelverify.peel.reuse import reused_chains
from peelverify.peel.run import peel_checkpoints, thin
from peelverify.peel.solvers import BlockProblem, ClosedForm, Gradient, copy_block
from peelverify.peel.ste import LowBitForm, yes_chain_low_bit
from peelverify.peel.substitute import substitute
from peelverify.peel.transformer import yes_chain

MAPS = [(3, 3, 3)]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def view(request, model_dirs):
    """A trained decoder, without and with biases, in float64."""
    return load_model(model_dirs[request.param], dtype="float64")


@pytest.fixture(scope="module")
def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Windows to fit on and windows that decide."""
    return thin(windows(byte_tokenizer(), builtin_text(), length=24), 8)


def drawn(seed: int, rows: int, bias: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features, targets, weights over two decades with some zeros, and the features with their constant."""
    rng = np.random.default_rng(seed)
    z, t = rng.normal(size=(rows, 5)), rng.normal(size=(rows, 3))
    weights = 10 ** rng.uniform(-1, 1, rows) * (rng.random(rows) > 0.2)
    return z, t, weights, np.hstack([z, np.ones((rows, 1))]) if bias else z


def solution(fit) -> np.ndarray:
    """Weights and bias of a fit, one under the other."""
    return fit.weight.T if fit.bias is None else np.vstack([fit.weight.T, fit.bias])


@given(seed=st.integers(0, 10_000), rows=st.integers(20, 60), bias=st.booleans())
@example(seed=0, rows=20, bias=True)
def test_weighted_sums_give_weighted_least_squares(seed: int, rows: int, bias: bool) -> None:
    """The fit of chunks is that of numpy's lstsq on rows scaled by the roots, to 1e-8; the totals are weighted too."""
    z, t, weights, columns = drawn(seed, rows, bias)
    total = GramSum(bias=bias)
    for cut in (slice(0, 7), slice(7, rows)):
        total.add(z[cut], t[cut], weights[cut])
    root = np.sqrt(weights)[:, None]
    expected = np.linalg.lstsq(columns * root, t * root, rcond=None)[0]
    assert np.linalg.norm(solution(total.solve()) - expected) <= 1e-8 * np.linalg.norm(expected)
    # the gradient of sum w |t - f|^2, row by row, vanishes: no use of roots at all
    missed = t - columns @ solution(total.solve())
    slope = sum(w * np.outer(c, m) for w, c, m in zip(weights, columns, missed, strict=True))
    assert np.linalg.norm(slope) <= 1e-9 * np.linalg.norm((weights[:, None] * columns).T @ t) + 1e-9
    assert total.target_sq == pytest.approx(float((weights[:, None] * t**2).sum())) and total.samples == rows


@given(seed=st.integers(0, 10_000), level=st.floats(1e-3, 1e3), ridge=st.sampled_from([0.0, 0.1]))
def test_equal_weights_change_nothing(seed: int, level: float, ridge: float) -> None:
    """Weights of one give the same bits; any other level gives the same fit, with a ridge too."""
    z, t, _, _ = drawn(seed, 30, True)
    plain = GramSum().add(z, t)
    ones, same = GramSum().add(z, t, np.ones(30)), GramSum().add(z, t, np.full(30, level))
    assert np.array_equal(ones.gram, plain.gram) and np.array_equal(ones.cross, plain.cross)
    np.testing.assert_allclose(solution(same.solve(ridge=ridge)), solution(plain.solve(ridge=ridge)), rtol=1e-8)


def test_a_weight_of_two_is_the_sample_twice_and_zero_leaves_it_out() -> None:
    """Whole weights are repetitions; with all weights zero the smallest solution is zero."""
    z, t, _, _ = drawn(1, 25, True)
    counts = np.arange(25) % 3
    twice = GramSum().add(np.repeat(z, counts, axis=0), np.repeat(t, counts, axis=0))
    np.testing.assert_allclose(
        solution(GramSum().add(z, t, counts).solve(ridge=0.1)), solution(twice.solve(ridge=0.1)), rtol=1e-9
    )
    assert not solution(GramSum().add(z, t, np.zeros(25)).solve()).any()


def test_weights_that_do_not_fit_are_refused() -> None:
    """One for each row, finite, not negative, numbers; the sum stays as it was."""
    z, t, _, _ = drawn(2, 6, True)
    total = GramSum().add(z, t)
    before = total.gram.copy()
    for bad, error in ((np.ones(5), ShapeError), (np.ones((6, 1)), ShapeError), ([1.0] * 5 + [-1.0], DomainError),
                       ([1.0] * 5 + [float("nan")], NonFiniteError), (["a"] * 6, InputError)):
        with pytest.raises(error, match=r"weights|weight for each"):
            total.add(z, t, bad)
    assert np.array_equal(total.gram, before) and total.samples == 6


@pytest.mark.parametrize("solver", [ClosedForm(), LowBitForm(kind="ternary"), LowBitForm(kind="binary", refine=False)],
                         ids=["closed-form", "ternary", "binary"])
def test_a_window_of_weight_two_is_the_window_twice(solver, view, tokens) -> None:
    """Fitted blocks with weights 0, 1, 2 for whole windows are those of windows left out, kept, repeated."""
    counts = torch.tensor([0, 1, 2, 1, 0, 2, 1, 1])
    ids = tokens[0]
    fresh = copy_block(view.blocks[1])
    solver.prepare(fresh, 0)

    def fitted(windows: torch.Tensor, weights: torch.Tensor | None) -> list[torch.Tensor]:
        trace = trace_windows(view, windows)
        problem = BlockProblem(view, trace, 1, fresh, trace.states[1], 0, weights)
        return list(solver.fit(problem, [trace.states[3]])[0].state_dict().values())

    weighted = fitted(ids, counts.double()[:, None].expand(ids.shape))
    repeated = fitted(ids.repeat_interleave(counts, dim=0), None)
    level = fitted(ids, None)
    for ours, theirs in zip(weighted, repeated, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)
    assert not all(torch.allclose(a, b) for a, b in zip(weighted, level, strict=True)), "the weights matter"


def test_equal_weights_give_the_same_chains(view, tokens) -> None:
    """An array of ones gives every loss, gain and few-bit chain of no weights, to the last bit."""
    fit, held = tokens
    ones = np.ones(tuple(fit.shape))
    plain, same = (yes_chain(view, fit, held_out=held, maps=MAPS, token_weights=w) for w in (None, ones))
    assert plain.chains == same.chains and plain.refit == same.refit
    again, back = (reused_chains(view, fit, held_out=held, maps=MAPS, token_weights=w) for w in ("uniform", ones))
    assert again.losses == back.losses
    gains, others = (
        substitute(view, fit, held[::2], held[1::2], brackets=False, token_weights=w) for w in (None, ones)
    )
    assert [g.gain for g in gains.gains] == [g.gain for g in others.gains]
    few, fewer = (yes_chain_low_bit(view, fit, "ternary", maps=MAPS, token_weights=w) for w in (None, ones))
    assert few.refined.chains == fewer.refined.chains


def test_weights_by_name_are_those_of_the_array(view, tokens) -> None:
    """A kind stands for its array, one row of weights for each block, in every road; all of them differ from none."""
    fit, held = tokens
    array = token_weights(view, fit, "attention")
    for road in (
        lambda w: yes_chain(view, fit, held_out=held, maps=MAPS, token_weights=w).chains[MAPS[0]].residuals,
        lambda w: reused_chains(view, fit, held_out=held, maps=MAPS, token_weights=w).losses,
        lambda w: [g.chosen_gain for g in
                   substitute(view, fit, held[::2], held[1::2], brackets=False, token_weights=w).gains],
        lambda w: yes_chain_low_bit(view, fit, "binary", maps=MAPS, token_weights=w).published.chains[MAPS[0]].fitted,
    ):
        named = road("attention")
        assert named == road(array) != road(None)


def test_few_bits_of_a_factor_are_those_of_the_samples(view, tokens) -> None:
    """Where the samples do not fit, their triangular factor gives the same pattern, weighted or not."""
    rng = np.random.default_rng(5)
    features, target = torch.tensor(rng.normal(size=(4, 25, 6))), torch.tensor(rng.normal(size=(4, 25, 3)))
    weights = torch.tensor(rng.random((4, 25)))
    for bias in (True, False):
        linear = torch.nn.Linear(6, 3, bias=bias)
        for given_weights in (None, weights):
            whole, parts = LowBitForm(kind="ternary"), LowBitForm(kind="ternary")
            (expected, shift), = whole._solve(linear, features, [target], given_weights)
            plain, sizes = parts._centred, []

            def cramped(wide, goal, counts, has_bias, size, *, plain=plain, sizes=sizes):
                sizes.append(size)
                if size > 30:
                    raise MemoryError
                return plain(wide, goal, counts, has_bias, size)

            parts._centred = cramped
            with pytest.warns(MemoryWarning, match="few bits with 100 rows at once; going on with 50"):
                (found, moved), = parts._solve(linear, features, [target], given_weights)
            assert sizes == [100, 50, 25] and isinstance(parts.samples, Chunk)
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
            assert (shift is None) == (moved is None) == (not bias)
            if bias:
                torch.testing.assert_close(moved, shift, rtol=1e-9, atol=1e-12)
    flat = features.flatten(0, 1).numpy()
    (binary, _), = LowBitForm()._solve(torch.nn.Linear(6, 3, bias=False), features, [target])
    assert np.array_equal(binary.numpy(), fit_binary(flat, target.flatten(0, 1).numpy()).matrix)


def test_solvers_without_a_gram_matrix_refuse_weights(view, tokens) -> None:
    """The gradient solver, and any of a user's that does not say it heeds them; uniform is no weight."""
    class Own(ClosedForm):
        name, weighted = "own", False

    for solver in ("gradient", Gradient(), Own(name="own")):
        with pytest.raises(InputError, match=r"(gradient|own) solver .* use the closed-form solver"):
            yes_chain(view, tokens[0], solver=solver, token_weights="attention")
        with pytest.raises(InputError, match="token weights"):
            peel_checkpoints([view], tokens[0], solver=solver, token_weights=np.ones(tuple(tokens[0].shape)))
    yes_chain(view, tokens[0], solver=Gradient(steps=1), maps=MAPS, token_weights="uniform")
    with pytest.raises(InputError, match="surprise"):
        yes_chain(view, tokens[0], token_weights="surprise")
    with pytest.raises(ShapeError, match="token weights of shape"):
        peel_checkpoints([view], tokens[0], token_weights=np.ones((2, 2)))


def command(*args: object, capsys) -> tuple[int, str, str]:
    """Status, standard output and standard error of the command."""
    status = main(["peel", *(str(a) for a in args)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command_takes_a_name_or_a_file(model_dirs, tmp_path: Path, capsys) -> None:
    """Both are named in the file, change the chains, and a series goes on only with the same weights."""
    model, small = model_dirs["llama"], ("--tokens", 128, "--window", 16, "--maps", "direct", "--json")
    weights = tmp_path / "weights.npy"
    np.save(weights, np.linspace(0, 1, 128).reshape(8, 16))
    losses, about = {}, {}
    for name in ("uniform", "activation_norm", str(weights)):
        out = tmp_path / f"out-{len(losses)}"
        status, text, news = command(model, *small, "--token-weights", name, "--out", out, capsys=capsys)
        assert status == 0, news
        data = json.loads(text)
        losses[name], about[name] = data["checkpoints"][0]["yes0"], data["about"]["token_weights"]
    assert len(set(losses.values())) == 3
    assert about["uniform"] is None and about["activation_norm"] == "activation_norm"
    assert about[str(weights)].startswith("given, sha256 ")
    again = (model, *small, "--resume", "--out", tmp_path / "out-2", "--token-weights")
    assert command(*again, weights, capsys=capsys)[0] == 0
    np.save(weights, np.linspace(0, 2, 128).reshape(8, 16))
    status, _, news = command(*again, weights, capsys=capsys)
    assert status == 2 and "token_weights" in news


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--token-weights", "surprise"), "activation_norm"),
        (("--token-weights", "{folder}/text.npy"), "numpy.save"),
        (("--token-weights", "{folder}/objects.npy"), "numpy.save"),
        (("--token-weights", "{folder}/small.npy"), "(8, 16)"),
        (("--token-weights", "attention", "--solver", "gradient"), "closed-form"),
    ],
)
def test_the_command_refuses_weights_that_it_cannot_use(more, words: str, model_dirs, tmp_path, capsys) -> None:
    """One clear line and status 2; objects in a file are never unpacked."""
    (tmp_path / "text.npy").write_text("0.5 0.5")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "small.npy", np.ones((2, 2)))
    more = [m.replace("{folder}", str(tmp_path)) for m in more]
    status, _, news = command(model_dirs["llama"], "--tokens", 128, "--window", 16, *more, capsys=capsys)
    assert status == 2 and words in news and "Traceback" not in news
    assert command("--problem", "digits", *more[:2], capsys=capsys)[0] == 2


def test_a_damaged_file_is_an_artifact_error(tmp_path: Path) -> None:
    """From Python the same, with the path."""
    from peelverify.cli.peel import _weights

    np.savez(tmp_path / "two.npz", a=np.ones(2))
    with pytest.raises(ArtifactError, match=r"two\.npz cannot be read as token weights"):
        _weights(str(tmp_path / "two.npz"))
