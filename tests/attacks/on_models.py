"""Model directories that are not what they seem. Each changes a copy of the original's directory in place."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.attacks.registry import attack


def _config(path: Path, **changes) -> None:
    file = path / "config.json"
    found = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in found.items() if v is not ...}))


def _shards(path: Path) -> dict:
    """Turn the single file into two shards; the index as data."""
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    names, where = sorted(tensors), {}
    for i, part in enumerate((names[::2], names[1::2])):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        save_file({n: tensors[n] for n in part}, path / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": where}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


def _evil(path: Path, file: str) -> None:
    tensors = {n: torch.zeros_like(t) for n, t in load_file(path / "model.safetensors").items()}
    save_file(tensors, path / file, metadata={"format": "pt"})


@attack("recompute")
def epsilon_of_the_norms(path):
    """Another rms_norm_eps: the weights are the same and the function is not."""
    _config(path, rms_norm_eps=0.1)


@attack("recompute")
def another_activation(path):
    """Another activation in the configuration."""
    _config(path, hidden_act="gelu")


@attack("recompute")
def another_rope_base(path):
    """Another base of the rotary embedding."""
    _config(path, rope_theta=100.0, rope_parameters={"rope_type": "default", "rope_theta": 100.0})


@attack("recompute")
def other_tokenizer(path):
    """A tokenizer that cuts the text otherwise."""
    file = path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"add_prefix_space": True}))


@attack("recompute")
def one_weight_changed(path):
    """One weight of one matrix with its sign turned round."""
    tensors = load_file(path / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] *= -1
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


@attack("loader")
def unknown_activation(path):
    """An activation that does not exist."""
    _config(path, hidden_act="__import__('os')")


@attack("loader")
def fewer_layers(path):
    """A configuration with fewer layers than weights."""
    _config(path, num_hidden_layers=1)


@attack("loader")
def more_layers(path):
    """A configuration with more layers than weights, which a loader would fill at random."""
    _config(path, num_hidden_layers=3)


@attack("loader")
def a_thousand_million_layers(path):
    """So many layers that building the model never ends."""
    _config(path, num_hidden_layers=10**9)


@attack("loader")
def width_of_a_thousand_million(path):
    """A width whose matrices fit no memory."""
    _config(path, hidden_size=10**9)


@attack("loader")
def layers_that_are_text(path):
    """A number of layers that is text."""
    _config(path, num_hidden_layers="2")


@attack("loader")
def head_tied_although_stored(path):
    """tie_word_embeddings switched on although the file holds a head of its own."""
    _config(path, tie_word_embeddings=True)


@attack("loader")
def weight_missing(path):
    """A weight is missing from the file."""
    tensors = load_file(path / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


@attack("loader")
def weight_missing_in_shards(path):
    """A weight is missing from the shards and from their index."""
    index = _shards(path)
    name = "model.layers.1.mlp.up_proj.weight"
    file = path / index["weight_map"].pop(name)
    tensors = load_file(file)
    del tensors[name]
    save_file(tensors, file, metadata={"format": "pt"})
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


@attack("loader")
def surplus_weight(path):
    """A weight that no part of the model takes."""
    tensors = load_file(path / "model.safetensors")
    tensors["model.layers.1.mlp.extra.weight"] = torch.ones(2)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


@attack("loader")
def single_file_beside_shards(path):
    """Honest shards, and a single file that some loaders prefer: what is hashed is not what is loaded."""
    _evil(path, "evil.safetensors")
    _shards(path)
    (path / "evil.safetensors").rename(path / "model.safetensors")


@attack("loader")
def weight_file_named_in_the_configuration(path):
    """transformers_weights names another file, which the library loads in place of the one that is hashed."""
    _evil(path, "evil.safetensors")
    _config(path, transformers_weights="evil.safetensors")


@attack("loader")
def index_with_a_path_upwards(path):
    """A shard at ../model.safetensors."""
    index = _shards(path)
    index["weight_map"] = dict.fromkeys(index["weight_map"], "../model.safetensors")
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


@attack("loader")
def index_with_an_absolute_path(path):
    """A shard at an absolute path."""
    index = _shards(path)
    index["weight_map"] = dict.fromkeys(index["weight_map"], "/etc/passwd")
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


@attack("loader")
def index_that_names_a_pickle(path):
    """A shard that is a pickle."""
    index = _shards(path)
    (path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    index["weight_map"] = dict.fromkeys(index["weight_map"], "pytorch_model.bin")
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


@attack("loader")
def pickle_in_place_of_weights(path):
    """Only a .bin file, which loaders fall back to."""
    (path / "model.safetensors").unlink()
    (path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")


@attack("loader")
def pipe_in_place_of_weights(path):
    """A pipe that is never written to."""
    (path / "model.safetensors").unlink()
    os.mkfifo(path / "model.safetensors")


@attack("loader")
def pipe_in_place_of_the_configuration(path):
    """The same for config.json."""
    (path / "config.json").unlink()
    os.mkfifo(path / "config.json")


@attack("loader")
def device_in_place_of_weights(path):
    """A link to a device that never ends."""
    (path / "model.safetensors").unlink()
    (path / "model.safetensors").symlink_to("/dev/zero")


@attack("loader")
def link_out_of_the_model(path):
    """A link to weights elsewhere, which their owner can change."""
    away = path.parent / "away.safetensors"
    (path / "model.safetensors").rename(away)
    (path / "model.safetensors").symlink_to(away)


@attack("loader")
def link_of_the_configuration(path):
    """A configuration that is a link to a file elsewhere."""
    away = path.parent / "away.json"
    (path / "config.json").rename(away)
    (path / "config.json").symlink_to(away)


@attack("loader")
def link_in_a_circle(path):
    """A link to itself."""
    (path / "model.safetensors").unlink()
    (path / "model.safetensors").symlink_to("model.safetensors")


@attack("loader")
def header_longer_than_the_file(path):
    """A header whose length overflows."""
    (path / "model.safetensors").write_bytes(struct.pack("<Q", 2**64 - 1) + b"{}")


@attack("loader")
def header_of_gigabytes(path):
    """A header that is said to take four gigabytes."""
    (path / "model.safetensors").write_bytes(struct.pack("<Q", 4 << 30) + b"{}" * 100)


@attack("loader")
def tensors_that_overlap(path):
    """Two tensors that share bytes of the file."""
    header = json.dumps({n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in "ab"}).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)


@attack("loader")
def remote_kernel(path):
    """attn_implementation names a kernel on a hub."""
    _config(path, attn_implementation="kernels-community/flash-attn")


@attack("loader")
def remote_kernel_under_a_private_name(path):
    """The same under the key that the library uses inside, in a nested part."""
    _config(path, text_config={"_attn_implementation_internal": "kernels-community/flash-attn"})


@attack("loader")
def remote_code(path):
    """auto_map asks for Python code beside the weights."""
    _config(path, auto_map={"AutoModelForCausalLM": "evil.Evil"})
    (path / "evil.py").write_text("raise SystemExit('run')")


@attack("loader")
def adapter(path):
    """An adapter beside the weights, which loaders apply."""
    (path / "adapter_config.json").write_text('{"peft_type": "LORA"}')


@attack("loader")
def quantised_back_end(path):
    """A quantisation back-end that replaces the linear maps."""
    _config(path, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})


@attack("loader")
def quantised_back_end_of_a_wrong_type(path):
    """The same as a list."""
    _config(path, quantization_config=["gptq"])


@attack("loader")
def configuration_nested_deep(path):
    """A configuration of a hundred thousand brackets."""
    (path / "config.json").write_text('{"a":' + "[" * 10**5 + "]" * 10**5 + "}")


@attack("loader")
def configuration_that_is_a_list(path):
    """A configuration that is no object."""
    (path / "config.json").write_text("[]")


@attack("loader")
def index_nested_deep(path):
    """An index of a hundred thousand brackets."""
    _shards(path)
    (path / "model.safetensors.index.json").write_text("[" * 10**5)


@attack("loader")
def quantisation_that_is_empty(path):
    """quantization_config {}: the library itself fails, a reader of weights would not notice."""
    _config(path, quantization_config={})


@attack("loader")
def attentions_as_output(path):
    """output_attentions, with which fused attention is refused by the library."""
    _config(path, output_attentions=True)


@attack("loader")
def outputs_as_tuples(path):
    """return_dict false, with which the library's own forward pass fails."""
    _config(path, return_dict=False)


def _stored_as(path, kind) -> None:
    tensors = load_file(path / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.weight"
    tensors[name] = (tensors[name] * 10).to(kind)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


@attack("loader")
def matrix_of_integers(path):
    """A matrix stored as int64, which some loaders convert."""
    _stored_as(path, torch.int64)


@attack("loader")
def matrix_of_truths(path):
    """A matrix stored as bool."""
    _stored_as(path, torch.bool)


@attack("loader")
def matrix_of_complex_numbers(path):
    """A matrix stored as complex64, whose imaginary parts a loader drops."""
    _stored_as(path, torch.complex64)


@attack("loader")
def matrix_of_eight_bits(path):
    """A matrix stored as float8, whose scales are elsewhere or nowhere."""
    _stored_as(path, torch.float8_e4m3fn)


@attack("loader")
def tensor_in_two_shards(path):
    """The final norm in both shards with opposite signs: which one counts depends on the loader."""
    index = _shards(path)
    files = sorted(set(index["weight_map"].values()))
    name = "model.norm.weight"
    for sign, file in zip((1, -1), files, strict=True):
        tensors = load_file(path / file)
        tensors[name] = sign * torch.ones(16)
        save_file(tensors, path / file, metadata={"format": "pt"})


@attack("loader")
def weight_under_two_names(path):
    """The final norm with and without the prefix of the model."""
    tensors = load_file(path / "model.safetensors")
    tensors["norm.weight"] = -tensors["model.norm.weight"]
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


def _tied(path, change) -> None:
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    _config(path, tie_word_embeddings=True)


@attack("loader")
def head_tied_to_an_embedding_without_prefix(path):
    """A head of its own, tied by the configuration, and names without the prefix of the model."""
    def change(tensors) -> None:
        for name in [n for n in tensors if n.startswith("model.")]:
            tensors[name.removeprefix("model.")] = tensors.pop(name)

    _tied(path, change)


@attack("loader")
def head_tied_under_its_old_name(path):
    """The same with the head under the name of the first GPT-NeoX release."""
    _tied(path, lambda tensors: tensors.update({"embed_out.weight": tensors.pop("lm_head.weight")}))


@attack("loader")
def overflow(path):
    """Finite weights near the largest float32, whose products are infinite."""
    tensors = load_file(path / "model.safetensors")
    for name in tensors:
        if "proj" in name:
            tensors[name] = torch.full_like(tensors[name], 3e38)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
