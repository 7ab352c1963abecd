"""Pairs of every family and kind: changed weights, another dtype, deleted blocks; streamed and whole."""

from __future__ import annotations

import copy
import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from peelverify.certify import Certificate, certify, checker, verify
from peelverify.certify.checker import parse
from peelverify.compress import compression_record, delete_layers, save_compressed
from peelverify.errors import InputError, NonFiniteError, ShapeError
from peelverify.models import FAMILIES, ModelView, load_model, save_model
from peelverify.models.blockwise import NotStreamable
from peelverify.verdict import Verdict
from tests.families import small_family

ALL = sorted(FAMILIES)


@pytest.fixture(scope="module")
def pairs(ids, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """For each family a trained decoder and a copy with one percent of noise on its matrices."""
    root = tmp_path_factory.mktemp("pairs")
    found = {}
    for family in ALL:
        view = small_family(family, ids)
        other = copy.deepcopy(view.model)
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in other.parameters():
                if parameter.ndim == 2:
                    parameter += 0.01 * parameter.std() * torch.randn(parameter.shape, generator=generator)
        found[family] = (
            save_model(view, root / family), save_model(ModelView(other), root / f"{family}-noisy")
        )
    return found


@pytest.fixture(scope="module")
def certificates(pairs, ids, tmp_path_factory) -> dict[str, Path]:
    """One certificate a family."""
    root = tmp_path_factory.mktemp("family-certificates")
    return {f: certify(*pairs[f], ids, lean=False, batch=2).save(root / f"{f}.json") for f in ALL}


@pytest.mark.parametrize("family", ALL)
def test_every_family_verifies_and_covers_what_is_measured(family, certificates, pairs, ids) -> None:
    """Arithmetic and recomputation hold; error, loss and KL of plain forward passes lie inside the enclosures."""
    found = verify(certificates[family], original=pairs[family][0], compressed=pairs[family][1], lean=False)
    assert found.verdict is Verdict.HOLDS, found.summary
    assert found.reached == ("arithmetic", "recompute")
    certificate = found.certificate
    first, second = (load_model(path) for path in pairs[family])
    with torch.no_grad():
        z, w = (v.model(input_ids=ids, use_cache=False).logits.double() for v in (first, second))
    assert float((w - z).norm()) == pytest.approx(certificate.measured, rel=1e-4)
    assert float((w - z).norm(dim=-1).max()) == pytest.approx(float(certificate.token_direct), rel=1e-4)
    p, q = (torch.log_softmax(x[:, :-1], -1) for x in (z, w))
    target = ids[:, 1:, None]
    change = (p - q).gather(2, target)[..., 0]
    kl = (p.exp() * (p - q)).sum(-1)
    for name, value in (
        ("loss_change_mean", change.mean()), ("loss_change_largest", change.max()),
        ("loss_change_smallest", change.min()), ("kl_mean", kl.mean()), ("kl_largest", kl.max()),
        ("perplexity_factor", change.mean().exp()),
    ):
        lo, hi = certificate.signed(name)
        scale = 1e-5 * float(change.abs().max()) + 1e-9  # the batch of this forward pass has another shape
        assert lo - scale <= float(value) <= hi + scale, name
        assert hi - lo < 1e-9
    low, high = certificate.signed("loss_change_theorem_mean")
    assert low <= certificate.signed("loss_change_mean")[0] <= certificate.signed("loss_change_mean")[1] <= high


@pytest.mark.parametrize("family", ALL)
def test_streamed_and_whole_models_give_the_same_certificate(family, certificates, pairs, ids) -> None:
    """Reading block by block changes no bit of any number."""
    whole = certify(*pairs[family], ids, lean=False, batch=2, stream=False)
    assert whole.digest == Certificate.load(certificates[family]).digest


@pytest.mark.parametrize("family", ALL)
def test_bounds_for_every_input_hold_on_the_text_and_are_not_vacuous(family, certificates) -> None:
    """Each matrix is bounded; the largest change seen is below, behind norms by less than a factor of four."""
    document = json.loads(certificates[family].read_text())
    rows, seen = document["every_input"]["matrices"], document["measured"]["every_input_largest_change"]
    linears = 3 * {"phi3": 4, "gpt2": 4, "gpt_neox": 4, "opt": 6}.get(family, 7) + 1
    assert len(rows) == len(seen) == linears
    assert document["every_input"]["not_covered"] == []
    for row, text in zip(rows, seen, strict=True):
        bound = float(parse(row["bound"]))
        assert 0 < float(text) <= bound * (1 + 1e-8), row
        assert row["input"] != "norm" or float(text) > bound / 4, row


def test_gemma_2_chooses_its_attention_and_says_so(pairs, ids) -> None:
    """Nobody has to ask for eager attention; sliding and full layers are both there."""
    notes: list[str] = []
    found = certify(*pairs["gemma2"], ids, lean=False, on_note=notes.append)
    assert found.document["subject"]["numerics"]["attention"] == "eager"
    assert any("eager" in note and "gemma2" in note for note in notes)
    assert set(load_model(pairs["gemma2"][0]).config.layer_types) == {"sliding_attention", "full_attention"}
    assert {run["attention"] for run in found.document["numbers"]["reruns"]} == {"eager"}
    with pytest.raises(InputError, match="eager"):
        certify(*pairs["gemma2"], ids, lean=False, attention="sdpa")


@pytest.mark.parametrize(
    ("first", "second"), [("float32", "bfloat16"), ("bfloat16", "float32"), ("float64", "float16")]
)
def test_models_of_different_dtypes(first, second, pairs, ids, tmp_path: Path) -> None:
    """The same weights run in another dtype: differences of the stored states, taken exactly, and named."""
    path = pairs["llama"][0]
    found = certify(path, path, ids, lean=False, dtype=first, compressed_dtype=second)
    states = found.document["subject"]["numerics"]["states"]
    assert f"stored {first} values of the original and stored {second} values of the compressed model" in states
    exact = torch.promote_types(getattr(torch, first), getattr(torch, second)) == getattr(torch, first)
    assert ("exactly" in states) is exact and ("rounded" in states) is not exact
    a, b = (load_model(path, dtype=d) for d in (first, second))
    with torch.no_grad():
        z, w = (v.trace(ids).logits.double() for v in (a, b))
    assert found.measured == pytest.approx(float((w - z).norm()), rel=1e-2)
    saved = found.save(tmp_path / "dtypes.json")
    assert verify(saved, original=path, compressed=path, lean=False).reached == ("arithmetic", "recompute")


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_deleted_blocks_recorded_or_given(family, pairs, ids, tmp_path: Path) -> None:
    """A recorded deletion needs no --kept; the deleted block is the identity and has no matrices."""
    path = pairs[family][0]
    short = delete_layers(load_model(path), [1])
    record = compression_record("delete", depth=3, kept=[0, 2])
    target = save_compressed(short, tmp_path / "short", record)
    found = certify(path, target, ids, lean=False)
    blocks = found.document["numbers"]["blocks"]
    assert [b["deleted"] for b in blocks] == [False, True, False, False]
    assert parse(blocks[0]["error"][1]) == 0 < parse(blocks[1]["introduced"][0])
    assert found.document["every_input"]["not_covered"] == [
        {"block": 1, "name": "all", "reason": "the block was deleted"}
    ]
    bare = save_model(short, tmp_path / "bare")
    with pytest.raises(ShapeError, match="--kept"):
        certify(path, bare, ids, lean=False)
    again = certify(path, bare, ids, lean=False, kept=[0, 2])
    assert again.document["numbers"] == found.document["numbers"]


def test_equal_models_have_error_zero_everywhere(pairs, ids) -> None:
    """Nothing changed: every bound is exactly zero, also for every input, and the factor is one."""
    found = certify(pairs["qwen2"][0], pairs["qwen2"][0], ids, lean=False)
    assert found.direct == found.token_direct == found.chain == found.loss_change_max == 0
    assert found.signed("kl_largest") == found.signed("loss_change_mean") == (0, 0)
    lo, hi = found.signed("perplexity_factor")
    assert lo <= 1 <= hi and hi - lo < Fraction(1, 10**18)
    assert all(parse(row["bound"]) == 0 for row in found.document["every_input"]["matrices"])


def test_what_cannot_be_streamed_falls_back_with_a_reason(pairs, ids, monkeypatch) -> None:
    """The note names the reason; asking for streaming makes it an error."""
    from peelverify.certify import identity

    def refuse(*args, **kwargs):
        raise NotStreamable("the weights are stored otherwise")

    whole = certify(*pairs["llama"], ids, lean=False, every_input=False, stream=False)
    monkeypatch.setattr(identity, "StreamedModel", refuse)
    notes: list[str] = []
    found = certify(*pairs["llama"], ids, lean=False, every_input=False, on_note=notes.append)
    assert found.digest == whole.digest
    assert len(notes) == 2 and "stored otherwise; the whole model is loaded" in notes[0]
    with pytest.raises(NotStreamable):
        certify(*pairs["llama"], ids, lean=False, stream=True)


def test_tokens_and_pool_exclude_each_other(pairs, ids) -> None:
    """Neither or both is a wrong call."""
    with pytest.raises(InputError, match="either tokens or a pool"):
        certify(*pairs["llama"], lean=False)


def test_ties_are_counted_and_listed(pairs, ids) -> None:
    """A head with two equal rows on top ties everywhere; the list names window and place."""
    model = copy.deepcopy(load_model(pairs["llama"][0]).model)
    with torch.no_grad():
        model.lm_head.weight[:] = model.lm_head.weight[:1]
    view = ModelView(model)
    found = certify(view, view, ids, lean=False, every_input=False)
    assert found.ties == [(w, i) for w in range(ids.shape[0]) for i in range(ids.shape[1])]
    assert found.document["numbers"]["units"]["tied"] == ids.numel()
    checker.check(found.document)


def test_arguments_that_depend_on_the_tokens_are_noticed(pairs, ids, monkeypatch) -> None:
    """Masks and positions are taken from one batch for all of its size; a model for which that is wrong is refused."""
    from peelverify.errors import InvariantError
    from peelverify.models import blockwise

    plain = blockwise.BlockSource._embed

    def shifted(self, batch):
        state, calls = plain(self, batch)
        calls[-1].kwargs["position_ids"] = calls[-1].kwargs["position_ids"] + int(batch[0, 0])
        return state, calls

    different = ids.clone()
    different[:, 0] = torch.arange(len(ids))
    certify(*pairs["llama"], different, lean=False, every_input=False, batch=1)
    monkeypatch.setattr(blockwise.BlockSource, "_embed", shifted)
    with pytest.raises(InvariantError, match="depend on the tokens"):
        certify(*pairs["llama"], different, lean=False, every_input=False, batch=1)


@pytest.mark.parametrize("size", [1e-170, 1e-290])
def test_errors_whose_squares_vanish_in_float64_are_certified(size: float, ids) -> None:
    """A difference of the embeddings, then logits, so small that no square of it is a float64 number."""
    for change in ("embedding", "head"):
        one, two = (load_model_in_memory(ids) for _ in range(2))
        with torch.no_grad():
            if change == "embedding":
                one.embedding.weight[:, 0], two.embedding.weight[:, 0] = size, 2 * size
            else:
                for view in (one, two):
                    view.lm_head.weight.mul_(size)
                two.blocks[1].mlp.down_proj.weight.mul_(1.01)
        certificate = certify(one, two, ids, lean=False, every_input=False)
        assert checker.check(certificate.document)
        numbers = certificate.document["numbers"]
        low, high = map(parse, numbers["initial_error"] if change == "embedding" else numbers["blocks"][-1]["error"])
        assert 0 < low <= high < 1e4 * Fraction(size)


def test_huge_logits_are_certified(ids) -> None:
    """Logits of 1e290: errors whose squares leave float64, losses that are huge, no divergence in decimals."""
    one, two = (load_model_in_memory(ids) for _ in range(2))
    with torch.no_grad():
        for view in (one, two):
            view.lm_head.weight.mul_(1e290)
        two.blocks[1].mlp.down_proj.weight.mul_(1.01)
    certificate = certify(one, two, ids, lean=False, every_input=False)
    assert checker.check(certificate.document)["direct"] > 10**280


def load_model_in_memory(ids: torch.Tensor) -> ModelView:
    """A small float64 Llama."""
    view = small_family("llama", ids, steps=2)
    view.model.double()
    return ModelView(view.model)


def test_states_whose_differences_could_overflow_are_refused() -> None:
    """Two float64 states of opposite signs near the end of the range: an error with a sentence, not an overflow."""
    from peelverify.certify.energy import as_rows

    assert as_rows(torch.tensor([[1e299, -1e299]], dtype=torch.float64)).shape == (1, 2)
    with pytest.raises(NonFiniteError, match="cannot overflow"):
        as_rows(torch.tensor([[1e308, 1.0]], dtype=torch.float64))


def test_the_kernel_accepts_the_arithmetic_of_every_family(certificates) -> None:
    """One Lean file with the numbers of all nine certificates, in one process."""
    from peelverify.certify.kernel import PROOFS, lean_source
    from peelverify.lean.build import build, check_source

    header, parts = "", []
    for family in ALL:
        header, _, body = lean_source(json.loads(certificates[family].read_text())).partition("open PeelVerify\n")
        assert body.count(" = true := by") == 2
        parts.append(body)
    base = build(goal=PROOFS)
    assert base.ok
    right = check_source(header + "open PeelVerify\n" + "\n".join(parts), base=base)
    assert right.ok, [str(message)[:300] for message in right.messages]
