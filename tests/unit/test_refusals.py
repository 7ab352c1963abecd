"""Models and settings that are taken, or refused by name: real `transformers` configurations, one test a case."""

from __future__ import annotations

import json
import shutil
import warnings
from operator import attrgetter

import pytest
import torch

from peelverify.cli.app import main
from peelverify.compress import delete_layers, prune_model, quantize_model, rank_layers, search_removal
from peelverify.errors import ArtifactError, DomainError, InputError, ShapeError
from peelverify.evaluate import perplexity
from peelverify.models import ModelView, find_family, load_model
from peelverify.models.families import FAMILIES
from peelverify.models.small import small_decoder, train_decoder
from peelverify.rho import PrecisionWarning, measure_rho
from tests.families import SIZES


def decoder(kind: str, **changes: object):
    """A real module of a family, with small sizes."""
    from transformers import AutoConfig, AutoModelForCausalLM

    options = {k: v for k, v in SIZES.items() if k != "head_dim"} | changes
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **options)).eval()


@pytest.fixture
def copy_of(model_dirs, tmp_path):
    """A copy of a small Llama directory that a test may spoil."""
    return shutil.copytree(model_dirs["llama"], tmp_path / "model")


def quantised_configs():
    """What four tools leave in config.json, made by the classes of `transformers` where it has them."""
    from transformers import AwqConfig, GPTQConfig
    from transformers.utils.quantization_config import BitsAndBytesConfig

    return {
        "gptq": GPTQConfig(bits=4, dataset=["text"]).to_dict(),
        "awq": AwqConfig(bits=4).to_dict(),
        "compressed-tensors": {
            "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int"}}},
        },
        "bitsandbytes": BitsAndBytesConfig(load_in_4bit=True).to_dict(),
    }


@pytest.mark.parametrize("method", ["gptq", "awq", "compressed-tensors", "bitsandbytes"])
def test_models_quantised_by_others_are_refused_by_name(method, copy_of):
    """The tool is named, and how to dequantise."""
    found = quantised_configs()[method]
    found = json.loads(json.dumps(found, default=lambda x: getattr(x, "value", str(x))))
    assert found["quant_method"] == method
    config = json.loads((copy_of / "config.json").read_text())
    (copy_of / "config.json").write_text(json.dumps(config | {"quantization_config": found}))
    with pytest.raises(InputError, match=rf"quantised by {method}.*dequantize") as refused:
        load_model(copy_of)
    # transformers' own way is named exactly where transformers has one
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
    from transformers.quantizers.base import HfQuantizer

    quantizer = AUTO_QUANTIZER_MAPPING["bitsandbytes_4bit" if method == "bitsandbytes" else method]
    can = quantizer._dequantize is not HfQuantizer._dequantize
    message = str(refused.value)
    assert (").dequantize()" in message) == can
    assert ("GPTQModel" in message and "not tried" in message) == (not can)
    assert "tokenizer" in message.lower() and str(copy_of) in message


def test_other_tools_are_refused_without_a_false_promise(copy_of):
    """Where no way back is known, the message asks for the model that was quantised."""
    config = json.loads((copy_of / "config.json").read_text())
    (copy_of / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "hqq"}}))
    with pytest.raises(InputError, match=r"quantised by hqq; .*the model that it was made from") as refused:
        load_model(copy_of)
    assert "dequantize()" not in str(refused.value)


def test_gguf_files_are_refused_by_name(tmp_path, capsys):
    """The file, or a folder that holds it; the way out is in the message."""
    (tmp_path / "llama.Q4_K_M.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    for place in (tmp_path, tmp_path / "llama.Q4_K_M.gguf"):
        with pytest.raises(ArtifactError, match=r"GGUF.*gguf_file=name.*AutoTokenizer.*save_pretrained"):
            load_model(place)
        assert main(["rho", str(place)]) == 2
        assert "GGUF" in capsys.readouterr().err


@pytest.mark.parametrize("beside", [False, True])
def test_adapters_are_refused_with_the_command_that_merges_them(beside, copy_of):
    """Alone or beside the weights: the whole command, with the folder in it."""
    adapter = {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"]}
    (copy_of / "adapter_config.json").write_text(json.dumps(adapter))
    if not beside:
        (copy_of / "config.json").unlink()
    command = r"python -c .*AutoTokenizer.*save_pretrained.*merge_and_unload\(\)\.save_pretrained"
    with pytest.raises((InputError, ArtifactError), match=command) as found:
        load_model(copy_of)
    assert str(copy_of) in str(found.value)


EXPERTS = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
}
MIXERS = {
    "mamba": {"state_size": 4},
    "jamba": {"num_experts": 1, "mamba_d_state": 4, "mamba_d_conv": 2, "attn_layer_period": 2, "attn_layer_offset": 1,
              "use_mamba_kernels": False, "mamba_dt_rank": 4},
}


@pytest.mark.parametrize("kind", [*EXPERTS, *MIXERS])
def test_experts_state_spaces_and_hybrids_are_refused_by_name(kind, tmp_path, capsys):
    """Real configurations and modules: the type, what it is, and which families are taken."""
    module = decoder(kind, **(EXPERTS | MIXERS)[kind])
    what = "mixture of experts" if kind in EXPERTS else "state-space or hybrid"
    with pytest.raises(InputError, match=rf"gpt2.*llama.*'{kind}', a {what}"):
        ModelView(module)
    module.config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=what):
        load_model(tmp_path)
    assert main(["rank", str(tmp_path)]) == 2
    assert what in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["stablelm", "starcoder2", "olmo2", "falcon", "gptj"])
def test_unlisted_families_are_found_by_their_shape(kind, ids, tmp_path, capsys):
    """No block list is kept for them: parts are found, blocks reproduce the logits, and everything measured works."""
    changes = {"rotary_dim": 4} if kind == "gptj" else {}
    if kind == "falcon":
        changes = {"new_decoder_architecture": True, "num_kv_heads": 2, "bias": False}
    view = ModelView(decoder(kind, **changes))
    assert kind not in FAMILIES
    assert view.depth == SIZES["num_hidden_layers"]
    for path in (view.family.attention_out, view.family.mlp_out):
        assert view.weight(attrgetter(path)(view.blocks[0])).shape[0] == view.width
    trace = view.trace(ids[:2, :16])  # raises unless blocks and head give the model's own logits
    assert torch.equal(trace.logits, view.model(ids[:2, :16]).logits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        assert measure_rho(view, ids[:2, :16], draws=1).depth == view.depth
    assert len(rank_layers(view, ids[:2, :16], "block_influence").scores) == view.depth
    assert delete_layers(view, [1]).depth == view.depth - 1
    from peelverify.models import save_model
    from peelverify.models.small import byte_tokenizer

    folder = save_model(view, tmp_path / kind, tokenizer=byte_tokenizer())
    assert main(["rho", str(folder), "--draws", "1", "--tokens", "64", "--window", "16"]) == 0
    capsys.readouterr()
    text = tmp_path / "t.txt"
    text.write_text("certificates name families " * 40)
    assert main(["certify", str(folder), str(folder), "--text", str(text), "--out", str(tmp_path / "c.json")]) == 2
    assert "known family" in capsys.readouterr().err


def test_a_family_without_a_block_list_is_told_so():
    """A module whose blocks cannot be told: the message says what was looked for and lists the known families."""
    module = decoder("llama")
    module.config.model_type = "unheard_of"
    module.model.layers = torch.nn.Sequential(*module.model.layers)
    with pytest.raises(InputError, match=r"gpt2.*'unheard_of' without blocks .*0 lists of 3 equal blocks"):
        find_family(module)
    module = decoder("llama")
    module.model.second = torch.nn.LayerNorm(32)
    with pytest.raises(InputError, match=r"a final norm .*2 norms"):
        find_family(module)


@pytest.mark.parametrize("kind", ["cohere", "granite"])
def test_unlisted_families_with_scaled_logits_are_refused(kind, ids):
    """A head that is more than norm and matrix does not give the model's logits, and that is said."""
    from peelverify.errors import InvariantError

    module = decoder(kind, **({"logit_scale": 0.5} if kind == "cohere" else {"logits_scaling": 2.0}))
    with pytest.raises(InvariantError, match=kind):
        ModelView(module).trace(ids[:1, :8])


@pytest.fixture(scope="module")
def single(train_ids):
    """A decoder of one block."""
    view = small_decoder("llama", blocks=1, width=32, heads=4, length=64, seed=2)
    train_decoder(view, train_ids, steps=4, batch=4)
    return view


@pytest.fixture(scope="module")
def train_ids():
    """Bytes of a fixed text, as windows."""
    text = ("one block has no later block to pass its error to. " * 60).encode()
    return torch.tensor(list(text[: 24 * 64])).reshape(24, 64)


def test_models_of_one_block(single, train_ids):
    """Measured, quantised and pruned; nothing to rank against, and the block cannot go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        profile = measure_rho(single, train_ids, draws=2)
    assert profile.rho.shape == (2, 0)
    assert profile.amplification.tolist() == [1.0]
    for name in ("rho", "block_influence", "greedy", "taylor", "skip_score", "blend"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            assert rank_layers(single, train_ids, name).order == (0,)
    base = perplexity(single, train_ids).loss
    assert perplexity(quantize_model(single, 8).view, train_ids).loss == pytest.approx(base, abs=0.05)
    assert prune_model(single, 0.5, method="wanda", input_ids=train_ids).view.depth == 1
    with pytest.raises(DomainError, match="keep one"):
        delete_layers(single, [0])
    with pytest.raises(DomainError, match="at least one block stays"):
        search_removal(single, train_ids, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "delete", "--layers", "0,1,2"], "keep one"),
        (["--method", "delete", "--count", "3"], "at least one block stays"),
        (["--method", "wanda", "--sparsity", "0"], "--sparsity"),
        (["--method", "sparsegpt", "--sparsity", "1"], "--sparsity"),
        (["--method", "rtn", "--group", "7"], "divide"),
        (["--method", "gptq", "--group", "48"], "divide"),
        (["--method", "magnitude", "--pattern", "2:5"], "divides"),
    ],
)
def test_settings_that_cannot_be_met(words, message, model_dirs, tmp_path, capsys):
    """All blocks, no sparsity, full sparsity, groups that do not divide: one line, and no folder is left."""
    assert main(["compress", str(model_dirs["llama"]), *words, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.strip().splitlines()[-1]) < 400
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("sparsity", [0.0, 1.0, -0.5, float("nan")])
def test_sparsity_outside_the_open_interval(sparsity, model_dirs, ids):
    """0 changes nothing and 1 deletes the map: neither is a pruned model."""
    view = load_model(model_dirs["gpt2"])
    for method in ("magnitude", "wanda", "sparsegpt"):
        with pytest.raises(DomainError, match="0 < sparsity < 1"):
            prune_model(view, sparsity, method=method, input_ids=ids)


def test_groups_that_do_not_divide(model_dirs, ids):
    """Group sizes and N:M patterns that do not fit the inputs, before any matrix is touched."""
    view = load_model(model_dirs["llama"])
    for method in ("rtn", "gptq"):
        with pytest.raises(ShapeError, match="divide"):
            quantize_model(view, 4, group=5, method=method, input_ids=ids)
    with pytest.raises(ShapeError, match="divides"):
        prune_model(view, pattern=(2, 5))


@pytest.mark.parametrize("command", ["rho", "rank", "compress", "evaluate"])
def test_text_shorter_than_a_window(command, model_dirs, tmp_path, capsys):
    """One line with the number of tokens that are there; no folder is left; what it advises works."""
    text = tmp_path / "short.txt"
    text.write_text("too short")
    words = [command, str(model_dirs["llama"]), "--text", str(text), "--window", "32"]
    if command == "compress":
        words += ["--method", "wanda", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "got 9; give a longer text, or ask for at most so many tokens (--tokens)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*words, "--tokens", "9", *(["--repeats", "0"] if command == "evaluate" else [])]) == 0
