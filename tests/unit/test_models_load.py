"""Loading a model directory: what is accepted, and one clear line for what is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from peelverify.errors import ArtifactError, InputError, NonFiniteError
from peelverify.models import ModelView, load_model, load_tokenizer, model_files, save_model
from tests.conftest import FAMILIES


@pytest.fixture
def copy_of(model_dirs: dict[str, Path], tmp_path: Path) -> Path:
    """A private copy of the Llama model to damage."""
    return Path(shutil.copytree(model_dirs["llama"], tmp_path / "model"))


def edit_weights(directory: Path, change) -> None:
    """Load, change and save the weights of a directory."""
    path = directory / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_and_head_give_the_models_own_logits(family: str, model_dirs, ids) -> None:
    """A saved and reloaded model, run block by block, equals its forward pass to the last bit."""
    view = load_model(model_dirs[family])
    trace = view.trace(ids)
    assert torch.equal(trace.logits, view.model(input_ids=ids, use_cache=False).logits)
    state = trace.states[0]
    for t in range(view.depth):
        state = trace.block(t, state)
    assert torch.equal(view.head(state), trace.logits)


def test_the_check_of_block_calls_notices_a_random_block(model_dirs, ids) -> None:
    """A model whose block gives another answer each time is refused."""
    view = load_model(model_dirs["llama"])
    view.blocks[1].mlp.register_forward_hook(lambda m, a, out: out + torch.randn_like(out))
    with pytest.raises(Exception, match="deterministic"):
        view.trace(ids)


def test_a_plain_file_is_not_a_model(tmp_path: Path) -> None:
    """A file given as a model names the mistake."""
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(ArtifactError, match="a model is a directory"):
        load_model(tmp_path / "x.txt")


def test_a_folder_without_config_is_not_a_model(tmp_path: Path) -> None:
    """An empty folder is called what it is."""
    with pytest.raises(ArtifactError, match=r"no config\.json"):
        load_model(tmp_path)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    """A path that does not exist is reported with the path."""
    with pytest.raises(ArtifactError, match="no model directory"):
        load_model(tmp_path / "absent" / "deeper" / "still")


def test_an_unsupported_architecture_names_the_supported_ones(copy_of: Path) -> None:
    """The message lists families to choose from."""
    config = json.loads((copy_of / "config.json").read_text())
    (copy_of / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
    with pytest.raises(InputError, match=r"gpt2.*llama.*mamba"):
        load_model(copy_of)


def test_remote_code_is_never_run(copy_of: Path) -> None:
    """auto_map in the config is refused before anything is imported."""
    config = json.loads((copy_of / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil.Evil"}
    (copy_of / "config.json").write_text(json.dumps(config))
    (copy_of / "evil.py").write_text("open('/tmp/peelverify-evil', 'w')")
    with pytest.raises(InputError, match="remote code"):
        load_model(copy_of)
    assert not Path("/tmp/peelverify-evil").exists()


def test_a_damaged_config_is_named(copy_of: Path) -> None:
    """A config that is not JSON is reported as damaged."""
    (copy_of / "config.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        load_model(copy_of)


def test_pickle_only_weights_are_refused(copy_of: Path) -> None:
    """Pickle weights are never read, whatever they hold."""
    (copy_of / "model.safetensors").unlink()
    (copy_of / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ArtifactError, match="pickle"):
        load_model(copy_of)


def test_missing_weights_file_is_named(copy_of: Path) -> None:
    """A directory without weights says so."""
    (copy_of / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"no model\.safetensors"):
        load_model(copy_of)


@pytest.mark.parametrize("keep", [0, 7, 100, 5000])
def test_a_truncated_weights_file_is_damaged(copy_of: Path, keep: int) -> None:
    """A file cut short anywhere is reported as damaged."""
    path = copy_of / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="damaged"):
        load_model(copy_of)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_weights_name_the_tensor(copy_of: Path, bad: float) -> None:
    """NaN and infinite weights are refused by name."""
    edit_weights(copy_of, lambda w: w["model.layers.1.mlp.down_proj.weight"].view(-1).__setitem__(3, bad))
    with pytest.raises(NonFiniteError, match=r"down_proj"):
        load_model(copy_of)


def test_missing_weights_are_an_error_not_random_numbers(copy_of: Path) -> None:
    """A weight that the config needs and the file lacks is refused."""
    edit_weights(copy_of, lambda w: w.pop("model.layers.0.self_attn.q_proj.weight"))
    with pytest.raises(ArtifactError, match=r"lacks weights .*q_proj"):
        load_model(copy_of)


def test_surplus_weights_are_an_error(copy_of: Path) -> None:
    """A weight that the config does not ask for is refused."""
    edit_weights(copy_of, lambda w: w.__setitem__("model.layers.9.extra.weight", torch.zeros(2)))
    with pytest.raises(ArtifactError, match="surplus"):
        load_model(copy_of)


def test_a_config_with_fewer_layers_than_weights_is_an_error(copy_of: Path) -> None:
    """Lowering the number of layers in the config does not silently drop a block."""
    config = json.loads((copy_of / "config.json").read_text())
    (copy_of / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(ArtifactError, match="surplus"):
        load_model(copy_of)


def test_misshapen_weights_are_an_error(copy_of: Path) -> None:
    """A weight of the wrong shape is refused."""
    edit_weights(copy_of, lambda w: w.__setitem__("model.norm.weight", torch.ones(5)))
    with pytest.raises(ArtifactError):
        load_model(copy_of)


def test_an_index_cannot_point_outside_the_directory(copy_of: Path) -> None:
    """A shard index with a path upwards is refused."""
    (copy_of / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(ArtifactError, match="outside"):
        load_model(copy_of)


def test_shards_load_like_a_single_file(model_dirs, tmp_path: Path, ids) -> None:
    """A model saved in shards gives the same logits."""
    view = load_model(model_dirs["llama"])
    view.model.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert torch.equal(load_model(tmp_path / "shards").trace(ids).logits, view.trace(ids).logits)


def test_quantised_back_ends_are_refused_by_name(copy_of: Path) -> None:
    """A model quantised by another tool is named."""
    config = json.loads((copy_of / "config.json").read_text())
    (copy_of / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(InputError, match="gptq"):
        load_model(copy_of)


def test_a_missing_tokenizer_is_named(copy_of: Path) -> None:
    """A model without a tokenizer says what to do."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy_of / name).unlink()
    with pytest.raises(ArtifactError, match="no tokenizer"):
        load_tokenizer(copy_of)


def test_a_tokenizer_of_words_is_read_and_its_file_counts(copy_of: Path) -> None:
    """A tokenizer that is built from a list of words alone; the list is among the files that decide."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy_of / name).unlink()
    (copy_of / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "day"]))
    (copy_of / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    assert load_tokenizer(copy_of)("good day", add_special_tokens=False).input_ids == [5, 6]
    assert copy_of / "vocab.txt" in model_files(copy_of)


def test_saving_never_overwrites(model_dirs) -> None:
    """A folder with something in it is left alone."""
    view = load_model(model_dirs["llama"])
    before = {p.name: p.read_bytes() for p in model_dirs["llama"].iterdir()}
    with pytest.raises(ArtifactError, match="exists already"):
        save_model(view, model_dirs["llama"])
    assert before == {p.name: p.read_bytes() for p in model_dirs["llama"].iterdir()}


def test_a_failed_save_leaves_nothing_behind(model_dirs, tmp_path: Path, monkeypatch) -> None:
    """If saving breaks half way there is no folder that looks whole."""
    view = load_model(model_dirs["llama"])

    def broken(directory: str) -> None:
        (Path(directory) / "config.json").write_text("{}")
        raise RuntimeError("disk full")

    monkeypatch.setattr(view.model, "save_pretrained", broken)
    with pytest.raises(RuntimeError, match="disk full"):
        save_model(view, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "bad", [torch.zeros(0, 4, dtype=torch.long), torch.zeros(4, dtype=torch.long), torch.zeros(2, 4),
            torch.full((1, 4), 256), torch.full((1, 4), -1)],
)
def test_bad_token_ids_are_refused(model_dirs, bad: torch.Tensor) -> None:
    """Empty, flat, float and out-of-vocabulary ids are refused before the model runs."""
    with pytest.raises(InputError):
        load_model(model_dirs["gpt2"]).trace(bad)


def test_a_view_needs_a_language_model() -> None:
    """A plain module is not a decoder."""
    with pytest.raises(InputError, match="causal language model"):
        ModelView(torch.nn.Linear(2, 2))
