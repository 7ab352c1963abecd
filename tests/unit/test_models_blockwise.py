"""Models read block by block from disk: the same numbers as the whole model, to the last bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from peelverify.certify import certify
from peelverify.certify.identity import open_model
from peelverify.errors import ArtifactError, InputError, NonFiniteError
from peelverify.models import FAMILIES, ModelView, blockwise, load_model, save_model
from peelverify.models.blockwise import NotStreamable, StreamedModel, WholeModel
from tests.families import small_family, untrained_family


@pytest.fixture(scope="module")
def family_dirs(ids, tmp_path_factory) -> dict[str, Path]:
    """One saved directory for each supported family."""
    root = tmp_path_factory.mktemp("blockwise")
    return {family: save_model(small_family(family, ids, steps=2), root / family) for family in sorted(FAMILIES)}


@torch.no_grad()
def states_of(source, ids):
    """All states and the logits, one part of the model after the other."""
    with source.front(ids) as embed:
        state, calls = embed(ids)
    states = [state]
    for t in range(source.view.depth):
        with source.block(t) as block:
            states.append(calls[t].run(block, states[-1]))
    with source.head() as head:
        return states, head(states[-1])[0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_streamed_states_equal_the_whole_model_to_the_last_bit(family, dtype, family_dirs, ids) -> None:
    """Every state and every logit of one plain forward pass comes out block by block."""
    whole = load_model(family_dirs[family], dtype=dtype)
    streamed = StreamedModel(family_dirs[family], dtype=dtype)
    trace = whole.trace(ids)
    assert streamed.view.dtype == whole.dtype
    assert streamed.attention == whole.config._attn_implementation
    for source in (streamed, WholeModel(whole)):
        states, logits = states_of(source, ids)
        assert all(torch.equal(a, b) for a, b in zip(states, trace.states, strict=True))
        assert torch.equal(logits, trace.logits)


def test_only_the_part_in_use_has_data(family_dirs, ids) -> None:
    """Outside a context every parameter is without data again, inside only its own part has some."""
    source = StreamedModel(family_dirs["llama"])
    states_of(source, ids)

    def real() -> set[str]:
        return {n for n, p in source.view.model.named_parameters() if p.device.type != "meta"}

    assert real() == set()
    with source.block(1):
        assert real() and all(n.startswith("model.layers.1.") for n in real())
    with pytest.raises(RuntimeError, match="stop"), source.head():
        raise RuntimeError("stop")
    assert real() == set()
    assert source.read_seconds > 0


def test_a_tied_head_is_read_from_the_embedding(ids, tmp_path: Path) -> None:
    """With tied weights the file holds the embedding only."""
    path = save_model(small_family("llama", ids, steps=2, tie_word_embeddings=True), tmp_path / "tied")
    assert "lm_head.weight" not in load_file(path / "model.safetensors")
    assert torch.equal(states_of(StreamedModel(path), ids)[1], load_model(path).trace(ids).logits)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["gemma2", "gpt2", "gpt_neox", "opt"])
def test_a_head_larger_than_a_block_is_used_in_slices(family, dtype, ids, tmp_path: Path, monkeypatch) -> None:
    """The same slices of the same numbers whether the head is on disk or in memory; close to one whole product."""
    path = save_model(small_family(family, ids, steps=2, vocab_size=1024), tmp_path / family)
    whole = load_model(path, dtype=dtype)
    logits = whole.trace(ids).logits
    monkeypatch.setattr(blockwise, "_SLICE", 7 * whole.lm_head.in_features)
    asked: list[int] = []
    read = blockwise.StoredMatrix.__getitem__
    monkeypatch.setattr(blockwise.StoredMatrix, "__getitem__", lambda m, i: asked.append(0) or read(m, i))
    streamed, own = (states_of(s, ids)[1] for s in (StreamedModel(path, dtype=dtype), WholeModel(whole)))
    assert torch.equal(streamed, own)
    assert len(asked) == -(-1024 // 7)
    torch.testing.assert_close(own, logits, rtol=2**-6 if dtype == "bfloat16" else 1e-5, atol=1e-5)


def test_slices_of_a_head_serve_several_states(ids, tmp_path: Path, monkeypatch) -> None:
    """Each state gets its own logits; the head never has data, the norm only inside."""
    monkeypatch.setattr(blockwise, "_SLICE", 1 << 8)
    source = StreamedModel(save_model(small_family("llama", ids, steps=2, vocab_size=1024), tmp_path / "llama"))
    states = torch.randn(2, 3, source.view.width, generator=torch.Generator().manual_seed(0))
    with source.head() as head:
        both = head(*states)
        assert all(torch.equal(x, head(state)[0]) for x, state in zip(both, states, strict=True))
        assert source.view.lm_head.weight.device.type == "meta"
        assert source.view.norm.weight.device.type == "cpu"
    assert source.view.norm.weight.device.type == "meta"


def test_of_the_embedding_only_the_rows_in_use_are_in_memory(family_dirs, ids) -> None:
    """Token ids that were not announced are not there; the state is that of the whole embedding."""
    source = StreamedModel(family_dirs["qwen2"])
    few = ids[:1, :5]
    with source.front(few) as embed:
        assert source.view.embedding.weight.device.type == "meta"
        state, _ = embed(few)
    assert torch.equal(state, load_model(family_dirs["qwen2"]).trace(few).states[0])
    with source.front(ids) as embed:
        assert torch.equal(embed(few)[0], state)


def test_attention_can_be_changed_for_a_while(family_dirs, ids) -> None:
    """The other implementation gives other bits and is gone afterwards."""
    source = StreamedModel(family_dirs["llama"])
    before = states_of(source, ids)[1]
    with source.using_attention("eager"):
        other = states_of(source, ids)[1]
    assert source.attention == "sdpa"
    assert torch.equal(states_of(source, ids)[1], before)
    assert torch.equal(other, load_model(family_dirs["llama"], attention="eager").trace(ids).logits)
    assert StreamedModel(family_dirs["gemma2"]).attention_choices == ("eager",)


def rewritten(source: Path, target: Path, change) -> Path:
    """A copy of a model directory with its tensors changed."""
    target.mkdir()
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            (target / path.name).write_bytes(path.read_bytes())
    tensors = load_file(source / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_what_cannot_be_streamed_is_named(family_dirs, tmp_path: Path, ids) -> None:
    """Missing and surplus names, wrong shapes, NaN and damaged files."""
    llama = family_dirs["llama"]
    with pytest.raises(NotStreamable, match=r"lm_head.weight is missing"):
        StreamedModel(rewritten(llama, tmp_path / "missing", lambda t: t.pop("lm_head.weight")))
    with pytest.raises(NotStreamable, match="extra is surplus"):
        StreamedModel(rewritten(llama, tmp_path / "surplus", lambda t: t.update(extra=torch.ones(1))))
    with pytest.raises(ArtifactError, match="misshapen"):
        StreamedModel(rewritten(
            llama, tmp_path / "shape", lambda t: t.update({"model.norm.weight": torch.ones(31)})
        ))
    bad = StreamedModel(rewritten(
        llama, tmp_path / "nan", lambda t: t["model.layers.1.mlp.up_proj.weight"].fill_(torch.nan)
    ))
    with pytest.raises(NonFiniteError, match="up_proj"):
        states_of(bad, ids)
    short = rewritten(llama, tmp_path / "short", lambda t: None)
    (short / "model.safetensors").write_bytes((llama / "model.safetensors").read_bytes()[:500])
    with pytest.raises(ArtifactError, match="damaged"):
        StreamedModel(short)


def test_unknown_settings_are_refused(family_dirs) -> None:
    """dtype and attention by their known names only; sdpa not where it computes something else."""
    with pytest.raises(InputError, match="dtype"):
        StreamedModel(family_dirs["llama"], dtype="int8")
    with pytest.raises(InputError, match="'auto', 'sdpa' or 'eager'"):
        StreamedModel(family_dirs["llama"], attention="flash")
    with pytest.raises(InputError, match="eager"):
        load_model(family_dirs["gemma2"], attention="sdpa")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_matrix_of_the_head_is_read_in_parts(dtype, family_dirs) -> None:
    """Rows and columns are those of the whole head; the norm has its weights, the head's matrix none."""
    source, whole = (make(family_dirs["llama"], dtype=dtype) for make in (StreamedModel, load_model))
    weight = whole.lm_head.weight
    with source.head_matrix() as matrix, WholeModel(whole).head_matrix() as own:
        assert own is weight
        assert (matrix.shape, len(matrix), matrix.dtype) == (weight.shape, len(weight), weight.dtype)
        rows, columns = slice(250, 999), slice(5, 7)
        for index in (slice(3, 9), rows, slice(None), (slice(None), columns), (rows, columns)):
            assert torch.equal(matrix[index], weight[index])
        assert torch.equal(source.view.norm.weight, whole.norm.weight)
        assert source.view.lm_head.weight.device.type == "meta"
    assert source.view.norm.weight.device.type == "meta"


def test_a_head_that_is_not_finite_is_refused_where_it_is_read(family_dirs, ids, tmp_path: Path) -> None:
    """NaN in the last row: the first rows are read, the last ones are refused by name."""
    view = load_model(family_dirs["llama"])
    with torch.no_grad():
        view.lm_head.weight[-1, 0] = torch.nan
    with StreamedModel(save_model(view, tmp_path / "bad")).head_matrix() as matrix:
        assert torch.isfinite(matrix[:8]).all()
        with pytest.raises(NonFiniteError, match="lm_head"):
            matrix[250:]


def test_a_model_whose_forward_pass_does_more_is_refused(family_dirs, ids) -> None:
    """A subclass that scales its logits, one that scales its embedding, a hook: the parts are not the model."""
    def scaled(model):
        class Scaled(type(model)):
            def forward(self, *args, **kwargs):
                found = super().forward(*args, **kwargs)
                found.logits = found.logits * 50
                return found

        model.__class__ = Scaled

    def embedded(model):
        class Embedded(type(model)):
            def forward(self, input_ids=None, **kwargs):
                return super().forward(inputs_embeds=2 * self.get_input_embeddings()(input_ids), **kwargs)

        model.__class__ = Embedded

    def hooked(model):
        model.lm_head.register_forward_hook(lambda module, args, output: output + output[..., :1].floor())
        model.register_forward_hook(lambda module, args, output: output.__class__(logits=output.logits + 1))

    for change in (scaled, embedded, hooked):
        view = load_model(family_dirs["llama"])
        WholeModel(view).check_logits()
        change(view.model)
        with pytest.raises(InputError, match="own logits differ"):
            open_model(view.model)
        with pytest.raises(InputError, match="own logits differ"):
            certify(load_model(family_dirs["llama"]), view, ids, lean=False)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_parts_of_every_family_give_its_own_logits(family, dtype, family_dirs) -> None:
    """The check before certifying passes, for both attention implementations."""
    for attention in ("auto", "eager"):
        WholeModel(load_model(family_dirs[family], dtype=dtype, attention=attention)).check_logits()


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_keys_that_scale_or_cap_logits_do_what_the_architecture_does(family, family_dirs, ids, tmp_path: Path) -> None:
    """Gemma-2 reads a soft cap; no other listed family reads one, nor a scale: parts on disk follow the whole model."""
    path = rewritten(family_dirs[family], tmp_path / "odd", lambda tensors: None)
    file = path / "config.json"
    odd = {
        "final_logit_softcapping": 0.125, "logit_scale": 3.0, "logits_scaling": 7.0, "logit_soft_cap": 0.1,
        "embedding_multiplier": 5.0, "residual_multiplier": 0.3, "lm_head_multiplier": 9.0, "mup_scale": 2.0,
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | odd))
    own = load_model(path).model(input_ids=ids).logits.detach()
    assert bool(own.abs().max() <= 0.125) == (family == "gemma2")
    assert torch.equal(states_of(StreamedModel(path), ids)[1], own)
    view = load_model(path)
    assert torch.equal(view.trace(ids).logits, own)
    assert (view.soft_cap is None) == (family != "gemma2")


def test_an_unlisted_family_is_capped_if_its_own_logits_are(ids) -> None:
    """The key alone says nothing: the finder compares with a pass of the model itself."""
    for kind, capped in (("stablelm", False), ("nanochat", True), ("phi", False)):
        view = ModelView(untrained_family(kind, 0, final_logit_softcapping=0.125))
        assert (view.soft_cap == 0.125) == capped
        assert torch.equal(view.trace(ids).logits, view.model(input_ids=ids).logits)


def both_refuse(path: Path, match: str) -> None:
    """One clear line whichever way the weights are read."""
    for make in (StreamedModel, load_model):
        with pytest.raises((ArtifactError, InputError), match=match) as caught:
            make(path)
        assert len(str(caught.value).splitlines()) == 1 and not isinstance(caught.value, NotStreamable)


@pytest.mark.parametrize("kind", [torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e5m2])
def test_weights_that_are_not_floating_point_are_refused_by_name(kind, family_dirs, tmp_path: Path) -> None:
    """A matrix, a norm, the embedding; under a name without the prefix too."""
    for name in ("model.layers.0.mlp.down_proj.weight", "model.norm.weight", "model.embed_tokens.weight"):
        def change(tensors, name=name) -> None:
            tensors[name] = tensors[name].to(kind)

        both_refuse(rewritten(family_dirs["llama"], tmp_path / name, change), f"stores {name} as ")

    def bare(tensors) -> None:
        tensors["norm.weight"] = tensors.pop("model.norm.weight").to(kind)

    both_refuse(rewritten(family_dirs["llama"], tmp_path / "bare", bare), "stores norm.weight as ")


def test_masks_in_old_files_are_no_weights(family_dirs, ids, tmp_path: Path) -> None:
    """GPT-2 and GPT-NeoX files of years ago hold causal masks as bool and uint8; they are not read."""
    for family, name in (("gpt2", "transformer.h.0.attn.bias"), ("gpt_neox", "gpt_neox.layers.0.attention.bias")):
        def change(tensors, name=name) -> None:
            tensors[name] = torch.ones(1, 1, 64, 64).tril().to(torch.uint8)

        path = rewritten(family_dirs[family], tmp_path / family, change)
        assert torch.equal(states_of(StreamedModel(path), ids)[1], load_model(path).trace(ids).logits)
        assert torch.equal(states_of(StreamedModel(family_dirs[family]), ids)[1], load_model(path).trace(ids).logits)


def test_layers_with_a_sliding_window_of_no_size_are_refused(family_dirs, tmp_path: Path) -> None:
    """Qwen2 and Qwen3 drop sliding_window unless use_sliding_window is set; the layers still ask for it."""
    for family in ("qwen2", "qwen3"):
        path = rewritten(family_dirs[family], tmp_path / family, lambda tensors: None)
        file = path / "config.json"
        config = json.loads(file.read_text())
        kinds = ["sliding_attention", "full_attention", "sliding_attention"]
        file.write_text(json.dumps(config | {"layer_types": kinds, "sliding_window": 4}))
        both_refuse(path, "use_sliding_window")
        file.write_text(json.dumps(config | {"layer_types": kinds, "sliding_window": 4, "use_sliding_window": True}))
        assert StreamedModel(path).view.depth == 3


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "opt", "qwen2", "gemma2"])
def test_a_tied_head_of_its_own_is_refused_under_every_name(family, family_dirs, tmp_path: Path) -> None:
    """With and without the prefix of the model, under the old name of the head; an equal head is taken."""
    view = load_model(family_dirs[family])
    embedding, prefix = f"{view.family.embedding}.weight", f"{view.model.base_model_prefix}."
    for head in {"lm_head.weight", "embed_out.weight" if family == "gpt_neox" else "lm_head.weight"}:
        for bare in (False, True):
            for sign in (1, -1):
                def change(tensors, head=head, bare=bare, sign=sign) -> None:
                    for name in ("lm_head.weight", "embed_out.weight"):
                        tensors.pop(name, None)
                    found = {n.removeprefix(prefix) if bare else n: t for n, t in tensors.items()}
                    found[head] = sign * tensors[embedding]
                    tensors.clear()
                    tensors.update({name: tensor.clone() for name, tensor in found.items()})

                path = rewritten(family_dirs[family], tmp_path / f"{head}{bare}{sign}", change)
                file = path / "config.json"
                file.write_text(json.dumps(json.loads(file.read_text()) | {"tie_word_embeddings": True}))
                if sign < 0:
                    both_refuse(path, "not its embedding")
                else:
                    load_model(path)
                    StreamedModel(path)


def test_one_weight_under_two_names_or_in_two_shards_is_refused(family_dirs, tmp_path: Path) -> None:
    """By name; loaders take the one or the other."""
    path = rewritten(
        family_dirs["gpt_neox"], tmp_path / "old", lambda t: t.update({"lm_head.weight": t["embed_out.weight"] + 1})
    )
    both_refuse(path, "two names, .*(embed_out.weight and lm_head|lm_head.weight and embed_out)")
    path = rewritten(family_dirs["gpt2"], tmp_path / "bare", lambda t: t.update({"ln_f.bias": torch.ones(32)}))
    both_refuse(path, "ln_f.bias.*transformer.ln_f.bias")
    path = rewritten(family_dirs["llama"], tmp_path / "shards", lambda t: None)
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    save_file(tensors, path / files[0], metadata={"format": "pt"})
    save_file({"model.norm.weight": torch.zeros(32)}, path / files[1], metadata={"format": "pt"})
    where = dict.fromkeys(tensors, files[0])
    for chosen in files:
        index = {"metadata": {}, "weight_map": where | {"model.norm.weight": chosen, "model.second": files[1]}}
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
        both_refuse(path, "model.norm.weight twice")


@pytest.mark.parametrize("damage", ["shorter", "longer", "gone", "another header"])
def test_a_file_that_changes_after_it_was_opened_is_one_clear_error(damage, family_dirs, ids, tmp_path: Path) -> None:
    """A mapping of a file that was cut short would end the process; it is looked at before each part is read."""
    source = StreamedModel(save_model(load_model(family_dirs["llama"]), tmp_path / "model"))
    path = tmp_path / "model" / "model.safetensors"
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"shorter": data[:4096], "longer": data + b" ", "another header": b"\0" * len(data)}[damage])
    with pytest.raises(ArtifactError, match="is damaged"):
        states_of(source, ids)
