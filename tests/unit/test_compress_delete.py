"""Deletion of blocks: equal to skipping in place to the last bit, ordinary models on disk, bad input."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from peelverify.cli.app import main
from peelverify.compress import (
    compression_record,
    delete,
    delete_layers,
    read_record,
    save_compressed,
    weight_digests,
)
from peelverify.errors import ArtifactError, DomainError, InputError
from peelverify.models import ModelView, load_model, load_tokenizer
from peelverify.models.small import small_decoder
from tests.families import untrained_family

FAMILIES = ("llama", "gpt2", "qwen2")


@pytest.fixture(scope="module", params=FAMILIES)
def view(request, model_dirs):
    """A trained decoder of each family."""
    return load_model(model_dirs[request.param])


def skipped_in_place(view, ids, layers):
    """Logits of the model with some blocks replaced by the identity, by patching their forward."""
    patched = [(b, b.forward) for t, b in enumerate(view.blocks) if t in layers]
    for block, _ in patched:
        block.forward = lambda *args, **kwargs: args[0] if args else kwargs["hidden_states"]
    try:
        with torch.no_grad():
            return view.model(input_ids=ids, use_cache=False).logits
    finally:
        for block, forward in patched:
            block.forward = forward


@pytest.mark.parametrize("layers", [[0], [1], [2], [0, 2], [2, 1]])
def test_logits_equal_skipping_in_place_to_the_last_bit(view, ids, layers):
    """Deleting and skipping give the same logits, bit by bit."""
    with torch.no_grad():
        logits = delete_layers(view, layers).model(input_ids=ids, use_cache=False).logits
    assert torch.equal(logits, skipped_in_place(view, ids, set(layers)))
    assert not torch.equal(logits, view.trace(ids).logits)


def gpt_neo(**changes):
    """A decoder of an unlisted family whose blocks have numbers and kinds of attention of their own."""
    from transformers import AutoModelForCausalLM, GPTNeoConfig

    config = GPTNeoConfig(
        vocab_size=256, max_position_embeddings=64, hidden_size=32, num_layers=4, num_heads=4, intermediate_size=64,
        attention_types=[[["global", "local"], 2]], window_size=4, bos_token_id=None, eos_token_id=None, **changes,
    )
    torch.manual_seed(0)
    return ModelView(AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize("layers", [[0], [1, 2], [0, 3]])
def test_an_unlisted_family_with_kinds_of_attention_can_lose_blocks(ids, tmp_path, layers):
    """GPT-Neo: numbers and kinds of attention follow the blocks, also after saving, and it generates with a cache."""
    from transformers import AutoModelForCausalLM

    view = gpt_neo()
    small = delete_layers(view, layers)
    trace = view.trace(ids)
    state = trace.states[0]
    for t in range(4):
        state = state if t in layers else trace.block(t, state)
    assert torch.equal(small.trace(ids).logits, trace.head(state))
    folder = save_compressed(small, tmp_path / "neo", compression_record("delete", depth=4, kept=[
        t for t in range(4) if t not in layers
    ]))
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        assert torch.equal(plain(input_ids=ids).logits, small.trace(ids).logits)
    made = plain.generate(ids[:1, :8], max_new_tokens=8, min_new_tokens=8, do_sample=False, pad_token_id=0)
    slow = ids[:1, :8]
    for _ in range(8):
        with torch.no_grad():
            slow = torch.cat([slow, plain(input_ids=slow, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(made, slow)


def test_blocks_that_do_not_survive_deletion_are_refused(monkeypatch, tmp_path, model_dirs, capsys):
    """Where the smaller model would differ from skipping in place, or could not be read again, nothing is written."""
    monkeypatch.setattr(delete, "_PER_BLOCK", ())
    with pytest.raises(InputError, match=r"delete_layers needs .*gpt_neo.*another way"):
        delete_layers(gpt_neo(), [1])
    monkeypatch.setattr(delete, "_NUMBERS", ())
    with pytest.raises(InputError, match=r"delete_layers needs .*llama.*another way"):
        delete_layers(load_model(model_dirs["llama"]), [0])
    words = ["compress", str(model_dirs["llama"]), "--method", "delete", "--layers", "0", "--out", str(tmp_path / "a")]
    assert main(words) == 2
    assert "delete_layers needs" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_blocks_are_renumbered_and_the_configuration_agrees(view):
    """Cache indices count from 0, and the configuration has as many entries as there are blocks."""
    small = delete_layers(view, [1])
    numbers = [
        {m.layer_idx for m in block.modules() if hasattr(m, "layer_idx")} for block in small.blocks
    ]
    assert numbers == [{0}, {1}]
    assert small.config.num_hidden_layers == small.depth == 2
    if getattr(view.config, "layer_types", None):
        assert small.config.layer_types == [view.config.layer_types[0], view.config.layer_types[2]]


def test_callers_model_is_left_as_it_was(view, ids):
    """Weights, numbers, configuration and logits of the original stay."""
    weights, config = copy.deepcopy(view.model.state_dict()), view.config.to_json_string()
    logits = view.trace(ids).logits
    small = delete_layers(view.model, [0])
    with torch.no_grad():
        for parameter in small.model.parameters():
            parameter.zero_()
    assert all(torch.equal(weights[k], v) for k, v in view.model.state_dict().items())
    assert view.config.to_json_string() == config
    assert torch.equal(view.trace(ids).logits, logits)
    assert {m.layer_idx for b in view.blocks for m in b.modules() if hasattr(m, "layer_idx")} == {0, 1, 2}


def test_saved_model_generates_through_plain_transformers(view, ids, tmp_path):
    """The folder loads in plain transformers, gives the same logits, and generates with a cache."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = load_tokenizer(view.config._name_or_path)
    small = delete_layers(view, [1])
    record = compression_record("delete", depth=3, kept=[0, 2], original={"model.safetensors": "0" * 64})
    folder = save_compressed(small, tmp_path / "small", record, tokenizer)
    plain = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        assert torch.equal(plain(input_ids=ids, use_cache=False).logits, small.trace(ids).logits)
    prompt = ids[:1, :8]
    made = plain.generate(prompt, max_new_tokens=12, do_sample=False)
    assert made.shape == (1, 20)
    slow = prompt
    for _ in range(12):  # greedy decoding without a cache
        with torch.no_grad():
            slow = torch.cat([slow, plain(input_ids=slow, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(made, slow)
    assert AutoTokenizer.from_pretrained(folder).decode(made[0])
    assert load_model(folder).depth == 2
    assert read_record(folder)["kept"] == [0, 2]


def test_sliding_windows_stay_with_their_blocks(ids):
    """Blocks with and without a sliding window keep their own attention after deletion."""
    from transformers import AutoModelForCausalLM, Qwen2Config

    from peelverify.models import ModelView

    config = Qwen2Config(
        hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=256, max_position_embeddings=64, use_sliding_window=True, sliding_window=4, max_window_layers=2,
    )
    torch.manual_seed(0)
    view = ModelView(AutoModelForCausalLM.from_config(config))
    assert len(set(view.config.layer_types)) == 2
    small = delete_layers(view, [0, 2])
    assert small.config.layer_types == [view.config.layer_types[1], view.config.layer_types[3]]
    with torch.no_grad():
        logits = small.model(input_ids=ids, use_cache=False).logits
    assert torch.equal(logits, skipped_in_place(view, ids, {0, 2}))


@pytest.mark.parametrize("seed", [0, 2])
def test_a_float64_model_whose_norms_are_computed_in_float32_can_lose_blocks(seed) -> None:
    """Reading with a cache rounds norms and softmax in float32 there, which is no sign of a wrong cache."""
    model = untrained_family("gemma2", 0, sliding_window=3, max_position_embeddings=16).double().eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * (2.0 ** (seed - 4) if parameter.ndim > 1 else 0.1))
    for gone in range(3):
        assert delete_layers(ModelView(model), [gone]).depth == 2


def test_tied_embeddings_stay_tied(ids):
    """A model whose head is its embedding stays so."""
    view = small_decoder("gpt2", blocks=2, width=32, heads=4, length=64)
    small = delete_layers(view, [0])
    assert small.lm_head.weight is small.embedding.weight
    assert small.lm_head.weight is not view.lm_head.weight


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([0, 1, 2], "a block that is left, got all 3"),
        ([], "at least one block to delete"),
        ([3], "from 0 to 2, got 3"),
        ([-1], "from 0 to 2, got -1"),
        ([1, 1], "each block once"),
        ([0.5], "whole block indices"),
        ([True], "whole block indices"),
    ],
)
def test_impossible_deletions_are_refused(view, layers, message):
    """All, none, outside, repeated and fractional indices are refused."""
    with pytest.raises(DomainError, match=message):
        delete_layers(view, layers)


def test_only_block_cannot_be_deleted():
    """A model of one block keeps it."""
    with pytest.raises(DomainError, match="got all 1 named"):
        delete_layers(small_decoder("llama", blocks=1, width=32, heads=4), [0])


def test_attention_that_depends_on_the_block_number_is_refused():
    """Renumbering would change such a model, so it is refused by name."""
    view = small_decoder("gpt2", blocks=2, width=32, heads=4)
    view.config.scale_attn_by_inverse_layer_idx = True
    with pytest.raises(InputError, match="scale_attn_by_inverse_layer_idx"):
        delete_layers(view, [0])


def test_digests_name_the_original_weights(model_dirs):
    """The digests are those of the files' bytes."""
    import hashlib

    folder = model_dirs["llama"]
    wanted = {"model.safetensors": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()}
    assert weight_digests(folder) == wanted


def test_saving_never_overwrites_and_leaves_nothing_half_done(tmp_path, monkeypatch):
    """A folder in use is refused; a failed save leaves no folder."""
    view = small_decoder("llama", blocks=1, width=32, heads=4)
    record = compression_record("rtn", depth=1)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    with pytest.raises(ArtifactError, match="exists already"):
        save_compressed(view, tmp_path / "used", record)
    with pytest.raises(ValueError, match="JSON compliant"):
        save_compressed(view, tmp_path / "bad", record | {"x": float("nan")})
    assert [p.name for p in tmp_path.iterdir()] == ["used"]


@pytest.mark.parametrize("kept", [[], [1, 0], [0, 0], [3], [-1, 0]])
def test_records_with_impossible_blocks_are_refused(kept):
    """A record cannot name blocks that the original lacks."""
    with pytest.raises(InputError, match="ascending block indices"):
        compression_record("delete", depth=3, kept=kept)


@pytest.mark.parametrize(
    "damage",
    [
        "", "[]", "{", '{"schema": "other/1", "method": "delete", "kept": [0], "original_blocks": 2}',
        '{"schema": "peelverify.compression/1", "method": "delete", "kept": [2], "original_blocks": 2}',
        '{"schema": "peelverify.compression/1", "method": "delete", "kept": [true], "original_blocks": 2}',
        '{"schema": "peelverify.compression/1", "kept": [0], "original_blocks": 2}',
    ],
)
def test_damaged_records_are_refused(tmp_path, damage):
    """A damaged record is an error, no record is None."""
    assert read_record(tmp_path) is None
    (tmp_path / "peelverify.json").write_text(damage)
    with pytest.raises(ArtifactError, match="damaged"):
        read_record(tmp_path)


def test_record_is_plain_data(tmp_path):
    """A record written is the record read."""
    record = compression_record("delete", depth=3, kept=[0, 2], original={"a": "b"}, criterion="rho")
    (tmp_path / "peelverify.json").write_text(json.dumps(record))
    assert read_record(tmp_path) == record
